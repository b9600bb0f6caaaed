"""An agent's message history: functions over one connection, within the caller's transaction.

What happens for each message is one statement each, on the driver's own cursor: it is what bounds
how many messages an agent can take.
"""

import time
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, literal, select, update

from rcsops.database.engine import execute, savepoint
from rcsops.database.schema import FIRST_COLUMNS, attachment, message
from rcsops.rcs import fthttp

DELIVERY, DISPLAY = 1, 2
"""The bits of `HistoryMessage.wanted` and `owed`."""


class Attachment(NamedTuple):
    """The file that a message stands for; ``path`` is where it was read or written."""

    name: str
    path: str = ""
    size: int = 0
    sha1: str = ""


class HistoryMessage(NamedTuple):
    """One message. ``direction`` is "in" or "out", the times are Unix seconds.

    ``message_id`` is the IMDN Message-ID, which a receipt names and by which a resend is known.
    ``kept_at`` is when a server took it for an absent peer, ``taken_at`` when the peer's device
    did; the columns from there on are described in `rcsops.database.schema`.
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
    kept_at: float | None = None
    taken_at: float | None = None
    delivered_at: float | None = None
    displayed_at: float | None = None
    failed_at: float | None = None
    way: str = ""
    contribution_id: str = ""
    address: str = ""
    date_time: str = ""
    routes: str = ""
    wanted: int = 0
    owed: int = 0
    owner: int = 0
    attachment: Attachment | None = None
    id: int = 0

    @property
    def times(self) -> dict[str, float]:
        """When it came to each state that is known of it, the first one first."""
        first = "received" if self.direction == "in" else "queued"
        found = {first: self.stored_at}
        for state, column in TIMES.items():
            at = getattr(self, column)
            if at is not None:
                found[state] = at
        return found


TIMES = {
    "stored": "kept_at",
    "sent": "taken_at",
    "delivered": "delivered_at",
    "displayed": "displayed_at",
    "failed": "failed_at",
}
"""The column with the time of each state."""

_FIELDS = HistoryMessage._fields[:-2]
_INSERT = (
    f"INSERT INTO message ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))}) "  # noqa: S608
    "ON CONFLICT (peer, direction, message_id) DO NOTHING"
)
_OURS = "peer = ? AND direction = 'out' AND message_id = ?"
_THEIRS = "peer = ? AND direction = 'in' AND message_id = ?"


def add(connection: Connection, entry: HistoryMessage) -> int | None:
    """Stores a message and returns its number; None when it is there already (a resend)."""
    if entry.attachment is None:
        return _insert(connection, entry)
    with savepoint(connection):
        number = _insert(connection, entry)
        if number is not None:
            connection.execute(
                insert(attachment).values(message=number, **entry.attachment._asdict())
            )
    return number


def add_or_go_on(connection: Connection, entry: HistoryMessage) -> None:
    """Stores a message of ours; of one that is there, and waits, notes how it goes now."""
    if add(connection, entry) is None:
        execute(
            connection,
            "UPDATE message SET sent_at = ?, content_type = ?, conversation_id = ?, "  # noqa: S608
            f"contribution_id = ?, address = ? WHERE {_OURS} AND status = 'queued'",
            (
                entry.sent_at,
                entry.content_type,
                entry.conversation_id,
                entry.contribution_id,
                entry.address,
                entry.peer,
                entry.message_id,
            ),
        )


def _insert(connection: Connection, entry: HistoryMessage) -> int | None:
    cursor = execute(connection, _INSERT, entry[:-2])
    return int(cursor.lastrowid) if cursor.rowcount == 1 else None


def advance(
    connection: Connection,
    message_id: str,
    status: str,
    *,
    over: Sequence[str],
    peer: str | None = None,
    reason: str = "",
    way: str = "",
) -> str | None:
    """Notes what became of a message of ours that is in one of the states ``over``, and when.

    Returns the peer that it went to; None when it is not known, or is past that already: then the
    time alone is noted, if there was none. ``way`` is noted when it is given.
    """
    if peer is None:
        query = select(message.c.peer).where(
            message.c.message_id == message_id, message.c.direction == "out"
        )
        peer = connection.execute(query).scalar()
        if peer is None:
            return None
    column, now = TIMES.get(status), time.time()
    timed = f", {column} = coalesce({column}, ?)" if column else ""
    change = execute(
        connection,
        "UPDATE message SET status = ?, reason = ?, way = CASE ? WHEN '' THEN way ELSE ? END"  # noqa: S608
        f"{timed} WHERE {_OURS} AND status IN ({', '.join('?' * len(over))})",
        (status, reason, way, way, *((now,) if column else ()), peer, message_id, *over),
    )
    if change.rowcount:
        return peer
    if column and status != "failed":
        late = f"UPDATE message SET {column} = ? WHERE {_OURS} AND {column} IS NULL"  # noqa: S608
        execute(connection, late, (now, peer, message_id))
    return None


def progress(
    connection: Connection,
    peer: str,
    message_id: str,
    times: dict[str, float],
    over: Sequence[str],
    way: str = "",
) -> None:
    """Notes several states of a message of ours at once, as `advance` would one after the other.

    ``times`` says when it came to which (none of them "failed"), the furthest last, and ``over``
    are the states that this one may follow on.
    """
    at = [times.get(state) for state in _PROGRESS]
    reached = next(reversed(times))
    _cursor(connection).execute(
        _progress_statement(len(over)), (*at, reached, way, peer, message_id, *over)
    )


_PROGRESS = tuple(state for state in TIMES if state != "failed")


@cache
def _progress_statement(over: int) -> str:
    sets = [f"{TIMES[state]} = coalesce({TIMES[state]}, ?)" for state in _PROGRESS]
    # Numbered from here on: what stands on the right side is the row as it was.
    status, way, peer, message_id = range(len(sets) + 1, len(sets) + 5)
    before = ", ".join(f"?{number}" for number in range(message_id + 1, message_id + 1 + over))
    sets = [each.replace("?", f"?{number}") for number, each in enumerate(sets, 1)]
    sets += [
        f"status = CASE WHEN status IN ({before}) THEN ?{status} ELSE status END",
        f"reason = CASE WHEN status IN ({before}) THEN '' ELSE reason END",
        f"way = CASE WHEN ?{way} != '' AND status IN ({before}) THEN ?{way} ELSE way END",
    ]
    return (
        f"UPDATE message SET {', '.join(sets)} "  # noqa: S608
        f"WHERE peer = ?{peer} AND direction = 'out' AND message_id = ?{message_id}"
    )


def see(connection: Connection, peer: str, message_id: str, owe: bool) -> bool:
    """Notes that a message that came was seen; ``owe``: its sender is to be told, if it asked.

    False when it is not known, or was seen before.
    """
    change = execute(
        connection,
        "UPDATE message SET status = 'displayed', displayed_at = ?, owed = owed | (wanted & ?) "  # noqa: S608
        f"WHERE {_THEIRS} AND displayed_at IS NULL",
        (time.time(), DISPLAY if owe else 0, peer, message_id),
    )
    return bool(change.rowcount)


def find(connection: Connection, peer: str, message_id: str) -> HistoryMessage | None:
    """A message that came, without its file; None when it is not known."""
    cursor = _cursor(connection)
    query = f"SELECT {', '.join(_FIELDS)}, id FROM message WHERE {_THEIRS}"  # noqa: S608
    row = cursor.execute(query, (peer, message_id)).fetchone()
    return None if row is None else HistoryMessage(*row[:-1])._replace(id=row[-1])


_IN_HAND = "direction = 'out' AND status IN ('queued', 'sent')"


def owners(connection: Connection) -> list[int]:
    """The processes that have, or had, messages in hand that may not have arrived, or about which
    something is still to be told."""
    query = (
        f"SELECT owner FROM message WHERE {_IN_HAND} "  # noqa: S608
        "UNION SELECT owner FROM message WHERE owed != 0"
    )
    return [row[0] for row in _cursor(connection).execute(query)]


def take_over(
    connection: Connection, gone: Sequence[int], own: int, since: float
) -> list[HistoryMessage]:
    """Puts into the hands of process ``own`` what those had that are ``gone``, and returns the
    texts that may not have arrived, in their order.

    That are those that nobody took, and of those that a device took in a session, the ones to peers
    who usually say what they have. Texts stored before ``since`` (Unix seconds) are given up.
    """
    cursor = _cursor(connection)
    for number in gone:
        for which in (_IN_HAND, "owed != 0"):
            cursor.execute(
                f"UPDATE message SET owner = ? WHERE {which} AND owner = ?",  # noqa: S608
                (own, number),
            )
    # A file of a session of its own goes on otherwise; the address of one is a text.
    texts = (
        f"{_IN_HAND} AND owner = ? AND (content_type = '{fthttp.CONTENT_TYPE}' "  # noqa: S608
        "OR id NOT IN (SELECT message FROM attachment))"
    )
    cursor.execute(
        "UPDATE message SET status = 'failed', failed_at = ?, reason = 'it was not sent in time' "  # noqa: S608
        f"WHERE {texts} AND status = 'queued' AND stored_at < ?",
        (time.time(), own, since),
    )
    query = (
        f"SELECT {', '.join(_FIELDS)}, id FROM message WHERE {texts} AND stored_at >= ? AND "  # noqa: S608
        "(status = 'queued' OR way = 'session' AND kept_at IS NULL AND EXISTS (SELECT 1 FROM "
        "message AS other WHERE other.peer = message.peer AND other.direction = 'out' AND "
        "other.delivered_at IS NOT NULL)) ORDER BY id"
    )
    rows = cursor.execute(query, (own, since)).fetchall()
    return [HistoryMessage(*row[:-1])._replace(id=row[-1]) for row in rows]


def owing(connection: Connection, own: int, limit: int = 1000) -> list[HistoryMessage]:
    """The messages about which process ``own`` owes a notification, the oldest first."""
    query = f"SELECT {', '.join(_FIELDS)}, id FROM message WHERE owed != 0 AND owner = ? "  # noqa: S608
    rows = _cursor(connection).execute(f"{query} ORDER BY id LIMIT ?", (own, limit))
    return [HistoryMessage(*row[:-1])._replace(id=row[-1]) for row in rows]


def settle(connection: Connection, peer: str, message_id: str, kinds: int, at: float) -> None:
    """Notes that notifications about a message that came (DELIVERY, DISPLAY or both) are not owed
    any more; ``at`` is when its sender had that of its delivery."""
    _cursor(connection).execute(
        "UPDATE message SET owed = owed & ~?, delivered_at = coalesce(delivered_at, ?) "  # noqa: S608
        f"WHERE {_THEIRS}",
        (kinds, at if kinds & DELIVERY else None, peer, message_id),
    )


def file_arrived(connection: Connection, peer: str, message_id: str, path: str, sha1: str) -> bool:
    """Notes where the file of a message that has come is; False when that message has none."""
    number = select(message.c.id).where(
        message.c.peer == peer, message.c.direction == "in", message.c.message_id == message_id
    )
    change = update(attachment).where(attachment.c.message == number.scalar_subquery())
    return bool(connection.execute(change.values(path=path, sha1=sha1)).rowcount)


_UNANSWERED = (
    "direction = 'in' AND content_type = ? AND id IN "
    "(SELECT message FROM attachment WHERE answer = '' AND path = '')"
)


def offerers(connection: Connection) -> list[int]:
    """The processes to which a file on a content server was offered that the user has not
    answered."""
    query = f"SELECT DISTINCT owner FROM message WHERE {_UNANSWERED}"  # noqa: S608
    return [row[0] for row in _cursor(connection).execute(query, (fthttp.CONTENT_TYPE,))]


def take_offers(connection: Connection, gone: Sequence[int], own: int) -> list[HistoryMessage]:
    """Puts the offers of those that are ``gone`` into the hands of process ``own``; returns the
    messages of all that it then has, the oldest first."""
    cursor = _cursor(connection)
    for number in gone:
        cursor.execute(
            f"UPDATE message SET owner = ? WHERE {_UNANSWERED} AND owner = ?",  # noqa: S608
            (own, fthttp.CONTENT_TYPE, number),
        )
    query = f"SELECT {', '.join(_FIELDS)}, id FROM message WHERE {_UNANSWERED} AND owner = ? "  # noqa: S608
    rows = cursor.execute(f"{query} ORDER BY id", (fthttp.CONTENT_TYPE, own))
    return [HistoryMessage(*row[:-1])._replace(id=row[-1]) for row in rows]


def answer_offer(connection: Connection, peer: str, message_id: str, answer: str) -> None:
    """Notes what became of the offer of a file on a content server."""
    _cursor(connection).execute(
        "UPDATE attachment SET answer = ? WHERE message = "  # noqa: S608
        f"(SELECT id FROM message WHERE {_THEIRS})",
        (answer, peer, message_id),
    )


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


def columns(version: int) -> list[Any]:
    """What to select of ``message`` and ``attachment`` in a history of that version."""
    found: list[Any] = list(message.c)
    if version == 1:
        plain = HistoryMessage._field_defaults
        found[FIRST_COLUMNS:] = [
            literal(plain[each.name], each.type).label(each.name) for each in found[FIRST_COLUMNS:]
        ]
    return [*found, attachment.c.message, *(attachment.c[each] for each in Attachment._fields)]


def entry_of(row: Any) -> HistoryMessage:
    """The message in a row of ``message`` joined with ``attachment``."""
    fields = {name: row[name] for name in HistoryMessage._fields if name != "attachment"}
    if row[attachment.c.message.name] is None:
        return HistoryMessage(**fields)
    file = Attachment(*(row[name] for name in Attachment._fields))
    return HistoryMessage(**fields, attachment=file)


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.cursor()
