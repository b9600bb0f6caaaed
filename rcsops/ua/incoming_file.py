"""A file that is being received: written whole, or kept in part until the rest comes."""

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rcsops.errors import TransferError
from rcsops.rcs import FileSelector
from rcsops.transport.turns import give_way

__all__ = ["Checkpoint", "IncomingFile", "is_whole"]

# What is written and hashed at a time, a millisecond's work or two. The system takes so many pieces
# in one call at most (IOV_MAX), and some fewer.
_BLOCK = 512 << 10
_MAX_PIECES = 256
_MAX_COPIES = 10_000
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_CHECKPOINT_OCTETS = 8 << 20
_CHECKPOINT_SECONDS = 1.0
_HIGH_WATER = 4 << 20
_LOW_WATER = 1 << 20
# Clocks differ; what is further ahead than that is no date of a file.
_AHEAD_SECONDS = 86_400


class Checkpoint(NamedTuple):
    """The first ``octets`` of a file that is not whole, and the SHA-1 of these, in hex."""

    octets: int
    sha1: str


class IncomingFile:
    """A file that is being received.

    The octets gather in a hidden file of the target directory, ``partial``; only a file of the
    promised size and hashes gets its name, and never the name of another one. Writing and hashing
    are done by a thread. ``written`` are the octets that have come in order from the start.

    ``on_written`` is called, on the loop, whenever some of it has been written; ``on_naming``, in a
    thread, with each name that the whole file is about to get if it is free, and its SHA-1.
    ``modified`` (seconds since 1970) becomes its time of modification, unless that is ahead of us.
    """

    __slots__ = (
        "_descriptor",
        "_disordered",
        "_done",
        "_error",
        "_marked_at",
        "_name",
        "_queue",
        "_selector",
        "_sha1",
        "_sha256",
        "_size",
        "_taken",
        "_working",
        "checkpoint",
        "directory",
        "modified",
        "on_naming",
        "on_written",
        "partial",
        "written",
    )

    def __init__(
        self, directory: Path, name: str, promised: FileSelector, *, kept: Path | None = None
    ) -> None:
        """Raises TransferError when the directory cannot be written to, or ``kept`` not be read.

        ``promised`` has the size, and the hashes that are then checked. ``name`` must be a plain
        name: see ``rcsops.rcs.filetransfer.safe_name``. ``kept`` is the part of it that is there
        from an earlier time, which counts only after ``verify``.
        """
        if os.sep in name or name in ("", ".", "..") or "\0" in name:
            raise TransferError("the name of the file is not safe")
        self.directory = directory
        self.modified: float | None = None
        self.partial = kept or directory / f".rcsops-{secrets.token_hex(8)}.part"
        self.written = 0
        self.checkpoint = Checkpoint(0, hashlib.sha1(usedforsecurity=False).hexdigest())
        self._marked_at = time.monotonic()
        self.on_written: Callable[[], None] = _nothing
        self.on_naming: Callable[[Path, str], None] = _no_name
        self._name = name
        self._selector = promised
        self._size = promised.size or 0
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256() if promised.sha256 else None
        # Octets came in another order than that of the file: the hashes are made at the end.
        self._disordered = False
        self._queue: deque[tuple[int, bytes | memoryview]] = deque()
        # Octets that were taken, and that the thread is through with: each is changed by one only.
        self._taken = self._done = 0
        self._working: asyncio.Future[None] | None = None
        self._error: TransferError | None = None
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            if kept is None:
                directory.mkdir(parents=True, exist_ok=True)
                flags |= os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(self.partial, flags, 0o600)
        except OSError as error:
            raise TransferError(f"no file can be made in {directory}: {error.strerror}") from error

    @classmethod
    async def reopen(
        cls, directory: Path, name: str, promised: FileSelector, kept: Path, checkpoint: Checkpoint
    ) -> "IncomingFile":
        """Goes on with what is ``kept`` of a file, up to ``checkpoint``.

        Raises TransferError, and leaves nothing, when that is gone or not what it was.
        """
        file = cls(directory, name, promised, kept=kept)
        try:
            await file.verify(checkpoint)
        except TransferError:
            file.abort()
            raise
        return file

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be written that no more should be taken for now."""
        return self._taken - self._done > _HIGH_WATER

    @property
    def has_room(self) -> bool:
        """Whether more should be taken again."""
        return self._taken - self._done < _LOW_WATER

    async def verify(self, checkpoint: Checkpoint) -> None:
        """Takes what is there up to ``checkpoint`` as received, off the event loop.

        Raises TransferError when it is not what it was.
        """
        await asyncio.to_thread(self._verify, checkpoint)

    def _verify(self, checkpoint: Checkpoint) -> None:
        try:
            self._hash_up_to(checkpoint.octets)
            if (self.written, self._sha1.hexdigest()) != checkpoint:
                raise TransferError(f"what was kept of {self._name} has changed")
            os.ftruncate(self._descriptor, self.written)
        except OSError as error:
            raise TransferError(f"{self._name} cannot be read: {error.strerror}") from error
        self.checkpoint = checkpoint

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Takes octets from an offset counted from 0; they are written soon.

        Raises TransferError beyond the promised size, or when the disk was full before.
        """
        if self._error is not None:
            raise self._error
        if offset + len(data) > self._size:
            raise TransferError("more came than was promised")
        self._queue.append((offset, data))
        self._taken += len(data)
        if self._working is None:
            self._work()

    def _work(self) -> None:
        loop = asyncio.get_running_loop()
        self._working = loop.run_in_executor(None, self._write, loop)
        self._working.add_done_callback(self._worked)

    def _worked(self, done: "asyncio.Future[None]") -> None:
        self._working = None
        if not done.cancelled() and isinstance(error := done.exception(), OSError):
            self._error = TransferError(f"{self._name} cannot be written: {error.strerror}")
            self._queue.clear()
            self._done = self._taken
        elif self._queue:
            self._work()
        self._tell_written()

    def _tell_written(self) -> None:
        self.on_written()

    def rewind(self) -> int:
        """How much there is of it, in order, for the rest to be written behind; called when all
        that came has been written. What came in disorder is not believed."""
        if self._disordered:
            self._start_over()
        self.mark()
        return self.written

    async def restart(self) -> None:
        """What came counts for nothing: all of it comes anew. Raises TransferError as `flush`."""
        await self.flush()
        self._start_over()
        self.mark()

    def promise(self, sha256: str) -> None:
        """All of it is said to have this SHA-256 (hex; "": none is known any more); called while
        nothing is being written."""
        if (self._selector.sha256 or "") != sha256:
            self._selector = replace(self._selector, sha256=sha256 or None)
            # What has come already is read again in the end.
            self._sha256 = None if self.written or self._disordered else hashlib.sha256()

    def _start_over(self) -> None:
        self._disordered = False
        self.written = 0
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256() if self._selector.sha256 else None

    async def flush(self) -> None:
        """Waits until all that came has been written. Raises TransferError when it cannot be."""
        while self._working is not None:
            await asyncio.wait((self._working,))
            # Its callback, which may begin the next round, comes right after.
            await asyncio.sleep(0)
        if self._error is not None:
            raise self._error

    async def commit(self) -> tuple[Path, str]:
        """Checks size and hashes and gives the file its name; returns that and the SHA-1.

        Raises TransferError, and leaves nothing, when the file is not what was promised.
        """
        try:
            await self.flush()
        except TransferError:
            self.abort()
            raise
        descriptor, self._descriptor = self._descriptor, -1
        # Shielded: a caller that gives up must not leave half of it behind.
        return await asyncio.shield(asyncio.to_thread(self._commit, descriptor))

    async def suspend(self) -> None:
        """Closes the file and keeps what is there of it."""
        with contextlib.suppress(TransferError):
            await self.flush()
        self._close()

    def abort(self) -> None:
        """Leaves nothing behind."""
        if self._close():
            with contextlib.suppress(OSError):
                self.partial.unlink()

    def release(self) -> None:
        """Nobody is told any more what has been written."""
        self.on_written = _nothing
        self.on_naming = _no_name

    def _close(self) -> bool:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return False
        if self._working is None:
            os.close(descriptor)
        else:
            self._queue.clear()
            self._working.add_done_callback(lambda _: os.close(descriptor))
        return True

    # --- in a thread -------------------------------------------------------------------------

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        descriptor = self._descriptor
        while descriptor >= 0 and (pieces := self._next_pieces()):
            start, octets = pieces[0][0], [data for _, data in pieces]
            end = start + sum(map(len, octets))
            _write_all(descriptor, octets, start)
            if start != self.written:
                self._disordered = True
            if not self._disordered:
                for piece in octets:
                    self._hash(piece)
                self.written = end
            new = 0 if self._disordered else self.written - self.checkpoint.octets
            if new >= _CHECKPOINT_OCTETS or (
                new and time.monotonic() - self._marked_at >= _CHECKPOINT_SECONDS
            ):
                self.mark()
            had_room = self.has_room
            self._done += end - start
            if self.has_room and not had_room:
                loop.call_soon_threadsafe(self._tell_written)
            give_way()

    def _next_pieces(self) -> list[tuple[int, bytes | memoryview]]:
        """What waits and is to stand in a row; nothing when nothing waits."""
        queue, size = self._queue, 0
        pieces: list[tuple[int, bytes | memoryview]] = []
        # It is emptied by the loop when the file is closed.
        with contextlib.suppress(IndexError):
            while size < _BLOCK and len(pieces) < _MAX_PIECES:
                if pieces and queue[0][0] != pieces[0][0] + size:
                    break
                piece = queue.popleft()
                pieces.append(piece)
                size += len(piece[1])
        return pieces

    def mark(self) -> None:
        """Makes a checkpoint of what has been written; called while nothing is being written."""
        self.checkpoint = Checkpoint(self.written, self._sha1.copy().hexdigest())
        self._marked_at = time.monotonic()

    def _hash(self, data: bytes | memoryview) -> None:
        self._sha1.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)

    def _hash_up_to(self, end: int) -> None:
        """Hashes the file on from where that has come to."""
        while self.written < end:
            wanted = min(_BLOCK, end - self.written)
            block = os.pread(self._descriptor, wanted, self.written)
            if not block:
                return
            self._hash(block)
            self.written += len(block)
            give_way()

    def _commit(self, descriptor: int) -> tuple[Path, str]:
        self._descriptor = descriptor
        try:
            if self._disordered or (self._selector.sha256 and self._sha256 is None):
                self._start_over()
            self._hash_up_to(self._size)
            if self.written != self._size:
                raise TransferError(f"{self._name}: {self.written} of {self._size} octets came")
            sha1 = self._sha1.hexdigest()
            sha256 = self._sha256.hexdigest() if self._sha256 is not None else ""
            promised = self._selector
            if (promised.sha1 and promised.sha1.lower() != sha1) or (
                promised.sha256 and promised.sha256 != sha256
            ):
                raise TransferError(f"{self._name}: the hash is not the one that was promised")
            self._date(descriptor)
            os.fsync(descriptor)
            return self._publish(sha1), sha1
        except OSError as error:
            raise TransferError(f"{self._name} cannot be kept: {error.strerror}") from error
        finally:
            self._descriptor = -1
            os.close(descriptor)
            with contextlib.suppress(OSError):
                self.partial.unlink()

    def _date(self, descriptor: int) -> None:
        now = time.time()
        if self.modified is not None and self.modified <= now + _AHEAD_SECONDS:
            # A file system that does not know such a time keeps the file all the same.
            with contextlib.suppress(OSError, OverflowError):
                os.utime(descriptor, (now, self.modified))

    def _publish(self, sha1: str) -> Path:
        stem, suffix = os.path.splitext(self._name)
        for number in range(_MAX_COPIES):
            name = self._name if number == 0 else f"{stem} ({number}){suffix}"
            final = self.directory / name
            self.on_naming(final, sha1)
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
            os.link(self.partial, final, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A file system without hard links (FAT, some of the network): take the name first.
            os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            os.replace(self.partial, final)

    def _sync_directory(self) -> None:
        # The file has its name; where directories cannot be synced it stays a good file.
        with contextlib.suppress(OSError):
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _write_all(descriptor: int, pieces: list[bytes | memoryview], offset: int) -> None:
    left = pieces
    while left:
        count = os.pwritev(descriptor, left, offset)
        offset += count
        while left and count >= len(left[0]):
            count -= len(left[0])
            left = left[1:]
        if left and count:
            left = [memoryview(left[0])[count:], *left[1:]]


def _nothing() -> None:
    pass


def _no_name(final: Path, sha1: str) -> None:
    pass


def is_whole(path: Path, size: int, sha1: str) -> bool:
    """Whether a file is there, and is the one of that size and SHA-1; reads it through."""
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(path, flags), "rb") as file:
            if os.fstat(file.fileno()).st_size != size:
                return False
            digest = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False))
    except OSError:
        return False
    return digest.hexdigest() == sha1
