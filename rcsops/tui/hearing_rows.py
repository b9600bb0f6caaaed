"""What every notice may bring about: a row, its change, something to tell who looks elsewhere."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from rcsops.tui.rows import Row
from rcsops.tui.state import Changes, ChatState, Conversation

__all__ = ["Alert", "RowEar", "row_of_ours"]


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person who looks elsewhere wants to know; ``loud``: worth a bell."""

    peer: str
    title: str
    body: str
    severity: Literal["information", "warning", "error"] = "information"
    loud: bool = False


@dataclass
class RowEar:
    """What notices bring about in ``state``: ``changes`` and ``alerts`` gather until `take`,
    ``seen`` the ids of messages that came before somebody's eyes. ``watched`` says whether a person
    looks at the end of a conversation now.
    """

    state: ChatState
    watched: Callable[[str], bool]
    changes: Changes = field(default_factory=Changes)
    alerts: list[Alert] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._on_a_row = False

    def take(self) -> tuple[Changes, list[Alert]]:
        """What has been gathered."""
        taken = self.changes, self.alerts
        self.changes, self.alerts = Changes(), []
        return taken

    def _add(self, conversation: Conversation, row: Row) -> None:
        shown = conversation.peer == self.state.current
        watched = not shown or self.watched(conversation.peer)
        if conversation.append(row, watched=watched) and shown:
            self.changes.appended.append(row)
        if conversation.pruned:
            self.changes.pruned += conversation.pruned if shown else 0
            conversation.pruned = 0

    def _change(self, conversation: Conversation, row: Row) -> None:
        if conversation.peer == self.state.current and row.key in conversation.index:
            self.changes.changed.append(row)

    def _moment(
        self, conversation: Conversation, at: datetime, preview: str, *, mine: bool
    ) -> None:
        conversation.last_at = at
        conversation.preview = preview
        conversation.preview_mine = mine
        self.changes.conversations = True

    def _came(self, conversation: Conversation, row: Row, preview: str) -> None:
        """Something of the peer's, which may have been read with a page already."""
        conversation.composing = False
        self._moment(conversation, row.time, preview, mine=False)
        if self.watched(conversation.peer):
            self.seen.append(row.message_id)
        else:
            if not conversation.unread or not conversation.first_unread:
                conversation.first_unread = row.key
            conversation.unread += 1
            self.alerts.append(Alert(conversation.peer, conversation.name, preview, loud=True))
        self._add(conversation, row)
        self.changes.lines = True


def row_of_ours(
    sender: str, key: str, text: str, status: str, at: datetime, message_id: str = ""
) -> Row:
    """A row of a message or file of ours; ``sender`` is our name."""
    return Row(
        key=key,
        kind="out",
        time=at,
        text=text,
        sender=sender,
        status=status,
        message_id=message_id,
        times={"queued": at},
    )
