"""The embedded server as a process (``python -m rcsops.server``)."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from rcsops.errors import EngineError, MiError, MiUnreachable, UsageError
from rcsops.operations.engine import (
    POLL_SECONDS,
    ServerStatus,
    Started,
    StartOptions,
    Stopped,
    answers,
    file_size,
    last_error,
    remove_stale,
    wait_for,
    wait_in_foreground,
)
from rcsops.operations.mi import MiClient
from rcsops.operations.terminations import held, terminations
from rcsops.server.child import end_child
from rcsops.server.run_files import RunFiles, running_pid
from rcsops.settings import Project, masked_url, sqlite_file

__all__ = ["check", "reload", "run_in_foreground", "start", "status", "stop"]

_TERMINATE_SECONDS = 5.0
_KILL_SECONDS = 5.0


def check(project: Project, options: StartOptions) -> None:
    _check_options(options)
    _check_database(project)


def start(project: Project, options: StartOptions, timeout: float) -> Started:
    _check_options(options)
    files = RunFiles(project.make_run_dir())
    pid = running_pid(files)
    if pid is not None:
        return _already(project, files, pid)
    _check_database(project)
    log_start = file_size(files.log)
    process = None
    with terminations():
        try:
            with held():
                process = subprocess.Popen(  # noqa: S603
                    _command(project, options.trace),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    cwd="/",
                    env=_environment(),
                )
            pid = _await_answer(files, process, log_start, timeout)
        except KeyboardInterrupt:
            if process is not None:
                _end(process)
            raise
        finally:
            if process is not None and process.stderr is not None:
                process.stderr.close()
    # It goes on without us: nobody waits for it, and no warning is due.
    process.returncode = 0
    return _describe(project, files, pid, already=pid != process.pid)


def run_in_foreground(project: Project, options: StartOptions) -> int:
    _check_options(options)
    files = RunFiles(project.make_run_dir())
    pid = running_pid(files)
    if pid is not None:
        raise EngineError(
            f"the server is already running, pid {pid}", hint="end it first: rcsops stop"
        )
    _check_database(project)
    command = [*_command(project, options.trace), "--foreground"]
    # A session of its own: Ctrl-C reaches it through us, once.
    process = None
    with terminations():
        try:
            with held():
                process = subprocess.Popen(command, env=_environment(), start_new_session=True)  # noqa: S603
            wait_for(lambda: process.poll() is not None or answers(files), 5.0)
            return wait_in_foreground(process, process.terminate)
        except KeyboardInterrupt:
            if process is not None:
                _end(process)
            raise


def stop(project: Project, timeout: float) -> Stopped:
    files = RunFiles(project.run_dir)
    pid = running_pid(files)
    if pid is None:
        _remove_stale(files)
        return Stopped(None, "")
    steps: tuple[tuple[str, Callable[[], bool], float], ...] = (
        ("mi", lambda: _kill_by_mi(files), timeout),
        ("SIGTERM", lambda: _signal(files, signal.SIGTERM), _TERMINATE_SECONDS),
        ("SIGKILL", lambda: _signal(files, signal.SIGKILL), _KILL_SECONDS),
    )
    for how, action, seconds in steps:
        if action() and wait_for(lambda: running_pid(files) is None, seconds):
            wait_for(lambda: not _lives(pid), _KILL_SECONDS)
            _remove_stale(files)
            return Stopped(pid or None, how)
    raise EngineError(f"the server, pid {pid}, does not end", hint=f"look at its log: {files.log}")


def status(project: Project, timeout: float) -> ServerStatus:
    files = RunFiles(project.run_dir)
    pid = running_pid(files)
    reachable = False
    version, uptime, counts = "", None, {}
    listeners: tuple[str, ...] = ()
    if pid is not None:
        client = MiClient(files, timeout=timeout)
        with contextlib.suppress(MiError):
            version = str(client.call("version")["Server"])
            uptime = int(str(client.call("uptime")["Up time"]).split()[0])
            listeners = _listeners(client)
            wanted = ["core:", "tm:", "usrloc:", "registrar:", "auth:", "net:", "msilo:"]
            counts = dict(client.call("get_statistics", {"statistics": wanted}))
            reachable = True
    return ServerStatus(
        engine="embedded",
        running=pid is not None,
        answers=reachable,
        pid=pid or None,
        version=version,
        uptime=uptime,
        listeners=listeners,
        memory=_memory(pid),
        counts=counts,
        database=masked_url(project.settings.database_url),
        log=str(files.log),
        processes=1 if pid else 0,
    )


def reload(project: Project) -> tuple[str, ...]:
    raise EngineError(
        "the embedded server has no configuration that could be reloaded",
        hint="accounts count at once; for rcsops.toml type: rcsops restart (contacts stay)",
    )


# --- inside ------------------------------------------------------------------------------------


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends one whose start was interrupted."""
    with held():
        end_child(process, _TERMINATE_SECONDS)


