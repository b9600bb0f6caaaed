"""What every test of an agent must leave behind: nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def quiet_loop() -> AsyncIterator[None]:
    """No exception of the loop and no task may be left."""
    problems: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))
    before = asyncio.all_tasks()
    yield
    for _ in range(3):
        await asyncio.sleep(0)
    assert problems == []
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()
