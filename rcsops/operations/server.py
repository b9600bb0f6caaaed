"""The server as a process, whichever engine it is: start, stop, restart, reload, status, log."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rcsops.errors import EngineError
from rcsops.operations.content import content_status, start_content, stop_content
from rcsops.operations.engine import (
    START_SECONDS,
    STOP_SECONDS,
    Engine,
    ServerStatus,
    Started,
    StartOptions,
    Stopped,
)
from rcsops.operations.terminations import held, terminations
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project

__all__ = [
    "LARGE_LOG",
    "ServerStatus",
    "Started",
    "Stopped",
    "follow_log",
    "log_tail",
    "reload",
    "restart",
    "run_in_foreground",
    "start",
    "status",
    "stop",
]

LARGE_LOG = 100_000_000
"""From so many octets on a log should be rotated."""

_TAIL_BLOCK = 65536


def start(
    project: Project,
    *,
    trace: Path | None = None,
    user: str = "",
    group: str = "",
    timeout: float = START_SECONDS,
) -> Started:
    """Starts the server in a session of its own and waits until it answers.

    One that runs already is left as it is. ``user`` and ``group`` are those that a real OpenSIPS
    runs as when root starts it. The content server that the settings ask for is started with it;
    an interruption before that is ready ends both. Raises `EngineError` with the reason from the
    log of the one that did not start.
    """
    with terminations():
        started = _engine(project).start(project, StartOptions(trace, user, group), timeout)
        if user:
            notes = (*started.notes, *_without_content(project))
            return replace(started, notes=notes)
        try:
            start_content(project, started.pid)
        except EngineError as error:
            raise EngineError(
                f"the SIP server runs, pid {started.pid}, but {error}", hint=error.hint
            ) from error
        except KeyboardInterrupt:
            if not started.already:
                with held():
                    stop(project)
            raise
    return started


def run_in_foreground(
    project: Project, *, trace: Path | None = None, user: str = "", group: str = ""
) -> int:
    """Runs the server in this terminal until Ctrl-C; returns its exit code."""
    options = StartOptions(trace, user, group)
    engine = _engine(project)
    if user or not project.settings.content.listen:
        return engine.run_in_foreground(project, options)
    engine.check(project, options)
    ours = start_content(project, os.getpid())
    try:
        return engine.run_in_foreground(project, options)
    finally:
        if ours:
            stop_content(project)


def stop(project: Project, *, timeout: float = STOP_SECONDS) -> Stopped:
    """Ends the server: by MI, then SIGTERM, then SIGKILL, each with its time. What a server that
    was killed left behind is removed, its orphaned processes included. Raises `EngineError` when
    even that did not end it. The content server ends with it."""
    stop_content(project)
    return _engine(project).stop(project, timeout)


def restart(
    project: Project, *, trace: Path | None = None, user: str = "", group: str = ""
) -> tuple[Stopped, Started]:
    """`stop` and `start`; a server that could not start again is left as it is, with the error."""
    _engine(project).check(project, StartOptions(trace, user, group))
    stopped = stop(project)
    return stopped, start(project, trace=trace, user=user, group=group)


def reload(project: Project) -> tuple[str, ...]:
    """Lets the server read its script anew, without losing a call; what a person should know.

    Raises `EngineError` when it does not run, or the script has errors: then it keeps the old one.
    """
    return _engine(project).reload(project)


def status(project: Project, *, timeout: float = 2.0) -> ServerStatus:
    """What the server says of itself, and what can be seen from outside."""
    found = _engine(project).status(project, timeout)
    if found.running:
        found = replace(found, content=content_status(project))
    if project.certificate and any(each.startswith(("tls:", "wss:")) for each in found.listeners):
        # cryptography is slow to import, and most servers need none of it.
        from rcsops.operations.certs import certificate_status

        return replace(found, certificate=certificate_status(project.certificate[0]))
    return found


def log_tail(project: Project, lines: int) -> list[str]:
    """The last ``lines`` lines of the server's log; raises `EngineError` when there is none."""
    path = RunFiles(project.run_dir).log
    try:
        with path.open("rb") as log:
            return _last_lines(log, lines)
    except FileNotFoundError:
        raise EngineError(
            "there is no log yet", hint="the server writes it from its first start: rcsops start"
        ) from None
    except OSError as error:
        raise EngineError(
            f"cannot read {path}: {error.strerror}", hint="type it as the owner of this project"
        ) from error


def follow_log(project: Project, lines: int, stopped: Callable[[], bool]) -> Iterator[str]:
    """`log_tail`, and then each line as it is written, until ``stopped()``. Goes on in the new file
    when the log is rotated."""
    path = RunFiles(project.run_dir).log
    yield from log_tail(project, lines)
    log = path.open("rb")
    try:
        log.seek(0, os.SEEK_END)
        rest = b""
        while not stopped():
            data = log.read(_TAIL_BLOCK)
            if data:
                *whole, rest = (rest + data).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
                continue
            time.sleep(0.1)
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                held = os.fstat(log.fileno())
                if found.st_ino != held.st_ino or found.st_size < log.tell():
                    log.close()
                    log = path.open("rb")
    finally:
        log.close()


def _engine(project: Project) -> Engine:
    if project.settings.engine == "opensips":
        from rcsops.operations import engine_opensips

        return engine_opensips
    from rcsops.operations import engine_embedded

    return engine_embedded


def _without_content(project: Project) -> tuple[str, ...]:
    if not project.settings.content.listen:
        return ()
    return ("the content server is not started with --user: that user cannot read the project",)


def _last_lines(log: Any, count: int) -> list[str]:
    """The last lines of a file, read from its end."""
    if count <= 0:
        return []
    position = log.seek(0, os.SEEK_END)
    data = b""
    while position > 0 and data.count(b"\n") <= count:
        step = min(_TAIL_BLOCK, position)
        position -= step
        log.seek(position)
        data = log.read(step) + data
    lines: deque[bytes] = deque(data.splitlines(), maxlen=count)
    return [line.decode("utf-8", "replace") for line in lines]
