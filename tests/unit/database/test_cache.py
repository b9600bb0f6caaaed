import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rcsops.database import (
    NEEDS_REFRESH,
    ContactRow,
    Store,
    SubscriberCache,
    Subscribers,
    create_tables,
    locations,
)

DOMAIN = "rcs.example"
FULL = {"MD5": "a" * 32, "SHA-256": "b" * 64, "SHA-512-256": "c" * 64}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path}/a.db", create=True, prepare=create_tables)
    await store.run(lambda c: Subscribers(c).add("bob", DOMAIN, FULL))
    yield store
    store.close()


@pytest.fixture
def other(tmp_path: Path) -> sqlite3.Connection:
    """Another process's connection."""
    return sqlite3.connect(tmp_path / "a.db", isolation_level=None)


async def settled(cache: SubscriberCache) -> None:
    """Asks until it answers from memory."""
    for _ in range(200):
        await cache.refresh("bob", DOMAIN)
        if cache.lookup("bob", DOMAIN) is not NEEDS_REFRESH:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the cache never settles")


async def test_an_account_is_read_once_and_then_answered_from_memory(store: Store) -> None:
    cache = SubscriberCache(store)
    assert cache.lookup("bob", DOMAIN) is NEEDS_REFRESH
    bob = await cache.refresh("bob", DOMAIN)
    assert bob is not None
    assert bob.ha1 == FULL
    await settled(cache)
    assert cache.lookup("bob", DOMAIN) is bob
    assert await cache.get("bob", DOMAIN) is bob


async def test_one_who_is_not_there_is_remembered_too(store: Store) -> None:
    cache = SubscriberCache(store)
    assert await cache.refresh("bob", DOMAIN) is not None
    assert await cache.refresh("nobody", DOMAIN) is None
    await settled(cache)
    assert cache.lookup("nobody", DOMAIN) is None
    assert cache.lookup("somebody", DOMAIN) is NEEDS_REFRESH


async def test_what_another_process_writes_counts_at_once(
    store: Store, other: sqlite3.Connection
) -> None:
    cache = SubscriberCache(store)
    await cache.refresh("bob", DOMAIN)
    await cache.refresh("new", DOMAIN)
    await settled(cache)
    for number in range(30):
        other.execute("UPDATE subscriber SET ha1 = ?", (f"{number:032}",))
        found = await cache.get("bob", DOMAIN)
        assert found is not None
        assert found.ha1["MD5"] == f"{number:032}"
    other.execute("DELETE FROM subscriber")
    assert await cache.get("bob", DOMAIN) is None
    other.execute("INSERT INTO subscriber (username, domain) VALUES ('new', ?)", (DOMAIN,))
    assert await cache.get("new", DOMAIN) is not None
    other.close()


async def test_what_this_process_writes_does_not_empty_the_memory(store: Store) -> None:
    cache = SubscriberCache(store)
    bob = await cache.refresh("bob", DOMAIN)
    for number in range(1, 20):
        row = ContactRow(number, "bob", DOMAIN, "sip:bob@192.0.2.1", 100)
        await store.run(lambda c, row=row: locations.save(c, [row]))
        # At once: no answer waits for the thread because of what another has written just now.
        assert cache.lookup("bob", DOMAIN) is bob


async def test_a_write_that_changes_neither_size_nor_time_is_seen(
    store: Store, other: sqlite3.Connection, tmp_path: Path
) -> None:
    cache = SubscriberCache(store)
    log = tmp_path / "a.db-wal"
    await cache.refresh("bob", DOMAIN)
    await settled(cache)
    # As if both writes fell into one tick of the kernel's clock and the log began anew.
    before = [path.stat() for path in (tmp_path / "a.db", log)]
    other.execute("UPDATE subscriber SET ha1 = 'new'")
    os.truncate(log, before[1].st_size)
    for path, was in zip((tmp_path / "a.db", log), before, strict=True):
        os.utime(path, ns=(was.st_mtime_ns, was.st_mtime_ns))
    assert cache.lookup("bob", DOMAIN) is NEEDS_REFRESH
    other.close()


async def test_a_change_between_reading_and_looking_is_not_lost(
    store: Store, other: sqlite3.Connection
) -> None:
    cache = SubscriberCache(store)
    reading = asyncio.create_task(cache.refresh("bob", DOMAIN))
    await asyncio.sleep(0)
    # The thread reads now or has read; the loop has not heard of it yet.
    while store.waiting:
        pass
    other.execute("UPDATE subscriber SET ha1 = 'new'")
    await store.run(lambda c: None)
    await reading
    found = await cache.get("bob", DOMAIN)
    assert found is not None
    assert found.ha1["MD5"] == "new"
    other.close()


async def test_an_algorithm_counts_only_if_every_account_has_its_hash(
    store: Store, other: sqlite3.Connection
) -> None:
    cache = SubscriberCache(store)
    wanted = ("SHA-512-256", "SHA-256", "MD5")
    assert cache.algorithms(DOMAIN, wanted) is NEEDS_REFRESH
    assert await cache.refresh_algorithms(DOMAIN, wanted) == wanted
    await cache.refresh("bob", DOMAIN)
    await settled(cache)
    assert cache.algorithms(DOMAIN, ("MD5",)) == ("MD5",)
    other.execute(
        "INSERT INTO subscriber (username, domain, ha1) VALUES ('old', ?, 'x')", (DOMAIN,)
    )
    assert cache.algorithms(DOMAIN, wanted) is NEEDS_REFRESH
    assert await cache.refresh_algorithms(DOMAIN, wanted) == ("MD5",)
    assert await cache.refresh_algorithms("empty.example", wanted) == wanted
    other.close()


async def test_the_memory_is_bounded(store: Store) -> None:
    cache = SubscriberCache(store, max_entries=3)
    for name in ("a", "b", "c", "bob"):
        await cache.refresh(name, DOMAIN)
    await settled(cache)
    assert cache.lookup("a", DOMAIN) is NEEDS_REFRESH
    assert cache.lookup("b", DOMAIN) is None
