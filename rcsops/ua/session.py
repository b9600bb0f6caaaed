"""A call with the MSRP session that its SDP agreed on: what chats and file transfers stand on."""

import asyncio
import re
from collections.abc import Callable, Iterable

from rcsops.errors import (
    AgentError,
    InviteError,
    LocalProtocolError,
    MsrpUnreachable,
    SdpParseError,
    SessionClosed,
)
from rcsops.msrp import (
    MsrpParseError,
    MsrpSession,
    Path,
    ProtocolFault,
    SessionEvent,
    parse_path,
)
from rcsops.msrp.incoming import ReceiveLimits
from rcsops.rcs import Agreement
from rcsops.sdp import (
    SessionDescription,
    find_msrp,
    is_fingerprint_of,
    parse_sdp,
    reverse_direction,
)
from rcsops.sip import Message, Request, SipParseError
from rcsops.sip.multipart import read_parts
from rcsops.transport.msrp import MsrpEndpoint, MsrpLink
from rcsops.ua.call import Call
from rcsops.ua.call_user import CallState, CallUser
from rcsops.ua.host import AgentHost

__all__ = ["MsrpCall", "SessionUser", "sdp_of"]

# How long the loss of the TCP connection waits for the BYE that often comes right behind it.
_LOSS_GRACE = 0.25
_SETTLE_SECONDS = 2.0
_BYE_SECONDS = 2.0
# How long the peer may take to make the connection. Who called has something to say, which goes by
# pager mode when there is none in the time that a connection of our own may take.
_CALLER_BIND_SECONDS = 10.0
_CALLED_BIND_SECONDS = 30.0
_SDP = "application/sdp"
_AS_IT_IS = ("", "7bit", "8bit", "binary")


class SessionUser:
    """What a session tells the chat or transfer that stands on it."""

    __slots__ = ()

    def session_event(self, event: SessionEvent) -> None:
        """An event of the MSRP session other than ProtocolFault."""

    def session_held(self, held: bool) -> bool:
        """The peer holds the session, or lets it go on; False when it cannot be held (488)."""
        return False

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        """The session is over; called once."""


