"""Reading an agent's message history beside the agent that writes it: pages, searches, peers.

Functions over one connection, within the caller's transaction, that only read.
"""

import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select

from rcsops.database.history import HistoryMessage, columns, entry_of
from rcsops.database.rows import BATCH
from rcsops.database.schema import attachment, message

_HOLDS = "rcsops_holds"


class Wanted(NamedTuple):
    """Which messages: with ``peer``, with ``text`` in their text or the name of their file in
    whatever case, and stored from ``since`` to before ``until`` (Unix seconds)."""

    peer: str | None = None
    text: str = ""
    since: float | None = None
    until: float | None = None


class Place(NamedTuple):
    """A part of a conversation: messages stored before or after number ``before`` or ``after``,
    or the last of all."""

    before: int | None = None
    after: int | None = None


class Conversation(NamedTuple):
    """All messages with one peer; ``last_at`` is when the last was stored, in Unix seconds."""

    peer: str
    messages: int
    last_at: float


def count(connection: Connection, wanted: Wanted) -> int:
    """How many messages are wanted."""
    return int(connection.execute(_query(connection, wanted, func.count())).scalar_one())


def read(
    connection: Connection, wanted: Wanted, *, version: int, limit: int | None = None
) -> Iterator[HistoryMessage]:
    """The last ``limit`` of the messages that are wanted, or all, in the order they were stored;
    of a history of that ``version``."""
    query = _query(connection, wanted, *columns(version))
    if limit is None:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH)
        yield from map(entry_of, streaming.execute(query.order_by(message.c.id)).mappings())
        return
    query = query.order_by(message.c.id.desc()).limit(limit)
    yield from map(entry_of, reversed(connection.execute(query).mappings().all()))


def conversations(connection: Connection) -> list[Conversation]:
    """Everybody whom there are messages with, the one of the last message first."""
    last = func.max(message.c.id).label("last")
    each = select(message.c.peer, func.count().label("messages"), last).group_by(message.c.peer)
    of = each.subquery()
    query = select(of.c.peer, of.c.messages, message.c.stored_at).join(
        message, message.c.id == of.c.last
    )
    rows = connection.execute(query.order_by(of.c.last.desc()))
    return [Conversation(*row) for row in rows]


def page(connection: Connection, peer: str, place: Place, *, limit: int) -> list[HistoryMessage]:
    """At most ``limit`` messages with ``peer`` next to a place, in the order they were stored."""
    query = select(message, attachment).outerjoin(attachment).where(message.c.peer == peer)
    if place.after is not None:
        query = query.where(message.c.id > place.after).order_by(message.c.id)
        return [entry_of(row) for row in connection.execute(query.limit(limit)).mappings()]
    if place.before is not None:
        query = query.where(message.c.id < place.before)
    query = query.order_by(message.c.id.desc()).limit(limit)
    return [entry_of(row) for row in reversed(connection.execute(query).mappings().all())]


def number_of(connection: Connection, peer: str, direction: str, message_id: str) -> int | None:
    """The number of a message; None when it is not kept."""
    query = select(message.c.id).where(
        message.c.peer == peer,
        message.c.direction == direction,
        message.c.message_id == message_id,
    )
    found = connection.execute(query).scalar()
    return None if found is None else int(found)


def last_of_each(connection: Connection, *, limit: int) -> list[HistoryMessage]:
    """The last message with each of the ``limit`` peers who have the latest, newest first."""
    of = select(func.max(message.c.id).label("last")).group_by(message.c.peer).subquery()
    query = select(message, attachment).outerjoin(attachment)
    query = query.join(of, of.c.last == message.c.id).order_by(message.c.id.desc()).limit(limit)
    return [entry_of(row) for row in connection.execute(query).mappings()]


def newer_incoming(connection: Connection, peer: str, after: int) -> int:
    """How many messages of ``peer`` came after number ``after``."""
    query = select(func.count()).where(
        message.c.peer == peer, message.c.id > after, message.c.direction == "in"
    )
    return int(connection.execute(query).scalar_one())


def incoming_number(connection: Connection, peer: str, *, from_last: int) -> int | None:
    """The number of the ``from_last``-th last message of ``peer`` (1: the last), if any."""
    query = select(message.c.id).where(message.c.peer == peer, message.c.direction == "in")
    query = query.order_by(message.c.id.desc()).offset(from_last - 1).limit(1)
    found = connection.execute(query).scalar()
    return None if found is None else int(found)


def _query(connection: Connection, wanted: Wanted, *what: Any) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.peer is not None:
        conditions.append(message.c.peer == wanted.peer)
    if wanted.since is not None:
        conditions.append(message.c.stored_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(message.c.stored_at < wanted.until)
    if wanted.text:
        _teach(connection, wanted.text)
        holds = getattr(func, _HOLDS)
        conditions.append((holds(message.c.text) == 1) | (holds(attachment.c.name) == 1))
    return select(*what).select_from(message.outerjoin(attachment)).where(*conditions)


def _teach(connection: Connection, text: str) -> None:
    # LIKE knows the case of ASCII alone, and has wildcards.
    sought = _folded(text)

    def holds(value: object) -> bool:
        return isinstance(value, str) and sought in _folded(value)

    driver: Any = connection.connection.driver_connection
    driver.create_function(_HOLDS, 1, holds, deterministic=True)


def _folded(text: str) -> str:
    """One form for all spellings that differ in case alone (Unicode 3.13, D145)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
