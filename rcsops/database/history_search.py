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
