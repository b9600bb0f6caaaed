"""A relay for TCP that can be cut, frozen or shut: what networks do to connections."""

import asyncio
import contextlib
from types import TracebackType

from rcsops.testing.waiting import eventually

__all__ = ["TcpRelay"]


class TcpRelay:
    """Passes connections on to ``host:port``; an async context manager.

    ``address`` is where it listens. `cut` resets what is open, `freeze` lets what is open go silent
    without an end, as a NAT does that forgot it; new connections pass all the same. While ``shut``
    is set, new connections are reset at once.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._open: set[_Pair] = set()
        self.shut = False
        self.fuses: dict[str, int] = {}
        """Cuts a connection, once, that has passed so many octets "up" or "down"."""
        self.accepted = 0
        """How many connections came."""

    @property
    def address(self) -> str:
        """Where it listens: host and port."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    @property
    def open(self) -> int:
        """How many connections pass."""
        return len(self._open)

    def cut(self) -> None:
        """Resets every connection, on both sides."""
        for pair in tuple(self._open):
            pair.abort()

    def freeze(self) -> None:
        """Passes nothing more on what is open, in either direction, and closes nothing."""
        for pair in self._open:
            pair.frozen = True

    async def __aenter__(self) -> "TcpRelay":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await eventually(lambda: not self._open, what="the relay's connections being closed")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.shut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, far_writer, self.fuses)
        self._open.add(pair)
        try:
            await asyncio.gather(
                pair.pass_on(reader, far_writer, "up"), pair.pass_on(far_reader, writer, "down")
            )
        finally:
            pair.abort()
            self._open.discard(pair)


class _Pair:
    """The two halves of one relayed connection."""

    def __init__(
        self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, fuses: dict[str, int]
    ) -> None:
        self._writers = (near, far)
        self._fuses = fuses
        self.frozen = False

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.frozen:
                    writer.write(data)
                passed += len(data)
                if way in self._fuses and passed >= self._fuses[way]:
                    del self._fuses[way]
                    break
        if not self.frozen:
            self.abort()
