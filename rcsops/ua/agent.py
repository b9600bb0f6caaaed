"""The agent: one user's RCS endpoint, for scripts and programs."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from rcsops.errors import AgentError, RegistrationError, UsageError
from rcsops.rcs import Capabilities, Location, Service
from rcsops.settings import MSRP_SECURITY, FileRules
from rcsops.sip import Credential, DigestClient, NameAddr, Registration, Uri
from rcsops.sip.session_timer import MIN_SE
from rcsops.transport import Tap, TlsOptions
from rcsops.ua import dialing
from rcsops.ua.addressing import server_uri, user_uri
from rcsops.ua.agent_files import FileAgent
from rcsops.ua.calling import ProgressCallback
from rcsops.ua.chat import Chat
from rcsops.ua.events import Event, TextReceived, burden
from rcsops.ua.history import History
from rcsops.ua.host import ALLOW, AgentHost
from rcsops.ua.incoming import Invitation
from rcsops.ua.options import AgentOptions
from rcsops.ua.receipts import Receipt
from rcsops.ua.redelivery import Unsure
from rcsops.ua.registrar import Registrar
from rcsops.ua.streams import Stream

__all__ = ["Agent"]

logger = logging.getLogger(__name__)

_UNREGISTER_SECONDS = 3.0
_TRANSPORTS = ("auto", "udp", "tcp", "tls", "ws", "wss")


class Agent(FileAgent):
    """A user's RCS endpoint: registers, invites and is invited, sends texts and files.

    ::

        async with Agent("sip:alex@rcs.example", server="127.0.0.1:5060", password="...") as alex:
            await alex.register()
            chat = await alex.invite("sip:bob@rcs.example")
            receipt = await chat.send("hello")
            await receipt.delivered(timeout=5)

    ``intake`` may be set to how many more texts are taken. With 0 left, peers who write without a
    session, invite or offer files hear 480, so that a server keeps what they write.

    Everything that can go wrong at run time is an exception of ``rcsops.errors`` or an event.
    """

    __slots__ = ()

    def __init__(
        self,
        aor: str,
        *,
        server: str | None = None,
        transport: str = "tcp",
        password: str | None = None,
        credential: Credential | None = None,
        realm: str | None = None,
        min_algorithm: str = "MD5",
        display_name: str = "",
        bind: str = "127.0.0.1",
        port: int = 0,
        tap: Tap | None = None,
        dns: Sequence[str] = (),
        history: str | os.PathLike[str] | None = None,
        host: AgentHost | None = None,
        expires: int = 3600,
        max_sessions: int = 32,
        max_message_size: int = 1 << 20,
        max_pager_size: int = 16384,
        max_file_size: int = 1 << 30,
        downloads: str | os.PathLike[str] | None = None,
        capabilities: str | os.PathLike[str] | None = None,
        file_rules: FileRules | None = None,
        disk_reserve: int = 100_000_000,
        file_chunk: int = 65536,
        transfers: str | os.PathLike[str] | None = None,
        resume_seconds: float = 300.0,
        answer_setup: str = "active",
        msrp_security: str = "auto",
        invite_seconds: float = 180.0,
        session_expires: int = 1800,
        instance_id: str | None = None,
        gruu: bool = True,
        check_seconds: float = 60.0,
        retry_base: float = 1.0,
        retry_max: float = 120.0,
        tls: TlsOptions | None = None,
        display_notifications: bool = True,
        resend_seconds: float = 86_400.0,
        idle_timeout: float = 300.0,
        content: str = "",
        content_hosts: Sequence[str] = (),
    ) -> None:
        """Describes the agent; nothing happens before ``start`` (or ``async with``).

        ``aor`` is the user's address of record, "sip:bob@rcs.example". ``server`` is the proxy and
        registrar, "HOST", "HOST:PORT" or a SIP URI; without one, requests go straight to the host
        of the URI that is invited. ``transport`` is "tcp", "udp", "tls", "ws", "wss" (RFC 7118) or
        "auto", what the DNS says of the server (RFC 3263); a request of more than 1300 octets goes
        by TCP rather than UDP. ``dns`` are the DNS servers to ask, "192.0.2.53" or
        "192.0.2.53:5353", instead of the system's. ``tls`` says which authorities are believed, and
        may hold a certificate of our own; the server has to prove the name that it is called by in
        ``server``, or our domain where that is a number.

        ``password``, or ``credential`` with its hashes, answers digest challenges for ``realm``
        (the domain of ``aor`` unless given), with no algorithm below ``min_algorithm``.

        ``bind`` and ``port`` are our own address (UDP and TCP); ``tap`` is called with a record of
        each SIP message and MSRP frame; or ``host`` shares the sockets of many agents. ``history``
        is an SQLite file that keeps every message.

        ``capabilities`` is a file that keeps what peers' devices can do from one run to the next.

        ``gruu`` takes the server's GRUU as our address within sessions (RFC 5627). Over UDP, which
        tells nobody that a server has gone or forgotten us, the registration is renewed every
        ``check_seconds`` at least; 0 leaves it at its lifetime. ``retry_base`` and ``retry_max``
        are the waits before another attempt after a loss (RFC 5626 §4.5).

        ``max_sessions`` chats at a time, then callers hear 486. ``downloads`` is a directory into
        which files are taken without asking: those that ``file_rules`` accept, or without rules
        those of a peer with an open chat. What the rules refuse is answered 603, and a file of more
        than ``max_file_size`` 403. None is taken that would leave less than ``disk_reserve`` free
        on the disk. Files go in chunks of ``file_chunk`` octets. When a connection breaks, the side
        that made it tries for ``resume_seconds`` to go on. ``transfers`` is a directory in which
        what is not through is kept, so that it can also be resumed after a restart.
        ``max_pager_size`` is how large the request of a long text without a session may be.
        ``answer_setup`` is our
        part when a peer leaves us the choice: "active" (we connect) or "passive".
        ``msrp_security`` is how the connections between the agents are made: "tcp", "tls" (nothing
        else is offered or taken) or "auto": TLS where the way to the server is encrypted, plain
        where it is not or the peer refuses TLS, and as the peer offers it.
        ``session_expires`` is how often a session is refreshed, so that one whose peer is gone
        ends (RFC 4028); 0 asks for no refreshes. Without ``display_notifications`` no peer learns
        what our user has seen. A message that may not have arrived, since a session broke, the
        server was gone or an earlier agent with this history was killed, goes again until it is
        ``resend_seconds`` old. A session in which nothing has gone either way for ``idle_timeout``
        ends, without a file or a message under way; 0 leaves it. ``content`` is the URL of the
        content server to upload files to (RCC.07), "https://files.rcs.example/ft"; they are fetched
        from there, from hosts of our domain, and from ``content_hosts`` ("*": any public one).
        Sizes are in octets, times in seconds.

        Raises UsageError for what cannot be meant.
        """
        if transport not in _TRANSPORTS:
            raise UsageError(f"transport {transport!r} is not one of {', '.join(_TRANSPORTS)}")
        if answer_setup not in ("active", "passive"):
            raise UsageError(f"answer_setup is active or passive, not {answer_setup!r}")
        if msrp_security not in MSRP_SECURITY:
            raise UsageError(f"msrp_security is {', '.join(MSRP_SECURITY)}, not {msrp_security!r}")
        if session_expires and session_expires < MIN_SE:
            raise UsageError(f"session_expires is 0 or at least {MIN_SE} s, not {session_expires}")
        uri = user_uri(aor)
        options = AgentOptions(
            server=None if server is None else server_uri(server),
            transport=transport,
            password=password,
            credential=credential,
            realm=realm or uri.host or "",
            min_algorithm=min_algorithm,
            display_name=display_name,
            history=None if history is None else Path(history),
            expires=expires,
            max_sessions=max_sessions,
            max_message_size=max_message_size,
            max_pager_size=max_pager_size,
            max_file_size=max_file_size,
            downloads=None if downloads is None else Path(downloads),
            capabilities=None if capabilities is None else Path(capabilities),
            file_rules=file_rules,
            disk_reserve=disk_reserve,
            file_chunk=file_chunk,
            transfers=None if transfers is None else Path(transfers),
            resume_seconds=resume_seconds,
            answer_setup=answer_setup,
            msrp_security=msrp_security,
            invite_seconds=invite_seconds,
            session_expires=session_expires,
            gruu=gruu,
            check_seconds=check_seconds,
            retry_base=retry_base,
            retry_max=retry_max,
            display_notifications=display_notifications,
            resend_seconds=resend_seconds,
            idle_timeout=idle_timeout,
            content=content.rstrip("/"),
            content_hosts=tuple(content_hosts),
        )
        owns_host = host is None
        if host is None:
            host = AgentHost(bind=bind, port=port, tap=tap, dns=dns, tls=tls)
        super().__init__(uri, host, options, owns_host=owns_host)
        self.instance_id = instance_id

    def __repr__(self) -> str:
        return f"<Agent {self.aor}{' registered' if self.registered else ''}>"

    # --- life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Opens sockets and history; the agent can be invited from now on.

        Raises AgentError when the address cannot be had, DatabaseError for the history.
        """
        if self.contact_user:
            return
        if self.owns_host:
            await self.host.start()
        try:
            if self.options.history is not None and self.history is None:
                self.history = await History.open(self.options.history, self.host.turns)
        except BaseException:
            if self.owns_host:
                await self.host.close()
            raise
        if self.instance_id is None:
            self.instance_id = f"urn:uuid:{self.tokens.uuid()}"
        options = self.options
        if options.password is not None or options.credential is not None:
            self.digest = DigestClient(self.credential_for, self.tokens, options.min_algorithm)
        self.contact_user = self.host.add_agent(self, self.uri.username)
        if self.history is not None:
            left = await self.history.take_over(options.resend_seconds)
            if left:
                self.redelivery.take(map(Unsure.kept, left))
            if options.server is None:
                self.notifier.catch_up()

    async def close(self) -> None:
        """Ends every session with BYE, unregisters, and gives back every socket and task.

        A server that does not answer delays this by a few seconds at most.
        """
        if self._closing:
            return
        self._closing = True
        if self._redelivery is not None:
            self._redelivery.close()
        for pending in self._pending:
            pending.reject(480)
        outcomes = await asyncio.gather(
            *(transfer.suspend() for transfer in self.files.transfers),
            *(chat.close("the agent was closed") for chat in (*self._chats, *self._opening)),
            return_exceptions=True,
        )
        for outcome in outcomes:
            # One session that does not end as it should must not keep the sockets open.
            if isinstance(outcome, Exception):
                logger.error("a session could not be closed", exc_info=outcome)
        self.files.close()
        if self._http_files is not None:
            await self._http_files.close()
        if self._inbox is not None:
            await self._inbox.close()
        if self._pager is not None:
            await self._pager.close()
        if self._peers is not None:
            await self._peers.close()
        if self._registrar is not None:
            await self._registrar.unregister(_UNREGISTER_SECONDS)
            self._registrar = None
        if self.contact_user:
            self.host.remove_agent(self.contact_user)
        if self.owns_host:
            await self.host.close()
        if self.history is not None:
            await self.history.close()
        self._closed = True
        if self._invitations is not None:
            self._invitations.close()
        for feed in self._feeds or ():
            feed.close()

    # --- registration ------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens for SIP: "udp:127.0.0.1:40000" and the same for TCP."""
        return tuple(str(address) for address in self.host.addresses)

    async def register(self, *, retry: bool = False) -> None:
        """Registers at the server and stays registered until ``unregister`` or ``close``.

        Returns when the server has our contact. Raises RegistrationError: with status 401 or 403
        for a wrong user or password, 404 for an unknown one, 0 when the server does not answer.
        With ``retry`` a server that does not answer is asked again until it does; each failure is
        then a RegistrationLost event.
        """
        self.check_open()
        if self._registrar is None:
            if not retry:
                try:
                    await self.targets_for(self.uri)
                except AgentError as error:
                    raise RegistrationError(str(error), hint=error.hint) from error
            registrar = Uri.parse(f"sip:{self.uri.host_text}")
            machine = Registration(
                Uri.parse(self.aor),
                registrar,
                # Each attempt puts in the address that its own target sees.
                NameAddr.parse(f"<sip:{self.contact_user}@unknown.invalid>"),
                tokens=self.tokens,
                expires=self.options.expires,
                digest=self.digest,
                instance_id=self.instance_id,
                reg_id=1,
                headers=(("Allow", ALLOW),),
                base_time=self.options.retry_base,
                max_time=self.options.retry_max,
            )
            self._registrar = Registrar(self, machine)
        await self._registrar.register(retry=retry)

    async def unregister(self) -> None:
        """Removes our contact from the server; sessions go on."""
        if self._registrar is not None:
            registrar, self._registrar = self._registrar, None
            await registrar.unregister(_UNREGISTER_SECONDS)

    # --- peers -------------------------------------------------------------------------------

    async def capabilities(
        self,
        peer: str,
        *,
        fresh: bool = False,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> Capabilities:
        """What the devices of ``peer`` can do: asks by OPTIONS, and tells what we can do ourselves.

        An answer of the last minute, or an OPTIONS of the peer's, is not asked for again, unless it
        is to be ``fresh``. A peer that does not answer within ``timeout`` seconds counts as
        offline. Raises AgentError when the server cannot be reached.
        """
        self.check_open()
        return await self.peers.ask(self.peer_uri(peer), fresh=fresh, seconds=timeout)

    def known_capabilities(self, peer: str) -> Capabilities | None:
        """The same as it is known from the last day, without asking; None for nothing."""
        return self.peers.known(self.peer_uri(peer).aor)

    # --- sessions ----------------------------------------------------------------------------

    async def invite(
        self,
        peer: str,
        *,
        on_progress: ProgressCallback | None = None,
        subject: str = "",
        conversation_id: str | None = None,
    ) -> Chat:
        """Invites ``peer`` ("sip:alex@rcs.example", or "alex" of the own domain) to a chat.

        Returns when the MSRP connection is there. ``on_progress`` is called with Trying and
        Ringing events. ``conversation_id`` continues a thread. When the peer's own invitation
        crosses ours, the two become one chat. Raises InviteError with the SIP status: 404 unknown,
        480 not there, 486 busy, 603 declined, 408 no answer; 503 also when no MSRP connection came
        about. Cancelling the task cancels the INVITE.
        """
        self.check_open()
        return await dialing.invite(
            self,
            self.peer_uri(peer),
            on_progress=on_progress,
            subject=subject,
            conversation_id=conversation_id,
        )

    async def send_message(
        self,
        peer: str,
        text: str,
        *,
        conversation_id: str | None = None,
        message_id: str | None = None,
        large: bool = False,
    ) -> Receipt:
        """Sends a text to ``peer`` outside of any session, in a SIP MESSAGE (pager mode).

        Returns when it is in the history and on its way, after those before it. ``await
        receipt.stored()`` for the server that keeps it for an absent peer (202), ``sent()`` for
        the peer's device (200), ``delivered()`` for its notification, which may come much later.
        ``conversation_id`` continues a thread. ``message_id`` is that of a message that is sent
        again, or that the history has already. ``large`` is for a long text to a peer with whom no
        session can be had: over TCP, TLS or WebSocket its request may then have ``max_pager_size``
        octets. Raises DeliveryError for a text that is too long for pager mode (without ``large``
        the whole request may have 1300 octets, RFC 3428 §8: some 350 for the text), AgentError when
        there is no way to the server, DatabaseError when the history cannot keep it.
        """
        self.check_open()
        return await self.pager.send(
            self.peer_uri(peer),
            text,
            conversation_id=conversation_id,
            message_id=message_id,
            large=large,
        )

    async def send_location(
        self,
        peer: str,
        latitude: float,
        longitude: float,
        *,
        radius: float = 0.0,
        label: str = "",
        conversation_id: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Sends a place outside of any session (geolocation push): degrees of WGS 84, the radius
        in metres.

        A peer of whom we know that it takes no geolocation gets its words and links as a text.
        Raises as `send_message` does, and UsageError for coordinates that are nowhere.
        """
        self.check_open()
        location = Location(latitude, longitude, radius, label)
        uri = self.peer_uri(peer)
        known = self.peers.known(uri.aor)
        words = known is not None and known.lacks(Service.GEOLOCATION_PUSH)
        return await self.pager.send(
            uri,
            location.text if words else location,
            conversation_id=conversation_id,
            message_id=message_id,
        )

    def mark_displayed(self, message: TextReceived) -> None:
        """Our user, or who reads for us, has seen ``message``: its sender is told, if it asked and
        ``display_notifications`` is not switched off, and the history keeps the time.

        A message is only called displayed when this is called; again, or once the agent is closed,
        it does nothing.
        """
        self.notifier.seen(message.peer, message.message_id)

    async def incoming(self) -> AsyncIterator[Invitation]:
        """Invitations as they come; each can be accepted or rejected, now or later.

        Ends when the agent is closed. Those that came before the iteration are given first,
        unless they were taken back.
        """
        if self._invitations is None:
            self._invitations = Stream()
        async for invitation in self._invitations:
            if invitation.pending:
                yield invitation
            # Who waits for the next one must not keep the last, and all that hangs on it, alive.
            del invitation

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens to this agent and its chats from this call on.

        Each call gives a feed of its own, which ends when the agent is closed.
        """
        feed: Stream[Event] = Stream(weighs=burden)
        if self._closed:
            feed.close()
        if self._feeds is None:
            self._feeds = WeakSet()
        self._feeds.add(feed)
        return self._follow(feed)

    async def _follow(self, feed: Stream[Event]) -> AsyncIterator[Event]:
        async for event in feed:
            for chat in self._held:
                chat.let_flow()
            yield event
            del event
