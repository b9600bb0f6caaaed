"""The timers of isComposing (RFC 3994 §3), between two agents."""

import asyncio

import pytest

from rcsops import Agent
from rcsops.operations import chat_typing
from rcsops.operations.chat_typing import Typing
from rcsops.testing import eventually
from rcsops.ua import Chat, Composing, Event, SessionEnded, TextReceived
from tests.unit.ua.test_agent_direct import pair, talk

pytestmark = pytest.mark.timeout(60)


def say(chat: Chat, state: str, refresh: int) -> None:
    """isComposing as another client words it."""
    assert chat.session.link is not None
    body = (
        '<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">'
        f"<state>{state}</state><refresh>{refresh}</refresh></isComposing>"
    )
    session = chat.session.link.session
    session.send("application/im-iscomposing+xml", body.encode(), failure_report="no")
    chat.session.link.pump()


def heard(agent: Agent) -> list[Event]:
    """What an agent tells from now on, as it comes."""
    told: list[Event] = []
    feed = agent.events()

    async def listen() -> None:
        async for event in feed:
            told.append(event)

    agent.host.spawn(listen())
    return told


def typing(told: list[Event]) -> list[bool]:
    return [event.active for event in told if isinstance(event, Composing)]


@pytest.mark.foul
@pytest.mark.rfc("3994", "3.3")
async def test_who_types_no_longer_and_does_not_say_so_is_taken_for_idle() -> None:
    async with pair() as (alex, bob):
        ours, _ = await talk(alex, bob)
        told = heard(bob)
        say(ours, "active", 2)
        await eventually(lambda: typing(told) == [True], timeout=5)
        # Said again before: it goes on.
        await asyncio.sleep(1.5)
        say(ours, "active", 2)
        await eventually(lambda: typing(told) == [True, True], timeout=1)
        await asyncio.sleep(1.0)
        assert typing(told) == [True, True]
        await eventually(lambda: typing(told) == [True, True, False], timeout=5)


@pytest.mark.foul
@pytest.mark.rfc("3994", "3.3")
async def test_a_message_says_that_it_was_typed() -> None:
    async with pair() as (alex, bob):
        ours, theirs = await talk(alex, bob)
        told = heard(bob)
        say(ours, "active", 1)
        await ours.send("there")
        await eventually(lambda: any(isinstance(each, TextReceived) for each in told), timeout=5)
        say(ours, "active", 1)
        say(ours, "idle", 1)
        await eventually(lambda: typing(told) == [True, True, False], timeout=5)
        say(ours, "active", 1)
        await eventually(lambda: typing(told) == [True, True, False, True], timeout=5)
        await theirs.close()
        await asyncio.sleep(1.5)
        assert typing(told) == [True, True, False, True]
        assert isinstance(told[-1], SessionEnded)


@pytest.mark.rfc("3994", "3.2")
async def test_our_user_types_stops_and_types_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_typing, "_IDLE_SECONDS", 0.6)
    monkeypatch.setattr(chat_typing, "_REFRESH_SECONDS", 1.0)
    async with pair() as (alex, bob):
        ours, _ = await talk(alex, bob)
        told = heard(bob)
        keys = Typing()
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() - start < 1.2:
            keys.key(ours)
            await asyncio.sleep(0.05)
        # Once at the first key, and once more when that is to be refreshed.
        await eventually(lambda: typing(told) == [True, True], timeout=5)
        await eventually(lambda: typing(told) == [True, True, False], timeout=5)
        keys.key(ours)
        keys.stopped(sent=True)
        await eventually(lambda: typing(told) == [True, True, False, True], timeout=5)
        await asyncio.sleep(1.0)
        # The message itself says that it was typed.
        assert typing(told) == [True, True, False, True]
