"""MSRP over TCP and TLS: one port of each for all sessions, a connection for each session."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rcsops.errors import AgentError
from rcsops.msrp.connection import MsrpConnection, SessionTable
from rcsops.msrp.events import SessionEvent
from rcsops.msrp.session import MsrpSession
from rcsops.msrp.uri import MsrpUri
from rcsops.sdp import fingerprint
from rcsops.tokens import Tokens
from rcsops.transport.addresses import WILDCARDS, host_port, reason_of
from rcsops.transport.msrp_stream import MsrpStream
from rcsops.transport.tap import Tap
from rcsops.transport.turns import Turns

if TYPE_CHECKING:
    from rcsops.transport.msrps import MsrpCertificate, MsrpTlsLayer

__all__ = ["MsrpEndpoint", "MsrpLimits", "MsrpLink"]

logger = logging.getLogger(__name__)

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
    """One session and the connection it has or waits for; ``security`` is "TLSv1.3", or "".

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
        "security",
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
        self.security = ""
        self._endpoint = endpoint
        self._on_event = on_event
        self._on_lost = on_lost
        self._stream: MsrpStream | None = None
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

    def pump_soon(self) -> None:
        """Does as ``pump``, in another turn of the loop, for all that is sent in this one."""
        if self._stream is not None:
            self._stream.pump_soon()
        else:
            self.deliver()

    def catch_up(self) -> None:
        """Delivers all that has come on the connection, and sends what waits: before ``close``."""
        if self._stream is not None:
            self._stream.catch_up()
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
        # Whom it told holds the link: they must not hold each other.
        self._on_event = self._on_lost = _nobody
        self._stream = None
        self.changed()

    def attached(self, stream: "MsrpStream") -> None:
        """The session has got its connection (called by the stream)."""
        if self._stream is None:
            self._stream = stream
            self.local, self.remote = stream.local, stream.remote
            self.security = stream.security

    def detached(self, reason: str) -> None:
        """The connection is gone (called by the stream)."""
        self._stream = None
        self.deliver()
        if not self._closed:
            try:
                self._on_lost(reason)
            except Exception:
                logger.exception("the handler of an MSRP session failed")
        self.changed()

    def deliver(self) -> None:
        """Hands the session's events on."""
        while not self._closed and (event := self.session.next_event()) is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("the handler of an MSRP session failed")
        self.changed()

    def changed(self) -> None:
        """Lets those who wait look again."""
        waiter, self._changed = self._changed, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _nobody(event: object) -> None:
    """Is told of what happens to a link that is closed."""


