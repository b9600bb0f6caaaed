"""What the parts of an agent share: its identity, its sessions, its followers."""

import asyncio
import os
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakSet

from rcsops.errors import (
    AgentError,
)
from rcsops.msrp import ReceiveLimits
from rcsops.sip import DigestClient, Flow, Request, Uri
from rcsops.ua import events
from rcsops.ua.addressing import Addressing
from rcsops.ua.call import Call
from rcsops.ua.capabilities import CapabilityBook
from rcsops.ua.chat import REPLACED, Chat
from rcsops.ua.file_desk import FileDesk
from rcsops.ua.history import History
from rcsops.ua.host import ACCEPT, ALLOW, SUPPORTED, AgentHost
from rcsops.ua.http_files import HttpFiles
from rcsops.ua.inbox import Inbox
from rcsops.ua.incoming import FileOffer, Invitation, Pending
from rcsops.ua.notices import Notifier
from rcsops.ua.options import AgentOptions
from rcsops.ua.own_side import OwnSide
from rcsops.ua.pager import Pager
from rcsops.ua.reception import receive_invite
from rcsops.ua.redelivery import Redelivery
from rcsops.ua.seen import Seen
from rcsops.ua.session import MsrpCall
from rcsops.ua.streams import Stream
from rcsops.ua.transfer import Transfer

if TYPE_CHECKING:
    from rcsops.ua.dialing import Attempt
    from rcsops.ua.registrar import Registrar

__all__ = ["AgentCore"]


@lru_cache(maxsize=8)
def _receive_limits(size: int) -> ReceiveLimits:
    return ReceiveLimits(max_size=size, assembled=size, buffered=4 * size)


