"""One connection that carries SIP: TCP, or what stands on it, TLS and WebSocket."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from rcsops.errors import SipParseError
from rcsops.sip.parser import parse_message
from rcsops.sip.stream import StreamParser
from rcsops.sip.target import Flow
from rcsops.transport.identity import Identities
from rcsops.transport.layers import ConnectionFailed, Layer
from rcsops.transport.tls import TlsLayer

if TYPE_CHECKING:
    from rcsops.transport.connections import ConnectionTable
    from rcsops.transport.endpoint import SipEndpoint

__all__ = ["StreamConnection"]

# What TLS begins with (RFC 8446 §5.1): no SIP message does.
_TLS_RECORD = b"\x16\x03"
PING = b"\r\n\r\n"
PONG = b"\r\n"


class StreamConnection(asyncio.Protocol):
    """Framing, keep-alive and bounded output of one connection, in either direction.

    ``flow`` says what it is; ``layers`` stand between its octets and SIP, the lowest first. Until
    a connection that we open is there, what is to be sent waits in it.
    """

    def __init__(
        self,
        endpoint: "SipEndpoint",
        table: "ConnectionTable",
        flow: Flow,
        layers: Sequence[Layer],
        *,
        outgoing: bool,
    ) -> None:
        self.number = flow.connection
        self.flow = flow
        self.outgoing = outgoing
        self.last_activity = endpoint.now
        self.idle_seconds = endpoint.limits.idle_seconds
        self.pong_due: float | None = None
        self.close_due: float | None = None
        self.handshake_due: float | None = None
        self.message_due: float | None = None
        # Flows without a number whose messages went this way: their transactions fail with it.
        self.used_by: set[Flow] = set()
        self.alias = ("", ("", 0))
        self.on_pong: Callable[[], None] | None = None
        self._endpoint = endpoint
        self._table = table
        self._layers = tuple(layers)
        self._started = 0
        self._in_messages = flow.transport in ("ws", "wss")
        self._parser = StreamParser(
            max_head=endpoint.limits.max_head, max_body=endpoint.limits.max_body
        )
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._closed = False
        self._open = False
        self.error = ""

    @property
    def connected(self) -> bool:
        """Whether messages can go both ways."""
        return self._open

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def identities(self) -> Identities:
        """What the other side has proved by its certificate."""
        lowest = self._layers[0] if self._layers else None
        return lowest.identities if isinstance(lowest, TlsLayer) else Identities()

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
            self.flow = self.flow._replace(local=local, remote=remote[:2])
            if not self._table.accepted(self):
                self._closed = True
                stream.abort()
                return
        else:
            self.flow = self.flow._replace(local=local)
        if self._layers:
            self.handshake_due = self._endpoint.now + limits.handshake_seconds
        try:
            self._advance()
        except ConnectionFailed as failure:
            self._give_up(str(failure))

    def _advance(self) -> None:
        """Starts each layer when that below it is there, and lets waiting messages go at last."""
        if self._open:
            return
        layers = self._layers
        while self._started < len(layers) and (
            self._started == 0 or layers[self._started - 1].established
        ):
            layers[self._started].start()
            self._started += 1
            self._flush()
        if self._started < len(layers) or (layers and not layers[-1].established):
            return
        self._open = True
        self.handshake_due = None
        waiting, self._waiting, self._waiting_size = self._waiting, [], 0
        for data in waiting:
            self._write(data)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        endpoint = self._endpoint
        try:
            chunks = [data]
            for layer in self._layers:
                chunks = [each for chunk in chunks for each in layer.receive_data(chunk)]
            if self._layers:
                self._flush()
                self._advance()
        except ConnectionFailed as failure:
            self._give_up(str(failure))
            endpoint.pump()
            return
        if chunks:
            self.last_activity = endpoint.now
        for chunk in chunks:
            try:
                more = self._message(chunk) if self._in_messages else self._piece(chunk)
            except SipParseError as error:
                # There is no way to find the next message in a stream whose framing is lost.
                endpoint.stream_broken(error, self.flow)
                self.error = f"broken stream: {error}"
                self.close()
                return
            if not more or self._closed:
                return
        endpoint.pump()
        self._watch_unfinished()

    def _watch_unfinished(self) -> None:
        """A message must not take for ever to come, whatever is said meanwhile."""
        layers = self._layers
        unfinished = self._parser.unfinished or (bool(layers) and layers[-1].unfinished)
        if not unfinished:
            self.message_due = None
        elif self.message_due is None and self._open:
            self.message_due = self._endpoint.now + self._endpoint.limits.message_seconds

    def _piece(self, data: bytes) -> bool:
        """Takes a piece of a stream of messages; False when the connection has ended."""
        endpoint, parser = self._endpoint, self._parser
        if data.startswith(_TLS_RECORD) and not parser.unfinished:
            # Its empty line may never come, and the other end waits for an answer.
            raise SipParseError("TLS on a port for TCP")
        parser.receive_data(data)
        while (message := parser.next_message()) is not None:
            self.message_due = None
            endpoint.stream_message(message, self.flow)
            if self._closed:
                return False
        if parser.take_pings() and not self._answer_ping():
            return False
        if parser.take_pongs():
            self._pong()
        return True

    def _message(self, data: bytes) -> bool:
        """Takes one message of a WebSocket (RFC 7118 §5); False when the connection has ended."""
        if len(data) <= len(PING) and not data.strip(b"\r\n"):
            if data == PING:
                return self._answer_ping()
            self._pong()
            return True
        try:
            message = parse_message(data)
        except SipParseError as error:
            self._endpoint.bad_message(error, self.flow)
            return True
        self.message_due = None
        self._endpoint.stream_message(message, self.flow)
        return not self._closed

    def _answer_ping(self) -> bool:
        if self._transport is None:
            return False
        if self._transport.get_write_buffer_size() > self._endpoint.limits.max_buffered:
            self.abort("the peer does not read")
            return False
        self._put(PONG)
        return True

    def _pong(self) -> None:
        self.pong_due = None
        if self.on_pong is not None:
            self.on_pong()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        expected = self._closed and not self.error
        self._closed = True
        if error is not None and not self.error:
            self.error = str(error) or type(error).__name__
        if self._layers and not self._open and not self.error:
            self.error = "it closed the connection during the handshake"
        self._table.gone(self, expected=expected)

    def send(self, data: bytes) -> str:
        """Sends one message; "" or why it cannot be."""
        if self._closed:
            return "the connection is closed"
        if self._transport is None or not self._open:
            self._waiting_size += len(data)
            if self._waiting_size > self._endpoint.limits.max_buffered:
                return "too much waits for the connection"
            self._waiting.append(data)
            return ""
        if self._transport.get_write_buffer_size() > self._endpoint.limits.max_buffered:
            self.abort("the peer does not read")
            return self.error
        if not self._layers:
            self._transport.write(data)
            self._endpoint.message_written(data, self.flow)
            return ""
        try:
            self._write(data)
        except ConnectionFailed as failure:
            self._give_up(str(failure))
            return self.error
        return ""

    def ping(self) -> None:
        """Sends a keep-alive; without an answer in time the connection counts as dead
        (RFC 5626 §4.4.1)."""
        if self._open and not self._closed and self.pong_due is None:
            self._put(PING)
            self._parser.ping_sent()
            self.pong_due = self._endpoint.now + self._endpoint.limits.pong_seconds

    def close(self) -> None:
        """Closes after what is buffered has gone."""
        if not self._closed:
            self.close_due = self._endpoint.now + self._endpoint.limits.linger_seconds
            self._say_good_bye()
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

    def _give_up(self, error: str) -> None:
        """A layer has failed; what it still has to say, such as a TLS alert, goes out."""
        if self._closed:
            return
        self.error = self.error or error
        if not self._open:
            self._endpoint.handshake_failed(self.flow, self.error)
        self.close()

    def _say_good_bye(self) -> None:
        try:
            for layer in reversed(self._layers[: self._started]):
                layer.close()
                self._flush()
        except ConnectionFailed:
            # Whoever broke it need not be told.
            return

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._put(data)
        self._endpoint.message_written(data, self.flow)

    def _put(self, data: bytes) -> None:
        if self._transport is None:
            return
        if not self._layers:
            self._transport.write(data)
            return
        self._layers[-1].send(data)
        self._flush()

    def _flush(self) -> None:
        """Lets what the layers have to say go down, from the highest."""
        data = b""
        for layer in reversed(self._layers[: self._started]):
            if data:
                layer.send(data)
            data = layer.data_to_send()
        if data and self._transport is not None:
            if self._transport.get_write_buffer_size() > self._endpoint.limits.max_buffered:
                self.abort("the peer does not read")
                return
            self._transport.write(data)
