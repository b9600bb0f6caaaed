"""The accounts as one request sees them: answered from memory, or not yet.

Handlers of requests are plain functions. One that needs what memory does not hold raises
`NeedsDatabase`; the server reads it and calls the handler again with the same `Known`, which also
carries what must not be judged twice.
"""

from collections.abc import Awaitable, Callable

from rcsops.database.cache import NEEDS_REFRESH, SubscriberCache
from rcsops.database.subscribers import Subscriber

__all__ = ["Accounts", "Known", "NeedsDatabase"]


class Known:
    """What has been found out for one request: accounts by name, algorithms, the caller."""

    __slots__ = ("algorithms", "subscribers", "user")

    def __init__(self) -> None:
        self.subscribers: dict[str, Subscriber | None] = {}
        self.algorithms: tuple[str, ...] | None = None
        self.user = ""
        """The user whose credentials were verified; "" before."""


class NeedsDatabase(Exception):
    """Await ``load(known)`` and try again."""

    def __init__(self, load: Callable[[Known], Awaitable[None]]) -> None:
        super().__init__("a database look-up")
        self.load = load


class Accounts:
    """The accounts of one domain."""

    def __init__(self, cache: SubscriberCache, domain: str, algorithms: tuple[str, ...]) -> None:
        self._cache = cache
        self._domain = domain
        self._wanted = algorithms

    def get(self, username: str, known: Known) -> Subscriber | None:
        """The account of a user; raises `NeedsDatabase`."""
        if username in known.subscribers:
            return known.subscribers[username]
        found = self._cache.lookup(username, self._domain)
        if found is not NEEDS_REFRESH:
            return found

        async def load(into: Known) -> None:
            into.subscribers[username] = await self._cache.refresh(username, self._domain)

        raise NeedsDatabase(load)

    def algorithms(self, known: Known) -> tuple[str, ...]:
        """What may be challenged with: every account has a hash for it; raises `NeedsDatabase`."""
        if known.algorithms is not None:
            return known.algorithms
        found = self._cache.algorithms(self._domain, self._wanted)
        if found is not NEEDS_REFRESH:
            return found or self._wanted

        async def load(into: Known) -> None:
            usable = await self._cache.refresh_algorithms(self._domain, self._wanted)
            into.algorithms = usable or self._wanted

        raise NeedsDatabase(load)
