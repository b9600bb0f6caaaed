"""The real clock, the real randomness and the one way to a timer of the event loop.

The protocol machines take time and tokens as arguments; here is where both come from when they
run for real.
"""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from rcsops.tokens import Tokens

__all__ = ["Alarm", "loop_clock", "system_tokens", "wall_clock"]


def system_tokens() -> Tokens:
    """Tokens drawn from the operating system's randomness."""
    return Tokens(os.urandom)


def loop_clock() -> Callable[[], float]:
    """The monotonic clock of the running loop, in seconds.

    asyncio's own loop takes it from the system in a method of Python's; this asks the system.
    """
    loop = asyncio.get_running_loop()
    is_plain = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
    return time.monotonic if is_plain else loop.time


def wall_clock() -> datetime:
    """The time of day in UTC, for what people and CPIM headers read."""
    return datetime.now(UTC)


class Alarm:
    """One timer of the loop that follows a machine's ``next_timer()``.

    ``set`` with an earlier deadline moves the alarm; with a later one the old alarm stays and finds
    nothing to do, so that a deadline that moves with every message costs no loop timer each time.
    The callback must set the alarm again with what is due next. It is held while the alarm is set
    and no longer: whoever has an alarm is not kept alive by it.
    """

    __slots__ = ("_due", "_handle", "_loop")

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None
        # Not the handle's when(): uvloop's has none where the deadline was already past.
        self._due = 0.0
        self._loop = asyncio.get_running_loop()

    def set(self, deadline: float | None, callback: Callable[[], None]) -> None:
        """Call ``callback``, always the same, at ``deadline`` (the loop's clock, seconds) or
        before; None: nothing to wait for."""
        handle = self._handle
        if deadline is None:
            return
        if handle is not None:
            if self._due <= deadline:
                return
            handle.cancel()
        self._due = deadline
        self._handle = self._loop.call_at(deadline, self._ring, callback)

    def cancel(self) -> None:
        """Ring no more until set again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self, callback: Callable[[], None]) -> None:
        self._handle = None
        callback()
