"""Places that agents send each other, with a session and without one."""

import asyncio
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.rcs import Location, geolocation
from rcsops.rcs import session as chat_sdp
from rcsops.ua import TextReceived

from .test_agent_pager import Feed, address, deliver, pair, plain

pytestmark = pytest.mark.timeout(30)

PLACE = Location(48.2082, 16.3738, 15.0, "meeting point 👋")


async def send_in_session(alex: Agent, bob: Agent, seen: Feed) -> TextReceived:
    async def accept() -> None:
        async for invitation in bob.incoming():
            await invitation.accept()
            return

    accepting = asyncio.create_task(accept())
    chat = await alex.invite(address(bob))
    await accepting
    receipt = await chat.send_location(48.2082, 16.3738, radius=15, label="meeting point 👋")
    await receipt.delivered(5)
    event = await seen.until(TextReceived)
    assert isinstance(event, TextReceived)
    await chat.close()
    return event


async def test_in_a_session(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, _, seen):
        event = await send_in_session(alex, bob, seen)
        assert event.location == PLACE
        assert event.text == PLACE.text
        assert not event.pager
        for agent, direction in ((alex, "out"), (bob, "in")):
            assert agent.history is not None
            (kept,) = await agent.history.messages()
            assert (kept.direction, kept.content_type) == (direction, geolocation.CONTENT_TYPE)
            assert kept.text == PLACE.text


async def test_a_peer_whose_sdp_takes_none_gets_words_and_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tuple(kind for kind in chat_sdp.CHAT_WRAPPED_TYPES if kind != geolocation.CONTENT_TYPE)
    monkeypatch.setattr(chat_sdp, "CHAT_WRAPPED_TYPES", others)
    async with pair(tmp_path) as (alex, bob, _, seen):
        event = await send_in_session(alex, bob, seen)
        assert event.location is None
        assert event.text == PLACE.text


async def test_without_a_session(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, _, seen):
        receipt = await alex.send_location(
            address(bob), 48.2082, 16.3738, radius=15, label="meeting point 👋"
        )
        await receipt.delivered(5)
        event = await seen.until(TextReceived)
        assert isinstance(event, TextReceived)
        assert event.location == PLACE
        assert event.pager
        assert bob.history is not None
        assert [each.content_type for each in await bob.history.messages()] == [
            geolocation.CONTENT_TYPE
        ]


@pytest.mark.foul
async def test_one_that_is_no_place_is_refused(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, _, _seen):
        for body in ("<a/>", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'):
            response = await deliver(alex, bob, plain(body, geolocation.CONTENT_TYPE))
            assert response.status == 400
