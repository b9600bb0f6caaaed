"""Whole tables, row by row: read from one database, written to another, and compared.

A value has one form whatever driver it came from: str, bytes, int, float, None; a time is text.
"""

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, inspect
from sqlalchemy.types import CHAR, DateTime, Float, Integer, LargeBinary, TypeEngine

Value = str | bytes | int | float | None
Row = tuple[Value, ...]

BATCH = 1000
_TIMES = "%Y-%m-%d %H:%M:%S"


def columns_of(connection: Connection, table: str) -> dict[str, str]:
    """The table's columns and the kind of each: ``char``, ``text``, ``blob``, ``int``, ``float``
    or ``time``."""
    found = inspect(connection).get_columns(table)
    return {str(each["name"]): _kind(each["type"]) for each in found}


def _kind(kind: TypeEngine[Any]) -> str:
    if isinstance(kind, LargeBinary) or "BLOB" in str(kind).upper():
        return "blob"
    if isinstance(kind, DateTime):
        return "time"
    if isinstance(kind, Float):
        return "float"
    if isinstance(kind, Integer):
        return "int"
    return "char" if isinstance(kind, CHAR) else "text"


def key_of(connection: Connection, table: str) -> list[str]:
    """The columns that order the rows: the primary key, or all columns where there is none."""
    key = inspect(connection).get_pk_constraint(table)["constrained_columns"]
    return list(key) or list(columns_of(connection, table))


def count_rows(connection: Connection, table: str) -> int:
    """How many rows the table has."""
    query = f"SELECT COUNT(*) FROM {_quoted(connection, table)}"  # noqa: S608
    return int(connection.exec_driver_sql(query).scalar_one())


def read_rows(
    connection: Connection, table: str, columns: Mapping[str, str], key: Sequence[str]
) -> Iterator[Row]:
    """The rows of a table in the order of ``key``; ``columns`` says which and of what kind."""
    names = ", ".join(_quoted(connection, name) for name in columns)
    order = ", ".join(_quoted(connection, name) for name in key)
    streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH)
    result = streaming.exec_driver_sql(
        f"SELECT {names} FROM {_quoted(connection, table)} ORDER BY {order}"  # noqa: S608
    )
    kinds = tuple(columns.values())
    try:
        for row in result:
            yield tuple(map(canonical, row, kinds))
    finally:
        result.close()


def insert_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Row]
) -> int:
    """Writes rows into a table; returns how many."""
    names = ", ".join(_quoted(connection, name) for name in columns)
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    marks = ", ".join([mark] * len(columns))
    statement = f"INSERT INTO {_quoted(connection, table)} ({names}) VALUES ({marks})"  # noqa: S608
    number = 0
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        connection.exec_driver_sql(statement, batch)
        number += len(batch)
    return number


def canonical(value: Any, kind: str) -> Value:
    """A driver's value in its one form."""
    if value is None:
        return None
    if kind == "blob":
        return value.encode() if isinstance(value, str) else bytes(value)
    if kind == "time":
        return value.strftime(_TIMES) if isinstance(value, datetime.datetime) else str(value)[:19]
    if kind == "float":
        # FLOAT(10,2): MySQL keeps two digits, SQLite all of a q like 0.333.
        return round(float(value), 2)
    if kind == "int":
        return int(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip(" ") if kind == "char" else text


class Digest:
    """What rows come to: equal for equal rows in the same order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, row: Row) -> None:
        """Takes one more row in."""
        self._hash.update(repr(row).encode())
        self.rows += 1

    def through(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, taken in as they pass."""
        for row in rows:
            self.add(row)
            yield row

    @property
    def value(self) -> str:
        """The digest so far."""
        return f"{self.rows}:{self._hash.hexdigest()}"


def digest_of(
    connection: Connection, table: str, columns: Mapping[str, str], key: Sequence[str]
) -> str:
    """The digest of a table's rows, of some of its columns."""
    digest = Digest()
    for row in read_rows(connection, table, columns, key):
        digest.add(row)
    return digest.value


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
