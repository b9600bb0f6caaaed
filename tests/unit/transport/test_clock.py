"""The alarm on each event loop that there is."""

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import Callable

import pytest

from rcsops.transport.clock import Alarm


def _loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    try:
        import uvloop
    except ImportError:
        return [asyncio.new_event_loop]
    return [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("make_loop", _loops())
def test_a_deadline_that_is_past_can_be_set_again(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        rung = asyncio.Event()
        count = 0

        def ring() -> None:
            nonlocal count
            count += 1
            rung.set()

        alarm = Alarm()
        past = loop.time() - 1
        for deadline in (past, past, past - 1, past + 5):
            alarm.set(deadline, ring)
        await asyncio.wait_for(rung.wait(), 5)
        await asyncio.sleep(0)
        assert count == 1

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(check())


@pytest.mark.parametrize("make_loop", _loops())
def test_an_earlier_deadline_moves_the_alarm(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        rung = asyncio.Event()
        alarm = Alarm()
        alarm.set(loop.time() + 3600, rung.set)
        alarm.set(loop.time() + 0.01, rung.set)
        await asyncio.wait_for(rung.wait(), 5)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(check())


async def test_alarms_ring_in_order_and_one_that_fails_stops_no_other() -> None:
    loop = asyncio.get_running_loop()
    failures: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    rung: list[str] = []
    last = asyncio.Event()

    def fail() -> None:
        rung.append("second")
        raise RuntimeError("as it is meant to")

    def end() -> None:
        rung.append("third")
        last.set()

    now = loop.time()
    third, second, first, never = Alarm(), Alarm(), Alarm(), Alarm()
    third.set(now + 0.03, end)
    second.set(now + 0.02, fail)
    never.set(now + 0.015, lambda: rung.append("never"))
    first.set(now + 0.01, lambda: rung.append("first"))
    never.cancel()
    await asyncio.wait_for(last.wait(), 5)
    assert rung == ["first", "second", "third"]
    assert [str(each["exception"]) for each in failures] == ["as it is meant to"]
    # Nothing was due any more when it was cancelled: it can be set anew.
    again = asyncio.Event()
    never.set(loop.time(), again.set)
    await asyncio.wait_for(again.wait(), 5)


async def test_what_an_alarm_was_to_call_is_let_go_when_it_is_cancelled() -> None:
    class Owner:
        def ring(self) -> None: ...

    alarm, owner = Alarm(), Owner()
    gone = weakref.ref(owner)
    alarm.set(asyncio.get_running_loop().time() + 3600, owner.ring)
    del owner
    assert gone() is not None
    alarm.cancel()
    assert gone() is None


async def test_alarms_that_are_set_and_cancelled_again_and_again_take_no_room() -> None:
    loop = asyncio.get_running_loop()
    kept = Alarm()
    rung = asyncio.Event()
    kept.set(loop.time() + 0.2, rung.set)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            alarm = Alarm()
            alarm.set(loop.time() + 3600, rung.clear)
            alarm.cancel()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000
    await asyncio.wait_for(rung.wait(), 5)
