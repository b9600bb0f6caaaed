"""The connections of one endpoint: numbered, found again by their remote address, limited."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from rcsops.errors import SettingsError, SipParseError
from rcsops.sip.message import Message, Request
from rcsops.sip.target import Flow
from rcsops.transport.addresses import WILDCARDS, Address, host_port, reason_of
from rcsops.transport.layers import Layer
from rcsops.transport.streams import StreamConnection
from rcsops.transport.tls import TlsLayer

if TYPE_CHECKING:
    from rcsops.transport.endpoint import SipEndpoint

__all__ = ["ConnectionTable"]

_SWEEP_SECONDS = 2.0
_CLOSE_SECONDS = 1.0
_SECURE = frozenset({"tls", "wss"})
_STREAMS = frozenset({"tcp", "tls", "ws", "wss"})
_K = TypeVar("_K")
# Transport, address, and the domain that the other end has to prove.
_Key = tuple[str, Address, str]


class ConnectionTable:
    """Opens connections when a flow asks for one, reuses them, and ends idle and dead ones."""

    __slots__ = (
        "_aliases",
        "_by_remote",
        "_closed",
        "_connecting",
        "_connections",
        "_emptied",
        "_endpoint",
        "_loop",
        "_next_number",
        "_opened",
        "_per_source",
        "_sweeper",
    )

    def __init__(self, endpoint: "SipEndpoint") -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._connections: dict[int, StreamConnection] = {}
        self._by_remote: dict[_Key, int] = {}
        self._opened: dict[tuple[str, Address], int] = {}
        self._aliases: dict[tuple[str, Address], int] = {}
        self._per_source: dict[str, int] = {}
        self._next_number = 1
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied = asyncio.Event()

    def flows(self) -> tuple[Flow, ...]:
        """The flows of the connections that are open."""
        return tuple(c.flow for c in self._connections.values() if c.connected and not c.closed)

    def find(self, flow: Flow) -> StreamConnection | None:
        """The connection that a message to ``flow`` would take."""
        number = flow.connection or self._by_remote.get(_key(flow), 0)
        if not number and flow.transport in _SECURE:
            return self._proved(flow)
        return self._connections.get(number)

    def _proved(self, flow: Flow) -> StreamConnection | None:
        """A connection to that address, opened for another domain or by the other end (RFC 5923),
        whose certificate is good for the domain of ``flow`` too."""
        name = expected_name(flow)
        for known in (self._opened, self._aliases):
            connection = self._connections.get(known.get((flow.transport, flow.remote), 0))
            if connection is None or connection.closed:
                continue
            # A proxy that has proved its domain may well ask for requests to its bare address, in
            # Record-Route: they go to the one who has proved it.
            if connection.identities.prove(name) or (
                connection.outgoing and name == flow.remote[0]
            ):
                return connection
        return None

    def has_secure_websocket(self, remote: Address) -> bool:
        """Whether we have opened a WebSocket with TLS to that address."""
        return ("wss", remote) in self._opened

    def note_alias(self, message: Message, flow: Flow) -> None:
        """The other end of an incoming connection may ask, in its Via, for requests to its port to
        come by it too (RFC 5923 §5). That is only granted to whom its certificate proves."""
        connection = self._connections.get(flow.connection)
        if connection is None or connection.outgoing or not connection.identities.domains:
            return
        try:
            via = message.top_via
            if not isinstance(message, Request) or "alias" not in via.params:
                return
        except SipParseError:
            # Whoever handles the request says so.
            return
        key = (flow.transport, (flow.remote[0], via.port or 5061))
        self._aliases[key] = connection.number
        connection.alias = key

    def send(self, data: bytes, flow: Flow) -> str:
        """Sends on the connection of the flow, opened when needed; "" or why it cannot be."""
        connection = self.find(flow)
        if flow.connection:
            return "the connection is gone" if connection is None else connection.send(data)
        if connection is None or connection.closed:
            if flow.transport not in _STREAMS:
                return f"transport {flow.transport!r} is not supported"
            if self._closed:
                return "the endpoint is closed"
            if len(self._connections) >= self._endpoint.limits.max_connections:
                return "too many connections"
            if connection is not None:
                # What goes by the new one must not fail when the old one has ended at last.
                connection.used_by.discard(flow)
            try:
                connection = self._open(flow)
            except SettingsError as error:
                return str(error)
        connection.used_by.add(flow)
        return connection.send(data)

    def incoming(self, transport: str) -> StreamConnection:
        """A connection that a stranger is about to make."""
        layers: list[Layer] = []
        if transport in _SECURE:
            layers.append(TlsLayer(self._endpoint.tls.server(), server_side=True))
        if transport in ("ws", "wss"):
            # websockets is slow to import, and most endpoints need none of it.
            from rcsops.transport.websocket import WebSocketServer

            layers.append(WebSocketServer(self._endpoint.origins, self._max_message))
        flow = Flow(transport, ("", 0), ("", 0), self._number())
        return StreamConnection(self._endpoint, self, flow, layers, outgoing=False)

    @property
    def _max_message(self) -> int:
        limits = self._endpoint.limits
        return limits.max_head + limits.max_body

    def accepted(self, connection: StreamConnection) -> bool:
        """Takes a connection of a stranger, or says that there are too many."""
        limits = self._endpoint.limits
        source = connection.flow.remote[0]
        count = self._per_source.get(source, 0)
        if (
            self._closed
            or len(self._connections) >= limits.max_connections
            or count >= limits.max_connections_per_source
        ):
            self._endpoint.statistics.refused_connections += 1
            return False
        self._per_source[source] = count + 1
        self._register(connection)
        self._endpoint.statistics.connections_accepted += 1
        return True

    def gone(self, connection: StreamConnection, *, expected: bool) -> None:
        """A connection is over: what was under way on it has failed."""
        if self._connections.pop(connection.number, None) is None:
            return
        if not self._connections:
            self._emptied.set()
        flow, number = connection.flow, connection.number
        _forget(self._by_remote, _key(flow), number)
        _forget(self._opened, (flow.transport, flow.remote), number)
        _forget(self._aliases, connection.alias, number)
        if not connection.outgoing:
            source = connection.flow.remote[0]
            left = self._per_source.get(source, 1) - 1
            if left > 0:
                self._per_source[source] = left
            else:
                self._per_source.pop(source, None)
        error = connection.error or "the connection was closed"
        self._endpoint.flow_failed((connection.flow, *connection.used_by), error)
        self._endpoint.flow_closed(connection.flow, "" if expected else error)

    async def close(self) -> None:
        """Ends every connection, after what is buffered has gone or a second has passed."""
        self._closed = True
        self._emptied.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for task in tuple(self._connecting):
            task.cancel()
        for connection in tuple(self._connections.values()):
            connection.close()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._connections:
                    await self._emptied.wait()
        for connection in tuple(self._connections.values()):
            connection.abort("the endpoint is closed")
        await asyncio.sleep(0)
        self._connections.clear()
        self._by_remote.clear()
        self._opened.clear()
        self._aliases.clear()

    def _number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _open(self, flow: Flow) -> StreamConnection:
        layers: list[Layer] = []
        if flow.transport in _SECURE:
            name = expected_name(flow)
            layers.append(TlsLayer(self._endpoint.tls.client(), server_side=False, domain=name))
        if flow.transport in ("ws", "wss"):
            from rcsops.transport.websocket import WebSocketClient

            where = host_port(flow.domain or flow.remote[0], flow.remote[1])
            layers.append(WebSocketClient(flow.transport, where, self._max_message))
        own = Flow(flow.transport, ("", 0), flow.remote, self._number(), flow.domain)
        connection = StreamConnection(self._endpoint, self, own, layers, outgoing=True)
        self._register(connection)
        self._endpoint.statistics.connections_opened += 1
        task = self._loop.create_task(self._connect(connection, flow))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return connection

    async def _connect(self, connection: StreamConnection, flow: Flow) -> None:
        local_host = flow.local[0]
        local = None if local_host in ("", *WILDCARDS) else (local_host, 0)
        try:
            async with asyncio.timeout(self._endpoint.limits.connect_seconds):
                await self._loop.create_connection(
                    lambda: connection, *flow.remote, local_addr=local
                )
        except asyncio.CancelledError:
            connection.failed("the endpoint is closed")
            raise
        except TimeoutError:
            connection.failed("no connection in time")
        except OSError as error:
            connection.failed(reason_of(error))

    def _register(self, connection: StreamConnection) -> None:
        self._connections[connection.number] = connection
        flow = connection.flow
        self._by_remote[_key(flow)] = connection.number
        if connection.outgoing:
            self._opened[(flow.transport, flow.remote)] = connection.number
        if self._sweeper is None and not self._closed:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        for connection in tuple(self._connections.values()):
            if connection.close_due is not None and now > connection.close_due:
                connection.abort("the peer does not read")
            elif connection.pong_due is not None and now > connection.pong_due:
                connection.abort("no answer to the keep-alive")
            elif connection.handshake_due is not None and now > connection.handshake_due:
                connection.abort("the handshake did not end in time")
                self._endpoint.handshake_failed(connection.flow, connection.error)
            elif connection.message_due is not None and now > connection.message_due:
                self._endpoint.statistics.bad_streams += 1
                connection.abort("a message did not end in time")
            elif now - connection.last_activity > connection.idle_seconds:
                self._endpoint.statistics.idle_closed += 1
                connection.close()
        if self._connections and not self._closed:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)


def expected_name(flow: Flow) -> str:
    """What the certificate at the other end of a flow must be for: the domain that was asked for,
    or else the very address."""
    return flow.domain or flow.remote[0]


def _key(flow: Flow) -> _Key:
    return (flow.transport, flow.remote, expected_name(flow) if flow.transport in _SECURE else "")


def _forget(known: dict[_K, int], key: _K, number: int) -> None:
    if known.get(key) == number:
        del known[key]
