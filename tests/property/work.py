"""Is the work linear in the size? Told by its growth, whatever the speed of the machine."""

import gc
import time
from collections.abc import Callable

# For 16 times as much linear work takes 16 times as long, quadratic work 256 times.
GROWTH = 16
TOO_MUCH = 80.0
ATTEMPTS = 6


def cpu_seconds(work: Callable[[], object]) -> float:
    """The processor's time for one call: what others do on the machine does not count."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def assert_linear(work: Callable[[int], Callable[[], object]], size: int = 6000) -> None:
    """``work(n)`` makes a call whose time grows no faster than n.

    A measurement that says otherwise is taken again: a pause of the machine is not there twice.
    """
    small, large = work(size), work(size * GROWTH)
    seen = []
    gc.disable()
    try:
        for _ in range(ATTEMPTS):
            # What is too short to be measured is quick enough, whatever it is to the large one.
            base = max(min(cpu_seconds(small) for _ in range(3)), 0.0005)
            seen.append(cpu_seconds(large) / base)
            if seen[-1] < TOO_MUCH:
                return
    finally:
        gc.enable()
    raise AssertionError(f"{GROWTH} times the size took {seen} times as long")
