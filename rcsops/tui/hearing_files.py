"""What the notices about files mean: one row for each, from its offer to its end."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcsops.operations.chat_notices import Notice
from rcsops.tui.hearing_rows import Alert, RowEar, row_of_ours
from rcsops.tui.rows import FileState, Row, message_key
from rcsops.tui.state import Conversation

__all__ = ["FileEar"]


@dataclass
class FileEar(RowEar):
    """Hears of files."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._moved: dict[str, tuple[float, int]] = {}
        self._offered: dict[str, str] = {}

    def _not_taken(self, notice: Notice, data: Mapping[str, Any]) -> None:
        """An invitation or offer is declined, or its peer has taken it back."""
        if data.get("transfer_id"):
            words = "you declined it" if notice.event == "declined" else notice.text
            self._file_ended(notice, data["transfer_id"], "declined", words)

    def _file_offering(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        transfer_id = data["transfer_id"]
        at = notice.time.astimezone()
        key = message_key("out", transfer_id)
        row = row_of_ours(self.state.me, key, "", "queued", at, transfer_id)
        path = data.get("path")
        row.file = FileState(data["name"], data["size"], Path(path) if path else None)
        conversation.moving[transfer_id] = row
        self._moment(conversation, at, data["name"], mine=True)
        self._add(conversation, row)

    def _file_offered(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        self._moment(conversation, notice.time.astimezone(), data["name"], mine=False)
        transfer_id = data["transfer_id"]
        self._offered[transfer_id] = data["name"]
        row = self._incoming_file(conversation, notice, transfer_id, int(data["size"]))
        assert row.file is not None
        row.file.waits_as = int(data.get("number") or 0)
        self._on_a_row = True
        if data.get("waits"):
            self.alerts.append(Alert(conversation.peer, conversation.name, notice.text, loud=True))

    def _file_accepted(self, notice: Notice, data: Mapping[str, Any]) -> None:
        conversation = self.state.conversation(notice.about)
        row = conversation.moving.get(data["transfer_id"])
        if row is not None and row.file is not None:
            row.file.waits_as = 0
            self._change(conversation, row)

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
        file.pause, file.waits_as = "", 0
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
            row = row_of_ours(self.state.me, key, "", "queued", at, transfer_id)
            self._add(conversation, row)
        if row.file is None:
            row.file = FileState(self._offered.get(transfer_id, "a file"), size)
        row.file.moving = True
        conversation.moving[transfer_id] = row
        return row

    def _incoming_file(
        self, conversation: Conversation, notice: Notice, transfer_id: str, size: int
    ) -> Row:
        key = f"file-in:{transfer_id}"
        row = conversation.index.get(key)
        name = self._offered.get(transfer_id) or (row.file.name if row and row.file else "a file")
        file = FileState(name, size, moving=True)
        if row is None:
            row = Row(
                key=key,
                kind="in",
                time=notice.time.astimezone(),
                sender=conversation.name,
                status="received",
                file=file,
            )
            self._add(conversation, row)
        else:
            # One that had failed comes all the same.
            if row in conversation.notes:
                conversation.notes.remove(row)
            row.status, row.reason, row.file = "received", "", file
            self._change(conversation, row)
        conversation.moving[transfer_id] = row
        return row

    def _file_ended(self, notice: Notice, transfer_id: str, status: str, reason: str) -> None:
        """An offer or file of the peer's comes to nothing: its row says so, and stays."""
        conversation = self.state.conversation(notice.about)
        row = conversation.moving.pop(transfer_id, None)
        if row is None or row.file is None:
            return
        self._offered.pop(transfer_id, None)
        self._stopped(conversation, row, status, reason)
        if status == "failed" and not self.watched(conversation.peer):
            self.alerts.append(Alert(conversation.peer, conversation.name, notice.text, "error"))

    def _stopped(self, conversation: Conversation, row: Row, status: str, reason: str) -> None:
        assert row.file is not None
        row.status, row.reason = status, reason
        row.file.moving, row.file.waits_as, row.file.pause = False, 0, ""
        if row.kind == "in" and row not in conversation.notes:
            # The history does not have it.
            conversation.notes.append(row)
        self._on_a_row = True
        self._change(conversation, row)

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
        file.name, file.moving, file.waits_as = data["name"], False, 0
        if notice.event == "file-failed":
            self._stopped(conversation, row, "failed", str(data.get("reason") or ""))
            if not self.watched(conversation.peer):
                words = notice.text
                self.alerts.append(Alert(conversation.peer, conversation.name, words, "error"))
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
