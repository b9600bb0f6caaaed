"""The event loop that a process of many connections runs on."""

import asyncio
import contextlib
import gc
import os

__all__ = ["loop_runner", "settle_collector"]

# New objects between two looks at the young ones, and how many of each for one at the next older.
# Hardly anything here needs the collector, and each look is a pause in the midst of a call.
_THRESHOLDS = (50_000, 10, 5)


def loop_runner() -> asyncio.Runner:
    """A runner on uvloop where that is installed, else on asyncio's own loop; RCSOPS_NO_UVLOOP in
    the environment chooses the latter in any case."""
    if not os.environ.get("RCSOPS_NO_UVLOOP"):
        with contextlib.suppress(ImportError):
            import uvloop

            return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()


def settle_collector() -> None:
    """Leaves what a process has made to start with out of every later garbage collection, and has
    the collector look less often: it would be at the cost of whatever is under way just then."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
