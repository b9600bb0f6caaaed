"""What every test of an agent must leave behind: nothing, and no word that is by no grammar."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from rcsops.transport import TapRecord
from rcsops.ua.host import AgentHost
from tests.unit.ua.grammar import Seen, check_record


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


@pytest.fixture(autouse=True)
def all_that_leaves_obeys_the_grammar(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A tap of every agent's host holds what it sends against the grammar, but in a test that is
    marked ``foul``."""
    wrong: list[AssertionError] = []
    seen = Seen()
    made = AgentHost.__init__

    def check(record: TapRecord) -> None:
        try:
            if record.direction == "out":
                check_record(record, seen, repeats=True)
        except AssertionError as error:
            wrong.append(error)

    def make(host: AgentHost, **options: Any) -> None:
        tap = options.pop("tap", None)

        def both(record: TapRecord) -> None:
            check(record)
            if tap is not None:
                tap(record)

        made(host, tap=both, **options)

    monkeypatch.setattr(AgentHost, "__init__", make)
    yield
    if wrong and request.node.get_closest_marker("foul") is None:
        raise wrong[0]
