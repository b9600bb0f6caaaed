"""What each notice of the room means to the screen's state."""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rcsops.operations.chat_notices import Notice
from rcsops.tui.rows import FileState, Row, message_key
from rcsops.tui.state import Changes, ChatState, Conversation

__all__ = ["Alert", "Ear"]

_ERRORS = frozenset({"error"})
_WARNINGS = frozenset({"session-ended", "pager", "refused", "invite-cancelled", "declined"})
# What is said by a mark, a line of its own, or a row that is there already.
_UNSAID = frozenset(
    {"unregistered", "waiting", "ending", "ended", "progress", "held", "dropped", "file-offering"}
)


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person who looks elsewhere wants to know; ``loud``: worth a bell."""

    peer: str
    title: str
    body: str
    severity: Literal["information", "warning", "error"] = "information"
    loud: bool = False


@dataclass
class Ear:
    """Puts notices into ``state``; ``changes`` and ``alerts`` gather what they bring about until
    `take`, ``seen`` the ids of messages that came before somebody's eyes. ``watched`` says whether
    a person looks at the end of a conversation now.
    """

    state: ChatState
    watched: Callable[[str], bool]
    changes: Changes = field(default_factory=Changes)
    alerts: list[Alert] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._queued: dict[str, datetime] = {}
        self._moved: dict[str, tuple[float, int]] = {}
        self._offered: dict[str, str] = {}

    def take(self) -> tuple[Changes, list[Alert]]:
        """What has been gathered."""
        taken = self.changes, self.alerts
        self.changes, self.alerts = Changes(), []
        return taken

    def hear(self, notice: Notice) -> None:
        """Takes one notice."""
        handler = _HANDLERS.get(notice.event)
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
        if notice.event == "file-offered" and not notice.data.get("waits"):
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

    def _came(self, conversation: Conversation, row: Row, preview: str) -> None:
        """Something of the peer's, which may have been read with a page already."""
        conversation.composing_at = 0.0
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
        held = next(
            (row for row in conversation.rows or () if _waits(row) and row.text == text),
            None,
        )
        if held is not None and key not in conversation.index:
            conversation.rename(held, key)
            held.status, held.message_id = "queued", message_id
            self._change(conversation, held)
            return
        self._add(conversation, _out(self.state.me, key, text, "queued", at, message_id))

    def _measure(self, message_id: str, status: str, at: datetime) -> None:
        began = self._queued.pop(message_id, None)
        if began is not None and status in ("sent", "stored"):
            self.state.latency = (at - began).total_seconds()
            self.changes.lines = True

    def _held(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        key = f"held:{next(self._numbers)}"
        at = notice.time.astimezone()
        self._add(conversation, _out(self.state.me, key, data["text"], "held", at))

    def _dropped(self, notice: Notice, data: Mapping[str, Any]) -> None:
        """What did not go on its way is not lost to who wrote it: it can be sent again."""
        conversation = self.state.conversation(notice.about)
        at = notice.time.astimezone()
        for text in data["texts"]:
            row = next(
                (each for each in conversation.rows or () if _waits(each) and each.text == text),
                None,
            )
            if row is None:
                key = f"lost:{next(self._numbers)}"
                row = _out(self.state.me, key, text, "failed", at)
                row.reason = data["reason"]
                self._add(conversation, row)
            else:
                row.status, row.reason = "failed", data["reason"]
                self._change(conversation, row)

    def _composing(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        conversation.composing_at = time.monotonic() if data["active"] else 0.0
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
            conversation.session, conversation.composing_at = "", 0.0
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
        if notice.about and data.get("peer"):
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

    # --- files -------------------------------------------------------------------------------

    def _file_offering(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        transfer_id = data["transfer_id"]
        at = notice.time.astimezone()
        key = message_key("out", transfer_id)
        row = _out(self.state.me, key, "", "queued", at, transfer_id)
        row.file = FileState(data["name"], data["size"])
        conversation.moving[transfer_id] = row
        self._moment(conversation, at, data["name"], mine=True)
        self._add(conversation, row)

    def _file_offered(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        self._moment(conversation, notice.time.astimezone(), data["name"], mine=False)
        self._offered[data["transfer_id"]] = data["name"]
        if data.get("waits"):
            self.alerts.append(Alert(conversation.peer, conversation.name, notice.text, loud=True))

    def _file_asked(self, _notice: Notice, data: Mapping[str, Any]) -> None:
        self._offered[data["transfer_id"]] = data["wanted"]

    def _file_progress(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        transfer_id = data["transfer_id"]
        row = conversation.moving.get(transfer_id)
        if row is None:
            row = self._moving_file(conversation, notice, data)
        file = row.file
        assert file is not None
        now, octets = time.monotonic(), int(data["octets"])
        since, before = self._moved.setdefault(transfer_id, (now, octets))
        if now - since >= 0.5:
            file.rate = (octets - before) / (now - since)
            self._moved[transfer_id] = (now, octets)
        file.octets, file.size, file.moving = octets, int(data["total"]), octets < data["total"]
        file.pause = ""
        self._change(conversation, row)

    def _file_stands(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        row = conversation.moving.get(data["transfer_id"])
        if row is None:
            self._offered[data["transfer_id"]] = data["name"]
            if "incoming" not in data or "total" not in data:
                return
            row = self._moving_file(conversation, notice, data)
        if row.file is None:
            return
        row.file.octets = int(data.get("octets") or row.file.octets)
        row.file.rate = 0.0
        row.file.pause = {"file-paused": "paused", "file-interrupted": "interrupted"}.get(
            notice.event, ""
        )
        self._change(conversation, row)

    def _moving_file(
        self, conversation: Conversation, notice: Notice, data: Mapping[str, Any]
    ) -> Row:
        """The row of a file of which no offer was told: one of an earlier time goes on."""
        transfer_id, size = data["transfer_id"], int(data["total"])
        if data["incoming"]:
            return self._incoming_file(conversation, notice, transfer_id, size)
        key = message_key("out", transfer_id)
        row = conversation.index.get(key)
        if row is None:
            at = notice.time.astimezone()
            row = _out(self.state.me, key, "", "queued", at, transfer_id)
            self._add(conversation, row)
        if row.file is None:
            row.file = FileState(self._offered.get(transfer_id, "a file"), size)
        row.file.moving = True
        conversation.moving[transfer_id] = row
        return row

    def _incoming_file(
        self, conversation: Conversation, notice: Notice, transfer_id: str, size: int
    ) -> Row:
        row = Row(
            key=f"file-in:{transfer_id}",
            kind="in",
            time=notice.time.astimezone(),
            sender=conversation.name,
            status="received",
            file=FileState(self._offered.get(transfer_id, "a file"), size, moving=True),
        )
        conversation.moving[transfer_id] = row
        self._add(conversation, row)
        return row

    def _file_over(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        transfer_id = data["transfer_id"]
        self._moved.pop(transfer_id, None)
        self._offered.pop(transfer_id, None)
        row = conversation.moving.pop(transfer_id, None)
        incoming = notice.event == "file-received" or bool(data.get("incoming"))
        at = notice.time.astimezone()
        new = row is None
        if row is None and incoming:
            row = self._incoming_file(conversation, notice, transfer_id, int(data.get("size") or 0))
            conversation.moving.pop(transfer_id, None)
        elif row is None:
            row = conversation.index.get(message_key("out", transfer_id))
        if row is None or row.file is None:
            return
        file = row.file
        file.name, file.moving = data["name"], False
        if notice.event == "file-failed":
            row.status, row.reason = "failed", str(data.get("reason") or "")
        else:
            file.size = file.octets = int(data["size"])
            if incoming:
                file.path = Path(data["path"])
                self._file_came(conversation, row, new=new)
            else:
                row.advance("delivered", "", at)
        self._change(conversation, row)

    def _file_uploaded(self, notice: Notice, data: Mapping[str, Any]) -> None:
        """The peer is told where to fetch it: from now on the row is that of the message."""
        conversation = self.state.conversation(notice.about)
        row = conversation.moving.pop(data["transfer_id"], None)
        self._moved.pop(data["transfer_id"], None)
        if row is None or row.file is None:
            return
        row.file.octets, row.file.moving = row.file.size, False
        conversation.index.pop(row.key, None)
        row.message_id = data["message_id"]
        row.key = message_key("out", row.message_id)
        conversation.index[row.key] = row
        row.advance("sent", "", notice.time.astimezone())
        self._change(conversation, row)

    def _file_came(self, conversation: Conversation, row: Row, *, new: bool) -> None:
        assert row.file is not None
        self._came(conversation, row, row.file.name)
        twin = next(
            (
                each
                for each in conversation.rows or ()
                if each is not row and each.file is not None and each.file.path == row.file.path
            ),
            None,
        )
        if twin is not None and conversation.rows is not None and row in conversation.rows:
            # It was read with a page of the history meanwhile.
            conversation.rows.remove(row)
            conversation.index.pop(row.key, None)
            self.changes.removed = True


def _out(sender: str, key: str, text: str, status: str, at: datetime, message_id: str = "") -> Row:
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


def _waits(row: Row) -> bool:
    return row.status == "held"


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
    "file-asked": Ear._file_asked,
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
