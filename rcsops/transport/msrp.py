"""MSRP over TCP: one listening port for all sessions, one connection for each session.

Drives :class:`~rcsops.msrp.connection.MsrpConnection`; a frame is made only when the socket can
take it, which is all the back-pressure that a stream needs.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from rcsops.errors import AgentError
from rcsops.msrp.connection import MsrpConnection, SessionTable
from rcsops.msrp.events import SessionEvent
from rcsops.msrp.session import MsrpSession
from rcsops.msrp.uri import MsrpUri
from rcsops.tokens import Tokens
from rcsops.transport.addresses import WILDCARDS, Address, host_port, reason_of
from rcsops.transport.clock import Alarm
from rcsops.transport.tap import Tap, record_now

__all__ = ["MsrpEndpoint", "MsrpLimits", "MsrpLink"]

logger = logging.getLogger(__name__)

_HIGH_WATER = 256 << 10
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class MsrpLimits:
    """Bounds of an MSRP endpoint; times in seconds.

    ``bind_seconds`` is how long a stranger's connection may stay without a session of ours,
    ``linger_seconds`` how long one that we closed may take to fetch what it was sent.
    """

    connect_seconds: float = 10.0
    linger_seconds: float = 10.0
    bind_seconds: float = 30.0
    max_connections: int = 1024


class MsrpLink:
    """One session and the connection it has or waits for.

    ``on_event(event)`` gets the session's events, ``on_lost(reason)`` is called once when its
    connection is gone; neither after ``close``.
    """

    __slots__ = (
        "_changed",
        "_closed",
        "_endpoint",
        "_on_event",
        "_on_lost",
        "_stream",
        "local",
        "remote",
        "session",
    )

    def __init__(
        self,
        endpoint: "MsrpEndpoint",
        session: MsrpSession,
        on_event: Callable[[SessionEvent], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.session = session
        self.local = ""
        self.remote = ""
        self._endpoint = endpoint
        self._on_event = on_event
        self._on_lost = on_lost
        self._stream: _Stream | None = None
        self._changed: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether the session has its connection now."""
        return self._stream is not None

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def pump(self) -> None:
        """Sends what the session has queued and delivers its events; call it after ``send``."""
        if self._stream is not None:
            self._stream.pump()
        else:
            self.deliver()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition on the session holds, or the link is closed or lost."""
        while not self._closed and not self.session.closed and not condition():
            if self._changed is None:
                self._changed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._changed)

    def pause_reading(self) -> None:
        """Takes no more from the peer for now; TCP then holds it back."""
        if self._stream is not None:
            self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Takes from the peer again."""
        if self._stream is not None:
            self._stream.resume_reading()

    def close(self) -> None:
        """Forgets the session; its connection closes after what is buffered has gone."""
        if self._closed:
            return
        self._closed = True
        self._endpoint.forget(self)
        self.changed()

    def attached(self, stream: "_Stream") -> None:
        """The session has got its connection (called by the stream)."""
        if self._stream is None:
            self._stream = stream
            self.local, self.remote = stream.local, stream.remote

    def detached(self, reason: str) -> None:
        """The connection is gone (called by the stream)."""
        self._stream = None
        self.deliver()
        if not self._closed:
            self._call(lambda: self._on_lost(reason))
        self.changed()

    def deliver(self) -> None:
        """Hands the session's events on."""
        while not self._closed and (event := self.session.next_event()) is not None:
            self._call(lambda event=event: self._on_event(event))  # type: ignore[misc]
        self.changed()

    def changed(self) -> None:
        """Lets those who wait look again."""
        waiter, self._changed = self._changed, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            logger.exception("the handler of an MSRP session failed")


