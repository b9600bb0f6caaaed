"""Work that goes on beside the typed lines of ``rcsops chat``, and ends with it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Tasks", "unless"]

_Result = TypeVar("_Result")


class Tasks:
    """Tasks of which none fails in silence: the first fault stays in ``fault``, and ``on_fault``
    is called."""

    def __init__(self, on_fault: Callable[[], None]) -> None:
        self.fault: Exception | None = None
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs something in the background."""
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self, *, but: "asyncio.Task[None] | None" = None) -> None:
        """Ends all tasks, but for one."""
        tasks = {task for task in self._tasks if task is not but}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as fault:
            self.fault = self.fault or fault
            self._on_fault()


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, _Result]) -> _Result | None:
    """The result of some work; None when ``event`` puts an end to it."""
    working = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        ending.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)
