"""Running timers, for a machine that is told the time.

The timers of SIP have few durations and are started in the order of time, so a first-in, first-out
queue for each duration keeps them sorted: starting, stopping and firing cost the same for ten
timers and for a million.
"""

from collections import deque
from typing import Any


class Alarm:
    """One running timer: at ``due`` seconds, ``owner`` is told that ``on`` fired.

    ``stop()`` forgets the owner at once; the empty shell leaves its queue when it falls due.
    """

    __slots__ = ("due", "on", "owner")

    def __init__(self, due: float, owner: Any, on: Any) -> None:
        self.due = due
        self.owner = owner
        self.on = on

    def stop(self) -> None:
        """Make sure that it never fires."""
        self.owner = None


class AlarmQueues:
    """All running timers of one machine."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[float, deque[Alarm]] = {}

    def start(self, delay: float, now: float, owner: Any, on: Any) -> Alarm:
        """Start a timer that fires ``delay`` seconds after ``now``; ``now`` never goes back."""
        queue = self._queues.get(delay)
        if queue is None:
            queue = self._queues[delay] = deque()
        alarm = Alarm(now + delay, owner, on)
        queue.append(alarm)
        return alarm

    def next_due(self) -> float | None:
        """When the earliest running timer fires."""
        queue = self._earliest()
        return None if queue is None else queue[0].due

    def pop_due(self, now: float) -> Alarm | None:
        """Take out the earliest timer that is due at ``now``."""
        queue = self._earliest()
        if queue is None or queue[0].due > now:
            return None
        return queue.popleft()

    def _earliest(self) -> deque[Alarm] | None:
        earliest = None
        due = 0.0
        for queue in self._queues.values():
            while queue and queue[0].owner is None:
                queue.popleft()
            if queue and (earliest is None or queue[0].due < due):
                earliest = queue
                due = queue[0].due
        return earliest
