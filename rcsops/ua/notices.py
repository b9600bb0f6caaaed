"""What an agent tells the senders of what it gets: delivered, displayed (RFC 5438 §7.2)."""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rcsops.database.history import DELIVERY, DISPLAY, HistoryMessage
from rcsops.rcs import ChatCodec, ContentReceived, Outgoing, TextReceived
from rcsops.sip import Target
from rcsops.transport import wall_clock

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["DELIVERY", "DISPLAY", "Notice", "Notifier"]

logger = logging.getLogger(__name__)

# Of so many messages that nobody has seen yet the way back is known without the history.
_MAX_UNSEEN = 1000


@dataclass(frozen=True, slots=True)
class Notice:
    """What notifications about a message that came have to say, and the way that they go.

    ``address`` is the URI that reaches its sender, ``targets`` where a MESSAGE to it goes if not to
    where requests for that URI go; ``routes`` are its IMDN-Record-Routes. ``outcome`` is what a
    delivery notification says: delivered or failed.
    """

    peer: str
    message_id: str
    date_time: str
    routes: tuple[str, ...]
    wanted: int
    conversation_id: str
    contribution_id: str
    address: str
    targets: tuple[Target, ...] = ()
    outcome: str = "delivered"

    @classmethod
    def of(
        cls,
        peer: str,
        message: TextReceived | ContentReceived,
        thread: tuple[str, str],
        address: str,
        targets: tuple[Target, ...] = (),
    ) -> "Notice":
        """About ``message``; ``thread`` are its Conversation-ID and Contribution-ID.

        What is not read here has failed.
        """
        wanted = (DELIVERY if message.wants_delivery else 0) | (
            DISPLAY if message.wants_display else 0
        )
        return cls(
            peer,
            message.message_id,
            message.date_time,
            message.routes,
            wanted,
            *thread,
            address,
            targets,
            "delivered" if isinstance(message, TextReceived) else "failed",
        )

    @classmethod
    def kept(cls, entry: HistoryMessage) -> "Notice":
        """About a message of the history."""
        return cls(
            entry.peer,
            entry.message_id,
            entry.date_time,
            tuple(entry.routes.splitlines()),
            entry.wanted,
            entry.conversation_id,
            entry.contribution_id,
            entry.address or entry.peer,
        )

    def compose(self, codec: ChatCodec, kind: int) -> Outgoing:
        """The notification itself: DELIVERY or DISPLAY."""
        if kind == DELIVERY:
            return codec.delivery_report(self, wall_clock(), status=self.outcome)
        return codec.display_report(self, wall_clock())


class Notifier:
    """Sends an agent's notifications, in a session with the sender where there is one, else in a
    MESSAGE; the history knows which are still owed."""

    def __init__(self, agent: "AgentCore") -> None:
        self._agent = agent
        self._unseen: OrderedDict[tuple[str, str], Notice] = OrderedDict()

    def arrived(self, notice: Notice, *, again: bool = False) -> None:
        """A message is stored here. ``again``: it was before, so its sender has missed something
        that we told."""
        if notice.wanted & DISPLAY and self._agent.options.display_notifications and not again:
            self._unseen[notice.peer, notice.message_id] = notice
            if len(self._unseen) > _MAX_UNSEEN:
                self._unseen.popitem(last=False)
        if notice.wanted & DELIVERY:
            self.send(notice, DELIVERY)
        history = self._agent.history
        if again and notice.wanted & DISPLAY and history is not None:

            def found(entry: HistoryMessage | None) -> None:
                if entry is not None and entry.displayed_at and self._tells:
                    self.send(notice, DISPLAY)

            history.find(notice.peer, notice.message_id, found)

    def not_read(self, notice: Notice, message: ContentReceived) -> None:
        """A message is neither shown nor kept, so no receipt may say that our user has it; one that
        says that it failed goes to a sender who asks for that."""
        logger.info("a message of %s is not read: %s", notice.peer, message.reason)
        if message.wants_failure:
            self.send(notice, DELIVERY)

    def seen(self, peer: str, message_id: str) -> None:
        """Our user has seen a message of ``peer`` (its address), which may have come to an earlier
        process; told once, and only if that is not switched off."""
        notice = self._unseen.pop((peer, message_id), None)
        history = self._agent.history
        if history is None:
            if notice is not None:
                self.send(notice, DISPLAY)
            return

        owe = self._tells

        def noted(is_news: bool) -> None:
            if not (is_news and owe):
                return
            if notice is not None:
                self.send(notice, DISPLAY)
            else:
                history.find(peer, message_id, found)

        def found(entry: HistoryMessage | None) -> None:
            if entry is not None and entry.owed & DISPLAY:
                self.send(Notice.kept(entry), DISPLAY)

        history.seen(peer, message_id, owe=owe, done=noted)

    def send(self, notice: Notice, kind: int) -> None:
        """Sends a notification: DELIVERY or DISPLAY."""
        if self._agent.is_closed:
            return
        for chat in self._agent.chats:
            if chat.peer == notice.peer and chat.notify(notice, kind):
                return
        self._agent.pager.notify(notice, kind)

    def catch_up(self) -> None:
        """Sends what is owed: by an earlier process, or since the server was gone."""
        history = self._agent.history
        if history is None:
            return

        def found(entries: list[HistoryMessage]) -> None:
            for entry in entries:
                for kind in (DELIVERY, DISPLAY):
                    if entry.owed & kind and (kind == DELIVERY or self._tells):
                        self.send(Notice.kept(entry), kind)

        history.owing(found)

    def settled(self, notice: Notice, kind: int) -> None:
        """The sender, or its server, has the notification, or wants none."""
        if self._agent.history is not None:
            self._agent.history.settled(notice.peer, notice.message_id, kind)

    @property
    def _tells(self) -> bool:
        return self._agent.options.display_notifications
