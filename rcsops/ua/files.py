"""Files on the disk: read for sending, and written whole or not at all."""

import asyncio
import contextlib
import errno
import hashlib
import mimetypes
import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rcsops.errors import TransferError

__all__ = ["IncomingFile", "OutgoingFile", "check_room"]

_BLOCK = 1 << 20
_MAX_COPIES = 10_000
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def check_room(directory: Path, size: int, reserve: int) -> None:
    """Raises TransferError when ``size`` octets more would leave less than ``reserve`` free on the
    disk of ``directory``, which need not be there yet."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        # Whoever makes the file is told what is wrong there.
        return
    if free - size < reserve:
        raise TransferError(
            f"{size} octets do not fit: the disk has {free} free, of which {reserve} are kept",
            hint="make room, or lower reserve in [files] of rcsops.toml",
        )


@dataclass(frozen=True, slots=True)
class _Facts:
    size: int
    sha1: str


class OutgoingFile:
    """A regular file that is about to be sent; ``sha1`` in lower-case hex."""

    __slots__ = ("_file", "content_type", "name", "path", "sha1", "size")

    def __init__(self, path: Path, file: BinaryIO, facts: _Facts) -> None:
        self.path = path
        self.name = path.name
        self.size = facts.size
        self.sha1 = facts.sha1
        guessed, encoding = mimetypes.guess_type(path.name)
        self.content_type = guessed if guessed and not encoding else "application/octet-stream"
        self._file = file

    @classmethod
    async def open(cls, path: str | os.PathLike[str]) -> "OutgoingFile":
        """Opens a file and computes its SHA-1, off the event loop.

        Raises TransferError when it is not a regular file that can be read.
        """
        return await asyncio.to_thread(cls._open, Path(path))

    @classmethod
    def _open(cls, path: Path) -> "OutgoingFile":
        try:
            # Not to hang on a FIFO, whatever the name leads to.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TransferError(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise TransferError(f"{path} is not a file")
        file = os.fdopen(descriptor, "rb")
        try:
            facts = _facts(file)
            file.seek(0)
        except OSError as error:
            file.close()
            raise TransferError(f"{path} cannot be read: {error.strerror}") from error
        return cls(path, file, facts)

    def read(self, count: int) -> bytes:
        """The next octets; shorter than asked only at the end."""
        return self._file.read(count)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class IncomingFile:
    """A file that is being received.

    The octets gather in a hidden file of the target directory; only a file of the promised size and
    SHA-1 gets its name, and never the name of another one.
    """

    __slots__ = ("_descriptor", "_directory", "_name", "_sha1", "_size", "_temporary", "written")

    def __init__(self, directory: Path, name: str, size: int, sha1: str | None) -> None:
        """Raises TransferError when the directory cannot be written to.

        ``sha1`` is None where the sender promised none: then only the size is checked.
        ``name`` must be a plain name: see ``rcsops.rcs.filetransfer.safe_name``.
        """
        if os.sep in name or name in ("", ".", "..") or "\0" in name:
            raise TransferError("the name of the file is not safe")
        self._directory = directory
        self._name = name
        self._size = size
        self._sha1 = sha1.lower() if sha1 else None
        self._temporary = directory / f".rcsops-{secrets.token_hex(8)}.part"
        self.written = 0
        try:
            directory.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._temporary, flags, 0o600)
        except OSError as error:
            raise TransferError(f"no file can be made in {directory}: {error.strerror}") from error

    def write(self, offset: int, data: bytes) -> None:
        """Writes octets at an offset counted from 0.

        Raises TransferError beyond the promised size, or when the disk is full.
        """
        if offset + len(data) > self._size:
            raise TransferError("more came than was promised")
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self._descriptor, view, offset)
                view = view[count:]
                offset += count
                self.written += count
        except OSError as error:
            raise TransferError(f"{self._name} cannot be written: {error.strerror}") from error

    async def commit(self) -> tuple[Path, str]:
        """Checks size and SHA-1 and gives the file its name; returns that and the SHA-1.

        Raises TransferError, and leaves nothing, when the file is not what was promised.
        """
        descriptor, self._descriptor = self._descriptor, -1
        # Shielded: a caller that gives up must not leave half of it behind.
        return await asyncio.shield(asyncio.to_thread(self._commit, descriptor))

    def abort(self) -> None:
        """Leaves nothing behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _commit(self, descriptor: int) -> tuple[Path, str]:
        try:
            with os.fdopen(descriptor, "rb") as file:
                facts = _facts(file)
                if facts.size != self._size:
                    raise TransferError(f"{self._name}: {facts.size} of {self._size} octets came")
                if self._sha1 not in (None, facts.sha1):
                    raise TransferError(f"{self._name}: the hash is not the one that was promised")
                os.fsync(descriptor)
                return self._publish(), facts.sha1
        except OSError as error:
            raise TransferError(f"{self._name} cannot be kept: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _publish(self) -> Path:
        stem, suffix = os.path.splitext(self._name)
        for number in range(_MAX_COPIES):
            name = self._name if number == 0 else f"{stem} ({number}){suffix}"
            final = self._directory / name
            try:
                self._name_it(final)
            except FileExistsError:
                continue
            self._sync_directory()
            return final
        raise TransferError(f"{self._name}: every name like it is taken")

    def _name_it(self, final: Path) -> None:
        try:
            # link, not rename: it fails when the name is taken, without a gap in between.
            os.link(self._temporary, final, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A file system without hard links (FAT, some of the network): take the name first.
            os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            os.replace(self._temporary, final)

    def _sync_directory(self) -> None:
        # The file has its name; where directories cannot be synced it stays a good file.
        with contextlib.suppress(OSError):
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _facts(file: BinaryIO) -> _Facts:
    file.seek(0)
    digest = hashlib.sha1(usedforsecurity=False)
    size = 0
    while block := file.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return _Facts(size, digest.hexdigest())
