"""The statements that make and remove tables, as text: for an administrator's connection, and for
a person who wants to read them first."""

from collections.abc import Iterable

from sqlalchemy import Connection, Dialect, Index, MetaData, Table, UniqueConstraint
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from rcsops.database.shapes import CHARSET, COLLATION, Shape, table

NEW = "rcsops_new_"
"""In front of a table that is being made to take another's place."""

OLD = "rcsops_old_"
"""In front of a table whose place was taken, until it is dropped."""


def dialect_of(connection: Connection) -> Dialect:
    """The dialect that statements are written in."""
    return sqlite.dialect() if connection.dialect.name == "sqlite" else mysql_dialect()


def mysql_dialect() -> Dialect:
    """MySQL's and MariaDB's."""
    dialect: Dialect = mysql.dialect()
    return dialect


def create_table(
    shape: Shape, name: str, dialect: Dialect, *, called: str | None = None
) -> list[str]:
    """The statements that make the table ``name`` of ``shape``, under another name if
    ``called``."""
    made = shape[name] if called is None else table(name, MetaData(), shape.line, called=called)
    if dialect.name == "sqlite" and called is not None:
        # Names of indexes are one space in SQLite, and the table that is there has taken them.
        for index in list(made.indexes):
            made.indexes.discard(index)
    return [
        _text(CreateTable(made), dialect),
        *(_text(CreateIndex(index), dialect) for index in _indexes(made)),
    ]


def create_indexes(shape: Shape, name: str, dialect: Dialect) -> list[str]:
    """The statements that make the indexes of ``name``."""
    return [_text(CreateIndex(index), dialect) for index in _indexes(shape[name])]


def insert_versions(numbers: Iterable[tuple[str, int]], *, into: str = "version") -> list[str]:
    """The statements that note the version of each table."""
    return [
        f"INSERT INTO {into} (table_name, table_version) VALUES ('{name}', {number})"  # noqa: S608
        for name, number in numbers
    ]


def create_database(name: str) -> str:
    """The statement that makes a MySQL database; whoever adds tables later (OpenSIPS's own
    scripts say nothing of character sets) gets the same rules of comparison."""
    return f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET {CHARSET} COLLATE {COLLATION}"


def unique_names(made: Table) -> list[str]:
    """The names of the table's unique keys, in order."""
    return sorted(str(each.name) for each in made.constraints if isinstance(each, UniqueConstraint))


def _indexes(made: Table) -> list[Index]:
    return sorted(made.indexes, key=lambda index: str(index.name))


def _text(statement: CreateTable | CreateIndex, dialect: Dialect) -> str:
    lines = str(statement.compile(dialect=dialect)).strip().splitlines()
    return "\n".join(line.replace("\t", "    ").rstrip() for line in lines if line.strip())
