"""Messages that wait for their recipient: the table ``silo``, in the shape of OpenSIPS's msilo."""

from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from rcsops.database.engine import execute
from rcsops.database.schema import silo

__all__ = ["StoredMessage", "add", "addresses", "count", "remove", "remove_expired", "waiting"]


class StoredMessage(NamedTuple):
    """A MESSAGE for ``username@domain``; ``src_addr`` and ``dst_addr`` are URIs.

    ``inc_time`` and ``exp_time`` are Unix seconds: when it came, and until when it is worth
    delivering. ``snd_time`` is OpenSIPS's own, 0 for what waits.
    """

    src_addr: str
    dst_addr: str
    username: str
    domain: str
    inc_time: int
    exp_time: int
    ctype: str
    body: bytes
    snd_time: int = 0
    id: int = 0


_COLUMNS = tuple(silo.c[name] for name in StoredMessage._fields)


_INSERT = (
    f"INSERT INTO silo ({', '.join(StoredMessage._fields[:-1])}) "  # noqa: S608
    f"VALUES ({', '.join('?' * (len(StoredMessage._fields) - 1))})"
)
_HELD = "SELECT count(*) FROM silo WHERE username = ? AND domain = ?"


def add(connection: Connection, message: StoredMessage, *, most: int) -> bool:
    """Stores a message; False when ``most`` that have not expired wait for its recipient."""
    mine = (message.username, message.domain)
    # The index alone answers this; which of them have expired only the rows themselves say.
    if execute(connection, _HELD, mine).fetchone()[0] >= most:
        valid = execute(connection, f"{_HELD} AND exp_time > ?", (*mine, message.inc_time))
        if valid.fetchone()[0] >= most:
            return False
    execute(connection, _INSERT, message[:-1])
    return True


def waiting(
    connection: Connection,
    username: str,
    domain: str,
    *,
    now: int,
    after: int = 0,
    limit: int = 20,
) -> list[StoredMessage]:
    """The messages of one account with a number above ``after``, in the order in which they
    came."""
    query = (
        select(*_COLUMNS)
        .where(silo.c.username == username, silo.c.domain == domain)
        .where(silo.c.exp_time > now, silo.c.id > after)
        .order_by(silo.c.id)
        .limit(limit)
    )
    return [StoredMessage(*row) for row in connection.execute(query)]


def addresses(connection: Connection) -> list[tuple[str, str]]:
    """Every account that messages wait for: user and domain."""
    query = select(silo.c.username, silo.c.domain).distinct()
    return [(row.username, row.domain) for row in connection.execute(query)]


def count(connection: Connection) -> int:
    """How many messages wait."""
    query = select(func.count()).select_from(silo).where(silo.c.snd_time == 0)
    return int(connection.execute(query).scalar_one())


def remove(connection: Connection, number: int) -> bool:
    """Removes a message that was delivered; False when it is gone already."""
    return bool(execute(connection, "DELETE FROM silo WHERE id = ?", (number,)).rowcount)


def remove_expired(connection: Connection, now: int) -> int:
    """Removes what is not worth delivering any more; how many there were."""
    return int(connection.execute(delete(silo).where(silo.c.exp_time <= now)).rowcount)
