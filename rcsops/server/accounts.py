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
    """What has been found out for one request: accounts by name, algorithms, the caller, and how
    its source stands."""

    __slots__ = ("algorithms", "counted", "quiet", "subscribers", "user")

    def __init__(self) -> None:
        self.subscribers: dict[tuple[str, str], Subscriber | None] = {}
        self.algorithms: dict[str, tuple[str, ...]] = {}
        self.counted = False
        """Whether its source has been charged for it."""
        self.quiet = False
        """Whether nothing but success is answered: its source may be forged, and sends a lot."""
        self.user = ""
        """The user whose credentials were verified; "" before."""


class NeedsDatabase(Exception):
    """Await ``load(known)`` and try again."""

    def __init__(self, load: Callable[[Known], Awaitable[None]]) -> None:
        super().__init__("a database look-up")
        self.load = load


class Accounts:
    """The accounts of every local domain."""

    def __init__(self, cache: SubscriberCache, algorithms: tuple[str, ...]) -> None:
        self._cache = cache
        self._wanted = algorithms

    def get(self, username: str, domain: str, known: Known) -> Subscriber | None:
        """The account of a user; raises `NeedsDatabase`."""
        key = (username, domain)
        if key in known.subscribers:
            return known.subscribers[key]
        found = self._cache.lookup(username, domain)
        if found is not NEEDS_REFRESH:
            return found

        async def load(into: Known) -> None:
            into.subscribers[key] = await self._cache.refresh(username, domain)

        raise NeedsDatabase(load)

    def algorithms(self, domain: str, known: Known) -> tuple[str, ...]:
        """What may be challenged with: every account of the domain has a hash for it; raises
        `NeedsDatabase`."""
        if domain in known.algorithms:
            return known.algorithms[domain]
        found = self._cache.algorithms(domain, self._wanted)
        if found is not NEEDS_REFRESH:
            return found or self._wanted

        async def load(into: Known) -> None:
            usable = await self._cache.refresh_algorithms(domain, self._wanted)
            into.algorithms[domain] = usable or self._wanted

        raise NeedsDatabase(load)
