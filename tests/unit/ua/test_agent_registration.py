"""Registration and chats through a registrar and proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import AgentError, InviteError, RegistrationError, UsageError
from rcsops.sip import parse_message
from rcsops.transport import TapRecord
from rcsops.ua import (
    Chat,
    Event,
    FileOffered,
    FileReceived,
    Registered,
    RegistrationLost,
    SessionEnded,
    TextReceived,
    Unregistered,
)

from .lab import Lab, lab

pytestmark = pytest.mark.timeout(40)


def agent(lab: Lab, name: str, **options: object) -> Agent:
    settings: dict[str, object] = {"server": lab.address, "password": f"secret-{name[0]}"}
    return Agent(f"sip:{name}@rcs.example", **(settings | options))  # type: ignore[arg-type]


@asynccontextmanager
async def registered_pair(lab: Lab, **options: object) -> AsyncIterator[tuple[Agent, Agent]]:
    async with agent(lab, "alex", **options) as alex, agent(lab, "bob", **options) as bob:
        await alex.register()
        await bob.register()
        yield alex, bob


async def accept_one(agent: Agent) -> Chat:
    async for invitation in agent.incoming():
        return await invitation.accept()
    raise AssertionError("nobody called")


async def talk(alex: Agent, bob: Agent) -> tuple[Chat, Chat]:
    async with asyncio.timeout(10):
        ours, theirs = await asyncio.gather(alex.invite("bob"), accept_one(bob))
        return ours, theirs


async def take(stream: AsyncIterator[Event], kind: type[Event]) -> Event:
    async with asyncio.timeout(15):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.rfc("3261", "10.2", "10.2.2", "22.2")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_register_with_digest_and_unregister(transport: str) -> None:
    async with lab() as server, agent(server, "bob", transport=transport) as bob:
        feed = bob.events()
        assert not bob.registered
        await bob.register()
        assert bob.registered
        assert server.contacts["bob"].startswith("sip:bob@127.0.0.1:")
        assert server.registers == 2
        await bob.unregister()
        assert not bob.registered
        assert server.contacts == {}
        assert isinstance(await take(feed, Registered), Registered)
        assert isinstance(await take(feed, Unregistered), Unregistered)


async def test_leaving_the_context_unregisters() -> None:
    async with lab() as server:
        async with agent(server, "bob") as bob:
            await bob.register()
        assert server.contacts == {}
        with pytest.raises(AgentError, match="closed"):
            await bob.register()


@pytest.mark.parametrize(("name", "password"), [("bob", "wrong"), ("nobody", "x")])
async def test_a_wrong_password_is_told_clearly(name: str, password: str) -> None:
    async with lab() as server, agent(server, name, password=password) as bob:
        with pytest.raises(RegistrationError, match="password") as caught:
            await bob.register()
        assert caught.value.status == 401
        assert server.registers == 2
        assert not bob.registered


@pytest.mark.rfc("3261", "22.1")
async def test_the_password_is_not_shown_to_another_realm() -> None:
    async with lab() as server, agent(server, "bob", realm="elsewhere.example") as bob:
        with pytest.raises(RegistrationError) as caught:
            await bob.register()
        assert caught.value.status == 401
        assert server.registers == 1


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_server_that_is_not_there(transport: str) -> None:
    async with lab() as server:
        bob = agent(server, "bob", transport=transport)
    async with bob, asyncio.timeout(5):
        with pytest.raises(RegistrationError, match="does not answer") as caught:
            await bob.register()
        assert caught.value.status == 0
        assert "rcsops start" in caught.value.hint


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_retry_waits_for_the_server(transport: str) -> None:
    async with lab() as server:
        port = int(server.address.rpartition(":")[2])
        bob = agent(server, "bob", transport=transport, retry_base=0.05)
    async with bob:
        feed = bob.events()
        task = asyncio.create_task(bob.register(retry=True))
        lost = await take(feed, RegistrationLost)
        assert isinstance(lost, RegistrationLost)
        assert lost.retry_in is not None
        async with lab(port) as server:
            await asyncio.wait_for(task, 10)
            assert bob.registered


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_server_that_dies_and_returns(transport: str) -> None:
    async with lab() as server:
        port = int(server.address.rpartition(":")[2])
        bob = agent(server, "bob", transport=transport, retry_base=0.05)
        await bob.start()
        feed = bob.events()
        await bob.register()
        assert isinstance(await take(feed, Registered), Registered)
    # The keep-alive finds out at once on a connection, on UDP when it is due.
    bob.host.keep_alive.send_now()
    lost = await take(feed, RegistrationLost)
    assert isinstance(lost, RegistrationLost)
    assert not bob.registered
    async with lab(port) as server:
        again = await take(feed, Registered)
        assert isinstance(again, Registered)
        assert again.again
        assert bob.registered
        assert "bob" in server.contacts
        await bob.close()
    assert [type(event) async for event in feed][-1] is Unregistered


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_chat_through_the_proxy(transport: str, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear bob")
    async with lab() as server, registered_pair(server, transport=transport) as (alex, bob):
        ours, theirs = await talk(alex, bob)
        assert ours.peer == "sip:bob@rcs.example"
        assert theirs.peer == "sip:alex@rcs.example"
        await (await ours.send("hi")).delivered(timeout=5)
        await (await theirs.send("hi yourself")).delivered(timeout=5)
        transfer = await theirs.send_file(letter)
        async for event in ours:
            if type(event).__name__ == "FileOffered":
                await event.offer.accept(tmp_path / "in")  # type: ignore[attr-defined]
            if isinstance(event, FileReceived):
                assert event.path.read_text() == "dear bob"
                break
        await transfer.done(timeout=5)
        await theirs.close()
        ended = await take(ours.__aiter__(), SessionEnded)
        assert isinstance(ended, SessionEnded)
        assert ended.by_peer
        assert "ACK" not in server.requests
        assert server.requests.count("BYE") == 2


@pytest.mark.rfc("6135", "4")
@pytest.mark.parametrize(("seen_as", "role"), [("", b"actpass"), ("203.0.113.9", b"active")])
async def test_behind_a_nat_we_connect(seen_as: str, role: bytes, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("dear bob")
    sent: list[TapRecord] = []
    async with lab() as server:
        server.seen_as = seen_as
        async with registered_pair(server, tap=sent.append) as (alex, bob):
            ours, theirs = await talk(alex, bob)
            await (await ours.send("hi")).delivered(timeout=5)
            transfer = await ours.send_file(letter)
            async for event in theirs:
                if isinstance(event, FileOffered):
                    await event.offer.accept(tmp_path / "in")
                    break
            await transfer.done(timeout=5)
    offers = [
        record.data
        for record in sent
        if record.data.startswith(b"INVITE ") and record.direction == "out"
    ]
    assert len({parse_message(offer).call_id for offer in offers}) == 2
    assert all(b"a=setup:" + role + b"\r\n" in offer for offer in offers)


async def test_refusals_of_the_proxy() -> None:
    async with lab() as server, agent(server, "alex") as alex:
        await alex.register()
        with pytest.raises(InviteError, match="not there") as caught:
            await alex.invite("bob")
        assert caught.value.status == 480
        with pytest.raises(InviteError, match="no such user") as caught:
            await alex.invite("sip:nobody@rcs.example")
        assert caught.value.status == 404
        with pytest.raises(UsageError):
            await alex.invite("sip:rcs.example")


@pytest.mark.rfc("3261", "9.1", "16.10")
async def test_a_cancel_goes_through_the_proxy() -> None:
    async with lab() as server, registered_pair(server) as (alex, bob):
        feed = bob.events()
        task = asyncio.create_task(alex.invite("bob"))
        async for event in feed:
            if type(event).__name__ == "Invited":
                task.cancel()
            if type(event).__name__ == "InviteCancelled":
                break
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "CANCEL" in server.requests


async def test_crossing_invites_become_one_session() -> None:
    async with lab() as server, registered_pair(server) as (alex, bob):
        async with asyncio.timeout(10):
            # alex sorts lower: alex's INVITE goes on, and somebody has to take it.
            ours, theirs = await asyncio.gather(alex.invite("bob"), bob.invite("alex"))
        assert ours.chat_id == theirs.chat_id
        assert ours.outgoing
        assert not theirs.outgoing
        await (await ours.send("one session")).delivered(timeout=5)
        await (await theirs.send("indeed")).delivered(timeout=5)
        assert len(alex.chats) == len(bob.chats) == 1


@pytest.mark.parametrize(
    ("asserted", "peer"),
    [
        ("<sip:boss@rcs.example>", "sip:boss@rcs.example"),
        (None, "sip:alex@rcs.example"),
    ],
)
async def test_an_asserted_identity_is_believed_from_the_own_server_only(
    asserted: str | None, peer: str
) -> None:
    # Over UDP the request comes from the very address that the agent registered at.
    async with (
        lab(asserted=asserted) as server,
        registered_pair(server, transport="udp") as (alex, bob),
    ):
        _, theirs = await talk(alex, bob)
        assert theirs.peer == (peer if server.asserted else "sip:alex@rcs.example")


async def test_an_asserted_identity_of_a_stranger_is_not_believed() -> None:
    async with lab() as server, agent(server, "bob") as bob:
        await bob.register()
        async with lab(asserted="<sip:boss@rcs.example>") as stranger:
            stranger.contacts["bob"] = server.contacts["bob"]
            async with agent(stranger, "alex") as alex:
                _, theirs = await talk(alex, bob)
                assert theirs.peer == "sip:alex@rcs.example"


async def test_the_server_dies_in_the_middle_of_a_chat() -> None:
    async with lab() as server:
        alex = agent(server, "alex", retry_base=0.05)
        bob = agent(server, "bob", retry_base=0.05)
        await alex.start()
        await bob.start()
        await alex.register()
        await bob.register()
        ours, theirs = await talk(alex, bob)
    # The session is direct: it goes on without the server.
    await (await ours.send("still here")).delivered(timeout=5)
    text = await take(theirs.__aiter__(), TextReceived)
    assert isinstance(text, TextReceived)
    async with asyncio.timeout(15):
        await asyncio.gather(alex.close(), bob.close())


async def test_the_history_has_every_message_before_it_is_receipted(tmp_path: Path) -> None:
    async with lab() as server:
        async with (
            agent(server, "alex", history=tmp_path / "alex.db") as alex,
            agent(server, "bob", history=tmp_path / "bob.db") as bob,
        ):
            await alex.register()
            await bob.register()
            ours, theirs = await talk(alex, bob)
            receipt = await ours.send("remember this")
            await receipt.delivered(timeout=5)
            assert bob.history is not None
            stored = await bob.history.messages()
            assert [(m.peer, m.direction, m.text, m.message_id) for m in stored] == [
                ("sip:alex@rcs.example", "in", "remember this", receipt.message_id)
            ]
            text = await take(theirs.__aiter__(), TextReceived)
            assert isinstance(text, TextReceived)
            assert alex.history is not None
            sent = await alex.history.messages("sip:bob@rcs.example")
            assert [(m.direction, m.text, m.status) for m in sent] == [
                ("out", "remember this", "delivered")
            ]
            await ours.close()
            assert [type(e) async for e in theirs][-1] is SessionEnded
        assert (tmp_path / "bob.db").stat().st_mode & 0o777 == 0o600


async def test_what_cannot_be_meant_is_refused_at_once() -> None:
    for bad in ("rcs.example", "sip:rcs.example", "tel:+1", "sip:bob@"):
        with pytest.raises(UsageError):
            Agent(bad)
    with pytest.raises(UsageError, match="sctp"):
        Agent("sip:bob@rcs.example", transport="sctp")
    with pytest.raises(UsageError):
        Agent("sip:bob@rcs.example", server="not a host:5060")
    with pytest.raises(AgentError, match="async with"):
        await Agent("sip:bob@rcs.example").register()
    with pytest.raises(AgentError, match="cannot listen"):
        await Agent("sip:bob@rcs.example", bind="192.0.2.1").start()
