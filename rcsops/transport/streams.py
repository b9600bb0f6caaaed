"""One TCP connection that carries SIP."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from rcsops.errors import SipParseError
from rcsops.sip.stream import StreamParser
from rcsops.sip.target import Flow

if TYPE_CHECKING:
    from rcsops.transport.connections import ConnectionTable
    from rcsops.transport.endpoint import SipEndpoint

__all__ = ["StreamConnection"]

PING = b"\r\n\r\n"
PONG = b"\r\n"


class StreamConnection(asyncio.Protocol):
    """Framing, keep-alive and bounded output of one connection, in either direction.

    Until a connection that we open is there, what is to be sent waits in it.
    """

    def __init__(
        self,
        endpoint: "SipEndpoint",
        table: "ConnectionTable",
        number: int,
        transport_name: str,
        remote: tuple[str, int],
        *,
        outgoing: bool,
    ) -> None:
        self.number = number
        self.transport_name = transport_name
        self.flow = Flow(transport_name, ("", 0), remote, number)
        self.outgoing = outgoing
        self.last_activity = endpoint.now
        self.pong_due: float | None = None
        self.close_due: float | None = None
        # Flows without a number whose messages went this way: their transactions fail with it.
        self.used_by: set[Flow] = set()
        self.on_pong: Callable[[], None] | None = None
        self._endpoint = endpoint
        self._table = table
        self._parser = StreamParser(
            max_head=endpoint.limits.max_head, max_body=endpoint.limits.max_body
        )
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._closed = False
        self.error = ""

    @property
    def connected(self) -> bool:
        return self._transport is not None

    @property
    def closed(self) -> bool:
        return self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        self._transport = stream
        limits = self._endpoint.limits
        stream.set_write_buffer_limits(high=limits.max_buffered)
        local = stream.get_extra_info("sockname")[:2]
        remote = stream.get_extra_info("peername")
        if self._closed or remote is None:
            # Gone again before it could be looked at.
            self._closed = True
            stream.abort()
            return
        if not self.outgoing:
            self.flow = Flow(self.transport_name, local, remote[:2], self.number)
            if not self._table.accepted(self):
                self._closed = True
                stream.abort()
                return
        else:
            self.flow = self.flow._replace(local=local)
        waiting, self._waiting, self._waiting_size = self._waiting, [], 0
        for data in waiting:
            self._write(data)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        endpoint = self._endpoint
        self.last_activity = endpoint.now
        parser = self._parser
        try:
            parser.receive_data(data)
            while (message := parser.next_message()) is not None:
                endpoint.stream_message(message, self.flow)
                if self._closed:
                    return
        except SipParseError as error:
            # There is no way to find the next message in a stream whose framing is lost.
            endpoint.stream_broken(error, self.flow)
            self.error = f"broken stream: {error}"
            self.close()
            return
        if parser.take_pings() and self._transport is not None:
            if self._transport.get_write_buffer_size() > endpoint.limits.max_buffered:
                self.abort("the peer does not read")
                return
            self._transport.write(PONG)
        if parser.take_pongs():
            self.pong_due = None
            if self.on_pong is not None:
                self.on_pong()
        endpoint.pump()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        expected = self._closed and not self.error
        self._closed = True
        if error is not None and not self.error:
            self.error = str(error) or type(error).__name__
        self._table.gone(self, expected=expected)

    def send(self, data: bytes) -> str:
        """Sends one message; "" or why it cannot be."""
        if self._closed:
            return "the connection is closed"
        if self._transport is None:
            self._waiting_size += len(data)
            if self._waiting_size > self._endpoint.limits.max_buffered:
                return "too much waits for the connection"
            self._waiting.append(data)
            return ""
        if self._transport.get_write_buffer_size() > self._endpoint.limits.max_buffered:
            self.abort("the peer does not read")
            return self.error
        self._write(data)
        return ""

    def ping(self) -> None:
        """Sends a keep-alive; without an answer in time the connection counts as dead
        (RFC 5626 §4.4.1)."""
        if self._transport is not None and not self._closed and self.pong_due is None:
            self._transport.write(PING)
            self._parser.ping_sent()
            self.pong_due = self._endpoint.now + self._endpoint.limits.pong_seconds

    def close(self) -> None:
        """Closes after what is buffered has gone."""
        if not self._closed:
            self.close_due = self._endpoint.now + self._endpoint.limits.linger_seconds
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def abort(self, error: str) -> None:
        """Closes at once."""
        self._closed = True
        self.error = self.error or error
        if self._transport is not None:
            self._transport.abort()

    def failed(self, error: str) -> None:
        """The connection could not be made."""
        self._closed = True
        self.error = error
        self._table.gone(self, expected=False)

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._transport.write(data)
        self._endpoint.message_written(data, self.flow)
