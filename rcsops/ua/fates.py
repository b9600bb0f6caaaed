"""What becomes of the messages that went in a session."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import proxy

from rcsops.errors import DeliveryError
from rcsops.rcs import DeliveryReceived
from rcsops.ua import events
from rcsops.ua.receipts import MessageStatus, Receipt, failure_of, state_of
from rcsops.ua.redelivery import Unsure

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["Fates"]

_MAX_RECEIPTS = 10_000


class Fates:
    """The receipts of a chat, and what MSRP and the peer's notifications say of them."""

    __slots__ = ("_agent", "_chat", "_reports_come", "receipts")

    def __init__(self, agent: "AgentCore", chat: "Chat") -> None:
        self.receipts: OrderedDict[str, Receipt] = OrderedDict()
        self._agent = agent
        # The chat holds this, and nothing else does: they must not hold each other.
        self._chat: Chat = proxy(chat)
        # Whether the peer's device tells what it has.
        self._reports_come = False

    def remember(self, receipt: Receipt) -> None:
        """A message goes."""
        self.receipts[receipt.message_id] = receipt
        while len(self.receipts) > _MAX_RECEIPTS:
            _, old = self.receipts.popitem(last=False)
            old.end()

    def take_report(self, report: DeliveryReceived, done: Callable[[], None] | None = None) -> bool:
        """The peer says what became of a message; False when it was not sent in this session.

        Calls ``done`` when the history has it, or does not keep it.
        """
        if report.message_id not in self.receipts:
            return False
        self._reports_come = True
        status = state_of(report)
        if status is MessageStatus.FAILED:
            self.failed(report.message_id, 0, failure_of(report), done)
            return True
        if status is not None:
            self.advance(report.message_id, status, done)
            return True
        if report.kind == "display":
            self.receipts[report.message_id].withhold()
        if done is not None:
            done()
        return True

    def advance(
        self, message_id: str, status: MessageStatus, done: Callable[[], None] | None = None
    ) -> None:
        """A message has come as far as ``status``; ``done`` as in `take_report`."""
        receipt = self.receipts.get(message_id)
        moved = receipt is not None and receipt.advance(status)
        chat, history = self._chat, self._agent.history
        if receipt is not None and history is not None:
            # Also what comes late has its time.
            history.status(chat.peer, message_id, status.value, way="session", done=done)
        elif done is not None:
            done()
        if not moved:
            return
        made = {
            MessageStatus.STORED: events.Stored,
            MessageStatus.SENT: events.Sent,
            MessageStatus.DELIVERED: events.Delivered,
            MessageStatus.DISPLAYED: events.Displayed,
        }[status]
        chat.publish(made(chat.peer, chat.chat_id, message_id))

    def failed(
        self,
        message_id: str,
        status: int,
        reason: str,
        done: Callable[[], None] | None = None,
    ) -> None:
        """A message does not get through; ``status`` is MSRP's, 0 without, ``done`` as in
        `take_report`."""
        receipt, chat = self.receipts.get(message_id), self._chat
        error = DeliveryError(reason or f"MSRP {status}", status=status)
        news = receipt is not None and receipt.fail(error)
        if news and self._agent.history is not None:
            self._agent.history.status(chat.peer, message_id, "failed", reason, done=done)
        elif done is not None:
            done()
        if not news:
            return
        chat.publish(events.Failed(chat.peer, chat.chat_id, message_id, status, reason))

    def let_go(self) -> None:
        """The session is over: what may not have arrived goes again, another way. Of what has, the
        session that replaces this one, where there is one, may still be told."""
        chat, again = self._chat, []
        heir = self._agent.successor(chat)
        receipts, self.receipts = self.receipts, OrderedDict()
        for receipt in receipts.values():
            if chat.idle and receipt.status is MessageStatus.DELIVERED:
                # The peer will see it some day, and then tells in another session or a MESSAGE.
                self._agent.pager.remember(chat.peer, receipt)
                continue
            # A peer that never says what it has may well have what it took.
            sure = receipt.has_reached(MessageStatus.SENT) and not self._reports_come
            if sure or receipt.is_final or self._agent.is_closing:
                if heir is not None and receipt.may_advance:
                    heir.fates.remember(receipt)
                else:
                    receipt.end()
            else:
                again.append(
                    Unsure(
                        chat.peer,
                        chat.remote_uri,
                        receipt,
                        receipt.written,
                        chat.conversation_id,
                    )
                )
        if again:
            self._agent.redelivery.take(again)
