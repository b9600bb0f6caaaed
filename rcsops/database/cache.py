"""Accounts held in memory for a server that asks at every request.

Another process (``rcsops user passwd``) may write at any time, and what it wrote must count from
the next request on. SQLite tells: as long as the index of the database's log is as it was when this
process last read ``PRAGMA data_version``, nobody wrote. The look costs one system call, no driver.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from enum import Enum
from typing import Final, Literal, TypeVar, cast

from sqlalchemy import Connection

from rcsops.database.shapes import EMBEDDED_LINE, Line
from rcsops.database.store import Store, data_version
from rcsops.database.subscribers import Subscriber, Subscribers, usable_algorithms

_K = TypeVar("_K")
_V = TypeVar("_V")

_MAX_ENTRIES = 200_000
_OTHER_DATABASE_SECONDS = 1.0
# Without SQLite's files there is nothing to look at: entries are trusted for this long.


class _Refresh(Enum):
    NEEDED = "needed"


NEEDS_REFRESH: Final = _Refresh.NEEDED
"""What `SubscriberCache.lookup` says when it must not answer from memory."""

NeedsRefresh = Literal[_Refresh.NEEDED]


class SubscriberCache:
    """``lookup`` answers at once from memory or says `NEEDS_REFRESH`; then ``await refresh``.

    Both are for the event loop's thread. ``line`` is that of the release whose tables these are.
    """

    def __init__(
        self, store: Store, *, max_entries: int = _MAX_ENTRIES, line: Line = EMBEDDED_LINE
    ) -> None:
        self._store = store
        self._line = line
        self._max_entries = max_entries
        self._entries: OrderedDict[tuple[str, str], Subscriber | None] = OrderedDict()
        self._lacking: dict[str, Mapping[str, int]] = {}
        self._data_version = -1
        self._read_at = float("-inf")

    def lookup(self, username: str, domain: str) -> Subscriber | NeedsRefresh | None:
        """The account, None when there is none, or `NEEDS_REFRESH`."""
        if not self._fresh():
            return NEEDS_REFRESH
        try:
            return self._entries[username, domain]
        except KeyError:
            return NEEDS_REFRESH

    async def refresh(self, username: str, domain: str) -> Subscriber | None:
        """Asks the database whether another process wrote, forgets everything if so, and reads the
        account unless it is known. Raises `DatabaseError`."""
        key = (username, domain)

        def read(subscribers: Subscribers) -> Subscriber | None:
            return subscribers.get(username, domain)

        found = await self._checked(self._entries, key, read)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return found

    async def get(self, username: str, domain: str) -> Subscriber | None:
        """`lookup`, and `refresh` where needed."""
        found = self.lookup(username, domain)
        return await self.refresh(username, domain) if found is NEEDS_REFRESH else found

    def algorithms(self, domain: str, wanted: Iterable[str]) -> tuple[str, ...] | NeedsRefresh:
        """Those of ``wanted`` that every account of ``domain`` can be challenged with."""
        lacking = self._lacking.get(domain) if self._fresh() else None
        return NEEDS_REFRESH if lacking is None else usable_algorithms(lacking, wanted)

    async def refresh_algorithms(self, domain: str, wanted: Iterable[str]) -> tuple[str, ...]:
        """Like `refresh`, for `algorithms`."""

        def read(subscribers: Subscribers) -> Mapping[str, int]:
            return subscribers.lacking(domain)

        return usable_algorithms(await self._checked(self._lacking, domain, read), wanted)

    def forget(self) -> None:
        """Empties the memory."""
        self._entries.clear()
        self._lacking.clear()

    def _fresh(self) -> bool:
        state, version = self._store.snapshot
        if not state:
            return (
                not self._store.is_sqlite
                and time.monotonic() - self._read_at < _OTHER_DATABASE_SECONDS
            )
        return version == self._data_version and self._store.file_state() == state

    async def _checked(
        self, memory: MutableMapping[_K, _V], key: _K, read: Callable[[Subscribers], _V]
    ) -> _V:
        """``memory[key]`` if no other process wrote since it was read, else read anew."""
        known = self._data_version if self._store.is_sqlite and key in memory else None
        held = memory.get(key)

        def work(connection: Connection) -> tuple[int, _V]:
            # The version and the rows come from one snapshot of the database.
            version = data_version(connection)
            if version == known:
                return version, cast(_V, held)
            return version, read(Subscribers(connection, self._line))

        version, value = await self._store.read(work)
        if version != self._data_version or not self._store.is_sqlite:
            self.forget()
            self._data_version = version
        self._read_at = time.monotonic()
        memory[key] = value
        return value