class MsrpCall(CallUser):
    """One call and its MSRP connection; ended as a whole, whichever ends first."""

    __slots__ = (
        "_acknowledged",
        "_description",
        "_ended",
        "_ended_by_peer",
        "_grace",
        "_host",
        "_user",
        "_wrapped_types",
        "call",
        "link",
    )

    def __init__(self, host: AgentHost, call: Call) -> None:
        self.call = call
        self.link: MsrpLink | None = None
        self._host = host
        self._user = SessionUser()
        self._ended = False
        self._ended_by_peer = False
        self._description = b""
        self._wrapped_types: tuple[str, ...] = ()
        self._acknowledged: asyncio.Future[Request | None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        call.user = self

    @property
    def ended(self) -> bool:
        """Whether the session is over."""
        return self._ended

    @property
    def session(self) -> MsrpSession:
        """The MSRP session; raises SessionClosed before there is one."""
        if self.link is None:
            raise SessionClosed("there is no session yet")
        return self.link.session

    def takes_wrapped(self, content_type: str) -> bool:
        """Whether the peer's SDP takes a type within CPIM (RFC 4975 §8.6)."""
        major = content_type.partition("/")[0]
        return any(
            kind.lower() in ("*", "*/*", f"{major}/*", content_type) for kind in self._wrapped_types
        )

    def bind(self, user: SessionUser) -> None:
        """Tells ``user`` what happens from now on."""
        self._user = user

    def describe(self, description: bytes) -> None:
        """Notes the SDP by which we told the peer of our side, to say it again when the session
        is refreshed."""
        self._description = description

    def prepare(
        self,
        msrp: MsrpEndpoint,
        path: Path,
        *,
        accept_types: tuple[str, ...],
        direction: str = "sendrecv",
        limits: ReceiveLimits | None = None,
        stream_incoming: bool = False,
        hold_answers: bool = False,
    ) -> None:
        """Makes the MSRP session known under our path, before that is told to the peer; see
        `MsrpSession`.

        Raises InviteError when the call has ended meanwhile.
        """
        if self._ended:
            raise InviteError("the session ended before it was open", status=487)
        session = MsrpSession(
            path,
            tokens=self._host.endpoint.tokens,
            active=False,
            accept_types=accept_types,
            limits=limits if limits is not None else ReceiveLimits(),
            stream_incoming=stream_incoming,
            confirm_streams=stream_incoming,
            hold_answers=hold_answers,
            direction=direction,
        )
        self.link = msrp.add(session, self._msrp_event, self._msrp_lost)

    async def open(self, msrp: MsrpEndpoint, agreement: Agreement) -> None:
        """Makes the connection, or waits for the peer's.

        Raises MsrpUnreachable when there is none in time, after a BYE, or when the peer has ended
        the session before; InviteError when we have.
        """
        link = self.link
        if link is None:
            raise SessionClosed("there is no session yet")
        session = link.session
        remote = agreement.remote_path
        if session.remote_path and not session.remote_path[-1].same_session(remote[-1]):
            # Every fork of our INVITE was told our path, also one that then declined.
            await self._fail("it was taken by another than who answered")
        try:
            # Also when the peer was here before its answer: its From-Path was then only a claim.
            session.set_remote_path(remote)
            session.active = agreement.active
            session.direction = agreement.direction
            session.remote_max_size = agreement.remote.max_size
            fingerprints = agreement.remote.fingerprints
            msrp.trust(link, lambda shown: is_fingerprint_of(fingerprints, shown))
            self._wrapped_types = agreement.remote.accept_wrapped_types
            if agreement.active and not session.bound:
                await msrp.connect(link, *agreement.target)
            limit = _CALLER_BIND_SECONDS if self.call.outgoing else _CALLED_BIND_SECONDS
            async with asyncio.timeout(limit):
                await link.wait_for(lambda: session.bound or session.distrusted)
            if session.distrusted and not session.bound:
                raise AgentError("a certificate that is not the one of the SDP")
        except (AgentError, LocalProtocolError) as error:
            await self._fail(str(error))
        except TimeoutError:
            await self._fail("the peer did not open the MSRP connection")
        except asyncio.CancelledError:
            self._host.spawn(self.end("given up"))
            raise
        if self._ended_by_peer:
            # Most likely it could not connect to us.
            raise MsrpUnreachable("the peer ended the session before it was open", status=503)
        if self._ended or not session.bound:
            raise InviteError("the session ended before it was open", status=487)

    async def hold(self, held: bool) -> None:
        """Tells the peer that nothing is to flow for now, or that it may again (RFC 3264 §8.4).

        Raises InviteError when the peer refuses, SessionClosed when the session is over.
        """
        if self.link is not None and not self.session.bound:
            # Before that the peer may not know its side of the session yet.
            await self.link.wait_for(lambda: self.session.bound)
        if self._ended:
            raise SessionClosed("the session is over")
        direction = "inactive" if held else self.session.direction
        self._description = redirected(self._description, direction)
        await self.call.refresh.ask(offer=True)

    async def acknowledged(self) -> Request:
        """Waits for the ACK of our 200. Raises InviteError when the call ends before it."""
        if self._acknowledged is None:
            self._acknowledged = asyncio.get_running_loop().create_future()
        try:
            ack = await asyncio.shield(self._acknowledged)
        except asyncio.CancelledError:
            self._host.spawn(self.end("given up"))
            raise
        if self._ended or ack is None:
            raise InviteError("the session ended before it was open", status=487)
        return ack

    async def agree(
        self, message: Message, read: Callable[[SessionDescription], Agreement]
    ) -> Agreement:
        """What the peer's answer in ``message`` agrees to; one that cannot be used ends the call
        with a BYE and raises InviteError."""
        try:
            return read(sdp_of(message))
        except SdpParseError as error:
            await self.end(str(error), header='SIP;cause=488;text="Unusable answer"')
            raise InviteError(f"the peer's answer cannot be used: {error}", status=488) from error

    async def end(self, reason: str = "", *, header: str = "", settle: bool = True) -> None:
        """Lets what is under way finish, unless ``settle`` is False, sends BYE and closes the
        connection.

        ``header`` is the value of the Reason header of the BYE.
        """
        if self._ended:
            return
        link = self.link
        if settle and link is not None and link.connected:
            session = link.session
            try:
                async with asyncio.timeout(_SETTLE_SECONDS):
                    await link.wait_for(lambda: session.settled)
            except TimeoutError:
                # What is still under way is marked as failed when the connection closes.
                pass
        if self._ended:
            return
        self._ended = True
        if self.call.state is CallState.SETTING_UP:
            self.call.give_up(reason)
        await self._part(reason, header)

    async def _fail(self, reason: str) -> None:
        self._ended = True
        await self._part(reason, 'SIP;cause=503;text="MSRP connect failed"')
        raise MsrpUnreachable(f"the session has no connection: {reason}", status=503)

    async def _part(self, reason: str, header: str) -> None:
        try:
            await self.call.hang_up(header, wait=_BYE_SECONDS)
        finally:
            # Also when whoever waits for the answer to the BYE is cancelled.
            self._finish(reason, by_peer=False)

    def _finish(self, reason: str, *, by_peer: bool) -> None:
        self._ended = True
        self._ended_by_peer = by_peer
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self._acknowledged is not None and not self._acknowledged.done():
            self._acknowledged.set_result(None)
        link = self.link
        if link is not None and not link.closed:
            # Hand on what has come before the link forgets its session.
            link.catch_up()
            session = link.session
            link.close()
            session.connection_lost("the session ended")
            while (event := session.next_event()) is not None:
                self._user.session_event(event)
        self._leave().session_ended(reason, by_peer=by_peer)

    def _leave(self) -> SessionUser:
        """Lets go of the call, and of who stands on the session, which it returns: they hold it."""
        self.call.user = CallUser()
        user, self._user = self._user, SessionUser()
        return user

    def drop(self) -> None:
        """The INVITE came to nothing: no session has begun, so none ends."""
        if self.link is not None:
            self.link.close()
        self._leave()

    def reject(
        self, status: int, reason: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Refuses the INVITE of the peer, unless it has been answered."""
        if self.call.reject(status, reason, headers):
            self.drop()

    # --- from the call -----------------------------------------------------------------------

    def call_acknowledged(self, ack: Request) -> None:
        if self._acknowledged is None:
            self._acknowledged = asyncio.get_running_loop().create_future()
        if not self._acknowledged.done():
            self._acknowledged.set_result(ack)

    def call_description(self) -> bytes:
        role = b"a=setup:active"
        if self.link is not None and not self.link.session.active:
            role = b"a=setup:passive"
        return self._description.replace(b"a=setup:actpass", role)

    def call_offer(self, request: Request) -> tuple[int, bytes]:
        """A refresh is answered as before; to move the session elsewhere is refused (488)."""
        if self.link is None or self._ended:
            return 488, b""
        session = self.link.session
        if request.body:
            try:
                _, media = find_msrp(sdp_of(request))
                held = media.direction == "inactive"
                turned = not held and reverse_direction(media.direction) != session.direction
                if parse_path(media.path) != session.remote_path or turned:
                    return 488, b""
            except (SdpParseError, MsrpParseError):
                return 488, b""
            if not self._user.session_held(held) and held:
                return 488, b""
            if held:
                return 200, redirected(self.call_description(), "inactive")
        return 200, self.call_description()

    def call_cancelled(self, reason: str) -> None:
        if not self._ended:
            self._finish(reason or "the invitation was taken back", by_peer=True)

    def call_ended(self, reason: str, *, by_peer: bool) -> None:
        if not self._ended:
            self._finish(reason, by_peer=by_peer)

    # --- from MSRP ---------------------------------------------------------------------------

    def _msrp_event(self, event: SessionEvent) -> None:
        if isinstance(event, ProtocolFault):
            self._lost(event.reason or f"MSRP {event.status}")
        else:
            self._user.session_event(event)

    def _msrp_lost(self, reason: str) -> None:
        if self._ended or self._grace is not None:
            return
        loop = asyncio.get_running_loop()
        self._grace = loop.call_later(_LOSS_GRACE, self._lost, "connection lost")

    def lost(self, reason: str) -> None:
        """The peer does not answer: the session is over."""
        self._lost(reason)

    def _lost(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        header = 'SIP;cause=503;text="MSRP connection lost"'
        self._host.spawn(self.call.hang_up(header, wait=_BYE_SECONDS))
        self._finish(reason, by_peer=False)


def sdp_of(message: Message) -> SessionDescription:
    """The SDP in a request or response; also as one part of several, if the others may be left
    aside.

    Raises SdpParseError with status 415 for a body that is none, 488 when there is no body.
    """
    try:
        content_type = message.content_type
    except SipParseError as error:
        raise SdpParseError(str(error), status=400) from error
    if not message.body:
        raise SdpParseError("there is no session description", status=488)
    if content_type is not None and content_type.type_ == _SDP:
        return parse_sdp(message.body)
    if content_type is not None and content_type.main == "multipart":
        return parse_sdp(_described(message.body, content_type.param("boundary") or ""))
    raise SdpParseError(f"{content_type} is not SDP", status=415)


def _described(body: bytes, boundary: str) -> bytes:
    """The part that is SDP (RFC 5621 §3, §8)."""
    try:
        parts = read_parts(body, boundary)
    except SipParseError as error:
        raise SdpParseError(str(error), status=400) from error
    found: bytes | None = None
    for part in parts:
        if part.type_ == _SDP and found is None and part.encoding in _AS_IT_IS:
            found = part.body
        elif not part.is_optional:
            raise SdpParseError(f"{part.type_} beside SDP is not taken", status=415)
    if found is None:
        raise SdpParseError("there is no session description", status=488)
    return found


def redirected(description: bytes, direction: str) -> bytes:
    """Our side of a session in another direction, as its next version (RFC 3264 §8)."""
    session = parse_sdp(description)
    changed = re.sub(
        rb"(?m)^a=(?:sendrecv|sendonly|recvonly|inactive)\r$",
        b"a=%s\r" % direction.encode(),
        description,
    )
    version = session.origin.version
    return changed.replace(b" %d IN " % version, b" %d IN " % (version + 1), 1)
