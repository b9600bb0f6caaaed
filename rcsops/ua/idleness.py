"""Ending a chat's session that nobody uses (the idle time-out of RCC.07's chats)."""

import asyncio
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import proxy

from rcsops.ua.file_transfer import TransferStatus
from rcsops.ua.receipts import Receipt

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["IDLE_REASON", "IdleWatch", "means_idle"]

# "Call completed" with 200 says that somebody wanted it to end, which here nobody did.
IDLE_REASON = 'SIP;cause=408;text="Session idle"'
_IDLE_WORDS = re.compile(r"\b(idle|inactiv)", re.IGNORECASE)
# How often a session that is in use is looked at again, at least.
_LOOK_SECONDS = 5.0
# For so long the delivery notification of a message is worth waiting for: some peers send none.
_RECEIPT_SECONDS = 30.0
_UNDER_WAY = frozenset({TransferStatus.OFFERED, TransferStatus.RUNNING, TransferStatus.PAUSED})


def means_idle(reason: str) -> bool:
    """Whether the text of a BYE's Reason header says that the session was idle."""
    return _IDLE_WORDS.search(reason) is not None


class IdleWatch:
    """Calls ``chat.end_idle`` when nothing has gone either way for ``seconds``, and nothing is
    under way: no message without its answer or receipt, no file, none that is offered.

    That somebody types (RFC 3994) is not use of a session."""

    __slots__ = ("_agent", "_chat", "_seconds", "_timer", "_touched")

    def __init__(self, agent: "AgentCore", chat: "Chat", seconds: float) -> None:
        self._agent = agent
        # The chat holds this, and nothing else does: they must not hold each other.
        self._chat: Chat = proxy(chat)
        self._seconds = seconds
        self._touched = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The session is open."""
        if self._seconds > 0:
            self.touch()
            self._look_in(self._seconds)

    def stop(self) -> None:
        """It is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def touch(self) -> None:
        """The session is used: a message or receipt is through, or something beside it happens."""
        self._touched = asyncio.get_running_loop().time()

    def overlook(self) -> None:
        """What last went through the session does not count."""
        self._chat.session.session.last_content_at = self._touched

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        chat = self._chat
        now = asyncio.get_running_loop().time()
        if self._has_file():
            self._touched = now
        last = max(self._touched, chat.session.session.last_content_at or 0.0)
        left = last + self._seconds - now
        if left > 0:
            self._look_in(left)
        elif chat.is_sending or self._lacks_receipt(chat.fates.receipts.values(), now - last):
            self._look_in(min(self._seconds, _LOOK_SECONDS))
        else:
            self._timer = None
            chat.end_idle()

    def _has_file(self) -> bool:
        peer, agent = self._chat.peer, self._agent
        under_way = (each for each in agent.files.transfers if each.peer == peer)
        return any(
            each.status in _UNDER_WAY or (each.paused and not each.over) for each in under_way
        ) or any(each.peer == peer for each in agent.invitations)

    def _lacks_receipt(self, receipts: Iterable[Receipt], quiet: float) -> bool:
        late = quiet >= self._seconds + _RECEIPT_SECONDS
        return not late and any(not receipt.is_final for receipt in receipts)