class AgentCore(Addressing, ABC):
    """The inner side of :class:`~rcsops.ua.agent.Agent`; programs use that one."""

    __slots__ = (
        "__weakref__",
        "_attempts",
        "_chats",
        "_closed",
        "_closing",
        "_feeds",
        "_files",
        "_held",
        "_http_files",
        "_inbox",
        "_invitations",
        "_notifier",
        "_opening",
        "_pager",
        "_peers",
        "_pending",
        "_redelivery",
        "_seen",
        "digest",
        "history",
        "intake",
        "owns_host",
        "side_ahead",
    )

    def __init__(
        self, uri: Uri, host: AgentHost, options: AgentOptions, *, owns_host: bool
    ) -> None:
        super().__init__(uri, host, options)
        self.owns_host = owns_host
        self.intake: int | None = None
        self.history: History | None = None
        self.digest: DigestClient | None = None
        self._closed = False
        self._closing = False
        # Made when they are needed: an agent that only waits has none of them.
        self._feeds: WeakSet[Stream[events.Event]] | None = None
        self._invitations: Stream[Invitation] | None = None
        self._pager: Pager | None = None
        self._peers: CapabilityBook | None = None
        self._inbox: Inbox | None = None
        self._notifier: Notifier | None = None
        self._redelivery: Redelivery | None = None
        self._chats: tuple[Chat, ...] = ()
        self._opening: tuple[Chat, ...] = ()
        self._pending: tuple[Pending, ...] = ()
        self._attempts: tuple[Attempt, ...] = ()
        self._files: FileDesk | None = None
        self._http_files: HttpFiles | None = None
        self._held: tuple[Chat, ...] = ()
        self._seen: Seen | None = None
        self.side_ahead: OwnSide | None = None
        """Our side of the next chat, made ahead (`rcsops.ua.own_side`)."""

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
        disposition: str = "attachment",
    ) -> Transfer:
        """Offers a file to a peer."""

    # --- identity ----------------------------------------------------------------------------

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
    def registrar(self) -> "Registrar | None":
        """What keeps it registered; None while it is not to be."""
        return self._registrar

    def sessions(self) -> "list[tuple[Chat | Pending | Transfer, MsrpCall]]":
        """The sessions that are open, being set up or ringing, each with what stands on it."""
        found: list[tuple[Chat | Pending | Transfer, MsrpCall]] = []
        found += [(chat, chat.session) for chat in (*self._chats, *self._opening)]
        found += [(pending, pending.call) for pending in self._pending]
        transfers = () if self._files is None else self._files.transfers
        calls = (each for each in transfers if isinstance(each, Transfer))
        found += [(each, each.call) for each in calls if each.call is not None]
        return found

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed

    @property
    def peers(self) -> CapabilityBook:
        """What is known of the devices of peers."""
        if self._peers is None:
            self._peers = CapabilityBook(self, self.options.capabilities)
        return self._peers

    @property
    def notifier(self) -> Notifier:
        """What tells the senders of messages what became of them here."""
        if self._notifier is None:
            self._notifier = Notifier(self)
        return self._notifier

    @property
    def redelivery(self) -> Redelivery:
        """What sends again what may not have arrived."""
        if self._redelivery is None:
            self._redelivery = Redelivery(self)
        return self._redelivery

    def is_resending(self, peer: str) -> bool:
        """Whether older messages to a peer have to go before new ones."""
        return self._redelivery is not None and self._redelivery.has(peer)

    @property
    def is_closing(self) -> bool:
        """Whether nothing new is begun any more."""
        return self._closing

    @property
    def is_registering(self) -> bool:
        """Whether the server knows us, or is asked to until it does."""
        return self._registrar is not None and not self._closing

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
    def http_files(self) -> HttpFiles:
        """What it knows of files on content servers."""
        if self._http_files is None:
            self._http_files = HttpFiles(self)
        return self._http_files

    def check_open(self) -> None:
        """Raises AgentError before ``start`` and after ``close``."""
        if self._closing:
            raise AgentError("the agent is closed")
        if not self.contact_user:
            raise AgentError("the agent has not been started: use it with `async with`")

    # --- followers ---------------------------------------------------------------------------

    def publish(self, event: events.Event) -> None:
        """Gives an event to everybody who follows."""
        if isinstance(event, events.Registered):
            self._came_back()
        for feed in self._feeds or ():
            feed.put(event)

    def _came_back(self) -> None:
        """The server knows us: what is due goes now."""
        if self.history is not None:
            self.notifier.catch_up()
        if self._redelivery is not None:
            self._redelivery.go()

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

    def response_headers(self) -> list[tuple[str, str]]:
        """What our responses to an INVITE carry beside the dialog's headers."""
        return [("Allow", ALLOW)]

    def capability_headers(self) -> list[tuple[str, str]]:
        """What the answer to OPTIONS says of us."""
        return [
            ("Contact", f"<{self.aor}>{self.features}"),
            ("Allow", ALLOW),
            ("Accept", ACCEPT),
            ("Supported", SUPPORTED),
        ]

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
        return self.tokens.number(62)

    def receive_limits(self) -> ReceiveLimits:
        """What a chat may make us hold."""
        return _receive_limits(self.options.max_message_size)

    # --- what is under way -------------------------------------------------------------------

    def receive_invite(self, request: Request, flow: Flow) -> None:
        """An INVITE for us."""
        if self._closing or self.intake == 0:
            self.host.refuse(request, flow, 480)
            return
        receive_invite(self, request, flow)
        # The caller waits for our answer, which does not depend on it.
        asyncio.get_running_loop().call_soon(self.peers.learn, request, flow)

    def receive_options(self, request: Request, flow: Flow) -> None:
        """Somebody asks what we can do, and says what it can do itself.

        The answer is that to an INVITE (RFC 3261 §11.2): a device that takes none says 480, so
        that another of the user's speaks.
        """
        if self._closing or self.intake == 0:
            self.host.refuse(request, flow, 480)
            return
        self.peers.learn(request, flow)
        self.host.refuse(request, flow, 200, headers=self.capability_headers())

    def receive_message(self, request: Request, flow: Flow) -> None:
        """A MESSAGE for us."""
        if self._closing:
            self.host.refuse(request, flow, 480)
            return
        if self._inbox is None:
            self._inbox = Inbox(self)
        if request.has("Contact"):
            # RFC 3428 §4 wants none, but some write their feature tags there.
            self.peers.learn(request, flow)
        self._inbox.receive(request, flow)

    def is_busy(self) -> bool:
        """Whether no more chats are taken."""
        count = len(self._chats) + len(self._attempts)
        for pending in self._pending:
            count += isinstance(pending, Invitation)
        return count >= self.options.max_sessions

    def inviting(self, peer: str) -> "Attempt | None":
        """Our INVITE to a peer that has no final answer."""
        for attempt in self._attempts:
            if attempt.peer == peer:
                return attempt
        return None

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
        attempt = self.inviting(chat.peer)
        if attempt is not None:
            attempt.opened(chat)
        old = [other for other in self._chats if other.peer == chat.peer]
        self._chats = (*self._chats, chat)
        if self._redelivery is not None:
            self._redelivery.session_opened(chat.peer)
        for other in old:
            self.host.spawn(other.close(REPLACED))

    def successor(self, chat: Chat) -> Chat | None:
        """The session with the same peer that replaces ``chat``, or is about to."""
        if self._closing:
            return None
        others = (*self._chats, *self._opening)
        return next((each for each in others if each.peer == chat.peer and each is not chat), None)

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
