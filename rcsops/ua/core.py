"""What the parts of an agent share: its identity, its sessions, its followers."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from weakref import WeakSet

from rcsops.errors import (
    AgentError,
    SipParseError,
    UsageError,
)
from rcsops.msrp import ReceiveLimits
from rcsops.rcs import PAGER_ACCEPT, REGISTERED, feature_text, service_headers
from rcsops.sip import Credential, DigestClient, Flow, NameAddr, Request, Target, Uri
from rcsops.tokens import Tokens
from rcsops.transport.requester import find_targets
from rcsops.transport.resolver import is_numeric
from rcsops.ua import events
from rcsops.ua.call import Call
from rcsops.ua.chat import Chat
from rcsops.ua.file_desk import FileDesk
from rcsops.ua.history import History
from rcsops.ua.host import ALLOW, AgentHost
from rcsops.ua.inbox import Inbox
from rcsops.ua.incoming import FileOffer, Invitation, Pending
from rcsops.ua.options import AgentOptions
from rcsops.ua.pager import Pager
from rcsops.ua.reception import receive_invite
from rcsops.ua.registrar import Registrar
from rcsops.ua.seen import Seen
from rcsops.ua.session import MsrpCall
from rcsops.ua.streams import Stream
from rcsops.ua.transfer import Transfer

if TYPE_CHECKING:
    from rcsops.ua.dialing import Attempt

__all__ = ["AgentCore"]


_FEATURES = feature_text(REGISTERED)


class AgentCore(ABC):
    """The inner side of :class:`~rcsops.ua.agent.Agent`; programs use that one."""

    __slots__ = (
        "__weakref__",
        "_attempts",
        "_chats",
        "_closed",
        "_closing",
        "_credentials",
        "_feeds",
        "_files",
        "_held",
        "_inbox",
        "_invitations",
        "_opening",
        "_pager",
        "_pending",
        "_registrar",
        "_seen",
        "_targets",
        "contact_user",
        "digest",
        "history",
        "host",
        "instance_id",
        "intake",
        "options",
        "owns_host",
        "uri",
    )

    def __init__(
        self, uri: Uri, host: AgentHost, options: AgentOptions, *, owns_host: bool
    ) -> None:
        self.uri = uri
        self.host = host
        self.options = options
        self.owns_host = owns_host
        self.instance_id: str | None = None
        self.intake: int | None = None
        self.history: History | None = None
        self.digest: DigestClient | None = None
        self.contact_user = ""
        self._credentials: Credential | None = options.credential
        self._registrar: Registrar | None = None
        self._targets: tuple[Target, ...] = ()
        self._closed = False
        self._closing = False
        # Made when they are needed: an agent that only waits has none of them.
        self._feeds: WeakSet[Stream[events.Event]] | None = None
        self._invitations: Stream[Invitation] | None = None
        self._pager: Pager | None = None
        self._inbox: Inbox | None = None
        self._chats: tuple[Chat, ...] = ()
        self._opening: tuple[Chat, ...] = ()
        self._pending: tuple[Pending, ...] = ()
        self._attempts: tuple[Attempt, ...] = ()
        self._files: FileDesk | None = None
        self._held: tuple[Chat, ...] = ()
        self._seen: Seen | None = None

    @abstractmethod
    async def close(self) -> None:
        """Ends all that is open."""

    @abstractmethod
    async def send_file(
        self,
        peer: str,
        path: str | os.PathLike[str],
        *,
        chat: Chat | None = None,
        conversation_id: str | None = None,
    ) -> Transfer:
        """Offers a file to a peer."""

    # --- identity ----------------------------------------------------------------------------

    @property
    def aor(self) -> str:
        """The address of record, "sip:bob@rcs.example"."""
        return self.uri.aor

    @property
    def registered(self) -> bool:
        """Whether the registrar holds our contact, as far as we know."""
        return self._registrar is not None and self._registrar.registered

    @property
    def registered_at(self) -> float:
        """When the registrar last took our contact, by the loop's clock; 0 before."""
        return 0.0 if self._registrar is None else self._registrar.registered_at

    @property
    def behind_nat(self) -> bool:
        """Whether nobody outside can connect to us, so that MSRP connections are for us to make."""
        return self._registrar is not None and self._registrar.behind_nat

    @property
    def answer_setup(self) -> str:
        """Our part in an MSRP connection when a peer leaves us the choice."""
        return "active" if self.behind_nat else self.options.answer_setup

    @property
    def chats(self) -> tuple[Chat, ...]:
        """The chats that are open."""
        return self._chats

    @property
    def invitations(self) -> tuple[Pending, ...]:
        """What rings: invitations and file offers that have not been answered."""
        return self._pending

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed

    @property
    def pager(self) -> Pager:
        """What sends messages outside of sessions."""
        if self._pager is None:
            self._pager = Pager(self)
        return self._pager

    @property
    def files(self) -> FileDesk:
        """What it knows of files."""
        if self._files is None:
            self._files = FileDesk(self)
        return self._files

    @property
    def tokens(self) -> Tokens:
        """Where tags, ids and nonces come from."""
        return self.host.endpoint.tokens

    @property
    def server_text(self) -> str:
        """The server as a person would name it."""
        server = self.options.server
        return self.uri.host_text if server is None else server.host_port

    def check_open(self) -> None:
        """Raises AgentError before ``start`` and after ``close``."""
        if self._closing:
            raise AgentError("the agent is closed")
        if not self.contact_user:
            raise AgentError("the agent has not been started: use it with `async with`")

    def use_credential(self, credential: Credential) -> None:
        """Answers challenges with another secret from now on: the password has been changed."""
        self._credentials = credential

    def credential_for(self, realm: str) -> Credential | None:
        """Our secret for a realm; None for a realm that is not our server's."""
        if self._credentials is None:
            password = self.options.password
            if password is None or realm != self.options.realm:
                return None
            self._credentials = Credential.from_password(self.uri.username, realm, password)
        return self._credentials if self._credentials.realm == realm else None

    # --- followers ---------------------------------------------------------------------------

    def publish(self, event: events.Event) -> None:
        """Gives an event to everybody who follows."""
        for feed in self._feeds or ():
            feed.put(event)

    def backlog(self) -> int | None:
        """How many events of peers the fastest follower has not taken; None without one."""
        return min((feed.weight for feed in self._feeds or ()), default=None)

    def hold_back(self, chat: Chat) -> None:
        """A chat reads no more until events are taken."""
        self._held = (*self._held, chat)

    def let_go(self, chat: Chat) -> None:
        """It reads again."""
        self._held = tuple(other for other in self._held if other is not chat)

    def is_new(self, peer: str, message_id: str) -> bool:
        """Whether a message comes for the first time; for agents without a history."""
        if self._seen is None:
            self._seen = Seen()
        return self._seen.is_new(peer, message_id)

    # --- the network -------------------------------------------------------------------------

    def flow_closed(self, flow: Flow, error: str) -> None:
        """A connection to a server is closed."""
        if self._registrar is not None:
            self._registrar.flow_closed(flow, error)

    def identity_of(self, request: Request, flow: Flow) -> str:
        """Who sends a request: as our own server asserts, else as the From says (RFC 3325)."""
        if any(target.flow.remote == flow.remote for target in self._targets):
            for value in request.values("P-Asserted-Identity"):
                asserted = NameAddr.parse(value)
                if asserted.uri.is_sip:
                    return asserted.uri.aor
        return request.from_.uri.aor

    def is_from_server(self, flow: Flow) -> bool:
        """Whether a request came from a host of our server, by a connection of its own perhaps."""
        return any(target.flow.remote[0] == flow.remote[0] for target in self._targets)

    def peer_uri(self, text: str) -> Uri:
        """The URI of a peer, of our own domain when it has none. Raises UsageError."""
        full = text
        if not text.lower().startswith(("sip:", "sips:", "tel:")):
            full = f"sip:{text}" if "@" in text else f"sip:{text}@{self.uri.host_text}"
        try:
            uri = Uri.parse(full)
        except SipParseError as error:
            raise UsageError(f"{text!r} is not a SIP address: {error}") from error
        if not uri.is_sip or not uri.username:
            raise UsageError(f"{text!r} does not name a user, as sip:bob@rcs.example does")
        return uri

    async def targets_for(self, uri: Uri) -> tuple[Target, ...]:
        """Where requests for ``uri`` go: our server, or without one the host of the URI.

        Over the flow that we are registered by, while there is one (RFC 5626 §4.3).
        """
        wanted, transport, domain = self._way_to(uri)
        found = await find_targets(self.host.endpoint, wanted, transport=transport, domain=domain)
        return self._by_our_flow(found)

    def with_server(self, use: Callable[[tuple[Target, ...], str], None]) -> None:
        """Calls ``use`` with the targets of our server, at once when no look-up is needed; with
        none and the reason when it cannot be found."""
        wanted, transport, domain = self._way_to(self.uri)
        now = self.host.targets_now(wanted, transport=transport, domain=domain)
        if now:
            use(self._by_our_flow(now), "")
            return

        async def look_up() -> None:
            try:
                found, error = await self.targets_for(self.uri), ""
            except AgentError as failure:
                found, error = (), str(failure)
            use(found, error)

        self.host.spawn(look_up())

    def _way_to(self, uri: Uri) -> tuple[Uri, str | None, str]:
        """What to look up for ``uri``: a URI, the transport, and what TLS has to prove."""
        options = self.options
        wanted = options.server or uri
        named = wanted.param("transport") is not None or options.transport == "auto"
        # A server that is named by a number is believed when it proves our own domain.
        domain = self.uri.host or "" if is_numeric(wanted.host or "") else ""
        return wanted, None if named else options.transport, domain

    def _by_our_flow(self, found: tuple[Target, ...]) -> tuple[Target, ...]:
        if self.options.server is None:
            return found
        held = None if self._registrar is None else self._registrar.held
        if held is not None:
            found = (held, *(target for target in found if target.flow != held.flow))
        self._targets = found
        return found

    def contact_address(self, target: Target) -> NameAddr:
        """Our Contact as the peers behind ``target`` reach us, with what we can do."""
        transport = target.flow.transport
        # RFC 7118 §5.2: in URIs a WebSocket is "ws", whether TLS is under it or not.
        suffix = "" if transport == "udp" else f";transport={transport.replace('wss', 'ws')}"
        return NameAddr.parse(f"<sip:{self.contact_user}@{target.sent_by}{suffix}>{_FEATURES}")

    def contact(self, target: Target) -> str:
        """The value of our Contact header in a session.

        Through our server it is our GRUU, where it gave us one, and asks to be reached over the
        flow that the request goes by, where the server does that (RFC 5626 §4.3, RFC 5627 §4.4).
        """
        contact = self.contact_address(target)
        registrar = self._registrar
        by_server = any(known.flow.remote == target.flow.remote for known in self._targets)
        if registrar is not None and by_server:
            contact = registrar.dialog_contact(contact)
        return str(contact.with_param("+sip.instance", f'"<{self.instance_id}>"'))

    def contact_for(self, flow: Flow) -> str:
        """Our Contact in the answer to a request that came by ``flow``."""
        return self.contact(self.host.endpoint.target_of(flow))

    def response_headers(self) -> list[tuple[str, str]]:
        """What our responses to an INVITE carry beside the dialog's headers."""
        return [("Allow", ALLOW)]

    def capability_headers(self) -> list[tuple[str, str]]:
        """What the answer to OPTIONS says of us."""
        return [
            ("Contact", f"<{self.aor}>{_FEATURES}"),
            ("Allow", ALLOW),
            ("Accept", f"application/sdp, {PAGER_ACCEPT}"),
        ]

    def service_headers(
        self, urn: str, *, conversation_id: str, contribution_id: str
    ) -> list[tuple[str, str]]:
        """The headers of an RCS service in an INVITE."""
        return service_headers(
            urn, conversation_id=conversation_id, contribution_id=contribution_id
        )

    def create_invite(
        self, uri: Uri, target: Target, headers: list[tuple[str, str]], sdp: bytes
    ) -> Request:
        """An INVITE outside a dialog."""
        headers = [("Contact", self.contact(target)), *headers, ("Allow", ALLOW)]
        request = self.create_request("INVITE", uri, headers)
        request.set_body(sdp, "application/sdp")
        return request

    def create_request(
        self, method: str, uri: Uri, headers: Iterable[tuple[str, str]] = ()
    ) -> Request:
        """A request outside a dialog, without a Via (RFC 3261 §8.1.1, RFC 3608)."""
        tokens = self.tokens
        sender = NameAddr.parse(f"<{self.aor}>")
        if self.options.display_name:
            sender = NameAddr(self.aor, display=self.options.display_name)
        routes = () if self._registrar is None else self._registrar.service_route
        return Request(
            method,
            uri.without_headers(),
            [
                ("Max-Forwards", "70"),
                *(("Route", str(route)) for route in routes),
                ("From", str(sender.with_param("tag", tokens.tag()))),
                ("To", f"<{uri.without_headers()}>"),
                ("Call-ID", tokens.call_id()),
                ("CSeq", f"1 {method}"),
                *headers,
            ],
        )

    def make_call(self, request: Request, contact: str) -> Call:
        """A call of this agent, out of an INVITE that is to be sent or that was received."""
        return Call(self.host, request, contact, session_expires=self.options.session_expires)

    def visible_host(self, flow: Flow | None) -> str:
        """The address under which the other end of ``flow`` reaches us."""
        if flow is None:
            return self.host.bind
        return self.host.endpoint.host_towards(flow)

    def reply_uri(self, call: Call, peer: str) -> str:
        """Where to send new requests to who called us."""
        if self.options.server is None and call.dialog is not None:
            return str(call.dialog.remote_target)
        return peer

    def sdp_session_id(self) -> int:
        """A number for an o= line."""
        return int(self.tokens.fraction() * 2**31) << 31 | int(self.tokens.fraction() * 2**31)

    def receive_limits(self) -> ReceiveLimits:
        """What a chat may make us hold."""
        size = self.options.max_message_size
        return ReceiveLimits(max_size=size, assembled=size, buffered=4 * size)

    # --- what is under way -------------------------------------------------------------------

    def receive_invite(self, request: Request, flow: Flow) -> None:
        """An INVITE for us."""
        if self._closing or self.intake == 0:
            self.host.refuse(request, flow, 480)
            return
        receive_invite(self, request, flow)

    def receive_message(self, request: Request, flow: Flow) -> None:
        """A MESSAGE for us."""
        if self._closing:
            self.host.refuse(request, flow, 480)
            return
        if self._inbox is None:
            self._inbox = Inbox(self)
        self._inbox.receive(request, flow)

    def is_busy(self) -> bool:
        """Whether no more chats are taken."""
        ringing = sum(1 for pending in self._pending if isinstance(pending, Invitation))
        count = len(self._chats) + ringing + len(self._attempts)
        return count >= self.options.max_sessions

    def inviting(self, peer: str) -> "Attempt | None":
        """Our INVITE to a peer that has no final answer."""
        return next((attempt for attempt in self._attempts if attempt.peer == peer), None)

    def add_attempt(self, attempt: "Attempt") -> None:
        """An INVITE leaves."""
        self._attempts = (*self._attempts, attempt)

    def remove_attempt(self, attempt: "Attempt") -> None:
        """It has its outcome."""
        self._attempts = tuple(other for other in self._attempts if other is not attempt)

    def make_chat(
        self,
        session: MsrpCall,
        *,
        peer: str,
        remote_uri: str,
        conversation_id: str,
        contribution_id: str,
        outgoing: bool,
    ) -> Chat:
        """A chat whose session is being set up; ``forget_chat`` when that comes to nothing."""
        chat = Chat(
            self,
            session,
            peer=peer,
            remote_uri=remote_uri,
            conversation_id=conversation_id,
            contribution_id=contribution_id,
            outgoing=outgoing,
        )
        self._opening = (*self._opening, chat)
        return chat

    def chat_opened(self, chat: Chat) -> None:
        """A chat has its connection. An older one with the same peer is over: it lost its side."""
        if chat in self._chats:
            return
        self._opening = tuple(other for other in self._opening if other is not chat)
        old = [other for other in self._chats if other.peer == chat.peer]
        self._chats = (*self._chats, chat)
        for other in old:
            self.host.spawn(other.close("replaced by a new session"))

    def forget_chat(self, chat: Chat) -> None:
        """A chat is over, or has never begun."""
        self._opening = tuple(other for other in self._opening if other is not chat)
        self._chats = tuple(other for other in self._chats if other is not chat)
        self.let_go(chat)

    def take_invitation(self, invitation: Invitation) -> None:
        """An invitation rings."""
        self._pending = (*self._pending, invitation)
        if self._invitations is None:
            self._invitations = Stream()
        self._invitations.put(invitation)
        self.publish(events.Invited(invitation.peer, invitation.chat_id, invitation))

    def take_file_offer(self, offer: FileOffer) -> None:
        """A file is offered."""
        self._pending = (*self._pending, offer)
        self.files.offered(offer)

    def forget_pending(self, pending: Pending) -> None:
        """It has been answered, or taken back."""
        self._pending = tuple(other for other in self._pending if other is not pending)
