"""Agents of the tests that call each other and talk."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from rcsops import Agent
from rcsops.ua import Chat, Event, TextReceived
from tests.live.phones import PATIENCE


async def next_of(events: AsyncIterator[Event], kind: type[Event]) -> Any:
    """The next event of that kind."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the end, and no {kind.__name__}")


async def ended(chat: Chat) -> None:
    """Waits for the end of a chat."""
    async with asyncio.timeout(PATIENCE):
        async for _ in chat:
            pass


async def session(caller: Agent, callee: Agent) -> tuple[Chat, Chat]:
    """A session of two who are registered, as either of them has it."""

    async def answer() -> Chat:
        async for invitation in callee.incoming():
            return await invitation.accept()
        raise AssertionError("nobody called")

    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(caller.invite(callee.aor), answer())


async def talk(caller: Agent, callee: Agent) -> None:
    """Both register and chat; who was called ends it."""
    await asyncio.gather(caller.register(), callee.register())
    ours, theirs = await session(caller, callee)
    for one, other, text in (ours, theirs, "Hi Bob"), (theirs, ours, "Grüße 👋"):
        await (await one.send(text)).delivered(PATIENCE)
        assert (await next_of(other, TextReceived)).text == text
    await theirs.close()
    await ended(ours)
