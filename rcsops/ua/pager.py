"""Messages that leave without a session, each in a SIP MESSAGE: pager mode (RFC 3428)."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rcsops.errors import AgentError, DatabaseError, DeliveryError, RcsopsError, UsageError
from rcsops.rcs import (
    MAX_REQUEST,
    ChatCodec,
    DeliveryReceived,
    FileInfo,
    Location,
    Outgoing,
    fthttp,
    geolocation,
    pager_excess,
    write_message,
)
from rcsops.sip import Request, Response, Target, Uri
from rcsops.transport import wall_clock
from rcsops.transport.requester import send
from rcsops.ua import events
from rcsops.ua.notices import Notice
from rcsops.ua.receipts import MessageStatus, Receipt, failure_of, state_of, states_before
from rcsops.ua.redelivery import Unsure, compose_again

if TYPE_CHECKING:
    from rcsops.database.history import Attachment
    from rcsops.ua.core import AgentCore

__all__ = ["Pager"]

logger = logging.getLogger(__name__)

_MAX_RECEIPTS = 10_000
_MAX_THREADS = 1000
# Reports that wait for a peer or server which answers slowly; beyond that no more are made.
_MAX_REPORTS = 1000
# A notification that is refused so may be taken another time.
_NOT_NOW = frozenset({408, 480, 486, 500, 503, 504})
# How long an agent that is closed lets what is under way finish.
_CLOSING_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Letter:
    """A MESSAGE to ``uri`` that waits for its turn: a text with its receipt, or a notification.

    Without ``targets`` it goes where requests for that URI go. ``again``, of one that goes again,
    is told whether it needs no further try.
    """

    uri: Uri
    request: Request
    targets: Sequence[Target]
    receipt: Receipt | None = None
    notice: tuple[Notice, int] | None = None
    conversation_id: str = ""
    again: "asyncio.Future[bool] | None" = None


class Pager:
    """Sends an agent's messages and notifications outside of sessions, and keeps their receipts.

    To one peer there is one MESSAGE at a time (RFC 3428 §8), so they arrive in order.
    """

    def __init__(self, agent: "AgentCore") -> None:
        self._agent = agent
        self._codec = ChatCodec(agent.tokens)
        self._queues: dict[str, deque[_Letter]] = {}
        self._receipts: OrderedDict[str, tuple[str, Receipt]] = OrderedDict()
        self._threads: OrderedDict[str, str] = OrderedDict()
        self._reports = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def send(
        self,
        uri: Uri,
        text: str | Location | FileInfo,
        *,
        conversation_id: str | None,
        message_id: str | None,
        large: bool = False,
        file: "Attachment | None" = None,
    ) -> Receipt:
        """Sends a text, a place, or where a ``file`` is; see ``Agent.send_message``,
        ``Agent.send_location`` and ``Agent.send_file_http``."""
        agent, peer = self._agent, uri.aor
        now = wall_clock()
        content_type = ""
        info = text if isinstance(text, FileInfo) else None
        if isinstance(text, Location):
            content_type = geolocation.CONTENT_TYPE
            message = self._codec.compose_location(
                text, now, entity=agent.aor, message_id=message_id
            )
            text = text.text
        elif isinstance(text, FileInfo):
            content_type = fthttp.CONTENT_TYPE
            message = self._codec.compose_file(text, now, message_id=message_id)
            text = text.text
        else:
            message = self._codec.compose_text(text, now, message_id=message_id)
        conversation_id = conversation_id or self._threads.get(peer) or agent.tokens.uuid()
        request = self._request(uri, message, conversation_id, agent.tokens.uuid())
        targets = await agent.targets_for(uri)
        most = self._most(targets) if large else MAX_REQUEST
        too_many = pager_excess(request, body_alone=bool(content_type), most=most)
        if too_many:
            raise DeliveryError(
                f"the text is {too_many} octets too long for a message without a session",
                hint="invite the peer: a session takes texts of any length",
            )
        receipt = Receipt(message.message_id, text, now, info)
        if agent.history is not None:
            await agent.history.outgoing(
                peer,
                message.message_id,
                text,
                now,
                conversation_id=conversation_id,
                address=str(uri),
                content_type=content_type,
                file=file,
            )
        self.adopt_thread(peer, conversation_id)
        self.remember(peer, receipt)
        if agent.is_resending(peer):
            agent.redelivery.take([Unsure(peer, str(uri), receipt, now, conversation_id)])
            agent.redelivery.go()
        else:
            self._post(
                peer, _Letter(uri, request, targets, receipt, conversation_id=conversation_id)
            )
        return receipt

    async def resend(self, uri: Uri, message: Unsure, *, large: bool = False) -> bool:
        """Sends a text again; whether it needs no further try.

        Raises DeliveryError when it is too long for pager mode.
        """
        receipt = message.receipt
        body = compose_again(self._codec, message)
        tokens = self._agent.tokens
        conversation_id = message.conversation_id or tokens.uuid()
        request = self._request(uri, body, conversation_id, tokens.uuid())
        most = self._most(await self._agent.targets_for(uri)) if large else MAX_REQUEST
        if pager_excess(request, body_alone=receipt.file is not None, most=most):
            raise DeliveryError("too long for a message without a session")
        again: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._post(message.peer, _Letter(uri, request, (), receipt, again=again))
        return await again

    def notify(self, notice: Notice, kind: int) -> None:
        """Tells the sender of a message that it is stored here (DELIVERY) or seen (DISPLAY)."""
        agent = self._agent
        if self._reports >= _MAX_REPORTS:
            return
        try:
            uri = agent.peer_uri(notice.address)
        except UsageError:
            # What named itself so can be told nothing.
            agent.notifier.settled(notice, kind)
            return
        self._reports += 1
        report = notice.compose(self._codec, kind)
        request = self._request(uri, report, notice.conversation_id, notice.contribution_id)
        self._post(uri.aor, _Letter(uri, request, notice.targets, notice=(notice, kind)))

    def adopt_thread(self, peer: str, conversation_id: str) -> None:
        """The thread with a peer has this Conversation-ID from now on."""
        self._threads[peer] = conversation_id
        self._threads.move_to_end(peer)
        if len(self._threads) > _MAX_THREADS:
            self._threads.popitem(last=False)

    async def close(self) -> None:
        """Lets what is under way finish, for a moment; then nothing more will be known."""
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            logger.info("messages were still on their way when the agent was closed")
        for _, receipt in self._receipts.values():
            receipt.end()

    # --- on the way --------------------------------------------------------------------------

    def _request(
        self, uri: Uri, message: Outgoing, conversation_id: str, contribution_id: str
    ) -> Request:
        request = self._agent.create_request("MESSAGE", uri)
        write_message(
            request,
            message,
            conversation_id=conversation_id,
            contribution_id=contribution_id,
        )
        return request

    def _most(self, targets: Sequence[Target]) -> int:
        """How large the request of a long text may be that goes there.

        A stream is safe from congestion (RFC 3428 §8). What the hops behind it are, the server
        knows, which takes or refuses it.
        """
        if all(each.flow.reliable for each in targets):
            return max(MAX_REQUEST, self._agent.options.max_pager_size)
        return MAX_REQUEST

    def _post(self, peer: str, letter: _Letter) -> None:
        queue = self._queues.get(peer)
        if queue is not None:
            queue.append(letter)
            return
        self._queues[peer] = deque([letter])
        self._idle.clear()
        self._agent.host.spawn(self._work(peer))

    async def _work(self, peer: str) -> None:
        queue = self._queues[peer]
        try:
            while queue:
                letter = queue.popleft()
                if letter.receipt is None:
                    self._reports -= 1
                await self._deliver(peer, letter)
        finally:
            del self._queues[peer]
            if not self._queues:
                self._idle.set()

    async def _deliver(self, peer: str, letter: _Letter) -> None:
        agent, receipt = self._agent, letter.receipt
        response: Response | None = None
        failure = DeliveryError("")
        try:
            targets = letter.targets or await agent.targets_for(letter.uri)
            response = await send(agent.host.endpoint, letter.request, targets, digest=agent.digest)
        except RcsopsError as error:
            failure = DeliveryError(str(error))
        if letter.notice is not None:
            self._notified(peer, letter.notice, response, failure)
        if receipt is None:
            return
        if response is not None and response.status < 300:
            stored = response.status == 202
            self._advance(peer, receipt, MessageStatus.STORED if stored else MessageStatus.SENT)
        elif agent.is_registering and (response is None or response.status == 503):
            # The server is gone, or does not keep up. It is to come back.
            self._later(peer, letter)
            return
        else:
            self.fail(peer, receipt, failure if response is None else _refusal(response))
        if letter.again is not None and not letter.again.done():
            letter.again.set_result(True)

    def _notified(
        self, peer: str, notice: tuple[Notice, int], response: Response | None, error: DeliveryError
    ) -> None:
        if response is None:
            logger.info("a notification to %s did not get through: %s", peer, error)
            return
        if response.status >= 300:
            logger.info("a notification to %s was refused: %d", peer, response.status)
        if response.status not in _NOT_NOW:
            self._agent.notifier.settled(*notice)

    def _later(self, peer: str, letter: _Letter) -> None:
        """A letter waits for another time, and those behind it wait with it."""
        if letter.again is not None:
            if not letter.again.done():
                letter.again.set_result(False)
            return
        queue = self._queues[peer]
        texts = [letter, *(each for each in queue if each.receipt is not None)]
        notices = [each for each in queue if each.receipt is None]
        queue.clear()
        queue.extend(notices)
        self._agent.redelivery.take(
            [
                Unsure(peer, str(each.uri), receipt, receipt.written, each.conversation_id)
                for each in texts
                if (receipt := each.receipt) is not None
            ],
            first=True,
        )

    # --- what becomes of them ----------------------------------------------------------------

    async def take_report(self, peer: str, report: DeliveryReceived) -> None:
        """A peer says what became of a message of ours, in this process or an earlier one.

        It is on the disk when this returns. What is said of messages that did not go to ``peer``
        counts for nothing. Raises DatabaseError.
        """
        status = state_of(report)
        agent, message_id = self._agent, report.message_id
        # Without a server nobody vouches for names; who knows the id has had the message.
        anybody = agent.options.server is None
        for chat in agent.chats:
            if (anybody or chat.peer == peer) and chat.fates.take_report(report):
                break
        if status is None:
            known = self._receipts.get(message_id)
            if report.kind == "display" and known is not None and (anybody or known[0] == peer):
                known[1].withhold()
            return
        reason = failure_of(report)
        went_to: str | None = None
        if agent.history is not None:
            over = states_before(status)
            if status is not MessageStatus.FAILED:
                # It was given up here and has arrived all the same.
                over = (*over, MessageStatus.FAILED)
            went_to = await agent.history.advance(
                message_id,
                status.value,
                over=over,
                peer=None if anybody else peer,
                reason=reason,
            )
        known = self._receipts.get(message_id)
        if known is not None and (anybody or known[0] == peer):
            moved = (
                known[1].fail(DeliveryError(reason))
                if status is MessageStatus.FAILED
                else known[1].advance(status)
            )
            went_to = known[0] if moved else went_to
        if went_to is not None:
            self._publish(went_to, message_id, status, 0, reason)

    async def note_report(
        self, peer: str, report: DeliveryReceived, done: Callable[[], None]
    ) -> None:
        """The same; calls ``done`` when it is on the disk or cannot be, which the log then says, or
        when it is given up because the agent ends."""
        try:
            await self.take_report(peer, report)
        except DatabaseError as error:
            logger.error("a notification could not be kept: %s", error)
        finally:
            done()

    def remember(self, peer: str, receipt: Receipt) -> None:
        """Follows what becomes of a message."""
        self._receipts[receipt.message_id] = (peer, receipt)
        while len(self._receipts) > _MAX_RECEIPTS:
            _, (_, old) = self._receipts.popitem(last=False)
            old.end()

    def _advance(self, peer: str, receipt: Receipt, status: MessageStatus) -> None:
        if self._agent.history is not None:
            self._agent.history.status(peer, receipt.message_id, status.value, way="message")
        # The notification may have been faster than the answer.
        if receipt.advance(status):
            self._publish(peer, receipt.message_id, status)

    def fail(self, peer: str, receipt: Receipt, error: AgentError) -> None:
        """A message of ours does not get through."""
        if receipt.fail(error):
            if self._agent.history is not None:
                self._agent.history.status(peer, receipt.message_id, "failed", str(error))
            self._publish(peer, receipt.message_id, MessageStatus.FAILED, error.status, str(error))

    def _publish(
        self, peer: str, message_id: str, status: MessageStatus, code: int = 0, reason: str = ""
    ) -> None:
        event: events.Event
        if status is MessageStatus.FAILED:
            event = events.Failed(peer, "", message_id, code, reason)
        else:
            event = _EVENTS[status](peer, "", message_id)
        self._agent.publish(event)


_EVENTS = {
    MessageStatus.STORED: events.Stored,
    MessageStatus.SENT: events.Sent,
    MessageStatus.DELIVERED: events.Delivered,
    MessageStatus.DISPLAYED: events.Displayed,
}


def _refusal(response: Response) -> DeliveryError:
    explained = {
        403: "the server does not allow it",
        404: "there is no such user",
        405: "the peer takes no messages without a session",
        413: "it is too large for the peer",
        415: "the peer does not take this kind of message",
        480: "the user is not there, and the server keeps no messages",
        486: "the server keeps no more messages for this user",
        513: "it is too large for the server",
    }.get(response.status)
    text = f"{response.status} {response.reason}".strip()
    return DeliveryError(f"{explained} ({text})" if explained else text, status=response.status)
