"""The alarm on each event loop that there is."""

import asyncio
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
