"""The sessions in an agent's message history: a row for each, made at its begin, ended later.

Functions over one connection, within the caller's transaction.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from rcsops.database.schema import session

FIRST_VERSION = 4
"""The version of the history that has them."""
RINGING = "ringing"
"""An invitation that has no answer, or had none when its process was killed."""


class HistorySession(NamedTuple):
    """One session; times in Unix seconds. The columns are those of `rcsops.database.schema`."""

    peer: str
    direction: str
    chat_id: str
    began_at: float
    conversation_id: str = ""
    ended_at: float | None = None
    ended: str = ""
    reason: str = ""


def add_session(connection: Connection, entry: HistorySession) -> None:
    """A session begins, or was not to begin."""
    connection.execute(insert(session).values(**entry._asdict()))


def remove_ringing(connection: Connection, peer: str, chat_id: str, began_at: float) -> None:
    """An invitation has its answer; another process may ring with the same one."""
    connection.execute(
        delete(session).where(
            session.c.peer == peer,
            session.c.chat_id == chat_id,
            session.c.began_at == began_at,
            session.c.ended == RINGING,
            session.c.ended_at.is_(None),
        )
    )


def end_session(connection: Connection, chat_id: str, at: float, ended: str, reason: str) -> None:
    """An open session has come to its end."""
    change = update(session).where(session.c.chat_id == chat_id, session.c.ended_at.is_(None))
    change = change.where(session.c.ended != RINGING)
    connection.execute(change.values(ended_at=at, ended=ended, reason=reason))


def read_sessions(
    connection: Connection, peer: str | None, since: float | None, until: float | None
) -> Iterator[HistorySession]:
    """The sessions (with ``peer``) that began from ``since`` to before ``until``, in order."""
    query = select(*(session.c[name] for name in HistorySession._fields))
    if peer is not None:
        query = query.where(session.c.peer == peer)
    if since is not None:
        query = query.where(session.c.began_at >= since)
    if until is not None:
        query = query.where(session.c.began_at < until)
    for row in connection.execute(query.order_by(session.c.began_at, session.c.id)):
        yield HistorySession(*row)
