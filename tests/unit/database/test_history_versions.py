"""Histories that an older rcsops wrote; ``tests/data/history-v1.db`` was written by version 1."""

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from rcsops.database import Store, check_history, open_engine, prepare_history, reading
from rcsops.database import history as table
from rcsops.database.history_search import Wanted, read
from rcsops.database.schema import HISTORY_VERSION
from rcsops.errors import DatabaseError

FIRST = Path(__file__).parents[2] / "data" / "history-v1.db"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copy(FIRST, tmp_path / "history.db"))


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def as_it_reads(path: Path) -> list[table.HistoryMessage]:
    with reading(open_engine(url(path), read_only=True), url(path)) as connection:
        return list(read(connection, Wanted(), version=check_history(connection)))


def schema_of(path: Path) -> set[tuple[str, ...]]:
    """Columns in any order, and indexes."""
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")
        columns = [
            (table, *row[1:])
            for table in ("message", "attachment", "session")
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
        return {(str(name),) for (name,) in names} | {
            tuple(str(each) for each in row) for row in columns
        }


def test_the_first_version_becomes_this_one_with_all_that_is_in_it(
    old: Path, tmp_path: Path
) -> None:
    before = as_it_reads(old)
    assert [each.status for each in before] == [
        "queued", "stored", "sent", "delivered", "displayed", "failed", "received", "received",
    ]  # fmt: skip
    assert (before[5].reason, before[6].text) == ("404 Not Found", "Grüße 👋\nsecond line")
    assert before[7].attachment is not None
    assert before[0].times == {"queued": before[0].stored_at}
    store = Store.open(url(old), prepare=prepare_history)
    store.close()
    assert as_it_reads(old) == before
    fresh = tmp_path / "fresh.db"
    Store.open(url(fresh), create=True, prepare=prepare_history).close()
    assert schema_of(old) == schema_of(fresh)
    # A second start has nothing to do.
    Store.open(url(old), prepare=prepare_history).close()
    assert as_it_reads(old) == before


def test_the_second_version_becomes_this_one(old: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.db"
    for path in (old, fresh):
        Store.open(url(path), create=True, prepare=prepare_history).close()
    with sqlite3.connect(old) as connection:
        connection.executescript(
            "DROP TABLE session;"
            "DROP INDEX attachment_waiting_idx;"
            "ALTER TABLE attachment DROP COLUMN answer;"
            "UPDATE rcsops_history SET version = 2;"
        )
    before = as_it_reads(old)
    Store.open(url(old), prepare=prepare_history).close()
    assert as_it_reads(old) == before
    assert schema_of(old) == schema_of(fresh)
    with sqlite3.connect(old) as connection:
        # Nobody is asked about files of that time.
        assert connection.execute("SELECT DISTINCT answer FROM attachment").fetchall() == [
            ("unknown",)
        ]


def test_the_third_version_gets_a_place_for_sessions(old: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.db"
    for path in (old, fresh):
        Store.open(url(path), create=True, prepare=prepare_history).close()
    with sqlite3.connect(old) as connection:
        connection.executescript("DROP TABLE session; UPDATE rcsops_history SET version = 3;")
    before = as_it_reads(old)
    Store.open(url(old), prepare=prepare_history).close()
    assert as_it_reads(old) == before
    assert schema_of(old) == schema_of(fresh)


def test_reading_alone_leaves_it_as_it_is(old: Path) -> None:
    octets = old.read_bytes()
    assert len(as_it_reads(old)) == 8
    assert old.read_bytes() == octets


def test_two_processes_that_begin_at_once_make_one_of_it(old: Path) -> None:
    """Each in a thread with a connection of its own, as far as SQLite can tell."""
    ready = threading.Barrier(4)
    faults: list[Exception] = []

    def begin() -> None:
        ready.wait()
        try:
            Store.open(url(old), prepare=prepare_history).close()
        except DatabaseError as error:
            faults.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(as_it_reads(old)) == 8


def test_a_step_that_fails_undoes_the_ones_before_it(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk that is full at the last index.
    with sqlite3.connect(old) as connection:
        connection.execute("CREATE INDEX message_unsure_idx ON attachment (name)")
    octets = as_it_reads(old)
    with pytest.raises(DatabaseError):
        Store.open(url(old), prepare=prepare_history)
    assert as_it_reads(old) == octets
    with sqlite3.connect(old) as connection:
        assert connection.execute("SELECT version FROM rcsops_history").fetchall() == [(1,)]
        assert len(connection.execute("PRAGMA table_info(message)").fetchall()) == 11


@pytest.mark.parametrize("version", [0, HISTORY_VERSION + 1])
def test_one_that_is_not_known_is_refused(old: Path, version: int) -> None:
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE rcsops_history SET version = ?", (version,))
    with pytest.raises(DatabaseError, match=f"version {version}"):
        Store.open(url(old), prepare=prepare_history)
