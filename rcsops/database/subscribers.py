"""The accounts: the table ``subscriber``, which holds HA1 values; a password only on request."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, case, delete, func, insert, select, update
from sqlalchemy.sql import Select

from rcsops.database.shapes import EMBEDDED, EMBEDDED_LINE, Line, shape_of
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


def _subscriber(row: Sequence[str]) -> Subscriber:
    username, domain, *hashes = row
    # The hashes stand in the order of COLUMNS; an old table ends earlier.
    pairs = zip(COLUMNS, hashes, strict=False)
    return Subscriber(username, domain, {name: value for name, value in pairs if value})


def columns_of(line: Line) -> dict[str, str]:
    """Those of `COLUMNS` that a table of ``line`` has."""
    table = _table(line)
    return {name: column for name, column in COLUMNS.items() if column in table.c}


def row_values(
    line: Line, ha1: Mapping[str, str], *, ha1b: str = "", password: str = ""
) -> dict[str, str]:
    """What stands in the columns of an account beside its name, on ``line``.

    ``ha1b`` is MD5 with ``user@domain`` for the name, which 3.0 asks for when a client logs in so.
    """
    values = {column: ha1.get(name, "") for name, column in columns_of(line).items()}
    if "ha1b" in _table(line).c:
        # 3.0 copies an empty hash over nothing and compares with whatever its buffer held before.
        values["ha1b"] = ha1b or secrets.token_hex(16)
        values["ha1"] = values["ha1"] or secrets.token_hex(16)
    return {"password": password, **values}


def _table(line: Line) -> Table:
    return EMBEDDED["subscriber"] if line == EMBEDDED_LINE else shape_of(line)["subscriber"]


class Subscribers:
    """The accounts as seen through one connection, within the caller's transaction.

    User names compare byte for byte (RFC 3261 §19.1.4), domains are in lower case. ``line`` is that
    of the release whose tables these are.
    """

    def __init__(self, connection: Connection, line: Line = EMBEDDED_LINE) -> None:
        self._connection = connection
        self._line = line
        self._table = table = _table(line)
        self._columns = columns_of(line)
        hashes = [table.c[column] for column in self._columns.values()]
        self._fields = (table.c.username, table.c.domain, *hashes)

    def add(
        self,
        username: str,
        domain: str,
        ha1: Mapping[str, str],
        *,
        ha1b: str = "",
        password: str = "",
    ) -> None:
        """Adds an account; raises `DatabaseError` when it is there already. ``ha1b`` is for the
        line 3.0 (`row_values`), ``password`` for those who want it stored as it is."""
        if self.get(username, domain) is not None:
            raise already_there(username, domain)
        values = row_values(self._line, ha1, ha1b=ha1b, password=password)
        self._connection.execute(
            insert(self._table).values(username=username, domain=domain, **values)
        )

    def get(self, username: str, domain: str) -> Subscriber | None:
        """The account, or None."""
        row = self._connection.execute(
            select(*self._fields).where(
                self._table.c.username == username, self._table.c.domain == domain
            )
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
            "name": (self._table.c.username, self._table.c.domain),
            "domain": (self._table.c.domain, self._table.c.username),
            "id": (self._table.c.id,),
        }[sort]
        query = self._filtered(select(*self._fields), pattern, domain, lacking)
        query = query.order_by(*(each.desc() if reverse else each for each in columns))
        query = query.offset(offset or None).limit(limit)
        return [_subscriber(row) for row in self._connection.execute(query)]

    def count(self, *, pattern: str = "", domain: str = "", lacking: str = "") -> int:
        """How many accounts `list` would give."""
        query = self._filtered(
            select(func.count()).select_from(self._table), pattern, domain, lacking
        )
        return int(self._connection.execute(query).scalar_one())

    def domains(self) -> dict[str, int]:
        """The domains of the accounts, and how many each has."""
        rows = self._connection.execute(
            select(self._table.c.domain, func.count()).group_by(self._table.c.domain)
        )
        return {name: int(number) for name, number in rows}

    def lacking(self, domain: str = "") -> dict[str, int]:
        """For each algorithm, how many accounts (of ``domain``) have no hash."""
        counts = [
            func.coalesce(func.sum(case((self._table.c[column] == "", 1), else_=0)), 0)
            for column in self._columns.values()
        ]
        query = select(func.count(), *counts).select_from(self._table)
        if domain:
            query = query.where(self._table.c.domain == domain)
        total, *numbers = self._connection.execute(query).one()
        found = {name: int(each) for name, each in zip(self._columns, numbers, strict=True)}
        return {name: found.get(name, int(total)) for name in COLUMNS}

    def set_password(
        self,
        username: str,
        domain: str,
        ha1: Mapping[str, str],
        *,
        ha1b: str = "",
        password: str = "",
    ) -> bool:
        """Puts other hashes in place of all the old ones; False when there is no such account."""
        result = self._connection.execute(
            update(self._table)
            .where(self._table.c.username == username, self._table.c.domain == domain)
            .values(**row_values(self._line, ha1, ha1b=ha1b, password=password))
        )
        return bool(result.rowcount)

    def remove(self, username: str, domain: str) -> bool:
        """Removes the account; False when there was none. Its contacts are another table's."""
        result = self._connection.execute(
            delete(self._table).where(
                self._table.c.username == username, self._table.c.domain == domain
            )
        )
        return bool(result.rowcount)

    def _filtered(
        self, query: "Select[Any]", pattern: str, domain: str, lacking: str
    ) -> "Select[Any]":
        columns = self._table.c
        if domain:
            query = query.where(columns.domain == domain)
        if lacking in self._columns:
            query = query.where(columns[self._columns[lacking]] == "")
        if pattern:
            query = query.where(
                (columns.username + "@" + columns.domain).ilike(_like(pattern), escape="\\")
                | columns.username.ilike(_like(pattern), escape="\\")
            )
        return query


def already_there(username: str, domain: str) -> DatabaseError:
    """The error for an account that is to be added twice."""
    return DatabaseError(
        f"{username}@{domain} is there already",
        hint=f"for a new password: rcsops user passwd {username}",
    )


def _like(pattern: str) -> str:
    escaped = "".join("\\" + each if each in "\\%_" else each for each in pattern)
    if "*" in pattern or "?" in pattern:
        return escaped.replace("*", "%").replace("?", "_")
    return f"%{escaped}%"


def usable_algorithms(lacking: Mapping[str, int], wanted: Iterable[str]) -> tuple[str, ...]:
    """The algorithms of ``wanted``, in its order, whose hash every account has."""
    return tuple(name for name in wanted if not lacking.get(name, 0))
