import asyncio
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from rcsops.database import Store, Subscribers, create_tables
from rcsops.errors import DatabaseError

HA1 = {"MD5": "a" * 32}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a b?#%.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{file}", create=True, prepare=create_tables)
    yield store
    store.close()


def add(name: str) -> Callable[[Connection], None]:
    return lambda connection: Subscribers(connection).add(name, "rcs.example", HA1)


def count(connection: Connection) -> int:
    return Subscribers(connection).count()


def committed(file: Path) -> int:
    """What another process sees."""
    other = sqlite3.connect(file)
    try:
        return int(other.execute("SELECT count(*) FROM subscriber").fetchone()[0])
    finally:
        other.close()


def test_the_files_are_private_and_in_wal_mode(store: Store, file: Path) -> None:
    for name in os.listdir(file.parent):
        assert stat.S_IMODE((file.parent / name).stat().st_mode) == 0o600
    mode = store.submit(lambda c: c.execute(text("PRAGMA journal_mode")).scalar()).result()
    assert mode == "wal"


def test_a_result_comes_after_its_commit(store: Store, file: Path) -> None:
    store.submit(add("bob")).result(10)
    assert committed(file) == 1


def test_a_group_is_committed_together(store: Store, file: Path) -> None:
    held = threading.Event()
    release = threading.Event()

    def hold(connection: Connection) -> None:
        held.set()
        release.wait(10)

    first = store.submit(hold)
    assert held.wait(10)
    futures = [store.submit(add(f"u{number}")) for number in range(50)]
    quick = store.submit(count, durable=False)
    assert store.waiting == 51
    release.set()
    first.result(10)
    assert quick.result(10) == 50
    for future in futures:
        future.result(10)
    assert committed(file) == 50


def test_a_failing_function_undoes_only_itself(store: Store, file: Path) -> None:
    held = threading.Event()
    blocker = store.submit(lambda _: held.wait(10))

    def half(connection: Connection) -> None:
        Subscribers(connection).add("half", "rcs.example", HA1)
        raise ValueError("no")

    good = store.submit(add("bob"))
    twice = store.submit(add("bob"))
    bad = store.submit(half)
    wrong = store.submit(lambda c: c.execute(text("SELECT a FROM nowhere")))
    last = store.submit(add("alex"))
    held.set()
    blocker.result(10)
    good.result(10)
    last.result(10)
    with pytest.raises(DatabaseError, match="is there already"):
        twice.result(10)
    with pytest.raises(ValueError, match="no"):
        bad.result(10)
    with pytest.raises(DatabaseError, match="lacks a table"):
        wrong.result(10)
    assert committed(file) == 2


def test_when_sqlite_rolls_everything_back_everybody_hears_of_it(store: Store, file: Path) -> None:
    started, held = threading.Event(), threading.Event()
    store.submit(lambda _: (started.set(), held.wait(10)))
    assert started.wait(10)
    good = store.submit(add("bob"))
    # What a full disk does (SQLITE_FULL): the whole transaction is gone.
    full = store.submit(lambda c: c.exec_driver_sql("ROLLBACK") and c.exec_driver_sql("nonsense"))
    held.set()
    for future in (good, full):
        with pytest.raises(DatabaseError):
            future.result(10)
    assert committed(file) == 0
    store.submit(add("alex")).result(10)
    assert committed(file) == 1


async def test_a_coroutine_awaits_its_commit_and_the_loop_goes_on(store: Store, file: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(store.run(add("bob")))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert ticks > 5
    other.rollback()
    other.close()
    await waiting
    ticking.cancel()
    assert await store.read(count) == 1
    assert committed(file) == 1


async def test_reading_does_not_wait_for_another_process_that_writes(
    store: Store, file: Path
) -> None:
    await store.run(add("bob"))
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM subscriber")
    assert await asyncio.wait_for(store.read(count), 2) == 1
    other.commit()
    other.close()
    assert await store.read(count) == 0


def test_a_lock_that_stays_is_reported(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcsops.database.store.open_engine", _impatient)
    store = Store.open(f"sqlite:///{file}", create=True, prepare=create_tables)
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="is locked by another process"):
        store.submit(add("bob")).result(10)
    other.rollback()
    other.close()
    store.submit(add("bob")).result(10)
    store.close()


def _impatient(url: str, **options: bool) -> object:
    from rcsops.database import open_engine

    return open_engine(url, busy_timeout=0.05, **options)


def test_what_nobody_waits_for_goes_to_the_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        store.post(add("bob"))
        store.post(add("bob"))
        assert store.submit(count).result(10) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "bob@rcs.example is there already"
    ]


def test_too_many_waiting_functions_are_refused(file: Path) -> None:
    store = Store.open(f"sqlite:///{file}", create=True, prepare=create_tables, max_waiting=2)
    held = threading.Event()
    started = threading.Event()

    def hold(connection: Connection) -> None:
        started.set()
        held.wait(10)

    store.submit(hold)
    assert started.wait(10)
    waiting = [store.submit(count) for _ in range(3)]
    with pytest.raises(DatabaseError, match="does not keep up"):
        waiting[2].result(10)
    held.set()
    assert waiting[1].result(10) == 0
    store.close()


def test_closing_commits_what_waits_and_takes_nothing_more(store: Store, file: Path) -> None:
    futures = [store.submit(add(f"u{number}")) for number in range(20)]
    store.close()
    assert all(future.done() for future in futures)
    assert committed(file) == 20
    with pytest.raises(DatabaseError, match="is closed"):
        store.submit(count).result(10)


def test_a_database_that_is_not_there_says_what_to_type(file: Path) -> None:
    with pytest.raises(DatabaseError) as caught:
        Store.open(f"sqlite:///{file}")
    assert "rcsops db create" in caught.value.hint
    assert not file.exists()


def test_opening_fails_when_the_preparation_does(file: Path) -> None:
    def refuse(connection: Connection) -> None:
        raise DatabaseError("not this one")

    with pytest.raises(DatabaseError, match="not this one"):
        Store.open(f"sqlite:///{file}", create=True, prepare=refuse)
