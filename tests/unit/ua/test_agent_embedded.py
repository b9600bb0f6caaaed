"""Agents through the embedded server, as a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, RegistrationError
from rcsops.testing.embedded import EmbeddedServer
from rcsops.ua import (
    Chat,
    Event,
    FileReceived,
    Registered,
    RegistrationLost,
    SessionEnded,
    TextReceived,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("server")
    with EmbeddedServer(directory, {"alex": "secret-a", "bob": "secret-b"}) as running:
        yield running


def agent(server: EmbeddedServer, name: str, **options: object) -> Agent:
    settings: dict[str, object] = {"server": server.address, "password": f"secret-{name[0]}"}
    return Agent(f"sip:{name}@rcs.example", **(settings | options))  # type: ignore[arg-type]


async def accept_one(agent: Agent) -> Chat:
    async for invitation in agent.incoming():
        return await invitation.accept()
    raise AssertionError("nobody called")


async def take(stream: AsyncIterator[Event], kind: type[Event]) -> Event:
    async with asyncio.timeout(20):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_whole_conversation(server: EmbeddedServer, transport: str, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear bob")
    async with (
        agent(server, "alex", transport=transport) as alex,
        agent(server, "bob", transport=transport, downloads=tmp_path / "in") as bob,
    ):
        await asyncio.gather(alex.register(), bob.register())
        async with asyncio.timeout(10):
            ours, theirs = await asyncio.gather(alex.invite("bob"), accept_one(bob))
        assert theirs.peer == "sip:alex@rcs.example"
        await (await ours.send("hi")).delivered(timeout=5)
        await (await theirs.send("hi yourself")).delivered(timeout=5)
        assert isinstance(await take(aiter(ours), TextReceived), TextReceived)
        transfer = await ours.send_file(letter)
        await transfer.done(timeout=10)
        received = await take(aiter(theirs), FileReceived)
        assert isinstance(received, FileReceived)
        assert received.path.read_text() == "dear bob"
        await ours.close()
        ended = await take(aiter(theirs), SessionEnded)
        assert isinstance(ended, SessionEnded)
        assert ended.by_peer


async def test_refusals(server: EmbeddedServer) -> None:
    async with agent(server, "alex") as alex:
        await alex.register()
        for peer, status in (("bob", 480), ("nobody", 404)):
            with pytest.raises(InviteError) as caught:
                await alex.invite(peer)
            assert caught.value.status == status
    async with agent(server, "bob", password="wrong") as bob:
        with pytest.raises(RegistrationError, match="password") as refused:
            await bob.register()
        assert refused.value.status in (401, 403)


async def test_crossing_invites_become_one_session(server: EmbeddedServer) -> None:
    async with agent(server, "alex") as alex, agent(server, "bob") as bob:
        await asyncio.gather(alex.register(), bob.register())
        async with asyncio.timeout(15):
            ours, theirs = await asyncio.gather(alex.invite("bob"), accept_or_invite(bob))
        assert ours.chat_id == theirs.chat_id
        await (await ours.send("one session")).delivered(timeout=5)


async def accept_or_invite(agent: Agent) -> Chat:
    return await agent.invite("alex")


async def test_the_server_stops_and_starts_again(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, {"bob": "secret-b"})
    await asyncio.to_thread(server.start)
    try:
        async with agent(server, "bob", retry_base=0.1) as bob:
            feed = bob.events()
            await bob.register()
            await take(feed, Registered)
            await asyncio.to_thread(server.stop)
            await take(feed, RegistrationLost)
            assert not bob.registered
            await asyncio.to_thread(server.start)
            again = await take(feed, Registered)
            assert isinstance(again, Registered)
            assert again.again
            assert bob.registered
    finally:
        await asyncio.to_thread(server.stop)
