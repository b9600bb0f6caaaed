"""The server as a process: start, stop, restart, status, log."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rcsops.errors import EngineError, MiError, MiUnreachable
from rcsops.operations.mi import MiClient
from rcsops.server.run_files import RunFiles, running_pid
from rcsops.settings import Project, sqlite_file

__all__ = [
    "ServerStatus",
    "Started",
    "Stopped",
    "follow_log",
    "log_tail",
    "restart",
    "run_in_foreground",
    "start",
    "status",
    "stop",
]

_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
_TERMINATE_SECONDS = 5.0
_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.02
_TAIL_BLOCK = 65536


@dataclass(frozen=True, slots=True)
class Started:
    """The server runs; ``already`` when it did before."""

    pid: int
    listeners: tuple[str, ...]
    version: str
    already: bool
    log: Path


@dataclass(frozen=True, slots=True)
class Stopped:
    """``pid`` is None when none was running; ``how`` is "mi", "SIGTERM" or "SIGKILL"."""

    pid: int | None
    how: str


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server says of itself; ``running`` without ``answers`` means that it is stuck.

    ``uptime`` and ``memory`` in seconds and octets; ``counts`` are statistics by OpenSIPS's names.
    """

    engine: str
    running: bool
    answers: bool
    pid: int | None
    version: str
    uptime: int | None
    listeners: tuple[str, ...]
    memory: int | None
    counts: Mapping[str, int]
    database: str
    log: str


