"""The real clock, the real randomness and the one way to a timer of the event loop.

The protocol machines take time and tokens as arguments; here is where both come from when they
run for real.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from itertools import count

from rcsops.tokens import Tokens

__all__ = ["Alarm", "loop_clock", "system_tokens", "wall_clock"]

_FEW_STALE = 64


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


class _Clockwork:
    """All alarms of one loop, which has one timer for them: that of the earliest.

    Each has its place by its deadline, and those that were cancelled or moved leave theirs when it
    comes up, or when they are more than the others.
    """

    __slots__ = ("__weakref__", "_count", "_handle", "armed", "loop", "stale", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.armed = math.inf
        self.waiting: list[tuple[float, int, Alarm]] = []
        self.stale = 0
        self._count = count()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, deadline: float, alarm: Alarm) -> None:
        if self.stale > _FEW_STALE and self.stale > len(self.waiting) / 2:
            self.waiting = [place for place in self.waiting if place[2].due == place[0]]
            heapify(self.waiting)
            self.stale = 0
        heappush(self.waiting, (deadline, next(self._count), alarm))
        if deadline < self.armed:
            self._arm(deadline)

    def _arm(self, deadline: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self.armed = deadline
        self._handle = self.loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        # The loop may be early by the resolution of its clock.
        now = max(self.loop.time(), self.armed)
        self._handle = None
        self.armed = math.inf
        while self.waiting and self.waiting[0][0] <= now:
            due, _, alarm = heappop(self.waiting)
            if alarm.due != due:
                self.stale = max(self.stale - 1, 0)
                continue
            try:
                alarm.ring()
            except Exception as error:
                self.loop.call_exception_handler(
                    {"message": "what an alarm had to do failed", "exception": error}
                )
        if self.waiting and self.waiting[0][0] < self.armed:
            self._arm(self.waiting[0][0])


class _Thread(threading.local):
    """What each thread's loop has; it lives as long as its alarms do."""

    clockwork: Callable[[], _Clockwork | None] = staticmethod(lambda: None)


_thread = _Thread()


class Alarm:
    """One alarm on the running loop that follows a machine's ``next_timer()``.

    ``set`` with an earlier deadline moves the alarm; with a later one the old alarm stays and finds
    nothing to do, so that a deadline that moves with every message costs nothing each time. The
    callback must set the alarm again with what is due next. It is held while the alarm is set and
    no longer: whoever has an alarm is not kept alive by it.
    """

    __slots__ = ("_callback", "_clockwork", "due")

    def __init__(self) -> None:
        self.due = math.inf
        self._callback: Callable[[], None] | None = None
        loop = asyncio.get_running_loop()
        clockwork = _thread.clockwork()
        if clockwork is None or clockwork.loop is not loop:
            clockwork = _Clockwork(loop)
            _thread.clockwork = weakref.ref(clockwork)
        self._clockwork = clockwork

    def set(self, deadline: float | None, callback: Callable[[], None]) -> None:
        """Call ``callback``, always the same, at ``deadline`` (the loop's clock, seconds) or
        before; None: nothing to wait for."""
        if deadline is None or self.due <= deadline:
            return
        if self._callback is not None:
            self._clockwork.stale += 1
        self.due = deadline
        self._callback = callback
        self._clockwork.add(deadline, self)

    def cancel(self) -> None:
        """Ring no more until set again."""
        if self._callback is not None:
            self._clockwork.stale += 1
            self.due = math.inf
            self._callback = None

    def ring(self) -> None:
        """Its deadline has come: calls what it was set with."""
        callback, self._callback = self._callback, None
        self.due = math.inf
        if callback is not None:
            callback()
