"""The content server's processes: ``python -m rcsops.content --project DIR --watch PID``.

The first watches over the one that serves: it starts it again when it fails, and ends it when it
is asked to, or when the process PID, the SIP server, is gone. ``rcsops start`` runs it in a session
of its own. The exit code is 1 when it could not start, and the last line of the log says why.
"""

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import psutil

from rcsops.errors import RcsopsError
from rcsops.server.child import end_child
from rcsops.server.logs import start_logging
from rcsops.server.run_files import RunFiles, RunLock
from rcsops.settings import Project, private_directory

logger = logging.getLogger("rcsops.content")

_LOOK_SECONDS = 1.0
_END_SECONDS = 6.0
_SHORTEST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until it is asked to end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rcsops.content", description=__doc__)
    parser.add_argument("--project", required=True, metavar="DIR", help="the project's directory")
    parser.add_argument("--watch", type=int, metavar="PID", help="end when this process does")
    parser.add_argument("--worker", action="store_true", help="serve (for ourselves)")
    options = parser.parse_args(arguments)
    try:
        project = Project.find(options.project)
        run = project.make_run_dir()
        apart = project.state_dir not in run.parents
        files = RunFiles(private_directory(run / "content", shared_parent=apart))
        if options.worker:
            return _work(project, files)
        lock = RunLock(files)
        lock.acquire()
    except RcsopsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        start_logging(files.log)
        return _watch(options.project, options.watch, files)
    finally:
        lock.release()


def _work(project: Project, files: RunFiles) -> int:
    from rcsops.content.worker import serve

    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    start_logging(files.log)
    try:
        serve(project, files)
    except RcsopsError as error:
        logger.error("%s", error)
        if error.hint:
            logger.error("hint: %s", error.hint)
        return 1
    return 0


def _watch(directory: str, watched: int | None, files: RunFiles) -> int:
    # Blocked, and waited for: none comes between a look and the next.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    engine = None
    if watched is not None:
        try:
            engine = psutil.Process(watched)
        except psutil.Error:
            return 0
    wait = _SHORTEST_WAIT
    served = False
    while True:
        began = time.monotonic()
        worker = _start_worker(directory, files)
        ended = _until(engine, partial(_has_ended, worker))
        served = served or files.ready.exists()
        if ended:
            end_child(worker, _END_SECONDS)
        with contextlib.suppress(OSError):
            files.ready.unlink()
        if ended or not served:
            return 0 if ended else 1
        if time.monotonic() - began > _LONGEST_WAIT:
            wait = _SHORTEST_WAIT
        logger.error("the content server ended by itself (%s); again in %g s", worker.poll(), wait)
        again = time.monotonic() + wait
        if _until(engine, partial(_is_past, again)):
            return 0
        wait = min(wait * 2, _LONGEST_WAIT)


def _start_worker(directory: str, files: RunFiles) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "rcsops.content", "--project", directory, "--worker"]
    log = os.open(files.log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        # Its stdin ends with us, however that comes about. A traceback goes to the log.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/")  # noqa: S603
    finally:
        os.close(log)


def _until(engine: psutil.Process | None, done: Callable[[], bool]) -> bool:
    """Waits until ``done()``; True when we are to end before that."""
    while not done():
        came = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS)
        if came is not None and came.si_signo != signal.SIGCHLD:
            return True
        if engine is not None and not _lives(engine):
            logger.info("the SIP server has ended, and so do we")
            return True
    return False


def _has_ended(worker: "subprocess.Popen[bytes]") -> bool:
    return worker.poll() is not None


def _is_past(moment: float) -> bool:
    return time.monotonic() >= moment


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.exit(main())
