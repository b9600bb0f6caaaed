"""What waits for its turn, and how long a person may have the loop to himself."""

import asyncio
import contextvars
import threading
import time

import pytest

from rcsops.transport.turns import Turns

pytestmark = pytest.mark.timeout(30)


async def test_work_comes_in_its_order_each_in_another_turn() -> None:
    turns = Turns()
    done: list[int] = []
    for number in range(3):
        turns.call(lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == []
    await turns.wait()
    assert done == [0, 1, 2]


async def test_a_hold_keeps_work_until_it_is_let_go() -> None:
    turns = Turns()
    done: list[str] = []
    turns.call(lambda: done.append("asked before"))
    turns.hold()
    turns.call(lambda: done.append("asked after"))
    assert turns.held
    for _ in range(5):
        await asyncio.sleep(0)
    assert done == []
    turns.let_go()
    assert not turns.held
    await turns.wait()
    assert done == ["asked before", "asked after"]


async def test_a_hold_that_nobody_lets_go_ends_by_itself() -> None:
    turns = Turns()
    turns.hold()
    await asyncio.wait_for(turns.wait(), 10)
    assert not turns.held


async def test_whoever_holds_all_the_time_gets_half_of_it() -> None:
    turns = Turns()
    slices = 0

    def work() -> None:
        nonlocal slices
        slices += 1
        turns.call(work)

    work()
    end = time.monotonic() + 0.5
    free = held = 0
    while time.monotonic() < end:
        turns.hold()
        held += turns.held
        free += not turns.held
        await asyncio.sleep(0)
    assert held
    assert free
    assert slices > 5


async def test_let_go_without_a_hold_does_nothing_and_the_next_hold_comes_after_a_rest() -> None:
    turns = Turns()
    turns.let_go()
    turns.hold()
    assert turns.held
    time.sleep(0.02)
    turns.let_go()
    turns.let_go()
    turns.hold()
    assert not turns.held
    await asyncio.sleep(0.03)
    turns.hold()
    assert turns.held


async def test_another_thread_may_hold() -> None:
    turns = Turns()
    thread = threading.Thread(target=turns.hold)
    thread.start()
    thread.join()
    assert turns.held
    await asyncio.wait_for(turns.wait(), 10)


async def test_work_keeps_the_context_that_it_was_asked_in() -> None:
    turns = Turns()
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
    seen: list[str] = []

    async def asking() -> None:
        whose.set("mine")
        turns.call(lambda: seen.append(whose.get()))

    turns.hold()
    await asyncio.create_task(asking())
    await asyncio.sleep(0)
    turns.let_go()
    await turns.wait()
    assert seen == ["mine"]
