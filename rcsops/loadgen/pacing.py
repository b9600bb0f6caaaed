"""When things are due: an open loop, which does not wait for what it began before."""

import math
from collections.abc import Callable, Iterator

__all__ = ["arrivals"]


def arrivals(
    rate: float, duration: float, *, ramp: float = 0.0, fraction: Callable[[], float] | None = None
) -> Iterator[float]:
    """The times, in seconds from the start, at which ``rate`` things a second are due.

    The rate grows evenly from nothing during the first ``ramp`` seconds. With ``fraction``, random
    numbers from 0 to 1, the gaps are those of independent callers (a Poisson process); without it
    they are even.
    """
    due = 0.0
    ramp = min(ramp, duration)
    at_full = rate * ramp / 2
    while True:
        # The n-th thing is due when the integral of the rate over time comes to n.
        due += 1.0 if fraction is None else -math.log(1.0 - fraction())
        time = math.sqrt(2 * ramp * due / rate) if due < at_full else ramp + (due - at_full) / rate
        if time >= duration:
            return
        yield time
