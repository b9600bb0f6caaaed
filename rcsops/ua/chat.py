"""A chat with one peer: texts with receipts, files, events."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

from rcsops.errors import (
    DatabaseError,
    DeliveryError,
    LocalProtocolError,
    SessionClosed,
)
from rcsops.msrp import MessageFailed, MessageReceived, MessageSent, SessionEvent
from rcsops.rcs import (
    ChatCodec,
    ComposingReceived,
    ContentReceived,
    DeliveryReceived,
    FileInfo,
    Location,
    Outgoing,
    TextReceived,
    fthttp,
    geolocation,
)
from rcsops.transport import wall_clock
from rcsops.ua import events
from rcsops.ua.fates import Fates
from rcsops.ua.files import attachment_of
from rcsops.ua.idleness import IDLE_REASON, IdleWatch, means_idle
from rcsops.ua.notices import Notice
from rcsops.ua.receipts import MessageStatus, Receipt
from rcsops.ua.redelivery import Unsure, compose_again
from rcsops.ua.session import MsrpCall, SessionUser
from rcsops.ua.streams import Stream

if TYPE_CHECKING:
    from rcsops.database.history import Attachment
    from rcsops.ua.core import AgentCore
    from rcsops.ua.transfer import Transfer

__all__ = ["Chat"]

logger = logging.getLogger(__name__)

# With events of such a weight that nobody took, or that are being stored, no more is read from the
# peer.
_HIGH_WATER = 1000
_LOW_WATER = 100
# A peer that reads our receipts and answers none makes them wait here, up to so many octets.
_MAX_REPORTS = 16 << 20
# What a peer refuses a notification with, for what it is (RFC 4975 §10).
_REFUSED = frozenset({400, 403, 413, 415, 501})
# What says nothing of the message: no connection, no answer, no session there.
_BROKEN = frozenset({0, 408, 481, 506})
REPLACED = "replaced by a new session"
"""The reason of a session that another one with the same peer takes the place of."""


class Chat(SessionUser):
    """One session with ``peer``; made by ``Agent.invite`` and ``Invitation.accept``.

    Iterate over it for its events, the last of which is SessionEnded. ``chat_id`` is the SIP
    Call-ID, ``conversation_id`` the thread that it belongs to, ``local`` and ``remote`` the ends
    of its MSRP connection. ``idle``: it ended because nobody used it (`Agent`'s ``idle_timeout``);
    to go on, invite again with its ``conversation_id``.
    """

    __slots__ = (
        "__weakref__",
        "_agent",
        "_by_peer",
        "_closing",
        "_codec",
        "_composing",
        "_end_reason",
        "_events",
        "_followers",
        "_held_back",
        "_idle_watch",
        "_notices",
        "_opened",
        "_over",
        "_storing",
        "_storing_weight",
        "chat_id",
        "contribution_id",
        "conversation_id",
        "fates",
        "idle",
        "outgoing",
        "peer",
        "remote_uri",
        "session",
    )

    def __init__(
        self,
        agent: "AgentCore",
        session: MsrpCall,
        *,
        peer: str,
        remote_uri: str,
        conversation_id: str,
        contribution_id: str,
        outgoing: bool,
    ) -> None:
        self.peer = peer
        self.remote_uri = remote_uri
        self.chat_id = session.call.call_id
        self.conversation_id = conversation_id
        self.contribution_id = contribution_id
        self.outgoing = outgoing
        self.session = session
        self._agent = agent
        self._codec = ChatCodec(agent.tokens)
        self._events: Stream[events.Event] = Stream(weighs=events.burden)
        self._followers = 0
        self.idle = False
        self.fates = Fates(agent, self)
        # While the peer types: when it is taken to have stopped (RFC 3994 §3.3).
        self._composing: asyncio.TimerHandle | None = None
        self._idle_watch = IdleWatch(agent, self, agent.options.idle_timeout)
        # Notifications of ours that the peer has not acknowledged, by their own Message-ID.
        self._notices: dict[str, tuple[Notice, int]] = {}
        self._storing = 0
        self._storing_weight = 0
        self._opened = False
        self._over = False
        self._closing = False
        self._held_back = False
        self._end_reason = ""
        self._by_peer = False
        session.bind(self)

    def __repr__(self) -> str:
        return f"<Chat with {self.peer} {self.chat_id}{' ended' if self.ended else ''}>"

    # --- for the user ------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the session is over."""
        return self.session.ended

    @property
    def end_reason(self) -> str:
        """Why the session ended; empty before."""
        return self._end_reason

    @property
    def local(self) -> str:
        """Our end of the MSRP connection, "host:port"."""
        return self.session.link.local if self.session.link is not None else ""

    @property
    def remote(self) -> str:
        """The peer's end of the MSRP connection, "host:port"."""
        return self.session.link.remote if self.session.link is not None else ""

    @property
    def security(self) -> str:
        """The TLS of the MSRP connection, "TLSv1.3"; empty when it is plain TCP."""
        return self.session.link.security if self.session.link is not None else ""

    async def send(self, text: str, *, message_id: str | None = None) -> Receipt:
        """Sends a text and returns its receipt, as soon as the connection can take it.

        ``message_id`` is that of a message that the history has already, as one that waits. Raises
        SessionClosed when the session is over, DeliveryError when the text is larger than the peer
        takes, DatabaseError when the history cannot keep it (it is then not sent).
        """
        message = self._codec.compose_text(text, wall_clock(), message_id=message_id)
        return await self._send(message, text)

    async def send_location(
        self,
        latitude: float,
        longitude: float,
        *,
        radius: float = 0.0,
        label: str = "",
        message_id: str | None = None,
    ) -> Receipt:
        """Sends a place (geolocation push): degrees of WGS 84, the radius in metres.

        A peer whose SDP takes no geolocation gets its words and links as a text. Raises as `send`
        does, and UsageError for coordinates that are nowhere.
        """
        location = Location(latitude, longitude, radius, label)
        if not self.session.takes_wrapped(geolocation.CONTENT_TYPE):
            return await self.send(location.text, message_id=message_id)
        message = self._codec.compose_location(
            location, wall_clock(), entity=self._agent.aor, message_id=message_id
        )
        return await self._send(message, location.text, geolocation.CONTENT_TYPE)

    async def send_file_info(self, info: FileInfo, file: "Attachment", message_id: str) -> Receipt:
        """Says where ``file`` is on a content server; see ``Agent.send_file_http``."""
        message = self._codec.compose_file(info, wall_clock(), message_id=message_id)
        return await self._send(message, info.text, fthttp.CONTENT_TYPE, file, info)

    async def _send(
        self,
        message: Outgoing,
        text: str,
        content_type: str = "",
        file: "Attachment | None" = None,
        info: FileInfo | None = None,
    ) -> Receipt:
        link = self.session.link
        if link is None or self.ended:
            raise SessionClosed("the session is over")
        written = wall_clock()
        receipt = Receipt(message.message_id, text, written, info)
        history = self._agent.history
        if history is not None:
            await history.outgoing(
                self.peer,
                message.message_id,
                text,
                written,
                conversation_id=self.conversation_id,
                contribution_id=self.contribution_id,
                address=self.remote_uri,
                content_type=content_type,
                file=file,
            )
        if self._agent.is_resending(self.peer):
            await self._agent.redelivery.drained(self.peer)
        session = link.session
        self.fates.remember(receipt)
        try:
            await link.wait_for(session.can_send)
        except asyncio.CancelledError:
            self.fates.failed(message.message_id, 0, "given up before it was sent")
            raise
        try:
            session.send(message.content_type, message.body, message_id=message.message_id)
        except LocalProtocolError as error:
            if not (session.closed or self.ended):
                self.fates.failed(message.message_id, 0, str(error))
                raise DeliveryError(str(error)) from error
            # It was over when the history had it: it goes on by another way.
            if self._over:
                self.fates.let_go()
            return receipt
        link.pump()
        return receipt

    async def resend(self, message: Unsure) -> bool:
        """Sends again what may not have arrived by another way; False when the session is over."""
        link = self.session.link
        if link is None or self.ended:
            return False
        receipt = message.receipt
        body = compose_again(self._codec, message)
        session = link.session
        await link.wait_for(session.can_send)
        try:
            session.send(body.content_type, body.body, message_id=body.message_id)
        except LocalProtocolError as error:
            if session.closed or self.ended or self._over:
                return False
            self._agent.pager.fail(self.peer, receipt, DeliveryError(str(error)))
            return True
        self.fates.remember(receipt)
        link.pump()
        return True

    async def send_file(self, path: str | os.PathLike[str]) -> "Transfer":
        """Offers a file to the peer, in a session of its own, and sends it once accepted.

        Returns as soon as the file has been read through for its hash; ``await transfer.done()``
        for the end. Raises TransferError when the file cannot be read, DatabaseError when the
        history cannot keep that it is sent (it is then not offered).
        """
        return await self._agent.send_file(
            self.remote_uri, path, chat=self, conversation_id=self.conversation_id
        )

    def mark_displayed(self, message: events.TextReceived) -> None:
        """Our user has seen ``message``; see ``Agent.mark_displayed``."""
        self._agent.notifier.seen(message.peer, message.message_id)

    def composing(self, active: bool) -> None:
        """Tells the peer that our user types or has stopped (RFC 3994)."""
        link = self.session.link
        if link is None or self.ended or not link.session.can_send():
            return
        message = self._codec.composing(active)
        link.session.send(message.content_type, message.body, failure_report="no")
        link.pump()
        self._idle_watch.overlook()

    async def refresh(self) -> None:
        """Asks the peer whether the session is still there (UPDATE or re-INVITE).

        Nothing changes by it. Raises InviteError with the SIP status when the peer refuses, which
        with 408 or 481 also ends the chat; SessionClosed when it is over.
        """
        if self.ended:
            raise SessionClosed("the session is over")
        await self.session.call.refresh.ask()

    async def close(self, reason: str = "") -> None:
        """Ends the session: lets what is under way finish, then BYE.

        ``reason`` is what the SessionEnded event says on our side.
        """
        self._closing = True
        if self._agent.history is not None:
            self._agent.history.hasten()
        await self.session.end(reason or "closed", header='SIP;cause=200;text="Call completed"')

    def __aiter__(self) -> AsyncIterator[events.Event]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[events.Event]:
        self._followers += 1
        try:
            async for event in self._events:
                self.let_flow()
                yield event
        finally:
            self._followers -= 1
            self.let_flow()

    # --- from the session --------------------------------------------------------------------

    def opened(self) -> None:
        """The MSRP connection is there (called by who set the session up)."""
        if self._opened or self._over:
            return
        self._opened = True
        self._agent.chat_opened(self)
        if self._agent.history is not None:
            self._agent.history.session_began(
                self.peer, self.chat_id, self.conversation_id, outgoing=self.outgoing
            )
        self._idle_watch.start()
        self._publish(
            events.SessionOpened(self.peer, self.chat_id, self.local, self.remote, self.security)
        )

    def session_event(self, event: SessionEvent) -> None:
        # The peer's first message may be here before the task that set the session up goes on.
        self.opened()
        if isinstance(event, MessageReceived):
            self._received(event)
        elif isinstance(event, MessageSent):
            notice = self._notices.pop(event.message_id, None)
            if notice is None:
                self.fates.advance(event.message_id, MessageStatus.SENT)
            else:
                self._idle_watch.touch()
                self._agent.notifier.settled(*notice)
        elif isinstance(event, MessageFailed):
            if event.status in _BROKEN:
                # Whether it has arrived is not known; it goes again when the session is over.
                if event.status:
                    self.session.lost(event.reason or "the peer does not answer")
            elif event.message_id not in self._notices:
                self.fates.failed(event.message_id, event.status, event.reason)
            elif event.status in _REFUSED:
                # The peer wants none.
                self._agent.notifier.settled(*self._notices.pop(event.message_id))

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        self._over = True
        self._by_peer = by_peer
        self._end_reason = reason or ("ended by the peer" if by_peer else "closed")
        self.idle = self.idle or (by_peer and means_idle(reason))
        self._idle_watch.stop()
        self._stop_composing()
        if self._opened and self._agent.history is not None:
            self._agent.history.session_ended(self.chat_id, self._how_ended(), self._end_reason)
        self._agent.forget_chat(self)
        self.fates.let_go()
        notices, self._notices = self._notices, {}
        for notice, kind in notices.values():
            # By the next session, or without one.
            self._agent.notifier.send(notice, kind)
        self._finish()

    def _how_ended(self) -> str:
        if self.idle:
            return "idle"
        if self._by_peer:
            return "peer"
        if self._end_reason == REPLACED:
            return "replaced"
        return "us" if self._closing else "broken"

    @property
    def is_sending(self) -> bool:
        """Whether something that goes has no answer, or something that came is not dealt with."""
        return self._held_back or self._storing > 0 or not self.session.session.settled

    def end_idle(self) -> None:
        """Nobody has used the session for long: ends it, until somebody has something to say."""
        if not self.ended:
            self.idle = True
            self._agent.host.spawn(self.session.end("idle", header=IDLE_REASON))

    def publish(self, event: events.Event) -> None:
        """Adds an event of something that belongs to this chat, such as a file."""
        self._idle_watch.touch()
        self._publish(event)

    def _finish(self) -> None:
        # SessionEnded is the last event: what is still being stored is shown before it.
        if self._over and not self._storing and not self._events.closed:
            if self._opened:
                self._publish(
                    events.SessionEnded(
                        self.peer, self.chat_id, self._end_reason, self._by_peer, self.idle
                    )
                )
            self._events.close()

    def _publish(self, event: events.Event) -> None:
        self._events.put(event)
        self._agent.publish(event)
        self._hold_if_full()

    def _hold_if_full(self) -> None:
        if not self._held_back and self._backlog() >= _HIGH_WATER and not self.ended:
            link = self.session.link
            if link is not None:
                self._held_back = True
                link.pause_reading()
                self._agent.hold_back(self)

    def let_flow(self) -> None:
        """Somebody took events: reads from the peer again when few are left."""
        if self._held_back and self._backlog() <= _LOW_WATER:
            self._held_back = False
            self._agent.let_go(self)
            if self.session.link is not None:
                self.session.link.resume_reading()

    def _backlog(self) -> int:
        # Whoever reads fastest counts: an agent's feed serves as well as the chat's own. For a
        # script that does not follow at all, nothing is held back: it may wait for receipts.
        own = self._events.weight if self._followers else None
        counts = [count for count in (own, self._agent.backlog()) if count is not None]
        return max(min(counts, default=0), self._storing_weight)

    # --- messages that come ------------------------------------------------------------------

    def _received(self, event: MessageReceived) -> None:
        message = self._codec.receive(event.content_type, event.body)
        if isinstance(message, DeliveryReceived):
            self._idle_watch.touch()
            self._report_received(message, event.message_id)
            return
        if isinstance(message, ComposingReceived):
            self.session.session.answer(event.message_id)
            self._idle_watch.overlook()
            self._peer_types(message)
            return
        self._idle_watch.touch()
        # What was typed is here, which says as much as "idle".
        self._stop_composing()
        if isinstance(message, TextReceived):
            self._text_received(message, event.message_id)
            return
        self.session.session.answer(event.message_id)
        if isinstance(message, ContentReceived):
            thread = (self.conversation_id, self.contribution_id)
            notice = Notice.of(self.peer, message, thread, self.remote_uri)
            self._agent.notifier.not_read(notice, message)
            if message.not_understood:
                message_id = message.message_id or event.message_id
                self._publish(events.NotRead(self.peer, self.chat_id, message_id, message.reason))

    def _peer_types(self, message: ComposingReceived) -> None:
        self._stop_composing()
        if message.active:
            loop = asyncio.get_running_loop()
            self._composing = loop.call_later(message.expiry, self._composing_over)
        self._publish(events.Composing(self.peer, self.chat_id, message.active))

    def _composing_over(self) -> None:
        self._composing = None
        self._publish(events.Composing(self.peer, self.chat_id, False))

    def _stop_composing(self) -> None:
        if self._composing is not None:
            self._composing.cancel()
            self._composing = None

    def _report_received(self, report: DeliveryReceived, msrp_id: str) -> None:
        """Its 200 says that the history has it: what was answered is told only once."""
        self._begin_storing(1)

        def kept() -> None:
            self._storing -= 1
            self._storing_weight -= 1
            self._answer(msrp_id)
            self.let_flow()
            self._finish()

        if not self.fates.take_report(report, kept):
            self._agent.host.spawn(self._agent.pager.note_report(self.peer, report, kept))

    def _answer(self, msrp_id: str) -> None:
        """The 200 to what has been dealt with, if the connection is still there."""
        link = self.session.link
        if link is not None and link.session.answer(msrp_id):
            link.pump_soon()

    def _begin_storing(self, weight: int) -> None:
        self._storing += 1
        self._storing_weight += weight
        if self._storing_weight >= _HIGH_WATER:
            self._hold_if_full()

    def _text_received(self, message: TextReceived, msrp_id: str) -> None:
        """Its 200 waits for the history: not every sender asks for a notification, or knows yet
        that we send any, and what it was told of as taken must not be lost."""
        message_id = message.message_id or msrp_id
        now = wall_clock()
        history = self._agent.history
        thread = (self.conversation_id, self.contribution_id)
        notice = Notice.of(self.peer, message, thread, self.remote_uri)
        if history is None:
            self.session.session.answer(msrp_id)
            is_new = self._agent.is_new(self.peer, message_id)
            if is_new:
                self._show(message, message_id, now)
            self._agent.notifier.arrived(notice, again=not is_new)
            return
        weight = 1 + (len(message.text) >> 10)
        self._begin_storing(weight)

        def stored(result: bool | DatabaseError) -> None:
            self._storing -= 1
            self._storing_weight -= weight
            self._answer(msrp_id)
            if result is True:
                self._show(message, message_id, now)
            if isinstance(result, bool):
                self._agent.notifier.arrived(notice, again=not result)
            else:
                # Not kept, so neither shown as received nor receipted: the sender may try again.
                self._publish(
                    events.Failed(
                        self.peer, self.chat_id, message_id, 0, str(result), incoming=True
                    )
                )
            self.let_flow()
            self._finish()

        history.incoming(
            self.peer,
            message_id,
            message.text,
            message.sent_at or now,
            conversation_id=self.conversation_id,
            content_type=message.content_type,
            file=attachment_of(message.file),
            notice=notice,
            done=stored,
        )

    def _show(self, message: TextReceived, message_id: str, now: datetime) -> None:
        if self._agent.intake:
            self._agent.intake -= 1
        event = events.TextReceived(
            self.peer,
            self.chat_id,
            message_id,
            message.text,
            message.sent_at,
            now,
            location=message.location,
            file=message.file,
        )
        self._publish(event)
        if message.file is not None:
            self._agent.http_files.announced(event, chat=self, vouched=True)

    def notify(self, notice: Notice, kind: int) -> bool:
        """Tells the peer what became of a message of its; False when it has to go another way."""
        link = self.session.link
        if link is None or self.ended or self._over or link.session.closed:
            return False
        if link.session.octets_waiting > _MAX_REPORTS:
            # It stays owed, if there is a history.
            return True
        report = notice.compose(self._codec, kind)
        try:
            link.session.send(report.content_type, report.body, message_id=report.message_id)
        except LocalProtocolError:
            # The session ended at this moment.
            return False
        self._notices[report.message_id] = (notice, kind)
        link.pump_soon()
        return True