def start(
    project: Project,
    *,
    trace: Path | None = None,
    timeout: float = _START_SECONDS,
) -> Started:
    """Starts the server in a session of its own and waits until it answers.

    One that runs already is left as it is. Raises `EngineError` with the reason from its log.
    """
    _check_engine(project)
    files = RunFiles(project.make_run_dir())
    pid = running_pid(files)
    if pid is not None:
        return _already(project, files, pid)
    _check_database(project)
    log_start = _size(files.log)
    process = subprocess.Popen(  # noqa: S603
        _command(project, trace),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    assert process.stderr is not None
    try:
        pid = _await_answer(files, process, log_start, timeout)
    finally:
        process.stderr.close()
    # It goes on without us: nobody waits for it, and no warning is due.
    process.returncode = 0
    return _describe(project, files, pid, already=pid != process.pid)


def run_in_foreground(project: Project, *, trace: Path | None = None) -> int:
    """Runs the server in this terminal until Ctrl-C; returns its exit code."""
    _check_engine(project)
    files = RunFiles(project.make_run_dir())
    pid = running_pid(files)
    if pid is not None:
        raise EngineError(
            f"the server is already running, pid {pid}", hint="end it first: rcsops stop"
        )
    _check_database(project)
    command = [*_command(project, trace), "--foreground"]
    process = subprocess.Popen(command, env=_environment())  # noqa: S603
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has told the server as well; it is ending.
            continue


def stop(project: Project, *, timeout: float = _STOP_SECONDS) -> Stopped:
    """Ends the server: by MI, then SIGTERM, then SIGKILL, each with its time. What a server that
    was killed left behind is removed. Raises `EngineError` when even that did not end it."""
    _check_engine(project)
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
        if action() and _wait_for(lambda: running_pid(files) is None, seconds):
            _wait_for(lambda: not _lives(pid), _KILL_SECONDS)
            _remove_stale(files)
            return Stopped(pid or None, how)
    raise EngineError(f"the server, pid {pid}, does not end", hint=f"look at its log: {files.log}")


def restart(project: Project, *, trace: Path | None = None) -> tuple[Stopped, Started]:
    """`stop` and `start`."""
    stopped = stop(project)
    return stopped, start(project, trace=trace)


def status(project: Project, *, timeout: float = 2.0) -> ServerStatus:
    """What the server says of itself, and what can be seen from outside."""
    _check_engine(project)
    files = RunFiles(project.run_dir)
    pid = running_pid(files)
    answers = False
    version, uptime, counts = "", None, {}
    listeners: tuple[str, ...] = ()
    if pid is not None:
        client = MiClient(files, timeout=timeout)
        with contextlib.suppress(MiError):
            version = str(client.call("version")["Server"])
            uptime = int(str(client.call("uptime")["Up time"]).split()[0])
            listeners = _listeners(client)
            wanted = ["core:", "tm:", "usrloc:", "registrar:", "auth:", "net:"]
            counts = dict(client.call("get_statistics", {"statistics": wanted}))
            answers = True
    return ServerStatus(
        engine=project.settings.engine,
        running=pid is not None,
        answers=answers,
        pid=pid or None,
        version=version,
        uptime=uptime,
        listeners=listeners,
        memory=_memory(pid),
        counts=counts,
        database=_masked(project),
        log=str(files.log),
    )


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


# --- inside ------------------------------------------------------------------------------------


def _command(project: Project, trace: Path | None) -> list[str]:
    command = [sys.executable, "-m", "rcsops.server", "--project", str(project.directory.resolve())]
    if trace is not None:
        command += ["--trace", str(trace.resolve())]
    return command


def _environment() -> dict[str, str]:
    # A server in the background has no terminal to colour and no project of the shell's to find.
    return {key: value for key, value in os.environ.items() if key != "RCSOPS_PROJECT"}


def _check_engine(project: Project) -> None:
    if project.settings.engine != "embedded":
        raise EngineError(
            f"this version cannot run the engine {project.settings.engine!r}",
            hint='set engine = "embedded" in rcsops.toml, or give --engine embedded',
        )


def _check_database(project: Project) -> None:
    file = sqlite_file(project.settings.database_url)
    if file is not None and not file.exists():
        raise EngineError("there is no database yet", hint="make it: rcsops db create")


def _already(project: Project, files: RunFiles, pid: int) -> Started:
    try:
        MiClient(files, timeout=2.0).call("uptime")
    except MiUnreachable as error:
        # It may have been started a moment ago by somebody else.
        if not _wait_for(lambda: _answers(files), 5.0):
            raise EngineError(
                f"the server, pid {pid}, is running but does not answer: {error}",
                hint="end it with: rcsops stop",
            ) from error
    return _describe(project, files, pid, already=True)


def _answers(files: RunFiles) -> bool:
    try:
        MiClient(files, timeout=1.0).call("uptime")
    except MiError:
        return False
    return True


def _await_answer(
    files: RunFiles, process: "subprocess.Popen[bytes]", log_start: int, timeout: float
) -> int:
    """The process that answers: the new one, or one whose start at the same time was faster."""
    deadline = time.monotonic() + timeout
    while True:
        code = process.poll()
        if code is not None:
            other = running_pid(files)
            if other and _wait_for(lambda: _answers(files), 5.0):
                return other
            assert process.stderr is not None
            said = process.stderr.read().decode("utf-8", "replace")
            reason, hint = _reason(files.log, log_start, said)
            raise EngineError(
                f"the server did not start: {reason or f'exit code {code}'}", hint=hint
            )
        if files.fifo.exists() and running_pid(files) == process.pid and _answers(files):
            return process.pid
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            reason, _ = _reason(files.log, log_start, "")
            raise EngineError(
                f"the server did not answer within {timeout:g} s{f': {reason}' if reason else ''}",
                hint=f"look at its log: {files.log}",
            )
        time.sleep(_POLL_SECONDS)


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


def _reason(log: Path, start_at: int, said: str) -> tuple[str, str]:
    """The last error that the log got since ``start_at``, and its hint; else what was printed."""
    reason = hint = ""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(min(start_at, _size(log)))
        for raw in file.read(1 << 20).decode("utf-8", "replace").splitlines():
            _, found, text = raw.partition(" ERROR:rcsops.server: ")
            if not found:
                continue
            if text.startswith("hint: "):
                hint = text.removeprefix("hint: ")
            else:
                reason, hint = text, ""
    if reason:
        return reason, hint
    lines = [line for line in said.splitlines() if line.strip()]
    return (lines[-1].removeprefix("error: ") if lines else ""), f"its log: {log}"


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


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _remove_stale(files: RunFiles) -> None:
    """What a killed server left; only with the lock free, and never the log."""
    if not files.directory.is_dir() or running_pid(files) is not None:
        return
    for path in (files.pid, files.fifo, files.socket):
        with contextlib.suppress(OSError):
            path.unlink()


def _memory(pid: int | None) -> int | None:
    if not pid:
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _masked(project: Project) -> str:
    from rcsops.settings import masked_url

    return masked_url(project.settings.database_url)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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
