"""What gathers for the history is one job of the store; what fails in it fails alone."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from rcsops.database import Store
from rcsops.errors import DatabaseError
from rcsops.transport.turns import Turns
from rcsops.ua.history_queue import HistoryQueue


def _statement(words: str) -> Callable[[Connection], int]:
    return lambda connection: connection.exec_driver_sql(words).rowcount


async def test_what_fails_fails_alone_and_the_order_stays(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}", create=True)
    try:
        queue = HistoryQueue(store)
        await queue.run(_statement("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        told: list[object] = []
        for words in ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)", "DELETE FROM t"):
            queue.put(_statement(words), told.append)
        assert await queue.run(_statement("INSERT INTO t VALUES (2)")) == 1
        assert told[0] == 1
        assert isinstance(told[1], DatabaseError)
        assert told[2] == 1
    finally:
        store.close()


async def test_a_store_that_is_closed_is_told_to_everybody(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}", create=True)
    queue = HistoryQueue(store)
    store.close()
    for _ in range(2):
        with pytest.raises(DatabaseError, match="closed"):
            await queue.run(_statement("SELECT 1"))


async def test_what_was_put_just_before_the_close_is_done(tmp_path: Path) -> None:
    """Also when the store is slow and the loop goes on before it comes to it."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    store = Store.open(url, create=True)
    queue = HistoryQueue(store)
    await queue.run(_statement("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    told: list[object] = []
    store.post(lambda _connection: time.sleep(0.2))
    queue.put(_statement("INSERT INTO t VALUES (1)"), told.append)
    queue.hand_over()
    await asyncio.to_thread(store.close)
    await asyncio.sleep(0)
    queue.finish()
    assert told == [1]
    store = Store.open(url)
    try:
        assert await HistoryQueue(store).run(_statement("DELETE FROM t")) == 1
    finally:
        store.close()


async def test_what_waits_behind_a_failure_that_undoes_all_is_done(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}", create=True)
    try:
        queue = HistoryQueue(store)
        await queue.run(_statement("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        told: list[object] = []
        queue.put(_statement("INSERT INTO t VALUES (1)"), told.append)
        # As SQLite itself does when the disk is full.
        queue.put(_statement("INSERT OR ROLLBACK INTO t VALUES (1)"), told.append)
        queue.put(_statement("INSERT INTO t VALUES (2)"), told.append)
        async with asyncio.timeout(5):
            while len(told) < 3:
                await asyncio.sleep(0.01)
        assert [type(each) for each in told] == [DatabaseError, DatabaseError, int]
    finally:
        store.close()


async def test_what_nobody_waits_for_any_more_is_not_done(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}", create=True)
    try:
        queue = HistoryQueue(store)
        done: list[Connection] = []
        task = asyncio.ensure_future(queue.run(done.append))
        # The store's thread is held by this one until the task has begun and is given up.
        held = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait(_connection: Connection) -> None:
            asyncio.run_coroutine_threadsafe(held.wait(), loop).result()

        store.post(wait)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        held.set()
        await queue.run(_statement("SELECT 1"))
        assert done == []
    finally:
        store.close()


async def test_what_is_committed_is_told_in_order_and_not_while_somebody_holds_it(
    tmp_path: Path,
) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}", create=True)
    turns = Turns()
    queue = HistoryQueue(store, turns)
    told: list[int] = []

    def tell(number: int) -> Callable[[object], None]:
        def telling(_result: object) -> None:
            # As long as what an agent does for a message.
            end = time.monotonic() + 0.0005
            while time.monotonic() < end:
                pass
            told.append(number)

        return telling

    turns.hold()
    for number in range(40):
        queue.put(_statement("SELECT 1"), tell(number))
    while turns.held:
        assert told == []
        await asyncio.sleep(0)
    before = 0
    async with asyncio.timeout(10):
        while len(told) < 40:
            await asyncio.sleep(0)
            assert len(told) - before < 20
            before = len(told)
    assert told == list(range(40))
    # At the end nothing is left untold, hold or not.
    for number in range(40, 60):
        queue.put(_statement("SELECT 1"), tell(number))
    await asyncio.sleep(0.06)
    turns.hold()
    await asyncio.to_thread(store.close)
    queue.finish()
    assert told == list(range(60))
