"""What each notice of the room means to the screen's state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rcsops.operations.chat_notices import Notice
from rcsops.tui.hearing_files import FileEar
from rcsops.tui.hearing_rows import Alert, row_of_ours
from rcsops.tui.rows import Row, message_key
from rcsops.tui.state import Conversation

__all__ = ["Ear"]

_ERRORS = frozenset({"error"})
_WARNINGS = frozenset(
    {"session-ended", "pager", "refused", "invite-cancelled", "declined", "not-read"}
)
# What is said by a mark, a line of its own, or a row that is there already.
_UNSAID = frozenset(
    {"unregistered", "waiting", "ending", "ended", "progress", "held", "dropped", "file-offering"}
)


@dataclass
class Ear(FileEar):
    """Puts notices of every kind into the state."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._queued: dict[str, datetime] = {}

    def hear(self, notice: Notice) -> None:
        """Takes one notice."""
        handler = _HANDLERS.get(notice.event)
        self._on_a_row = False
        if handler is not None:
            handler(self, notice, notice.data)
        if notice.about:
            self._said(notice)
        elif notice.event == "error":
            self.alerts.append(Alert("", "", notice.text, "error"))
        elif notice.event in ("note", "who"):
            self.alerts.append(Alert("", "", notice.text))

    # --- rows --------------------------------------------------------------------------------

    def _said(self, notice: Notice) -> None:
        """A line between the messages, for what no row shows."""
        if not notice.text or notice.event in _UNSAID or notice.event in _SHOWN_BY_ROWS:
            return
        if self._on_a_row:
            # The row of the file says it.
            return
        level = "error" if notice.event in _ERRORS else ""
        if notice.event in _WARNINGS and not notice.data.get("idle"):
            level = "warning"
        conversation = self.state.conversation(notice.about)
        row = Row(
            key=f"note:{next(self._numbers)}",
            kind="note",
            time=notice.time.astimezone(),
            text=notice.text,
            level=level,
        )
        conversation.notes.append(row)
        self._add(conversation, row)
        if level == "error" and not self.watched(conversation.peer):
            self.alerts.append(Alert(conversation.peer, conversation.name, notice.text, "error"))

    # --- messages ----------------------------------------------------------------------------

    def _message(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        at = notice.time.astimezone()
        written = _time(data.get("sent_at")) if data.get("pager") else None
        if written is not None and (at - written).total_seconds() < 5.0:
            written = None
        row = Row(
            key=message_key("in", data["message_id"]),
            kind="in",
            time=at,
            text=data["text"],
            sender=conversation.name,
            status="received",
            written=written,
            message_id=data["message_id"],
            times={"received": at},
        )
        self._came(conversation, row, data["text"])

    def _status(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        status, message_id = data["status"], data["message_id"]
        at = notice.time.astimezone()
        if status == "queued":
            self._queued_message(conversation, data, at)
            return
        self._measure(message_id, status, at)
        conversation.remember(message_id, status, str(data.get("reason") or ""), at)
        row = conversation.index.get(message_key("out", message_id))
        if row is not None and row.advance(status, str(data.get("reason") or ""), at):
            self._change(conversation, row)
        if status == "failed" and not self.watched(conversation.peer):
            self.alerts.append(Alert(conversation.peer, conversation.name, notice.text, "error"))

    def _queued_message(
        self, conversation: Conversation, data: Mapping[str, Any], at: datetime
    ) -> None:
        message_id, text = data["message_id"], data["text"]
        self._queued[message_id] = at
        self._moment(conversation, at, text, mine=True)
        key = message_key("out", message_id)
        held = conversation.index.get(key)
        if held is not None and held.advance("queued", "", at):
            self._change(conversation, held)
            return
        self._add(conversation, row_of_ours(self.state.me, key, text, "queued", at, message_id))

    def _measure(self, message_id: str, status: str, at: datetime) -> None:
        began = self._queued.pop(message_id, None)
        if began is not None and status in ("sent", "stored"):
            self.state.latency = (at - began).total_seconds()
            self.changes.lines = True

    def _held(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        message_id, at = data["message_id"], notice.time.astimezone()
        key = message_key("out", message_id)
        self._add(
            conversation, row_of_ours(self.state.me, key, data["text"], "held", at, message_id)
        )

    def _dropped(self, notice: Notice, data: Mapping[str, Any]) -> None:
        """What did not go on its way is not lost to who wrote it: it can be sent again."""
        conversation = self.state.conversation(notice.about)
        at, reason = notice.time.astimezone(), data["reason"]
        for message_id, text in zip(data["message_ids"], data["texts"], strict=True):
            if message_id is None:
                key = f"lost:{next(self._numbers)}"
                row = row_of_ours(self.state.me, key, text, "failed", at)
                row.reason = reason
                self._add(conversation, row)
                continue
            conversation.remember(message_id, "failed", reason, at)
            waited = conversation.index.get(message_key("out", message_id))
            if waited is not None and waited.advance("failed", reason, at):
                self._change(conversation, waited)

    def _composing(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        conversation.composing = bool(data["active"])
        self.changes.lines = self.changes.conversations = True

    # --- sessions and registration -----------------------------------------------------------

    def _session(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        event = notice.event
        if event == "session":
            conversation.session = "open"
            conversation.ends = f"{data['local']} <-> {data['remote']}"
            conversation.security = str(data.get("security") or "")
        elif event == "session-ended":
            conversation.session, conversation.composing = "", False
        elif event == "inviting":
            conversation.session = "calling"
        elif event == "pager":
            conversation.session = "letters"
        elif conversation.session == "calling":
            # An error while it rings: the room has said that there will be no session.
            conversation.session = ""
        if conversation.last_at is None:
            conversation.last_at = notice.time.astimezone()
        self.changes.conversations = self.changes.lines = True

    def _error(self, notice: Notice, data: Mapping[str, Any]) -> None:
        if notice.about and data.get("transfer_id"):
            reason = notice.text.rpartition(" not received: ")[2]
            self._file_ended(notice, data["transfer_id"], "failed", reason)
        elif notice.about and data.get("peer"):
            self._session(notice, data)
        elif not notice.about and self.state.registration == "registering":
            # The server has refused, and nobody tries again.
            self.state.registration = "refused"
            self.changes.lines = True

    def _invited(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        words = notice.text.partition(":")[0]
        self._moment(conversation, notice.time.astimezone(), words, mine=False)
        if data.get("waits"):
            self.alerts.append(Alert(conversation.peer, conversation.name, notice.text, loud=True))

    def _registration(self, notice: Notice, data: Mapping[str, Any]) -> None:
        state = self.state
        state.registration = {
            "registered": "registered",
            "registration-lost": "lost",
            "unregistered": "gone",
        }[notice.event]
        state.registration_words = notice.text
        if notice.event == "registration-lost":
            self.alerts.append(Alert("", "", notice.text, "warning"))
        self.changes.lines = True

    def _ending(self, _notice: Notice, _data: Mapping[str, Any]) -> None:
        self.state.leaving = True
        self.changes.lines = True


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(value).astimezone() if isinstance(value, str) else None


_Handler = Callable[[Ear, Notice, Mapping[str, Any]], None]

_HANDLERS: dict[str, _Handler] = {
    "message": Ear._message,
    "status": Ear._status,
    "held": Ear._held,
    "dropped": Ear._dropped,
    "composing": Ear._composing,
    "session": Ear._session,
    "session-ended": Ear._session,
    "inviting": Ear._session,
    "pager": Ear._session,
    "error": Ear._error,
    "invited": Ear._invited,
    "registered": Ear._registration,
    "registration-lost": Ear._registration,
    "unregistered": Ear._registration,
    "ending": Ear._ending,
    "file-offering": Ear._file_offering,
    "file-offered": Ear._file_offered,
    "file-accepted": Ear._file_accepted,
    "file-asked": Ear._file_asked,
    "declined": Ear._not_taken,
    "invite-cancelled": Ear._not_taken,
    "file-progress": Ear._file_progress,
    "file-paused": Ear._file_stands,
    "file-resumed": Ear._file_stands,
    "file-interrupted": Ear._file_stands,
    "file-sent": Ear._file_over,
    "file-uploaded": Ear._file_uploaded,
    "file-received": Ear._file_over,
    "file-failed": Ear._file_over,
}
_SHOWN_BY_ROWS = frozenset(
    {"message", "status", "file-progress", "file-sent", "file-uploaded", "file-received"}
)
