"""Messages that come without a session: stored, then answered, then shown (RFC 3428 §7)."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rcsops.errors import DatabaseError, RemoteProtocolError, SipParseError
from rcsops.rcs import (
    PAGER_ACCEPT,
    ChatCodec,
    ContentReceived,
    DeliveryReceived,
    TextReceived,
    read_message,
)
from rcsops.sip import Flow, Request, Response, ServerTransaction
from rcsops.transport import wall_clock
from rcsops.ua import events
from rcsops.ua.files import attachment_of
from rcsops.ua.notices import Notice

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["Inbox"]

logger = logging.getLogger(__name__)

# More than this is not taken before it is stored, or before somebody has taken what is there. The
# server keeps what we refuse, or the sender sees it.
_MAX_STORING = 1000
_MAX_WAITING = 1000
_RETRY_SECONDS = "30"
# A server hands out what it kept all at once, and not always in order: what was written so long
# ago, or comes so soon after a REGISTER, waits for its neighbours before it is shown.
_LATE = timedelta(seconds=5)
_FRESH_SECONDS = 5.0
_GATHER_SECONDS = 0.5
_GATHER_LONGEST = 2.0
_CLOSING_SECONDS = 2.0


class Inbox:
    """Takes the MESSAGE requests to an agent."""

    def __init__(self, agent: "AgentCore") -> None:
        self._agent = agent
        self._codec = ChatCodec(agent.tokens)
        self._storing = 0
        self._stored = asyncio.Event()
        self._late: list[tuple[events.TextReceived, bool]] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._gather_until = 0.0

    def receive(self, request: Request, flow: Flow) -> None:
        """A MESSAGE from outside a dialog.

        200 says that the history has it, or had it already; without a history, that it is shown.
        """
        agent = self._agent
        refuse = agent.host.refuse
        try:
            peer = agent.identity_of(request, flow)
            message = read_message(self._codec, request)
        except SipParseError as error:
            refuse(request, flow, 400, str(error))
            return
        except RemoteProtocolError as error:
            unknown = [("Accept", PAGER_ACCEPT), ("Accept-Encoding", "identity")]
            headers = unknown if error.status == 415 else []
            refuse(request, flow, error.status, error.reason, headers)
            return
        waiting = agent.backlog() or 0
        if self._storing >= _MAX_STORING or waiting + len(self._late) >= _MAX_WAITING:
            refuse(request, flow, 480, headers=[("Retry-After", _RETRY_SECONDS)])
            return
        if isinstance(message, ContentReceived):
            self._not_understood(request, peer, message, flow)
            return
        if isinstance(message, TextReceived) and not self._admit():
            refuse(request, flow, 480)
            return
        transaction = agent.host.endpoint.accept(request, flow)
        self._storing += 1
        if isinstance(message, DeliveryReceived):
            agent.host.spawn(self._report_received(transaction, peer, message, flow))
        else:
            self._text_received(transaction, peer, message, flow)

    async def close(self) -> None:
        """Waits for a moment until what has come is stored and answered, and shows it."""
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                while self._storing:
                    self._stored.clear()
                    await self._stored.wait()
        except TimeoutError:
            logger.warning("the history does not keep up with the messages that come")
        self._show_late()

    def _admit(self) -> bool:
        intake = self._agent.intake
        if intake is not None:
            if intake <= 0:
                return False
            self._agent.intake = intake - 1
        return True

    def _was_none(self) -> None:
        """What was admitted is not shown, and leaves its place to another."""
        if self._agent.intake is not None:
            self._agent.intake += 1

    # --- texts -------------------------------------------------------------------------------

    def _text_received(
        self, transaction: ServerTransaction, peer: str, message: TextReceived, flow: Flow
    ) -> None:
        agent = self._agent
        notice = self._notice(transaction.request, peer, message, flow)
        vouched = agent.is_from_server(flow)
        now = wall_clock()

        def stored(result: bool | DatabaseError) -> None:
            if isinstance(result, DatabaseError):
                self._was_none()
                self._answer(transaction, 500)
                agent.publish(
                    events.Failed(peer, "", message.message_id, 0, str(result), incoming=True)
                )
                return
            self._answer(transaction, 200)
            if result:
                self._show(peer, message, now, vouched)
                agent.pager.adopt_thread(peer, notice.conversation_id)
            else:
                self._was_none()
            agent.notifier.arrived(notice, again=not result)

        if agent.history is None:
            stored(agent.is_new(peer, message.message_id))
            return
        agent.history.incoming(
            peer,
            message.message_id,
            message.text,
            message.sent_at or now,
            conversation_id=notice.conversation_id,
            content_type=message.content_type,
            file=attachment_of(message.file),
            notice=notice,
            done=stored,
        )

    def _notice(
        self, request: Request, peer: str, message: TextReceived | ContentReceived, flow: Flow
    ) -> Notice:
        agent = self._agent
        thread = (
            request.get("Conversation-ID") or agent.tokens.uuid(),
            request.get("Contribution-ID") or agent.tokens.uuid(),
        )
        # Names lead nowhere without a server; the way that the message came does.
        direct = agent.options.server is None
        targets = (agent.host.endpoint.target_of(flow),) if direct else ()
        return Notice.of(peer, message, thread, peer, targets)

    def _not_understood(
        self, request: Request, peer: str, message: ContentReceived, flow: Flow
    ) -> None:
        """Refused, unless its sender asks for a notification: that reaches one who has left as
        well, and no server keeps what was refused."""
        agent = self._agent
        if message.wants_failure:
            tag = agent.tokens.tag()
            transaction = agent.host.endpoint.accept(request, flow)
            agent.host.endpoint.respond(transaction, Response.to_request(request, 200, to_tag=tag))
        else:
            agent.host.refuse(request, flow, 488)
        agent.notifier.not_read(self._notice(request, peer, message, flow), message)
        agent.publish(events.NotRead(peer, "", message.message_id, message.reason))

    def _answer(self, transaction: ServerTransaction, status: int) -> None:
        self._storing -= 1
        self._stored.set()
        agent = self._agent
        if agent.is_closed:
            return
        tag = agent.tokens.tag()
        response = Response.to_request(transaction.request, status, to_tag=tag)
        agent.host.endpoint.respond(transaction, response)

    def _show(self, peer: str, message: TextReceived, now: datetime, vouched: bool) -> None:
        event = events.TextReceived(
            peer,
            "",
            message.message_id,
            message.text,
            message.sent_at,
            now,
            pager=True,
            location=message.location,
            file=message.file,
        )
        loop = asyncio.get_running_loop()
        is_late = message.sent_at is not None and now - message.sent_at > _LATE
        registered = self._agent.registered_at
        is_fresh = registered > 0 and loop.time() - registered < _FRESH_SECONDS
        if not (is_late or is_fresh or self._late):
            self._publish(event, vouched)
            return
        if not self._late:
            self._gather_until = loop.time() + _GATHER_LONGEST
        self._late.append((event, vouched))
        if self._gathering is not None:
            self._gathering.cancel()
        due = min(loop.time() + _GATHER_SECONDS, self._gather_until)
        self._gathering = loop.call_at(due, self._show_late)

    def _show_late(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        late, self._late = self._late, []
        for event, vouched in sorted(late, key=lambda each: each[0].sent_at or each[0].received_at):
            self._publish(event, vouched)

    def _publish(self, event: events.TextReceived, vouched: bool) -> None:
        self._agent.publish(event)
        if event.file is not None:
            self._agent.http_files.announced(event, chat=None, vouched=vouched)

    # --- notifications -----------------------------------------------------------------------

    async def _report_received(
        self, transaction: ServerTransaction, peer: str, report: DeliveryReceived, flow: Flow
    ) -> None:
        agent = self._agent
        # Also for what is given up because the agent is closed.
        status = 500
        try:
            # A stranger beside the server could claim to be anybody.
            if agent.options.server is None or agent.is_from_server(flow):
                await agent.pager.take_report(peer, report)
            status = 200
        except DatabaseError as error:
            logger.error("a notification could not be kept: %s", error)
        finally:
            self._answer(transaction, status)
