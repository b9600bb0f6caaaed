"""The messages of RFC 4475 and RFC 5118 sent to an agent that runs, over UDP."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from rcsops import Agent
from tests.corpus.corpus import SIP, Case
from tests.corpus.sending import BOUND, over_udp

pytestmark = [pytest.mark.rfc("4475", "3"), pytest.mark.rfc("5118", "4")]


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Where an agent listens, on a loop of its own.

    A new one each time: some messages have a branch in common, so a second would be a copy.
    """
    ready: list[tuple[str, int]] = []
    failures: list[dict[str, object]] = []
    started, over = threading.Event(), threading.Event()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        async with Agent("sip:user@example.com") as agent:
            listening = agent.host.addresses[0]
            ready.append((listening.host, listening.port))
            started.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert started.wait(BOUND)
        yield ready[0]
    finally:
        over.set()
        thread.join(BOUND)
    assert not thread.is_alive()
    assert not failures


@pytest.mark.parametrize("case", SIP, ids=str)
def test_an_agent_answers_as_it_should(address: tuple[str, int], case: Case) -> None:
    allowed = case.entry["agent"]
    silent = allowed == ["silence"]
    statuses = [each for each in over_udp(address, case.data, silent=silent) if each > 100]
    if silent:
        assert not statuses
    else:
        assert statuses
        assert set(statuses) <= set(allowed)
