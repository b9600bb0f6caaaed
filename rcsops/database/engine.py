"""Connections: SQLite with the settings that make it safe and fast, MySQL with its pitfalls shut.

`reading` and `writing` are the ways in: a transaction each, whose driver errors come out as
`DatabaseError` with a hint.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from rcsops.database.failures import database_error, missing_driver
from rcsops.database.mysql_url import parsed_url
from rcsops.errors import DatabaseError
from rcsops.settings import sqlite_file

# Of a connection that a dead server left in the middle of a transaction the pool would print a
# traceback, when the exception with our message is on its way already.
logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())

BUSY_TIMEOUT = 5.0
"""Seconds that a writer waits for another process's transaction to end."""


def open_engine(
    url: str,
    *,
    create: bool = False,
    busy_timeout: float = BUSY_TIMEOUT,
    pooled: bool = False,
    read_only: bool = False,
) -> Engine:
    """An engine for ``url``; nothing is connected yet.

    An SQLite file that is missing is made with mode 0600 if ``create``, else `DatabaseError` says
    what to type. ``pooled`` keeps connections open between uses (a server), otherwise each use
    opens its own (a command). With ``read_only`` nothing is written to an SQLite file, not even
    what a process that was killed left to be tidied up.
    """
    path = sqlite_file(url)
    pool: dict[str, Any] = {"poolclass": QueuePool if pooled else NullPool}
    if path is not None:
        _check_file(path, create=create)
        # From the file name alone and with a mode, so that nothing makes a file by accident.
        uri = f"file:{quote(str(path.absolute()))}?mode={_read_mode(path) if read_only else 'rw'}"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                uri, uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=False
            )

        engine = create_engine("sqlite://", creator=connect, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        try:
            engine = create_engine(
                parsed_url(url).update_query_dict({"charset": "utf8mb4"}, append=False),
                isolation_level="READ COMMITTED",
                pool_pre_ping=True,
                connect_args={"connect_timeout": 10},
                **pool,
            )
        except ModuleNotFoundError as error:
            raise missing_driver(error) from error
    return engine


@contextlib.contextmanager
def reading(engine: Engine, url: str) -> Iterator[Connection]:
    """A transaction that only reads; raises `DatabaseError`."""
    with translated(url), engine.connect() as connection, connection.begin():
        yield connection


@contextlib.contextmanager
def writing(engine: Engine, url: str) -> Iterator[Connection]:
    """A transaction that holds the right to write from its start; commits when the block ends,
    rolls back when it raises. Raises `DatabaseError`."""
    with translated(url), engine.connect() as plain:
        connection = plain.execution_options(rcsops_write=True)
        with connection.begin():
            yield connection


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Driver errors inside the block come out as `DatabaseError`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise database_error(error, url) from error


def execute(connection: Connection, statement: str, values: tuple[Any, ...]) -> Any:
    """Runs a statement with ``?`` for each value, and returns what has its rows.

    For what is done for every message: SQLAlchemy takes several times as long to make a statement
    as SQLite to run it. On SQLite it is the driver that raises.
    """
    if connection.dialect.name != "sqlite":
        return connection.exec_driver_sql(statement.replace("?", "%s"), values)
    driver: Any = connection.connection.driver_connection
    return driver.execute(statement, values)


@contextlib.contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """What a failure inside the block undoes, within a transaction."""
    if connection.dialect.name != "sqlite":
        with connection.begin_nested():
            yield
        return
    # By the driver itself, as in `execute`; one may stand in another.
    driver: Any = connection.connection.driver_connection
    driver.execute("SAVEPOINT job")
    try:
        yield
    except BaseException:
        if driver.in_transaction:
            driver.execute("ROLLBACK TO job")
            driver.execute("RELEASE job")
        raise
    driver.execute("RELEASE job")


def _check_file(path: Path, *, create: bool) -> None:
    try:
        if path.is_dir():
            raise DatabaseError(f"{path} is a directory, not a database")
        if create:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        elif not path.exists():
            raise DatabaseError(f"there is no database yet ({path})", hint="type: rcsops db create")
    except OSError as error:
        raise DatabaseError(
            f"cannot make the database {path}: {error.strerror}",
            hint="check who owns its directory and that the disk has room",
        ) from error


def _read_mode(path: Path) -> str:
    # Even to read, SQLite makes files beside one in WAL mode. Where it cannot, as on a disk that
    # is mounted read-only, and there is no WAL, the file alone is the whole of it.
    wal = path.with_name(f"{path.name}-wal")
    if not os.access(path.parent, os.W_OK) and not wal.exists():
        return "ro&immutable=1"
    return "ro"


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    # Readers and the writer do not wait for each other; a commit is on the disk when it returns.
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        # A file or directory that may only be read can still be read.
        if "readonly" not in str(error):
            raise
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    # The store has begun one by the driver itself.
    if not driver.in_transaction:
        write = connection.get_execution_options().get("rcsops_write", False)
        connection.exec_driver_sql(begin_statement(write))


def begin_statement(write: bool) -> str:
    """What begins a transaction of SQLite.

    IMMEDIATE takes the write lock at once: a transaction that reads first and writes later could
    otherwise fail in its middle with SQLITE_BUSY, whatever the time limit.
    """
    return "BEGIN IMMEDIATE" if write else "BEGIN"
