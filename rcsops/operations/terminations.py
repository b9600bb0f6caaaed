"""SIGTERM and a closed terminal, as two more ways to interrupt what is half done."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

__all__ = ["handled", "held", "run_to_its_end", "terminations"]

_T = TypeVar("_T")

# `timeout` and some supervisors send the signal to the process and to its group: it comes twice.
_SAME_SECONDS = 1.0
_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled(
    handler: Callable[[int, FrameType | None], None], numbers: tuple[signal.Signals, ...] = _ALL
) -> Iterator[None]:
    """These signals go to ``handler`` in the block; nothing is changed beside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


@contextmanager
def terminations() -> Iterator[None]:
    """They raise KeyboardInterrupt in the block, as Ctrl-C does, so that it can tidy up.

    One that comes again within a second is the same one.
    """
    last = -_SAME_SECONDS

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= _SAME_SECONDS:
            raise KeyboardInterrupt

    with handled(interrupt, (signal.SIGTERM, signal.SIGHUP)):
        yield


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

    only = threading.current_thread() is threading.main_thread()
    old = {number: signal.getsignal(number) for number in _ALL} if only else {}
    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in old.items():
            # Who is interrupted is about to end: one that comes again is to break into nothing.
            signal.signal(number, signal.SIG_IGN if interrupted else handler)


@contextmanager
def held() -> Iterator[None]:
    """They, and Ctrl-C, come at the end of the block: a process that it starts is known by then to
    who has to end it."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    try:
        with handled(note):
            yield
    finally:
        for each in came:
            signal.raise_signal(each)
