"""The same conversations through every server: ours, Kamailio, each OpenSIPS on each database."""

import asyncio
import itertools
from typing import Any

import pytest

from rcsops import Agent
from rcsops.rcs import reaction_text
from rcsops.ua import Chat, TextReceived, events
from tests.live.phones import DOMAIN
from tests.live.subjects import Server
from tests.live.test_capabilities import places
from tests.live.test_pager import away_and_back, chats_at

pytestmark = [pytest.mark.feature("conversations"), pytest.mark.timeout(240)]

PATIENCE = 60.0

_numbers = itertools.count(1)


@pytest.fixture
def pair(anywhere: Server) -> tuple[str, str]:
    """Two users of that server whom no other test has."""
    number = next(_numbers)
    for name in ("alex", "bob"):
        anywhere.add_user(f"{name}{number}", f"of {name}{number}")
    return f"alex{number}", f"bob{number}"


def agent(server: Server, name: str, transport: str, **more: Any) -> Agent:
    return Agent(
        f"sip:{name}@{DOMAIN}",
        server=server.address,
        transport=transport,
        password=f"of {name}",
        **more,
    )


async def next_of(chat: Chat, kind: type[events.Event]) -> Any:
    """The next event of that kind in a chat."""
    async with asyncio.timeout(PATIENCE):
        async for event in chat:
            if isinstance(event, kind):
                return event
    raise AssertionError("the chat ended")


@pytest.mark.smoke
@pytest.mark.parametrize("security", ["tcp", "tls"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_session_with_receipts_typing_and_a_reaction(
    anywhere: Server, pair: tuple[str, str], transport: str, security: str
) -> None:
    a, b = pair
    async with (
        agent(anywhere, a, transport, msrp_security=security) as alex,
        agent(anywhere, b, transport, msrp_security=security) as bob,
    ):
        await alex.register()
        await bob.register()

        async def answer() -> Chat:
            async for invitation in bob.incoming():
                return await invitation.accept()
            raise AssertionError("nobody called")

        answering = asyncio.create_task(answer())
        ours = await alex.invite(f"sip:{b}@{DOMAIN}")
        theirs = await answering
        assert bool(ours.security) == bool(theirs.security) == (security == "tls")
        ours.composing(True)
        assert (await next_of(theirs, events.Composing)).active
        there = await ours.send("Grüße 👋")
        came = await next_of(theirs, TextReceived)
        assert came.text == "Grüße 👋"
        await there.delivered(PATIENCE)
        theirs.mark_displayed(came)
        await there.displayed(PATIENCE)
        back = await theirs.send(reaction_text("👍", came.text))
        assert (await next_of(ours, TextReceived)).text == "Reacted 👍 to “Grüße 👋”"
        await back.delivered(PATIENCE)
        # Longer than one chunk.
        await (await ours.send("long é" * 20_000)).delivered(PATIENCE)
        assert (await next_of(theirs, TextReceived)).text == "long é" * 20_000
        await theirs.close()


def test_to_one_who_is_away_and_back(anywhere: Server, pair: tuple[str, str]) -> None:
    with chats_at(anywhere.address) as chat:
        away_and_back(chat, *pair)
        again = chat(pair[1])
        again.wait("registered")
        assert again.finish() == 0
        assert again.messages == []


def test_places_with_and_without_a_session(anywhere: Server, pair: tuple[str, str]) -> None:
    with chats_at(anywhere.address) as chat:
        places(chat, *pair)
