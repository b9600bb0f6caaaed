"""Loss, duplicates, delay and a wrong order between agents and the server change only the time."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import RegistrationError
from rcsops.sip import Timers
from rcsops.testing import EmbeddedServer, LossyLink
from rcsops.transport import EndpointLimits
from rcsops.ua import AgentHost, Chat, SessionEnded, TextReceived

pytestmark = pytest.mark.timeout(110)

NAMES = ("alex", "bob", "carol", "dave")
QUICK = Timers(t1=0.1, t2=0.8, t4=1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    users = {name: f"of {name}" for name in NAMES}
    with EmbeddedServer(tmp_path_factory.mktemp("server"), users) as server:
        yield server


class Party:
    """One user behind a bad network."""

    def __init__(self, server: EmbeddedServer, name: str, link: LossyLink, directory: Path) -> None:
        self.link = link
        self.texts: list[str] = []
        self.ended: list[SessionEnded] = []
        # Also what is larger than usual goes as a datagram, as loopback has room for it.
        limits = EndpointLimits(max_datagram_request=60_000)
        self.host = AgentHost(open_udp=link.open, timers=QUICK, limits=limits)
        self.agent = Agent(
            f"sip:{name}@rcs.example",
            server=server.address,
            transport="udp",
            password=f"of {name}",
            host=self.host,
            history=directory / f"{name}.db",
        )

    async def __aenter__(self) -> "Party":
        await self.host.start()
        await self.agent.start()
        await self.agent.register()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.host.close()

    async def accept(self) -> Chat:
        async for invitation in self.agent.incoming():
            return await invitation.accept()
        raise AssertionError("the agent was closed")

    async def read(self, chat: Chat) -> None:
        async for event in chat:
            if isinstance(event, TextReceived):
                self.texts.append(event.text)
            elif isinstance(event, SessionEnded):
                self.ended.append(event)


async def converse(caller: Party, callee: Party, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(callee.accept())
        chat = await caller.agent.invite(callee.agent.aor)
    other = accepting.result()
    async with asyncio.TaskGroup() as group:
        for party, end in ((caller, chat), (callee, other)):
            group.create_task(party.read(end))
        for number in range(count):
            await asyncio.gather(caller.agent.register(), callee.agent.register())
            await (await chat.send(f"to {number}")).delivered(timeout=20)
            await (await other.send(f"fro {number}")).delivered(timeout=20)
        await chat.close()
    assert callee.texts == [f"to {number}" for number in range(count)]
    assert caller.texts == [f"fro {number}" for number in range(count)]
    assert [event.by_peer for event in callee.ended] == [True]
    assert [event.by_peer for event in caller.ended] == [False]


@pytest.mark.rfc("3261", "17.1.1", "17.1.2", "17.2.1", "17.2.2")
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_fifth_is_lost_and_the_rest_comes_late_twice_and_in_disorder(
    server: EmbeddedServer, tmp_path: Path, seed: int
) -> None:
    links = [
        LossyLink(loss=0.2, duplicate=0.1, delay=(0.0, 0.06), seed=seed * 10 + number)
        for number in range(len(NAMES))
    ]
    parties = [Party(server, name, link, tmp_path) for name, link in zip(NAMES, links, strict=True)]
    async with asyncio.TaskGroup() as group:
        for party in parties:
            group.create_task(party.__aenter__())
    try:
        alex, bob, carol, dave = parties
        await asyncio.gather(converse(alex, bob, 5), converse(carol, dave, 5))
        assert all(not party.agent.chats for party in parties)
        for party in parties:
            await party.agent.unregister()
    finally:
        for party in parties:
            await party.host.close()
    # The network was as bad as it was meant to be.
    assert sum(link.lost for link in links) > 5
    assert sum(link.doubled for link in links) > 1


async def test_the_network_is_gone_for_a_while(server: EmbeddedServer, tmp_path: Path) -> None:
    link = LossyLink()
    async with (
        Party(server, "alex", link, tmp_path) as alex,
        Party(server, "bob", LossyLink(), tmp_path) as bob,
    ):
        calling = asyncio.create_task(alex.agent.invite(bob.agent.aor))
        accepting = asyncio.create_task(bob.accept())
        chat, other = await calling, await accepting
        link.down = True
        # The session is a connection of its own: it goes on.
        await (await chat.send("without the server")).delivered(timeout=10)
        with pytest.raises(RegistrationError, match="does not answer"):
            await alex.agent.register()
        assert link.lost > 3
        link.down = False
        await alex.agent.register()
        await (await other.send("and back")).delivered(timeout=10)
        await chat.close()
