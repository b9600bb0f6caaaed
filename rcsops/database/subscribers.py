"""The accounts: the table ``subscriber``, which holds three HA1 values and never a password."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, case, delete, func, insert, select, update
from sqlalchemy.sql import Select

from rcsops.database.schema import subscriber
from rcsops.errors import DatabaseError

COLUMNS: Final[Mapping[str, str]] = {
    "MD5": "ha1",
    "SHA-256": "ha1_sha256",
    "SHA-512-256": "ha1_sha512t256",
}
"""Digest algorithm (RFC 7616, RFC 8760) -> the column of its HA1."""

SORT_KEYS: Final = ("name", "domain", "id")


class Subscriber(NamedTuple):
    """One account. ``ha1`` maps an algorithm to HA1; an algorithm that it lacks is left out."""

    username: str
    domain: str
    ha1: Mapping[str, str]

    @property
    def aor(self) -> str:
        """``user@domain``."""
        return f"{self.username}@{self.domain}"


_FIELDS = (
    subscriber.c.username,
    subscriber.c.domain,
    *(subscriber.c[column] for column in COLUMNS.values()),
)


def _subscriber(row: Sequence[str]) -> Subscriber:
    username, domain, *hashes = row
    return Subscriber(
        username,
        domain,
        {name: value for name, value in zip(COLUMNS, hashes, strict=True) if value},
    )


class Subscribers:
    """The accounts as seen through one connection, within the caller's transaction.

    User names compare byte for byte (RFC 3261 §19.1.4), domains are in lower case.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, username: str, domain: str, ha1: Mapping[str, str]) -> None:
        """Adds an account; raises `DatabaseError` when it is there already."""
        if self.get(username, domain) is not None:
            raise already_there(username, domain)
        self._connection.execute(
            insert(subscriber).values(username=username, domain=domain, password="", **_hashes(ha1))
        )

    def get(self, username: str, domain: str) -> Subscriber | None:
        """The account, or None."""
        row = self._connection.execute(
            select(*_FIELDS).where(subscriber.c.username == username, subscriber.c.domain == domain)
        ).first()
        return None if row is None else _subscriber(row)

    def list(
        self,
        *,
        pattern: str = "",
        domain: str = "",
        lacking: str = "",
        sort: str = "name",
        reverse: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Subscriber]:
        """Accounts in order. ``pattern`` is part of the name, with ``*`` and ``?`` a pattern for
        all of it; ``lacking`` an algorithm whose hash is missing; ``sort`` one of `SORT_KEYS`."""
        columns = {
            "name": (subscriber.c.username, subscriber.c.domain),
            "domain": (subscriber.c.domain, subscriber.c.username),
            "id": (subscriber.c.id,),
        }[sort]
        query = _filtered(select(*_FIELDS), pattern, domain, lacking)
        query = query.order_by(*(each.desc() if reverse else each for each in columns))
        query = query.offset(offset or None).limit(limit)
        return [_subscriber(row) for row in self._connection.execute(query)]

    def count(self, *, pattern: str = "", domain: str = "", lacking: str = "") -> int:
        """How many accounts `list` would give."""
        query = _filtered(select(func.count()).select_from(subscriber), pattern, domain, lacking)
        return int(self._connection.execute(query).scalar_one())

    def domains(self) -> dict[str, int]:
        """The domains of the accounts, and how many each has."""
        rows = self._connection.execute(
            select(subscriber.c.domain, func.count()).group_by(subscriber.c.domain)
        )
        return {name: int(number) for name, number in rows}

    def lacking(self, domain: str = "") -> dict[str, int]:
        """For each algorithm, how many accounts (of ``domain``) have no hash."""
        columns = [
            func.coalesce(func.sum(case((subscriber.c[column] == "", 1), else_=0)), 0)
            for column in COLUMNS.values()
        ]
        query = select(*columns)
        if domain:
            query = query.where(subscriber.c.domain == domain)
        row = self._connection.execute(query).one()
        return {name: int(number) for name, number in zip(COLUMNS, row, strict=True)}

    def set_password(self, username: str, domain: str, ha1: Mapping[str, str]) -> bool:
        """Puts other hashes in place of all the old ones; False when there is no such account."""
        result = self._connection.execute(
            update(subscriber)
            .where(subscriber.c.username == username, subscriber.c.domain == domain)
            .values(password="", **_hashes(ha1))
        )
        return bool(result.rowcount)

    def remove(self, username: str, domain: str) -> bool:
        """Removes the account; False when there was none. Its contacts are another table's."""
        result = self._connection.execute(
            delete(subscriber).where(
                subscriber.c.username == username, subscriber.c.domain == domain
            )
        )
        return bool(result.rowcount)


def already_there(username: str, domain: str) -> DatabaseError:
    """The error for an account that is to be added twice."""
    return DatabaseError(
        f"{username}@{domain} is there already",
        hint=f"for a new password: rcsops user passwd {username}",
    )


def _hashes(ha1: Mapping[str, str]) -> dict[str, str]:
    return {column: ha1.get(name, "") for name, column in COLUMNS.items()}


def _filtered(query: "Select[Any]", pattern: str, domain: str, lacking: str) -> "Select[Any]":
    if domain:
        query = query.where(subscriber.c.domain == domain)
    if lacking:
        query = query.where(subscriber.c[COLUMNS[lacking]] == "")
    if pattern:
        query = query.where(
            (subscriber.c.username + "@" + subscriber.c.domain).like(_like(pattern), escape="\\")
            | subscriber.c.username.like(_like(pattern), escape="\\")
        )
    return query


def _like(pattern: str) -> str:
    escaped = "".join("\\" + each if each in "\\%_" else each for each in pattern)
    if "*" in pattern or "?" in pattern:
        return escaped.replace("*", "%").replace("?", "_")
    return f"%{escaped}%"


def usable_algorithms(lacking: Mapping[str, int], wanted: Iterable[str]) -> tuple[str, ...]:
    """The algorithms of ``wanted``, in its order, whose hash every account has."""
    return tuple(name for name in wanted if not lacking.get(name, 0))
