"""What gathers for the history is one job of the store; what fails in it fails alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from rcsops.database import Store
from rcsops.errors import DatabaseError
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
