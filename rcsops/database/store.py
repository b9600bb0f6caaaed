"""One writer thread for each database, which commits in groups.

An event loop must never wait in a database driver. It hands functions of a connection to a `Store`;
its thread runs whatever has gathered inside one transaction, each in a savepoint of its own, and
commits once for all. What must be on the disk before an answer goes out awaits that commit.
"""

import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from rcsops.database.engine import begin_statement, open_engine, savepoint, translated
from rcsops.database.failures import database_error
from rcsops.database.wal_index import WalIndex
from rcsops.errors import DatabaseError, RcsopsError
from rcsops.settings import sqlite_file

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_WAITING = 100_000
_GROUP = 1000


class Snapshot(NamedTuple):
    """The state of an SQLite file as it stood just before its ``data_version`` was read; empty when
    it is not known.

    While the state is still that, nobody but this store's own thread has written. ``data_version``
    is SQLite's count of what *other* connections committed.
    """

    state: bytes
    data_version: int


class _Job(NamedTuple):
    work: Callable[[Connection], Any]
    future: "Future[Any] | None"
    durable: bool
    write: bool = True


class Store:
    """A database with its writer thread; made by `Store.open`, ended by `close`.

    ``snapshot`` is what `SubscriberCache` compares the file with. Functions that are handed in run
    in the store's thread; they must not keep the connection.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool = False,
        max_waiting: int = MAX_WAITING,
        watched: bool = True,
    ) -> None:
        self.url = url
        self.snapshot = Snapshot(b"", -1)
        self._path = sqlite_file(url)
        self._index = None if self._path is None or not watched else WalIndex(self._path)
        self._engine = open_engine(url, create=create, pooled=True)
        self._connection: Connection | None = None
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._max_waiting = max_waiting
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="rcsops-store", daemon=True)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = False,
        prepare: Callable[[Connection], object] | None = None,
        max_waiting: int = MAX_WAITING,
        watched: bool = True,
    ) -> "Store":
        """Connects and starts the thread.

        ``prepare`` runs first, in a transaction of its own (to check or make tables). Raises
        `DatabaseError` when the database cannot be used; more than ``max_waiting`` functions at a
        time are refused. Without ``watched`` there is no ``snapshot``.
        """
        store = cls(url, create=create, max_waiting=max_waiting, watched=watched)
        store._thread.start()
        try:
            store.submit(prepare or _nothing).result()
        except BaseException:
            store.close()
            raise
        return store

    def submit(self, work: Callable[[Connection], _T], *, durable: bool = True) -> "Future[_T]":
        """Runs ``work(connection)`` in the store's thread.

        The future has its result once that is committed; with ``durable=False`` as soon as it ran.
        An exception of ``work`` undoes its own changes only and comes out of the future; failures
        of the database come out as `DatabaseError`.
        """
        future: Future[_T] = Future()
        refusal = self._put(_Job(work, future, durable))
        if refusal is not None:
            future.set_exception(refusal)
        return future

    async def read(self, work: Callable[[Connection], _T]) -> _T:
        """Awaits ``work`` in a transaction that only reads.

        It sees what is committed, not what was handed in a moment before, and does not wait for
        another process that is writing.
        """
        import asyncio

        future: Future[_T] = Future()
        refusal = self._put(_Job(work, future, False, write=False))
        if refusal is not None:
            raise refusal
        return await asyncio.wrap_future(future)

    def post(self, work: Callable[[Connection], object]) -> None:
        """Like `submit` where nobody waits: a failure goes to the log."""
        refusal = self._put(_Job(work, None, True))
        if refusal is not None:
            _log.error("%s", refusal)

    async def run(self, work: Callable[[Connection], _T], *, durable: bool = True) -> _T:
        """Awaits `submit`; for a coroutine."""
        import asyncio

        return await asyncio.wrap_future(self.submit(work, durable=durable))

    def close(self, timeout: float = 10.0) -> None:
        """Commits what is waiting, ends the thread and closes the database."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        self._engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is an SQLite file."""
        return self._path is not None

    @property
    def waiting(self) -> int:
        """How many functions wait for the thread."""
        return len(self._jobs)

    def file_state(self) -> bytes:
        """The SQLite file's state now, which is another after each commit; empty when it cannot be
        known, and for another database."""
        return self._index.header() if self._index is not None else b""

    def _put(self, job: _Job) -> DatabaseError | None:
        with self._wake:
            if self._closing:
                return DatabaseError("the database is closed")
            if len(self._jobs) >= self._max_waiting:
                return DatabaseError("the database does not keep up", hint="is its disk slow?")
            self._jobs.append(job)
            self._wake.notify()
        return None

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closing:
                    self._wake.wait()
                if not self._jobs:
                    break
                group = [self._jobs.popleft() for _ in range(min(len(self._jobs), _GROUP))]
            try:
                self._commit_group(group)
            except Exception as error:
                failure = error
                if not isinstance(error, RcsopsError):
                    failure = database_error(error, self.url)
                for job in group:
                    _fail(job, failure)
                self._disconnect()
        self._disconnect()

    def _commit_group(self, group: list[_Job]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        with translated(self.url):
            connection = self._connected()
            readers = [job for job in group if not job.write]
            writers = [job for job in group if job.write]
            for jobs in (readers, writers):
                if jobs:
                    with self._transaction(connection, write=jobs is writers):
                        for job in jobs:
                            self._perform(job, connection, done)
            self._look(connection)
        for future, result in done:
            future.set_result(result)

    def _perform(
        self, job: _Job, connection: Connection, done: list[tuple[Future[Any], Any]]
    ) -> None:
        if job.future is not None and not job.future.set_running_or_notify_cancel():
            return
        try:
            # Whoever only reads has nothing to undo.
            with savepoint(connection) if job.write else contextlib.nullcontext():
                result = job.work(connection)
        except Exception as error:
            if not in_transaction(connection):
                raise
            if isinstance(error, (SQLAlchemyError, sqlite3.Error)):
                error = database_error(error, self.url)
            _fail(job, error)
            return
        if job.future is None:
            return
        if job.durable or not job.write:
            done.append((job.future, result))
        else:
            job.future.set_result(result)

    @contextlib.contextmanager
    def _transaction(self, connection: Connection, *, write: bool) -> Iterator[None]:
        if not self.is_sqlite:
            with connection.execution_options(rcsops_write=write).begin():
                yield
            return
        # By the driver itself: SQLAlchemy's way takes longer than most of what is done inside. What
        # runs by SQLAlchemy joins in.
        driver: Any = connection.connection.driver_connection
        driver.execute(begin_statement(write))
        try:
            yield
        except BaseException:
            (connection if connection.in_transaction() else driver).rollback()
            raise
        (connection if connection.in_transaction() else driver).commit()

    def _connected(self) -> Connection:
        if self._connection is None:
            # One connection for the thread's life: data_version compares within a connection.
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
        if self._index is not None:
            self._index.close()
        self.snapshot = Snapshot(b"", -1)

    def _look(self, connection: Connection) -> None:
        if self._index is None:
            return
        self._index.open()
        # The file first: what another process commits in between shows in data_version, and what
        # it commits afterwards changes the file.
        state = self.file_state()
        self.snapshot = Snapshot(state, data_version(connection))


def data_version(connection: Connection) -> int:
    """SQLite's count of what other connections committed, as this connection sees it now (within a
    transaction: as of its start); -1 for another database."""
    if connection.dialect.name != "sqlite":
        return -1
    # On the driver's own cursor, which begins no transaction.
    driver = connection.connection.dbapi_connection
    assert driver is not None
    cursor = driver.cursor()
    try:
        cursor.execute("PRAGMA data_version")
        row = cursor.fetchone()
    finally:
        cursor.close()
    assert row is not None
    return int(row[0])


def in_transaction(connection: Connection) -> bool:
    """Whether the transaction that a function runs in is still there after a failure."""
    # A full disk makes SQLite roll back the whole transaction, not the failed statement alone:
    # what the group's other functions did is lost then, and they must be told.
    if connection.invalidated:
        return False
    driver = connection.connection.dbapi_connection
    return bool(getattr(driver, "in_transaction", connection.in_transaction()))


def _nothing(_connection: Connection) -> None:
    return None


def _fail(job: _Job, error: Exception) -> None:
    if job.future is None:
        _log.error("%s", error)
        return
    with contextlib.suppress(InvalidStateError):
        job.future.set_exception(error)
