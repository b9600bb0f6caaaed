"""The contacts that survive a restart: the table ``location``."""

import datetime
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from rcsops.database.schema import location

_BATCH = 500  # bound parameters of one statement stay below SQLite's limit


class ContactRow(NamedTuple):
    """One row of ``location``: a contact bound to ``username@domain``.

    ``expires`` is in Unix seconds, ``last_modified`` UTC without a zone as OpenSIPS writes it,
    ``q`` 0 to 1 (-1: none given), ``contact_id`` a number that its writer chooses, never 0.
    """

    contact_id: int
    username: str
    domain: str | None
    contact: str
    expires: int
    received: str | None = None
    path: str | None = None
    q: float = -1.0
    callid: str = ""
    cseq: int = 0
    last_modified: datetime.datetime = datetime.datetime(1900, 1, 1, 0, 0, 1)
    flags: int = 0
    cflags: str | None = None
    user_agent: str = ""
    socket: str | None = None
    methods: int | None = None
    sip_instance: str | None = None
    kv_store: str | None = None
    attr: str | None = None


_COLUMNS = tuple(location.c[name] for name in ContactRow._fields)


def load_all(connection: Connection, *, now: int | None = None) -> list[ContactRow]:
    """Every contact, oldest first; with ``now`` (Unix seconds) only those that have not expired."""
    query = select(*_COLUMNS).order_by(location.c.contact_id)
    if now is not None:
        query = query.where(location.c.expires > now)
    return [ContactRow(*row) for row in connection.execute(query)]


def contacts_of(connection: Connection, username: str, domain: str) -> list[ContactRow]:
    """The contacts of one account, oldest first."""
    query = select(*_COLUMNS).where(location.c.username == username, location.c.domain == domain)
    rows = connection.execute(query.order_by(location.c.contact_id))
    return [ContactRow(*row) for row in rows]


def save(connection: Connection, rows: Sequence[ContactRow]) -> None:
    """Writes contacts, in place of those with the same ``contact_id``."""
    if not rows:
        return
    values = [row._asdict() for row in rows]
    changing = [name for name in ContactRow._fields if name != "contact_id"]
    if connection.dialect.name == "sqlite":
        upsert = sqlite_insert(location)
        connection.execute(
            upsert.on_conflict_do_update(
                index_elements=[location.c.contact_id],
                set_={name: upsert.excluded[name] for name in changing},
            ),
            values,
        )
    else:
        other = mysql_insert(location)
        connection.execute(
            other.on_duplicate_key_update({name: other.inserted[name] for name in changing}),
            values,
        )


def remove(connection: Connection, contact_ids: Iterable[int]) -> int:
    """Removes contacts by their ids; returns how many there were."""
    ids = list(contact_ids)
    removed = 0
    for start in range(0, len(ids), _BATCH):
        chosen = location.c.contact_id.in_(ids[start : start + _BATCH])
        removed += connection.execute(delete(location).where(chosen)).rowcount
    return removed


def remove_account(connection: Connection, username: str, domain: str) -> int:
    """Removes all contacts of one account; returns how many there were."""
    return connection.execute(
        delete(location).where(location.c.username == username, location.c.domain == domain)
    ).rowcount


def remove_expired(connection: Connection, now: int) -> int:
    """Removes what expired by ``now`` (Unix seconds); returns how many there were."""
    return connection.execute(delete(location).where(location.c.expires <= now)).rowcount


def last_contact_id(connection: Connection) -> int:
    """The highest ``contact_id``, 0 when there is none: where a server goes on counting."""
    return int(connection.execute(select(func.max(location.c.contact_id))).scalar() or 0)
