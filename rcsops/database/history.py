"""An agent's message history: functions over one connection, within the caller's transaction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from rcsops.database.schema import attachment, message


class Attachment(NamedTuple):
    """The file that a message stands for; ``path`` is where it was read or written."""

    name: str
    path: str = ""
    size: int = 0
    sha1: str = ""


class HistoryMessage(NamedTuple):
    """One message. ``direction`` is "in" or "out", the times are Unix seconds.

    ``message_id`` is the IMDN Message-ID, which a receipt names and by which a resend is known.
    """

    peer: str
    direction: str
    message_id: str
    text: str
    status: str
    sent_at: float
    stored_at: float
    content_type: str = "text/plain"
    conversation_id: str = ""
    reason: str = ""
    attachment: Attachment | None = None
    id: int = 0


def add(connection: Connection, entry: HistoryMessage) -> int | None:
    """Stores a message and returns its number; None when it is there already (a resend)."""
    known = select(message.c.id).where(
        message.c.peer == entry.peer,
        message.c.direction == entry.direction,
        message.c.message_id == entry.message_id,
    )
    if connection.execute(known).first() is not None:
        return None
    values = entry._asdict()
    del values["attachment"], values["id"]
    result = connection.execute(insert(message).values(values))
    assert result.inserted_primary_key is not None
    number = int(result.inserted_primary_key[0])
    if entry.attachment is not None:
        connection.execute(insert(attachment).values(message=number, **entry.attachment._asdict()))
    return number


def advance(
    connection: Connection,
    message_id: str,
    status: str,
    *,
    over: Sequence[str],
    peer: str | None = None,
    reason: str = "",
) -> str | None:
    """Notes what became of a message of ours that is in one of the states ``over``.

    Returns the peer that it went to; None when it is not known, or is past that already.
    """
    query = select(message.c.id, message.c.peer).where(
        message.c.message_id == message_id,
        message.c.direction == "out",
        message.c.status.in_(over),
    )
    if peer is not None:
        query = query.where(message.c.peer == peer)
    row = connection.execute(query).first()
    if row is None:
        return None
    change = update(message).where(message.c.id == row.id)
    connection.execute(change.values(status=status, reason=reason))
    return str(row.peer)


def set_attachment_path(connection: Connection, number: int, path: str) -> bool:
    """Notes where a file went; False when message ``number`` has none."""
    change = update(attachment).where(attachment.c.message == number).values(path=path)
    return bool(connection.execute(change).rowcount)


def load(
    connection: Connection,
    *,
    peer: str | None = None,
    statuses: Sequence[str] = (),
    before: int | None = None,
    limit: int = 100,
) -> list[HistoryMessage]:
    """The last ``limit`` messages (with ``peer``; in one of ``statuses``; older than number
    ``before``), oldest first."""
    query = select(message, attachment).outerjoin(attachment)
    if peer is not None:
        query = query.where(message.c.peer == peer)
    if statuses:
        query = query.where(message.c.status.in_(statuses))
    if before is not None:
        query = query.where(message.c.id < before)
    query = query.order_by(message.c.id.desc()).limit(limit)
    return [entry_of(row) for row in reversed(connection.execute(query).mappings().all())]


def entry_of(row: Any) -> HistoryMessage:
    """The message in a row of ``message`` joined with ``attachment``."""
    fields = {name: row[message.c[name]] for name in HistoryMessage._fields if name != "attachment"}
    if row[attachment.c.message] is None:
        return HistoryMessage(**fields)
    file = Attachment(*(row[attachment.c[name]] for name in Attachment._fields))
    return HistoryMessage(**fields, attachment=file)
