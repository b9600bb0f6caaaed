"""Octets from a client onto the disk: never faster than the disk, never slower than is fair."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["FileSink", "Pace", "finished"]

_T = TypeVar("_T")

_WRITE_AT_ONCE = 1 << 16
_LEAST_RATE = 1024


class Pace:
    """Bounds how long a client may take: ``idle_seconds`` for each piece, and over the whole at
    least a KiB a second. ``now`` is the loop's clock."""

    def __init__(self, idle_seconds: float, now: Callable[[], float]) -> None:
        self._idle = idle_seconds
        self._now = now
        self._start = now()
        self._octets = 0

    async def read(self, piece: Awaitable[_T]) -> _T:
        """Awaits the next piece. Raises TimeoutError."""
        async with asyncio.timeout(self._idle):
            got = await piece
        if isinstance(got, bytes | bytearray):
            self._octets += len(got)
        if self._octets < _LEAST_RATE * (self._now() - self._start - self._idle):
            raise TimeoutError
        return got


class FileSink:
    """A file that grows; ``size`` octets of it are there or on their way. Made by `open`.

    The coroutines raise OSError.
    """

    def __init__(self, handle: int, size: int) -> None:
        self._handle = handle
        self._buffer = bytearray()
        self.size = size

    @classmethod
    async def open(cls, path: Path, *, go_on: bool = False) -> "FileSink":
        """Makes the file (0600), or with ``go_on`` opens it at its end."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = await finished(
            asyncio.to_thread(os.open, path, flags | (0 if go_on else os.O_TRUNC), 0o600)
        )
        return cls(handle, os.fstat(handle).st_size)

    async def write(self, data: bytes | bytearray) -> None:
        """Takes more octets, and writes when enough have gathered."""
        self._buffer += data
        self.size += len(data)
        if len(self._buffer) >= _WRITE_AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        """Hands what has gathered to the system."""
        if self._buffer:
            data, self._buffer = self._buffer, bytearray()
            await finished(asyncio.to_thread(_write_all, self._handle, data))

    async def close(self, *, whole: bool = False) -> None:
        """Writes the rest; with ``whole`` it is on the disk when this returns."""
        try:
            await self.flush()
            if whole:
                await finished(asyncio.to_thread(os.fsync, self._handle))
        finally:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1


async def finished(work: Coroutine[Any, Any, _T]) -> _T:
    """Awaits work in a thread to its end, also when the task is cancelled: what it works on must
    not be closed under it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def _write_all(handle: int, data: bytearray) -> None:
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(handle, view[written:])