def _check_options(options: StartOptions) -> None:
    if options.user or options.group:
        raise UsageError(
            "--user and --group are for a real OpenSIPS",
            hint="start the embedded server as the user that it should run as",
        )


def _command(project: Project, trace: Path | None) -> list[str]:
    command = [sys.executable, "-m", "rcsops.server", "--project", str(project.directory.resolve())]
    if trace is not None:
        command += ["--trace", str(trace.resolve())]
    return command


def _environment() -> dict[str, str]:
    # A server in the background has no terminal to colour and no project of the shell's to find.
    return {key: value for key, value in os.environ.items() if key != "RCSOPS_PROJECT"}


def _check_database(project: Project) -> None:
    file = sqlite_file(project.settings.database_url)
    if file is not None and not file.exists():
        raise EngineError("there is no database yet", hint="make it: rcsops db create")


def _already(project: Project, files: RunFiles, pid: int) -> Started:
    try:
        MiClient(files, timeout=2.0).call("uptime")
    except MiUnreachable as error:
        # It may have been started a moment ago by somebody else.
        if not wait_for(lambda: answers(files), 5.0):
            raise EngineError(
                f"the server, pid {pid}, is running but does not answer: {error}",
                hint="end it with: rcsops stop",
            ) from error
    return _describe(project, files, pid, already=True)


def _await_answer(
    files: RunFiles, process: "subprocess.Popen[bytes]", log_start: int, timeout: float
) -> int:
    """The process that answers: the new one, or one whose start at the same time was faster."""
    deadline = time.monotonic() + timeout
    while True:
        code = process.poll()
        if code is not None:
            other = running_pid(files)
            if other and wait_for(lambda: answers(files), 5.0):
                return other
            assert process.stderr is not None
            said = process.stderr.read().decode("utf-8", "replace")
            reason, hint = last_error(files.log, log_start, said)
            raise EngineError(
                f"the server did not start: {reason or f'exit code {code}'}", hint=hint
            )
        if files.fifo.exists() and running_pid(files) == process.pid and answers(files):
            return process.pid
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            reason, _ = last_error(files.log, log_start)
            raise EngineError(
                f"the server did not answer within {timeout:g} s{f': {reason}' if reason else ''}",
                hint=f"look at its log: {files.log}",
            )
        time.sleep(POLL_SECONDS)


def _describe(project: Project, files: RunFiles, pid: int, *, already: bool) -> Started:
    client = MiClient(files, timeout=2.0)
    try:
        version = str(client.call("version")["Server"])
        listeners = _listeners(client)
    except MiError:
        version, listeners = "", project.settings.listen
    return Started(pid, listeners, version, already, files.log)


def _listeners(client: MiClient) -> tuple[str, ...]:
    kind = str(client.call("ps")["Processes"][0]["Type"])
    return tuple(word for word in kind.split() if word.count(":") >= 2)


def _kill_by_mi(files: RunFiles) -> bool:
    try:
        MiClient(files, timeout=2.0).call("kill")
    except MiError:
        return False
    return True


def _signal(files: RunFiles, number: signal.Signals) -> bool:
    pid = running_pid(files)
    if not pid:
        return pid is None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return True


def _lives(pid: int) -> bool:
    try:
        return bool(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _remove_stale(files: RunFiles) -> None:
    if files.directory.is_dir() and running_pid(files) is None:
        remove_stale(files)


def _memory(pid: int | None) -> int | None:
    if not pid:
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
