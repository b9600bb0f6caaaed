"""Putting new tables in the place of old ones, in whichever database a project has."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from rcsops.database.engine import open_engine, reading, translated, writing
from rcsops.database.rebuild import (
    NewTable,
    finish_mysql,
    left_over,
    recovery,
    stage,
    swap_mysql,
    swap_sqlite,
)
from rcsops.errors import DatabaseError
from rcsops.operations.db_access import MysqlAccess

# A client that was killed is gone for the server once its last statement ends.
_OTHERS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is being done, and how many rows of ``table`` it has come to."""

    what: str
    table: str = ""
    rows: int = 0


OnStep = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Filling:
    """How the new tables get their rows: by ``statements`` in the database itself, or by ``rows``,
    which is given a connection that may write. ``check`` raises when they are not as they should
    be."""

    statements: Sequence[str]
    rows: Callable[[Connection], None] | None
    check: Callable[[Connection], None]


def replace_sqlite(url: str, tables: Sequence[NewTable], filling: Filling) -> None:
    """Everything in one transaction: the old tables stay unless all goes well."""
    with writing(open_engine(url), url) as connection:
        for statement in (*stage(tables), *filling.statements):
            connection.exec_driver_sql(statement)
        if filling.rows is not None:
            filling.rows(connection)
        filling.check(connection)
        for statement in swap_sqlite(tables):
            connection.exec_driver_sql(statement)


def replace_mysql(
    access: MysqlAccess, tables: Sequence[NewTable], filling: Filling, on_step: OnStep
) -> None:
    """New tables beside the old ones, then one RENAME TABLE; until that the old ones stay as they
    are, and what was made is removed when something fails."""
    url = access.url
    try:
        on_step(Step("making the new tables"))
        access.run(stage(tables))
        on_step(Step("filling the new tables"))
        if filling.statements:
            access.run(filling.statements)
        if filling.rows is not None:
            with writing(open_engine(url), url) as connection:
                filling.rows(connection)
        on_step(Step("comparing every row"))
        with reading(open_engine(url), url) as connection:
            filling.check(connection)
        on_step(Step("putting them in place"))
        access.run(swap_mysql(tables))
    except BaseException:
        # When the server itself is gone, the next command does this.
        with contextlib.suppress(DatabaseError):
            mend(access)
        raise
    access.run(finish_mysql(tables))


def mend(access: MysqlAccess) -> list[str]:
    """Ends what an interrupted rebuild left; returns the statements that it took."""
    with reading(open_engine(access.url), access.url) as connection:
        if not left_over(connection):
            return []
        statements = recovery(inspect(connection).get_table_names())
    access.run(statements)
    return statements


@contextlib.contextmanager
def alone_in_mysql(access: MysqlAccess) -> Iterator[None]:
    """Keeps other rcsops commands from changing tables meanwhile; raises `DatabaseError` when one
    is at it, or another program works in the database."""
    url = access.url
    with translated(url), open_engine(url).connect() as connection:
        name = f"rcsops {access.place.database}"[:64]
        got = connection.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": name}).scalar()
        if got != 1:
            raise DatabaseError(
                "another rcsops is changing the tables of this database",
                hint="wait until that is done, then try again",
            )
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        _wait_for_others(access, number)
        try:
            yield
        finally:
            # Ends by itself with the connection.
            with contextlib.suppress(Exception):
                connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


def _wait_for_others(access: MysqlAccess, mine: int) -> None:
    query = (
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST "  # noqa: S608
        f"WHERE DB = '{access.place.database}' AND ID NOT IN (CONNECTION_ID(), {mine})"
    )
    deadline = time.monotonic() + _OTHERS_SECONDS
    while (others := int(access.admin.rows(query)[0][0] or 0)) > 0:
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"another program works in the database ({others} connections)",
                hint="type: rcsops stop, then try again",
            )
        time.sleep(0.2)


def alone_in_sqlite(file: Path, url: str) -> None:
    """Raises `DatabaseError` when another process has the SQLite file open."""
    # SQLite leaves WAL mode only when no other connection is open anywhere.
    with translated(url), contextlib.closing(sqlite3.connect(file, timeout=0.2)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise DatabaseError(
                "another process uses the database", hint="type: rcsops stop, then try again"
            ) from None
