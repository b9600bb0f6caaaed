"""Stored before shown, once, and honestly when it cannot be."""

import asyncio
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import DatabaseError
from rcsops.rcs import ChatCodec
from rcsops.transport import wall_clock
from rcsops.ua import Chat, Failed, SessionEnded, TextReceived

pytestmark = pytest.mark.timeout(20)


async def talk(alex: Agent, bob: Agent) -> tuple[Chat, Chat]:
    async def accept() -> Chat:
        async for invitation in bob.incoming():
            return await invitation.accept()
        raise AssertionError("nobody called")

    port = bob.host.addresses[0].port
    ours, theirs = await asyncio.gather(alex.invite(f"sip:bob@127.0.0.1:{port}"), accept())
    return ours, theirs


@pytest.mark.parametrize("kept", [True, False])
async def test_a_message_that_comes_twice_is_shown_once(tmp_path: Path, kept: bool) -> None:
    history = tmp_path / "bob.db" if kept else None
    async with (
        Agent("sip:alex@rcs.example") as alex,
        Agent("sip:bob@rcs.example", history=history) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        link = ours.session.link
        assert link is not None
        message = ChatCodec(alex.tokens).compose_text("once", wall_clock())
        for _ in range(3):
            # Under another MSRP Message-ID each time, as after a new session.
            link.session.send(message.content_type, message.body)
            link.pump()
        await (await ours.send("last")).delivered(timeout=5)
        await ours.close()
        texts = [event.text async for event in theirs if isinstance(event, TextReceived)]
        assert texts == ["once", "last"]


async def test_messages_under_way_at_the_end_are_shown_before_it(tmp_path: Path) -> None:
    async with (
        Agent("sip:alex@rcs.example", history=tmp_path / "alex.db") as alex,
        Agent("sip:bob@rcs.example", history=tmp_path / "bob.db") as bob,
    ):
        ours, theirs = await talk(alex, bob)
        for number in range(50):
            await ours.send(str(number))
        await ours.close()
        seen = [event async for event in theirs]
        assert [e.text for e in seen if isinstance(e, TextReceived)] == [
            str(number) for number in range(50)
        ]
        assert isinstance(seen[-1], SessionEnded)
        assert bob.history is not None
        stored = await bob.history.messages(limit=100)
        assert [message.text for message in stored] == [str(number) for number in range(50)]


async def test_what_cannot_be_stored_is_neither_shown_nor_receipted(tmp_path: Path) -> None:
    async with (
        Agent("sip:alex@rcs.example") as alex,
        Agent("sip:bob@rcs.example", history=tmp_path / "bob.db") as bob,
    ):
        ours, theirs = await talk(alex, bob)
        assert bob.history is not None
        await bob.history.close()
        receipt = await ours.send("lost?")
        await receipt.sent(timeout=5)
        async with asyncio.timeout(5):
            async for event in theirs:
                assert not isinstance(event, TextReceived)
                if isinstance(event, Failed):
                    assert event.reason
                    break
        assert receipt.status == "sent"
        with pytest.raises(DatabaseError):
            await theirs.send("not without my history")


async def test_a_history_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("this is no database at all, and long enough to see so")
    agent = Agent("sip:bob@rcs.example", history=tmp_path / "bad.db")
    with pytest.raises(DatabaseError):
        await agent.start()
    await agent.close()
