"""What the two engines have in common: the embedded server, and a real OpenSIPS.

Each is a module with the functions of `Engine`; `rcsops.operations.server` chooses one.
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Protocol

from rcsops.errors import MiError
from rcsops.operations.mi import MiClient
from rcsops.operations.terminations import handled
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project

__all__ = [
    "START_SECONDS",
    "STOP_SECONDS",
    "CertificateStatus",
    "ContentStatus",
    "Engine",
    "ServerStatus",
    "StartOptions",
    "Started",
    "Stopped",
    "answers",
    "file_size",
    "last_error",
    "remove_stale",
    "tell_systemd",
    "wait_for",
    "wait_in_foreground",
]

START_SECONDS = 15.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
_ERROR = re.compile(r" ERROR:rcsops\.(?:server|content): ")


@dataclass(frozen=True, slots=True)
class StartOptions:
    """``trace`` is the embedded server's alone; ``user`` and ``group`` are OpenSIPS's, and root's
    to give: whom it runs as, and who may use MI besides."""

    trace: Path | None = None
    user: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The server runs; ``already`` when it did before. ``notes`` are for a person."""

    pid: int
    listeners: tuple[str, ...]
    version: str
    already: bool
    log: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stopped:
    """``pid`` is None when none was running; ``how`` is "mi", "SIGTERM" or "SIGKILL"."""

    pid: int | None
    how: str


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """The certificate that a server shows over TLS, as its file is now."""

    path: Path
    not_after: datetime
    days_left: int


@dataclass(frozen=True, slots=True)
class ContentStatus:
    """The content server beside it. ``url`` is where users upload; ``files`` and ``octets`` are
    what is kept."""

    running: bool
    pid: int | None
    url: str
    files: int
    octets: int
    log: str


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server says of itself; ``running`` without ``answers`` means that it is stuck.

    ``uptime`` and ``memory`` in seconds and octets; ``counts`` are statistics by OpenSIPS's names.
    ``fault`` says what is wrong, "" when nothing is: a main process that was killed, a server that
    ended by itself, a database that cannot be used. ``certificate`` is for listeners with TLS,
    ``content`` for a project with a content server.
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
    processes: int = 0
    fault: str = ""
    certificate: CertificateStatus | None = None
    content: ContentStatus | None = None


class Engine(Protocol):
    """The functions that a module of an engine has; all raise `EngineError`."""

    def check(self, project: Project, options: StartOptions) -> None:
        """Raises where `start` would fail, whether or not the server runs now."""

    def start(self, project: Project, options: StartOptions, timeout: float) -> Started:
        """Starts the server in a session of its own and waits until it answers."""

    def run_in_foreground(self, project: Project, options: StartOptions) -> int:
        """Runs the server until it is asked to end; returns its exit code."""

    def stop(self, project: Project, timeout: float) -> Stopped:
        """Ends the server, by force if need be, and removes what it left."""

    def status(self, project: Project, timeout: float) -> ServerStatus:
        """What the server says of itself, and what can be seen from outside."""

    def reload(self, project: Project) -> tuple[str, ...]:
        """Lets the server read its configuration anew; what a person should know of it."""


def answers(files: RunFiles, timeout: float = 1.0) -> bool:
    """Whether somebody answers at MI."""
    try:
        MiClient(files, timeout=timeout).call("uptime")
    except MiError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition`` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def remove_stale(files: RunFiles) -> None:
    """Removes what a killed server left, never the log. Nobody else may be running."""
    for path in (files.pid, files.fifo, files.socket):
        try:
            path.unlink()
        except OSError:
            continue


def file_size(path: Path) -> int:
    """In octets; 0 for what is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def last_error(log: Path, start_at: int, said: str = "") -> tuple[str, str]:
    """The last error that the log of a server got since ``start_at``, and its hint; else the last
    line of what it printed."""
    reason = hint = ""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(min(start_at, file_size(log)))
        for raw in file.read(1 << 20).decode("utf-8", "replace").splitlines():
            found = _ERROR.search(raw)
            if found is None:
                continue
            text = raw[found.end() :]
            if text.startswith("hint: "):
                hint = text.removeprefix("hint: ")
            else:
                reason, hint = text, ""
    if reason:
        return reason, hint
    lines = [line for line in said.splitlines() if line.strip()]
    return (lines[-1].removeprefix("error: ") if lines else ""), f"its log: {log}"


def tell_systemd(message: str) -> None:
    """Tells systemd how far we are (sd_notify(3)); nothing where it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        try:
            notifier.sendto(message.encode(), name)
        except OSError:
            return


def wait_in_foreground(process: "subprocess.Popen[bytes]", end: Callable[[], object]) -> int:
    """Waits for a server that runs as our child, and is ready; Ctrl-C and SIGTERM end it by
    ``end``."""
    with _signals() as asked:
        if process.poll() is None:
            tell_systemd("READY=1")
        while True:
            try:
                return process.wait(0.2)
            except subprocess.TimeoutExpired:
                if asked():
                    tell_systemd("STOPPING=1")
                    end()


@contextlib.contextmanager
def _signals() -> "Iterator[Callable[[], bool]]":
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    with handled(note):
        yield lambda: bool(came and came.pop())
