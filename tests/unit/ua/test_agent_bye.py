"""A BYE while messages are under way: what was sent has arrived, or goes again, once."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from rcsops.ua import Chat, TextReceived
from tests.unit.ua.test_agent_crossing import agent, server, until, welcome

__all__ = ["server"]

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_a_bye_in_the_middle_of_a_long_message_loses_nothing(
    server: object, who: str, tmp_path: Path
) -> None:
    texts = ["x" * 900_000, *(f"short {number}" for number in range(20))]
    async with (
        agent(server, "alex", history=tmp_path / "alex.db") as alex,  # type: ignore[arg-type]
        agent(server, "bob", history=tmp_path / "bob.db") as bob,  # type: ignore[arg-type]
    ):
        await asyncio.gather(alex.register(), bob.register())
        heard: Counter[str] = Counter()
        taken: list[Chat] = []

        async def read() -> None:
            async for event in bob.events():
                if isinstance(event, TextReceived):
                    heard[event.text] += 1

        helpers = [asyncio.create_task(read()), asyncio.create_task(welcome(bob))]
        ours = await alex.invite("bob")
        await until(lambda: bob.chats, "the session")
        taken.extend(bob.chats)
        receipts = [await ours.send(text) for text in texts]
        await (ours if who == "sender" else taken[0]).close()
        await until(lambda: set(heard) == set(texts), "every message")
        await asyncio.gather(*(receipt.delivered(timeout=60) for receipt in receipts))
        assert set(heard.values()) == {1}
        for helper in helpers:
            helper.cancel()
