"""The event loop that a process of many connections runs on."""

import asyncio
import contextlib
import os

__all__ = ["loop_runner"]


def loop_runner() -> asyncio.Runner:
    """A runner on uvloop where that is installed, else on asyncio's own loop; RCSOPS_NO_UVLOOP in
    the environment chooses the latter in any case."""
    if not os.environ.get("RCSOPS_NO_UVLOOP"):
        with contextlib.suppress(ImportError):
            import uvloop

            return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()
