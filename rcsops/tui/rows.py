"""The rows of a conversation: messages, files and what happened between them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rcsops.operations.history import HistoryMessage, local_time

__all__ = ["ORDER", "FileState", "Row", "later", "merged", "message_key", "row_of"]

ORDER = ("", "queued", "stored", "sent", "delivered", "displayed")
"""The states of a message of ours, each later than those before it; "failed" is apart."""


@dataclass(slots=True)
class FileState:
    """A file of a row. ``octets`` have got through; ``rate`` is in octets a second; ``path`` is
    where it was read, or where it is now that it came; ``pause`` says why it stands still. An offer
    that waits for the user's answer has the number ``waits_as`` of /accept, all else 0."""

    name: str
    size: int = 0
    path: Path | None = None
    octets: int = 0
    rate: float = 0.0
    moving: bool = False
    pause: str = ""
    waits_as: int = 0


@dataclass(slots=True)
class Row:
    """One row. ``kind`` is "in", "out" or "note"; ``level`` of a note "", "warning" or "error".

    ``number`` is that of the history, 0 for what is not there; ``times`` says when it came to each
    state.
    """

    key: str
    kind: str
    time: datetime
    text: str = ""
    sender: str = ""
    status: str = ""
    reason: str = ""
    level: str = ""
    written: datetime | None = None
    message_id: str = ""
    number: int = 0
    file: FileState | None = None
    times: dict[str, datetime] = field(default_factory=dict)

    @property
    def is_message(self) -> bool:
        """Whether somebody wrote or sent it."""
        return self.kind != "note"

    @property
    def lost_file(self) -> str:
        """The name of a peer's file that did not come; empty for everything else."""
        if self.kind != "in" or self.file is None or self.status != "failed":
            return ""
        return self.file.name

    def advance(self, status: str, reason: str, time: datetime) -> bool:
        """Notes a new state; False when it is none, or comes after a later one."""
        if not later(status, self.status):
            return False
        self.status = status
        self.reason = reason
        self.times.setdefault(status, time)
        return True


def later(status: str, known: str) -> bool:
    """Whether a message in the state ``known`` can come to ``status``."""
    if status == "failed":
        return known not in ("failed", "delivered", "displayed")
    if known == "failed" or status not in ORDER:
        return False
    return known not in ORDER or ORDER.index(status) > ORDER.index(known)


def message_key(direction: str, message_id: str) -> str:
    """What tells messages of one conversation apart."""
    return f"{direction}:{message_id}"


def row_of(message: HistoryMessage, sender: str) -> Row:
    """The row of a message that the history has."""
    stored = local_time(message.stored_at)
    written = local_time(message.sent_at)
    late = (stored - written).total_seconds() >= 5.0
    row = Row(
        key=message_key(message.direction, message.message_id),
        kind=message.direction,
        time=stored,
        text=message.text,
        sender=sender,
        status=message.status,
        reason=message.reason,
        written=written if late else None,
        message_id=message.message_id,
        number=message.id,
        times={state: local_time(at) for state, at in message.times.items()},
    )
    if message.attachment is not None:
        file = message.attachment
        path = Path(file.path) if file.path else None
        row.file = FileState(file.name, file.size, path)
    return row


def merged(rows: Iterable[Row], notes: Iterable[Row]) -> list[Row]:
    """Rows and notes by their time; of one time, the rows first."""
    return sorted([*rows, *notes], key=lambda row: row.time)
