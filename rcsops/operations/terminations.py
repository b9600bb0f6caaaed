"""SIGTERM and a closed terminal, as two more ways to interrupt what is half done."""

import asyncio
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

__all__ = ["held", "run_to_its_end", "terminations"]

_T = TypeVar("_T")

# `timeout` and some supervisors send the signal to the process and to its group: it comes twice.
_SAME_SECONDS = 1.0


@contextmanager
def terminations() -> Iterator[None]:
    """They raise KeyboardInterrupt in the block, as Ctrl-C does, so that it can tidy up.

    One that comes again within a second is the same one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -_SAME_SECONDS

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= _SAME_SECONDS:
            raise KeyboardInterrupt

    old = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def run_to_its_end(main: Coroutine[Any, Any, _T]) -> _T:
    """What ``main`` returns, run in a loop of its own.

    SIGINT, SIGTERM and SIGHUP cancel it, once, however often they come: what it does to tidy up
    goes to its end, and must take no long time. Raises KeyboardInterrupt then, and what ``main``
    raises.
    """
    interrupted = False

    async def run() -> _T:
        task = asyncio.current_task()
        assert task is not None

        loop = asyncio.get_running_loop()

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            nonlocal interrupted
            if not interrupted:
                interrupted = True
                loop.call_soon_threadsafe(task.cancel)

        for number in old:
            signal.signal(number, interrupt)
        return await main

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    only = threading.current_thread() is threading.main_thread()
    old = {number: signal.getsignal(number) for number in numbers} if only else {}
    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        # Who is interrupted is about to end: one that comes again would end that in its midst.
        for number, handler in old.items() if not interrupted else ():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """They, and Ctrl-C, come at the end of the block: a process that it starts is known by then to
    who has to end it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)
