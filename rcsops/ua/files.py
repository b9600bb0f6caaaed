"""Files on the disk that are to be sent, and the room for those that come."""

import asyncio
import hashlib
import mimetypes
import os
import shutil
import stat
from pathlib import Path

from rcsops.database.history import Attachment
from rcsops.errors import TransferError, UsageError
from rcsops.msrp.outgoing import Read
from rcsops.rcs import FileInfo, FileSelector
from rcsops.transport.turns import give_way

__all__ = ["OutgoingFile", "attachment_of", "check_room", "read_thumbnail"]

_BLOCK = 512 << 10
_MAX_THUMBNAIL = 1 << 16
# How far ahead of what is read the system is told to fetch.
_AHEAD = 8 << 20


def check_room(directory: Path, size: int, reserve: int) -> None:
    """Raises TransferError when ``size`` octets more would leave less than ``reserve`` free on the
    disk of ``directory``, which need not be there yet."""
    place = directory
    while not os.path.exists(place) and place != place.parent:
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


def attachment_of(info: FileInfo | None) -> Attachment | None:
    """How the history knows a file on a content server that has not been fetched."""
    return None if info is None else Attachment(info.name, "", info.file.size)


def read_thumbnail(path: Path) -> tuple[str, bytes]:
    """The media type and the octets of a small picture. Raises TransferError."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    if not kind.startswith("image/"):
        raise TransferError(f"{path} is no image that a peer could show")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_THUMBNAIL + 1)
    except OSError as error:
        raise TransferError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_THUMBNAIL:
        raise TransferError(f"a thumbnail has at most {_MAX_THUMBNAIL} octets")
    return kind, data


class OutgoingFile:
    """A regular file that is about to be sent; ``sha1`` and ``sha256`` in lower-case hex."""

    __slots__ = (
        "_descriptor",
        "_signature",
        "content_type",
        "name",
        "path",
        "sha1",
        "sha256",
        "size",
    )

    def __init__(self, path: Path, descriptor: int) -> None:
        """Reads all of it. Raises OSError; see ``open``."""
        self.path = path
        self.name = path.name
        guessed, encoding = mimetypes.guess_type(path.name)
        self.content_type = guessed if guessed and not encoding else "application/octet-stream"
        self._descriptor = descriptor
        self._signature = _signature(descriptor)
        sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
        block = bytearray(_BLOCK)
        view = memoryview(block)
        self.size = 0
        while count := os.preadv(descriptor, [block], self.size):
            sha1.update(view[:count])
            sha256.update(view[:count])
            self.size += count
            give_way()
        self.sha1, self.sha256 = sha1.hexdigest(), sha256.hexdigest()

    @classmethod
    async def open(cls, path: str | os.PathLike[str]) -> "OutgoingFile":
        """Opens a file and computes its hashes, off the event loop.

        Raises TransferError when it is not a regular file that can be read, UsageError when it has
        a name that no peer could read.
        """
        return await asyncio.to_thread(cls._open, Path(path))

    @classmethod
    def _open(cls, path: Path) -> "OutgoingFile":
        try:
            path.name.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError("the name of that file is not UTF-8", hint="rename it") from None
        try:
            # Not to hang on a FIFO, whatever the name leads to.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TransferError(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise TransferError(f"{path} is not a file")
        try:
            return cls(path, descriptor)
        except OSError as error:
            os.close(descriptor)
            raise TransferError(f"{path} cannot be read: {error.strerror}") from error

    @property
    def selector(self) -> FileSelector:
        """What it is called in SDP."""
        return FileSelector(self.name, self.content_type, self.size, self.sha1, self.sha256)

    @property
    def modified(self) -> float:
        """When it was changed last, in seconds since 1970."""
        return self._signature[3] / 1e9

    @property
    def unchanged(self) -> bool:
        """Whether it is, as far as size and times tell, still what was hashed."""
        return self._descriptor >= 0 and _signature(self._descriptor) == self._signature

    def reader(self, offset: int = 0) -> Read:
        """A function that gives the octets from ``offset`` on, fewer than asked only at the end."""
        ahead = offset

        def read(count: int) -> bytes:
            nonlocal offset, ahead
            if self._descriptor < 0:
                return b""
            if offset + _AHEAD // 2 >= ahead:
                os.posix_fadvise(self._descriptor, ahead, _AHEAD, os.POSIX_FADV_WILLNEED)
                ahead += _AHEAD
            data = os.pread(self._descriptor, count, offset)
            offset += len(data)
            return data

        return read

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _signature(descriptor: int) -> tuple[int, int, int, int]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
