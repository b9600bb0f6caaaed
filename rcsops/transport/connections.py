"""The connections of one endpoint: numbered, found again by their remote address, limited."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rcsops.sip.target import Flow
from rcsops.transport.addresses import WILDCARDS, reason_of
from rcsops.transport.streams import StreamConnection

if TYPE_CHECKING:
    from rcsops.transport.endpoint import SipEndpoint

__all__ = ["ConnectionTable"]

_SWEEP_SECONDS = 2.0
_CLOSE_SECONDS = 1.0


class ConnectionTable:
    """Opens connections when a flow asks for one, reuses them, and ends idle and dead ones."""

    __slots__ = (
        "_by_remote",
        "_closed",
        "_connecting",
        "_connections",
        "_emptied",
        "_endpoint",
        "_loop",
        "_next_number",
        "_per_source",
        "_sweeper",
    )

    def __init__(self, endpoint: "SipEndpoint") -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._connections: dict[int, StreamConnection] = {}
        self._by_remote: dict[tuple[str, tuple[str, int]], int] = {}
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
        number = flow.connection or self._by_remote.get((flow.transport, flow.remote), 0)
        return self._connections.get(number)

    def send(self, data: bytes, flow: Flow) -> str:
        """Sends on the connection of the flow, opened when needed; "" or why it cannot be."""
        connection = self.find(flow)
        if flow.connection:
            return "the connection is gone" if connection is None else connection.send(data)
        if connection is None or connection.closed:
            if flow.transport != "tcp":
                return f"transport {flow.transport!r} is not supported"
            if self._closed:
                return "the endpoint is closed"
            if len(self._connections) >= self._endpoint.limits.max_connections:
                return "too many connections"
            connection = self._open(flow)
        connection.used_by.add(flow)
        return connection.send(data)

    def incoming(self, transport: str) -> StreamConnection:
        """A connection that a stranger is about to make."""
        return StreamConnection(
            self._endpoint, self, self._number(), transport, ("", 0), outgoing=False
        )

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
        key = (connection.transport_name, connection.flow.remote)
        if self._by_remote.get(key) == connection.number:
            del self._by_remote[key]
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

    def _number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _open(self, flow: Flow) -> StreamConnection:
        connection = StreamConnection(
            self._endpoint, self, self._number(), flow.transport, flow.remote, outgoing=True
        )
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
        self._by_remote[(connection.transport_name, connection.flow.remote)] = connection.number
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
            elif now - connection.last_activity > self._endpoint.limits.idle_seconds:
                self._endpoint.statistics.idle_closed += 1
                connection.close()
        if self._connections and not self._closed:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
