"""Overload: when more comes than can be done, new work is refused at once, so that what was begun
is finished (RFC 3261 §21.5.4, RFC 6357).

The sign of overload is a queue that does not empty: datagrams that have waited in the kernel, or
were lost there, and a loop that comes late to its own clock. Every tenth of a second the pressure
rises by a step while such a queue does not shrink, and falls by a smaller one while there is none.
The steps grow shorter with the share that is still let in, so that it settles at any load.
"""

from collections.abc import Callable

__all__ = ["INTERVAL", "OverloadControl"]

INTERVAL = 0.1
"""Seconds between two calls of `OverloadControl.tick`."""

_RISE = 0.15
_FALL = 0.05
_SHORTEST_STEP = 0.1
_MOST = 1.95
# A server with little to do is not overloaded, however late a busy machine lets it run.
_LEAST_MESSAGES = 40
_LATE_TICKS = 2


class OverloadControl:
    """Says which new request is to be refused.

    ``target`` is the longest wait in a queue, in seconds, that is no overload; 0 turns all of this
    off. ``fraction()`` gives numbers in [0, 1). Pressure 0 to 1 refuses that share of the requests
    without credentials, which nobody has done any work for yet; what is above 1 that share of
    those with credentials too. What belongs to a dialog is not asked about.
    """

    def __init__(self, target: float, fraction: Callable[[], float]) -> None:
        self._target = target
        self._fraction = fraction
        self._shortest: float | None = None
        self._before = 0.0
        self._lost = 0
        self._late = 0
        self.pressure = 0.0
        self.refused = 0

    @property
    def active(self) -> bool:
        """Whether anything is refused now."""
        return self.pressure > 0.0

    def waited(self, seconds: float) -> None:
        """The oldest datagram of a batch has waited so long."""
        if self._shortest is None or seconds < self._shortest:
            self._shortest = seconds

    def lost(self, datagrams: int) -> None:
        """The kernel had no room for so many."""
        self._lost += datagrams

    def tick(self, late: float, messages: int) -> None:
        """An interval is over: it ended ``late`` seconds too late, and brought ``messages``."""
        target = self._target
        if not target:
            return
        waited = self._shortest or 0.0
        self._late = self._late + 1 if late > 2 * target else 0
        if messages < _LEAST_MESSAGES:
            self._fall()
        elif self._lost or self._late >= _LATE_TICKS or waited > max(target, self._before):
            self.pressure = min(_MOST, self.pressure + _RISE * self._step())
        elif waited <= target:
            self._fall()
        self._before = waited
        self._shortest = None
        self._lost = 0

    def _step(self) -> float:
        return max(_SHORTEST_STEP, min(1.0, abs(1.0 - self.pressure)))

    def _fall(self) -> None:
        self.pressure = max(0.0, self.pressure - _FALL * self._step())

    def refuses(self, *, credentials: bool) -> bool:
        """Whether a request that begins something new is to be refused."""
        share = self.pressure - 1.0 if credentials else self.pressure
        if share <= 0.0 or (share < 1.0 and self._fraction() >= share):
            return False
        self.refused += 1
        return True