class MsrpEndpoint:
    """Listens for the sessions of one host and opens the connections of its active ones.

    Every frame passes ``tap``; of long bodies that are streamed only head and end-line do. What
    comes is dealt with in ``turns``, which others may share.
    """

    def __init__(
        self,
        host: str,
        port: int = 0,
        *,
        tokens: Tokens,
        tap: Tap | None = None,
        limits: MsrpLimits | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.tokens = tokens
        self.turns = turns if turns is not None else Turns()
        self.tap = tap
        self.limits = limits if limits is not None else MsrpLimits()
        self.table = SessionTable()
        self.turned_away = 0
        """How many connections there was no room for."""
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._tls_port = 0
        self._tls_server: asyncio.Server | None = None
        self._certificate: MsrpCertificate | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self._links: dict[str, MsrpLink] = {}
        self._streams: dict[MsrpConnection, MsrpStream] = {}
        self._emptied = asyncio.Event()
        self._closed = False

    @property
    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    async def start(self, *, secure: bool = False) -> None:
        """Listens for MSRP, or for MSRP over TLS on a port of its own, if it does not yet.

        Raises AgentError when the port cannot be had.
        """
        if (self._tls_server if secure else self._server) is not None:
            return
        async with self._starting:
            if self._closed:
                return
            if secure and self._tls_server is None:
                self._tls_server = await self._listen(0, secure=True)
                self._tls_port = self._tls_server.sockets[0].getsockname()[1]
            elif not secure and self._server is None:
                self._server = await self._listen(self._port, secure=False)
                self._port = self._server.sockets[0].getsockname()[1]

    async def _listen(self, port: int, *, secure: bool) -> asyncio.Server:
        try:
            return await self._loop.create_server(
                lambda: MsrpStream(
                    self, None, self.tls_layer(server_side=True) if secure else None
                ),
                self._host,
                port,
                backlog=1024,
            )
        except OSError as error:
            raise AgentError(
                f"cannot listen for MSRP on {host_port(self._host, port)}: {reason_of(error)}"
            ) from error

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before ``start``."""
        return self._port if self._server is not None else 0

    @property
    def certificate(self) -> "MsrpCertificate":
        """What we show in TLS, made when it is first needed."""
        if self._certificate is None:
            from rcsops.transport.msrps import MsrpCertificate

            self._certificate = MsrpCertificate()
        return self._certificate

    def fingerprints(self, *, secure: bool) -> tuple[str, ...]:
        """What SDP says of our certificate; nothing without TLS."""
        return (fingerprint(self.certificate.der),) if secure else ()

    def tls_layer(self, *, server_side: bool) -> "MsrpTlsLayer":
        """TLS for a new connection."""
        from rcsops.transport.msrps import MsrpTlsLayer

        return MsrpTlsLayer(self.certificate, server_side=server_side)

    def new_path(self, host: str, *, secure: bool = False) -> tuple[MsrpUri, ...]:
        """A path for a new session; ``host`` is how the peer reaches us when we listen on all
        addresses."""
        shown = host if self._host in WILDCARDS else self._host
        port = self._tls_port if secure else self._port
        return (MsrpUri.make(shown, port, self.tokens.session_id(), secure=secure),)

    def trust(self, link: MsrpLink, check: Callable[[bytes], bool]) -> None:
        """The peer's SDP has come: ``check`` tells its certificate (DER) from others. A connection
        that has waited for this goes on."""
        link.session.trust(check)
        for stream in tuple(self._streams.values()):
            stream.go_on()

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

        Raises AgentError when there is no connection within ``limits.connect_seconds``, or none
        that the session trusts.
        """
        local = None if self._host in WILDCARDS else (self._host, 0)
        layer = self.tls_layer(server_side=False) if link.session.secure else None
        stream = MsrpStream(self, link, layer)
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                await self._loop.create_connection(lambda: stream, host, port, local_addr=local)
                if layer is not None:
                    await stream.established()
        except TimeoutError as error:
            raise AgentError(
                f"no MSRP connection to {host_port(host, port)} within "
                f"{self.limits.connect_seconds:g} s"
            ) from error
        except OSError as error:
            raise AgentError(
                f"no MSRP connection to {host_port(host, port)}: {reason_of(error)}"
            ) from error
        finally:
            if not stream.ready:
                # Its handshake has failed, or nobody waits for it any more.
                stream.abort()

    def forget(self, link: MsrpLink) -> None:
        """Takes a session off; its connection closes when it was the last one on it."""
        session_id = link.session.session_id
        if self._links.pop(session_id, None) is None:
            return
        connection = self.table.connection_of(link.session)
        self.table.remove(link.session)
        if connection is not None and connection in self._streams:
            self._streams[connection].close_if_unused()

    def link_of(self, session: MsrpSession) -> MsrpLink | None:
        """The link of a session that is known."""
        return self._links.get(session.session_id)

    def opened(self, stream: "MsrpStream") -> bool:
        """A connection is there; False when there are too many (called by the stream)."""
        if self._closed or len(self._streams) >= self.limits.max_connections:
            self.turned_away += 1
            return False
        self._emptied.clear()
        self._streams[stream.machine] = stream
        return True

    def gone(self, stream: "MsrpStream") -> None:
        """A connection is over (called by the stream)."""
        self._streams.pop(stream.machine, None)
        if not self._streams:
            self._emptied.set()

    async def close(self) -> None:
        """Closes everything; what is buffered has a second to leave."""
        self._closed = True
        for server in (self._server, self._tls_server):
            if server is not None:
                server.close()
        for link in tuple(self._links.values()):
            link.close()
        for stream in tuple(self._streams.values()):
            stream.close()
        if self._streams:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._emptied.wait()
        for stream in tuple(self._streams.values()):
            stream.abort()
        await asyncio.sleep(0)
