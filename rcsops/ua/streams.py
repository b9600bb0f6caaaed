"""Events to those who iterate over them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

__all__ = ["Stream"]

_T = TypeVar("_T")

MAX_WAITING = 10_000
MAX_WEIGHT = 65_536


class Stream(AsyncIterator[_T], Generic[_T]):
    """A queue that ends; ``async for`` takes from it until then.

    What nobody takes waits, up to ``limit`` items and a weight of ``MAX_WEIGHT``; beyond that the
    oldest are dropped and counted in ``dropped``. Several readers share what comes. ``weight`` is
    what ``weighs`` says of the waiting items together.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_items",
        "_limit",
        "_waiters",
        "_weighs",
        "dropped",
        "weight",
    )

    def __init__(
        self, limit: int = MAX_WAITING, *, weighs: Callable[[_T], int] | None = None
    ) -> None:
        self._items: deque[_T] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._limit = limit
        self._weighs = weighs
        self._closed = False
        self.dropped = 0
        self.weight = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    def put(self, item: _T) -> None:
        """Adds an item; after ``close`` it is ignored."""
        if self._closed:
            return
        weight = 0 if self._weighs is None else self._weighs(item)
        while self._items and (
            len(self._items) >= self._limit or self.weight + weight > MAX_WEIGHT
        ):
            self._take()
            self.dropped += 1
        self._items.append(item)
        self.weight += weight
        self._wake(one=True)

    def close(self) -> None:
        """No more items: readers end when they have taken what is there."""
        self._closed = True
        self._wake(one=False)

    def __aiter__(self) -> "Stream[_T]":
        return self

    async def __anext__(self) -> _T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    # It was our turn: the item goes to another reader.
                    self._wake(one=True)
                raise
        return self._take()

    def _take(self) -> _T:
        item = self._items.popleft()
        if self._weighs is not None:
            self.weight -= self._weighs(item)
        return item

    def _wake(self, *, one: bool) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if one:
                    return
