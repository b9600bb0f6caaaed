"""Sessions that nobody uses end, and nothing else does (the idle time-out)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.transport.tap import TapRecord
from rcsops.ua import Chat, Composing, SessionEnded, TextReceived, TransferStatus
from rcsops.ua.idleness import means_idle
from tests.unit.ua.test_agent_refresh import talk

pytestmark = pytest.mark.timeout(60)

IDLE = 300.0


def look(*chats: Chat) -> None:
    """The moment has come at which each chat looks whether it is idle."""
    for chat in chats:
        chat._idle_watch.stop()
        chat._idle_watch._look()


def age(*chats: Chat) -> None:
    """Nothing has happened in them for longer than they may be idle."""
    for chat in chats:
        chat._idle_watch._touched -= IDLE + 1
        last = chat.session.session.last_content_at
        assert last is not None
        chat.session.session.last_content_at = last - IDLE - 1


async def settled(*chats: Chat) -> None:
    """Waits until nothing of theirs is on its way."""
    async with asyncio.timeout(20):
        while any(
            chat.is_sending or not all(each.is_final for each in chat.fates.receipts.values())
            for chat in chats
        ):
            await asyncio.sleep(0.01)


async def ended(chat: Chat) -> SessionEnded:
    async with asyncio.timeout(20):
        async for event in chat:
            if isinstance(event, SessionEnded):
                return event
    raise AssertionError("no end")


def uri(agent: Agent) -> str:
    return f"sip:bob@127.0.0.1:{agent.host.addresses[0].port}"


async def accepting(agent: Agent) -> AsyncIterator[Chat]:
    async for invitation in agent.incoming():
        yield await invitation.accept()


async def test_an_idle_session_ends_and_its_thread_goes_on() -> None:
    byes: list[bytes] = []

    def tap(record: TapRecord) -> None:
        data = bytes(record.data)
        if record.direction == "out" and data.startswith(b"BYE "):
            byes.append(data)

    async with (
        Agent("sip:alex@rcs.example", tap=tap, idle_timeout=IDLE) as alex,
        Agent("sip:bob@rcs.example", idle_timeout=0) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        await (await ours.send("hello")).delivered(timeout=20)
        await settled(ours)
        age(ours)
        look(ours)
        mine, other = await asyncio.gather(ended(ours), ended(theirs))
        assert (mine.idle, mine.by_peer) == (True, False)
        assert (other.idle, other.by_peer) == (True, True)
        assert ours.idle and theirs.idle
        (bye,) = byes
        assert b'\r\nReason: SIP;cause=408;text="Session idle"\r\n' in bye
        # Somebody has something to say.
        calls = accepting(bob)
        again, answered = await asyncio.gather(
            alex.invite(uri(bob), conversation_id=ours.conversation_id), anext(calls)
        )
        assert answered.conversation_id == again.conversation_id == ours.conversation_id
        assert answered.contribution_id == again.contribution_id != ours.contribution_id
        await (await again.send("as I said")).delivered(timeout=20)
        await again.close()
        last = await ended(answered)
        assert last.by_peer and not last.idle


async def test_what_goes_either_way_keeps_it_open() -> None:
    async with (
        Agent("sip:alex@rcs.example", idle_timeout=IDLE) as alex,
        Agent("sip:bob@rcs.example", idle_timeout=IDLE) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        for sender in (ours, theirs):
            age(ours, theirs)
            await (await sender.send("hello")).delivered(timeout=20)
            await settled(ours, theirs)
            look(ours, theirs)
            assert not ours.ended and not theirs.ended
        receipt = await ours.send("seen?")
        await receipt.delivered(timeout=20)
        await settled(ours, theirs)
        age(ours, theirs)
        async with asyncio.timeout(20):
            async for event in theirs:
                if isinstance(event, TextReceived) and event.text == "seen?":
                    theirs.mark_displayed(event)
                    break
        await receipt.displayed(timeout=20)
        await settled(ours, theirs)
        look(ours, theirs)
        assert not ours.ended and not theirs.ended


@pytest.mark.parametrize("typist", [0, 1])
async def test_who_only_types_does_not_use_it(typist: int) -> None:
    async with (
        Agent("sip:alex@rcs.example", idle_timeout=IDLE) as alex,
        Agent("sip:bob@rcs.example", idle_timeout=IDLE) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        await (await ours.send("hello")).delivered(timeout=20)
        await settled(ours, theirs)
        age(ours, theirs)
        writer, reader = (ours, theirs) if typist == 0 else (theirs, ours)
        writer.composing(True)
        async with asyncio.timeout(20):
            async for event in reader:
                if isinstance(event, Composing):
                    break
        await settled(ours, theirs)
        look(ours)
        last = await ended(ours)
        assert (last.idle, last.by_peer) == (True, False)


async def test_zero_never_ends_it() -> None:
    async with (
        Agent("sip:alex@rcs.example", idle_timeout=0) as alex,
        Agent("sip:bob@rcs.example", idle_timeout=0) as bob,
    ):
        ours, _ = await talk(alex, bob)
        assert ours._idle_watch._timer is None


async def test_a_file_that_is_paused_or_asked_about_keeps_it_open(tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    file.write_bytes(bytes(8_000_000))
    async with (
        Agent("sip:alex@rcs.example", idle_timeout=IDLE, file_chunk=2048) as alex,
        Agent("sip:bob@rcs.example", idle_timeout=IDLE) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        transfer = await ours.send_file(file)
        async with asyncio.timeout(10):
            while not bob.invitations:
                await asyncio.sleep(0.01)
        await settled(ours, theirs)
        age(ours, theirs)
        look(ours, theirs)
        # It waits for the user's answer.
        assert not ours.ended and not theirs.ended
        (offer,) = bob.invitations
        taken = await offer.accept(tmp_path / "bob")  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while taken.status is not TransferStatus.RUNNING:
                await asyncio.sleep(0)
        await taken.pause()
        age(ours, theirs)
        look(ours, theirs)
        assert not ours.ended and not theirs.ended
        await taken.resume()
        await asyncio.gather(transfer.done(20), taken.done(20))
        # From its last octet on it counts again.
        look(ours, theirs)
        assert not ours.ended and not theirs.ended
        age(ours, theirs)
        look(ours, theirs)
        for event in await asyncio.gather(ended(ours), ended(theirs)):
            assert event.idle


async def test_a_message_without_its_answer_keeps_it_open() -> None:
    async with (
        Agent("sip:alex@rcs.example", idle_timeout=IDLE) as alex,
        Agent("sip:bob@rcs.example", idle_timeout=0) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        assert theirs.session.link is not None
        theirs.session.link.pause_reading()
        receipt = await ours.send("x" * 500_000)
        age(ours)
        look(ours)
        assert not ours.ended
        theirs.session.link.resume_reading()
        await receipt.delivered(timeout=20)
        await settled(ours)
        age(ours)
        look(ours)
        assert (await ended(ours)).idle


async def test_display_is_told_after_the_session_was_idle(tmp_path: Path) -> None:
    async with (
        Agent("sip:alex@rcs.example", idle_timeout=IDLE, history=tmp_path / "alex.db") as alex,
        Agent("sip:bob@rcs.example", idle_timeout=0, history=tmp_path / "bob.db") as bob,
    ):
        ours, theirs = await talk(alex, bob)
        feed = aiter(theirs)
        receipt = await ours.send("read it tomorrow")
        await receipt.delivered(timeout=20)
        await settled(ours)
        age(ours)
        look(ours)
        await ended(ours)
        async for event in feed:
            if isinstance(event, TextReceived):
                calls = accepting(bob)
                again, _ = await asyncio.gather(alex.invite(uri(bob)), anext(calls))
                bob.mark_displayed(event)
                break
        await receipt.displayed(timeout=10)
        assert not again.ended


async def test_words_of_other_clients() -> None:
    assert means_idle("Session idle") and means_idle("INACTIVITY timeout")
    assert not means_idle("Call completed") and not means_idle("")
