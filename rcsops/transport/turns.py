"""Turns of the event loop: what others send in slices, and a person's key before all of it."""

import asyncio
import contextvars
import os
import time
from collections.abc import Callable
from functools import partial

__all__ = ["SLICE_SECONDS", "Turns", "give_way"]

SLICE_SECONDS = 0.002
"""For so long one source of work goes on in a turn of the loop."""

_LONGEST_HOLD = 0.05


class Turns:
    """Where work waits that comes in any amount: for the next turn of the loop, or while somebody
    holds it for what must not wait, such as a key and what it draws.

    A hold ends by `let_go`, or by itself after 50 ms, and the next one is not before as much time
    has passed as it took: half of the time is the work's, whatever is asked.
    """

    __slots__ = ("_held_since", "_held_until", "_next_hold", "_timer", "_waiting")

    def __init__(self) -> None:
        self._held_since = self._held_until = self._next_hold = 0.0
        self._waiting: list[tuple[Callable[[], None], contextvars.Context]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> bool:
        """Whether work waits."""
        return time.monotonic() < self._held_until

    def hold(self) -> None:
        """Has work wait from now on, if it has had its share. Any thread may call it."""
        now = time.monotonic()
        if now >= self._next_hold:
            self._held_since = now
            self._next_hold = now + 2 * _LONGEST_HOLD
            self._held_until = now + _LONGEST_HOLD

    def let_go(self) -> None:
        """What the hold was for is done."""
        now = time.monotonic()
        if now < self._held_until:
            self._held_until = now
            self._next_hold = 2 * now - self._held_since
        self._go_on()

    def call(self, work: Callable[[], None]) -> None:
        """Calls ``work`` in another turn, the next one unless somebody holds it then."""
        asyncio.get_running_loop().call_soon(self._run, work)

    async def wait(self) -> None:
        """Waits for another turn."""
        waiter = asyncio.get_running_loop().create_future()
        self.call(partial(_wake, waiter))
        await waiter

    def _run(self, work: Callable[[], None]) -> None:
        left = self._held_until - time.monotonic()
        if left <= 0:
            work()
            return
        self._waiting.append((work, contextvars.copy_context()))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(left, self._go_on)

    def _go_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        for work, context in waiting:
            loop.call_soon(self._run, work, context=context)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def give_way() -> None:
    """Lets others have the processor; for a thread that computes on and on, every millisecond or
    two: a loop that wakes up would else wait until the system's clock ticks, 4 ms in most kernels.
    """
    os.sched_yield()
