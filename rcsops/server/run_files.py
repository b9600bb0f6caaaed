"""The files of a running server: lock, process id, FIFO, socket, log.

The lock is an flock on a file that is never removed, so it goes with the process however that ends.
Who has it may remove what an earlier process left; nobody else touches a file of the server. The
embedded server holds it while it runs; for a real OpenSIPS it is held by who starts it.
"""

import contextlib
import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import EngineError

__all__ = ["RunFiles", "RunLock", "running_pid"]


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Their names in ``directory``, the project's private run directory."""

    directory: Path

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def fifo(self) -> Path:
        return self.directory / "fifo"

    @property
    def socket(self) -> Path:
        return self.directory / "mi.sock"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def ready(self) -> Path:
        """What a content server says of itself while it serves."""
        return self.directory / "ready.json"


class RunLock:
    """The lock of a run directory; at most one process has it.

    Raises `EngineError` from ``acquire`` when another one does.
    """

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._fd = -1
        self._announced = False

    def acquire(self, *, announce: bool = True) -> None:
        """Takes the lock; with ``announce`` as the server itself, whose process id is written."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._files.lock, flags, 0o600)
        except OSError as error:
            raise EngineError(f"cannot open {self._files.lock}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            pid = running_pid(self._files)
            raise EngineError(
                f"a server of this project is already running, pid {pid or 'unknown'}",
                hint="see: rcsops status",
            ) from None
        self._fd = fd
        os.ftruncate(fd, 0)
        self._announced = announce
        if announce:
            os.write(fd, f"{os.getpid()}\n".encode())
            write_private(self._files.pid, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Gives the lock back and removes the process id."""
        if self._fd < 0:
            return
        if self._announced:
            self._files.pid.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._fd = -1


def running_pid(files: RunFiles) -> int | None:
    """The process that has the lock, 0 if it has not said its id yet, None if nobody has it."""
    try:
        fd = os.open(files.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        try:
            # Shared: two that merely ask do not take each other for a server.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(fd, 32, 0).strip()
            return int(text) if text.isdigit() else 0
        return None
    finally:
        os.close(fd)


def write_private(path: Path, data: bytes, *, owner: tuple[int, int] | None = None) -> None:
    """Writes a file that only its owner may read, in place of what was there; ``owner`` is its
    user and group when it is not for us."""
    # A new file by a name that nobody guesses: in a run directory that root shares with the
    # server's user a link may lie in wait at any other.
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if owner is not None:
                os.fchown(fd, *owner)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load_secret(path: Path, size: int = 32) -> bytes:
    """The server's secret, made at the first start: dialogs outlive a restart by it."""
    with contextlib.suppress(OSError):
        secret = path.read_bytes()
        if len(secret) >= size:
            return secret
    secret = os.urandom(size)
    write_private(path, secret)
    return secret
