"""What an agent asks of its history, in order: many small functions, one job of the store."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from rcsops.database import Store
from rcsops.database.failures import database_error
from rcsops.database.store import MAX_WAITING, in_transaction
from rcsops.errors import DatabaseError
from rcsops.transport.turns import SLICE_SECONDS, Turns

__all__ = ["HistoryQueue"]

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class _Item(NamedTuple):
    work: Callable[[Connection], Any]
    done: Callable[[Any], None] | None
    waiter: "asyncio.Future[Any] | None" = None


class _Batch:
    """What one job of the store takes of what waits."""

    __slots__ = ("begun", "taken")

    def __init__(self) -> None:
        self.begun = False
        self.taken: list[_Item] = []


class HistoryQueue:
    """Functions of a connection that run in the order in which they were put, by one `Store`.

    All that has gathered when the store's thread comes to it is one job there, and wakes the loop
    once, after its commit. There is one savepoint for all: a function is one statement, which
    SQLite undoes when it fails, or undoes by itself what it did. Made in the loop that hears of the
    results, in ``turns``.
    """

    __slots__ = (
        "_coming",
        "_hand_over_due",
        "_loop",
        "_slice_due",
        "_store",
        "_told",
        "_turns",
        "_waiting",
    )

    def __init__(self, store: Store, turns: Turns | None = None) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._turns = turns if turns is not None else Turns()
        self._told: deque[tuple[_Item, Any]] = deque()
        self._slice_due = False
        self._waiting: deque[_Item] = deque()
        self._hand_over_due = False
        # Whether the store has been asked to come for what waits, and has not begun.
        self._coming = False

    def put(
        self,
        work: Callable[[Connection], _T],
        done: Callable[[_T | DatabaseError], None] | None = None,
    ) -> None:
        """Has ``work`` run, and ``done`` called on the loop with what it gave once that is
        committed; without ``done`` a failure goes to the log."""
        self._put(_Item(work, done))

    async def run(self, work: Callable[[Connection], _T]) -> _T:
        """Awaits ``work`` and its commit; raises DatabaseError."""
        waiter: asyncio.Future[_T] = self._loop.create_future()

        def done(result: _T | DatabaseError) -> None:
            if waiter.cancelled():
                return
            if isinstance(result, DatabaseError):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)

        self._put(_Item(work, done, waiter))
        return await waiter

    def _put(self, item: _Item) -> None:
        if len(self._waiting) >= MAX_WAITING:
            error = DatabaseError("the history does not keep up", hint="is its disk slow?")
            self._loop.call_soon(self._tell, ((item, error),))
            return
        self._waiting.append(item)
        if not self._hand_over_due and not self._coming:
            # Not yet: what comes in the same turn of the loop gathers before the thread wakes.
            self._hand_over_due = True
            self._loop.call_soon(self.hand_over)

    def hand_over(self) -> None:
        """Has the store come for what waits now; before it is closed, for instance."""
        self._hand_over_due = False
        # Once only: asked again after it was closed, the store would have it fail.
        if self._coming or not self._waiting:
            return
        self._coming = True
        batch = _Batch()

        def committed(future: "Future[list[Any]]") -> None:
            # In the store's thread, and the loop may be closed by now.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._committed, batch, future)

        self._store.submit(lambda connection: self._work(connection, batch)).add_done_callback(
            committed
        )

    def _work(self, connection: Connection, batch: _Batch) -> list[Any]:
        # In the store's thread. This first: for what comes from now on it is asked again.
        self._coming = False
        batch.begun = True
        results: list[Any] = []
        waiting = self._waiting
        for _ in range(len(waiting)):
            item = waiting.popleft()
            if item.waiter is not None and item.waiter.cancelled():
                continue
            batch.taken.append(item)
            try:
                results.append(item.work(connection))
            except Exception as error:
                if not in_transaction(connection):
                    # SQLite has undone everything: the store tells all.
                    raise
                results.append(self._failure(error))
        return results

    def _failure(self, error: BaseException) -> DatabaseError:
        if isinstance(error, DatabaseError):
            return error
        if isinstance(error, (SQLAlchemyError, sqlite3.Error)):
            return database_error(error, self._store.url)
        return DatabaseError(f"the history failed: {error}")

    def _committed(self, batch: _Batch, future: "Future[list[Any]]") -> None:
        error = future.exception()
        if error is None:
            self._tell(zip(batch.taken, future.result(), strict=True))
            return
        if not batch.begun:
            # It never came to it.
            self._coming = False
            batch.taken.extend(self._waiting)
            self._waiting.clear()
        failure = self._failure(error)
        self._tell((item, failure) for item in batch.taken)
        # It may have ended in the midst of them.
        self.hand_over()

    def _tell(self, results: "Iterable[tuple[_Item, Any]]") -> None:
        self._told.extend(results)
        if self._slice_due:
            return
        if self._turns.held:
            self._slice_soon()
        else:
            self._slice()

    def _slice_soon(self) -> None:
        self._slice_due = True
        self._turns.call(self._slice)

    def _slice(self) -> None:
        """Tells for a slice of time; the rest waits for its turn."""
        self._slice_due = False
        end = time.monotonic() + SLICE_SECONDS
        while self._told:
            self._tell_next()
            if time.monotonic() >= end:
                self._slice_soon()
                break

    def finish(self) -> None:
        """Tells all that has not been told: the store is closed, nothing more comes."""
        while self._told:
            self._tell_next()

    def _tell_next(self) -> None:
        item, result = self._told.popleft()
        if item.done is None:
            if isinstance(result, DatabaseError):
                logger.error("%s", result)
            return
        try:
            item.done(result)
        except Exception:
            logger.exception("what follows on a change of the history failed")