class MsrpEndpoint:
    """Listens for the sessions of one host and opens the connections of its active ones.

    Every frame passes ``tap``; of long bodies that are streamed only head and end-line do.
    """

    def __init__(
        self,
        host: str,
        port: int = 0,
        *,
        tokens: Tokens,
        tap: Tap | None = None,
        limits: MsrpLimits | None = None,
    ) -> None:
        self.tokens = tokens
        self.tap = tap
        self.limits = limits if limits is not None else MsrpLimits()
        self.table = SessionTable()
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self._links: dict[str, MsrpLink] = {}
        self._streams: set[_Stream] = set()
        self._emptied = asyncio.Event()
        self._closed = False

    @property
    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    async def start(self) -> None:
        """Listens, if it does not yet. Raises AgentError when the port cannot be had."""
        async with self._starting:
            if self._server is not None or self._closed:
                return
            try:
                self._server = await self._loop.create_server(
                    lambda: _Stream(self, None), self._host, self._port, backlog=1024
                )
            except OSError as error:
                raise AgentError(
                    f"cannot listen for MSRP on {host_port(self._host, self._port)}: "
                    f"{reason_of(error)}"
                ) from error
            self._port = self._server.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before ``start``."""
        return self._port if self._server is not None else 0

    def new_path(self, host: str) -> tuple[MsrpUri, ...]:
        """A path for a new session; ``host`` is how the peer reaches us when we listen on all
        addresses."""
        shown = host if self._host in WILDCARDS else self._host
        return (MsrpUri(shown, self._port, self.tokens.session_id()),)

    def add(
        self,
        session: MsrpSession,
        on_event: Callable[[SessionEvent], None],
        on_lost: Callable[[str], None],
    ) -> MsrpLink:
        """Makes a session known, so that the peer's connection finds it."""
        self.table.add(session)
        link = MsrpLink(self, session, on_event, on_lost)
        self._links[session.session_id] = link
        return link

    async def connect(self, link: MsrpLink, host: str, port: int) -> None:
        """Opens the connection of an active session; its empty SEND goes out at once.

        Raises AgentError when there is no connection within ``limits.connect_seconds``.
        """
        local = None if self._host in WILDCARDS else (self._host, 0)
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                await self._loop.create_connection(
                    lambda: _Stream(self, link), host, port, local_addr=local
                )
        except TimeoutError as error:
            raise AgentError(
                f"no MSRP connection to {host_port(host, port)} within "
                f"{self.limits.connect_seconds:g} s"
            ) from error
        except OSError as error:
            raise AgentError(
                f"no MSRP connection to {host_port(host, port)}: {reason_of(error)}"
            ) from error

    def forget(self, link: MsrpLink) -> None:
        """Takes a session off; its connection closes when it was the last one on it."""
        session_id = link.session.session_id
        if self._links.pop(session_id, None) is None:
            return
        self.table.remove(link.session)
        for stream in tuple(self._streams):
            stream.close_if_unused()

    def link_of(self, session: MsrpSession) -> MsrpLink | None:
        """The link of a session that is known."""
        return self._links.get(session.session_id)

    def opened(self, stream: "_Stream") -> bool:
        """A connection is there; False when there are too many (called by the stream)."""
        if self._closed or len(self._streams) >= self.limits.max_connections:
            return False
        self._emptied.clear()
        self._streams.add(stream)
        return True

    def gone(self, stream: "_Stream") -> None:
        """A connection is over (called by the stream)."""
        self._streams.discard(stream)
        if not self._streams:
            self._emptied.set()

    async def close(self) -> None:
        """Closes everything; what is buffered has a second to leave."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for link in tuple(self._links.values()):
            link.close()
        for stream in tuple(self._streams):
            stream.close()
        if self._streams:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._emptied.wait()
        for stream in tuple(self._streams):
            stream.abort()
        await asyncio.sleep(0)


class _Stream(asyncio.Protocol):
    """One TCP connection; ``link`` is the session that we opened it for, None when the peer did."""

    def __init__(self, endpoint: MsrpEndpoint, link: MsrpLink | None) -> None:
        self.local = ""
        self.remote = ""
        self._endpoint = endpoint
        self._link = link
        self._machine = MsrpConnection(endpoint.table, tap=endpoint.tap is not None)
        self._transport: asyncio.Transport | None = None
        self._addresses: tuple[Address, Address] = (("", 0), ("", 0))
        self._writable = True
        self._pumping = False
        self._closing = False
        self._alarm = Alarm(self._timer_due)
        self._unbound: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername")
        if peer is None or not self._endpoint.opened(self):
            self._closing = True
            stream.abort()
            return
        self._transport = stream
        self._addresses = (stream.get_extra_info("sockname")[:2], peer[:2])
        self.local, self.remote = (host_port(*address) for address in self._addresses)
        stream.set_write_buffer_limits(high=_HIGH_WATER)
        link = self._link
        if link is None:
            self._unbound = asyncio.get_running_loop().call_later(
                self._endpoint.limits.bind_seconds, self.close_if_unused
            )
        elif link.closed or not self._machine.attach(link.session, self._endpoint.now):
            # The peer was faster, or nobody wants it any more.
            self.close()
            return
        else:
            link.attached(self)
        self.pump()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._machine.receive_data(data, self._endpoint.now)
        self.pump()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.pump()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._alarm.cancel()
        if self._unbound is not None:
            self._unbound.cancel()
        if self._unsent is not None:
            self._unsent.cancel()
        self._endpoint.gone(self)
        reason = str(error) if error else "the connection was closed"
        links = self._links()
        self._machine.connection_lost(reason)
        for link in links:
            link.detached(reason)

    def pump(self) -> None:
        """Sends what the sessions have and hands their events on, until nothing moves."""
        if self._pumping:
            return
        self._pumping = True
        machine = self._machine
        try:
            busy = True
            while busy:
                busy = self._write()
                for link in self._links():
                    link.attached(self)
                    link.deliver()
                busy = busy or (self._writable and machine.has_data_to_send())
                if self._transport is None or self._transport.is_closing():
                    break
        finally:
            self._pumping = False
        if machine.next_event() is not None:
            self.close()
        elif not self._closing:
            self._alarm.set(machine.next_timer())

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close_if_unused(self) -> None:
        """Closes when no session is on it, after what is buffered has gone."""
        if not self._machine.sessions and (self._unbound is None or self._has_served()):
            self.close()

    def close(self) -> None:
        if self._transport is not None and not self._closing:
            self._write()
            self._transport.close()
            # A peer that does not read would keep the socket for as long as it likes.
            self._unsent = asyncio.get_running_loop().call_later(
                self._endpoint.limits.linger_seconds, self.abort
            )
        self._closing = True

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _has_served(self) -> bool:
        if self._unbound is None:
            return True
        return self._unbound.when() <= self._endpoint.now

    def _links(self) -> list[MsrpLink]:
        found = []
        for session in self._machine.sessions:
            if self._unbound is not None:
                self._unbound.cancel()
                self._unbound = None
            link = self._endpoint.link_of(session)
            if link is not None:
                found.append(link)
        return found

    def _write(self) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        wrote = False
        while self._writable:
            data = self._machine.data_to_send(self._endpoint.now)
            if not data:
                break
            wrote = True
            transport.write(data)
        self._show()
        return wrote

    def _show(self) -> None:
        tap = self._endpoint.tap
        if tap is None:
            return
        local, remote = self._addresses
        for seen in self._machine.frames_seen():
            direction = "in" if seen.direction == "in" else "out"
            record = record_now("msrp", direction, "tcp", local, remote, seen.data)  # type: ignore[arg-type]
            tap(record._replace(omitted=seen.omitted) if seen.omitted else record)

    def _timer_due(self) -> None:
        self._machine.handle_timer(self._endpoint.now)
        self.pump()
