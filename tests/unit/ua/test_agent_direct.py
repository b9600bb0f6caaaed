"""Two agents that talk straight to each other, on real sockets of the loopback."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, SessionClosed, TransferError
from rcsops.settings import FileRules
from rcsops.testing.waiting import eventually
from rcsops.ua import (
    Chat,
    Delivered,
    Event,
    FileOffered,
    FileReceived,
    FileRefused,
    Ringing,
    Sent,
    SessionEnded,
    SessionOpened,
    TextReceived,
)

pytestmark = pytest.mark.timeout(30)


def uri_of(agent: Agent) -> str:
    address = agent.host.addresses[0]
    return f"sip:{agent.uri.username}@{address.host}:{address.port}"


@asynccontextmanager
async def pair(**options: object) -> AsyncIterator[tuple[Agent, Agent]]:
    async with (
        Agent("sip:alex@rcs.example", **options) as alex,  # type: ignore[arg-type]
        Agent("sip:bob@rcs.example", **options) as bob,  # type: ignore[arg-type]
    ):
        yield alex, bob


async def accept_one(agent: Agent) -> Chat:
    async for invitation in agent.incoming():
        return await invitation.accept()
    raise AssertionError("nobody called")


async def talk(alex: Agent, bob: Agent) -> tuple[Chat, Chat]:
    async with asyncio.timeout(10):
        return tuple(await asyncio.gather(alex.invite(uri_of(bob)), accept_one(bob)))  # type: ignore[return-value]


async def take(chat: Chat, kind: type[Event]) -> Event:
    async with asyncio.timeout(5):
        async for event in chat:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_texts_both_ways_with_receipts(transport: str, setup: str) -> None:
    async with pair(transport=transport, answer_setup=setup) as (alex, bob):
        ours, theirs = await talk(alex, bob)
        assert ours.local == theirs.remote
        assert ours.remote == theirs.local
        receipt = await ours.send("hello, wörld 🙂")
        await receipt.sent(timeout=5)
        await receipt.delivered(timeout=5)
        assert receipt.status == "delivered"
        text = await take(theirs, TextReceived)
        assert isinstance(text, TextReceived)
        assert text.text == "hello, wörld 🙂"
        assert text.message_id == receipt.message_id
        assert text.peer == "sip:alex@rcs.example"
        back = await theirs.send("x" * 100_000)
        await back.delivered(timeout=5)
        got = await take(ours, TextReceived)
        assert isinstance(got, TextReceived)
        assert got.text == "x" * 100_000
        await ours.close()
        ended = await take(theirs, SessionEnded)
        assert isinstance(ended, SessionEnded)
        assert ended.by_peer
        assert "completed" in ended.reason.lower()
        with pytest.raises(SessionClosed):
            await ours.send("too late")


async def test_the_events_of_a_chat_in_order() -> None:
    async with pair() as (alex, bob):
        feed = alex.events()
        progress: list[Event] = []
        waiting = asyncio.create_task(accept_one(bob))
        chat = await alex.invite(uri_of(bob), on_progress=progress.append)
        theirs = await waiting
        receipt = await chat.send("one")
        await receipt.delivered(timeout=5)
        await theirs.close()
        seen = [type(event) async for event in chat]
        assert seen == [SessionOpened, Sent, Delivered, SessionEnded]
        assert Ringing in [type(event) for event in progress]
    assert [type(event) async for event in feed][-4:] == [
        SessionOpened,
        Sent,
        Delivered,
        SessionEnded,
    ]


async def test_many_messages_arrive_in_order_and_once() -> None:
    async with pair() as (alex, bob):
        ours, theirs = await talk(alex, bob)
        receipts = [await ours.send(f"message {number}") for number in range(200)]
        for receipt in receipts:
            await receipt.delivered(timeout=10)
        await ours.close()
        texts = [event.text async for event in theirs if isinstance(event, TextReceived)]
        assert texts == [f"message {number}" for number in range(200)]


@pytest.mark.rfc("3261", "13.2.2.3", "13.3.1.3")
@pytest.mark.parametrize("status", [486, 480, 603])
async def test_a_refusal_has_its_status(status: int) -> None:
    async with pair() as (alex, bob):

        async def refuse() -> None:
            async for invitation in bob.incoming():
                assert invitation.peer == "sip:alex@rcs.example"
                assert invitation.reject(status)
                assert not invitation.reject(status)
                return

        task = asyncio.create_task(refuse())
        with pytest.raises(InviteError) as caught:
            await alex.invite(uri_of(bob))
        await task
        assert caught.value.status == status
        assert str(status) in str(caught.value)
        assert alex.chats == ()


@pytest.mark.rfc("3261", "8.2.2", "8.1.3.1")
async def test_an_unknown_user_is_404_and_a_dead_address_fails_at_once() -> None:
    async with pair() as (alex, bob):
        with pytest.raises(InviteError) as caught:
            await alex.invite(uri_of(bob).replace("bob", "nobody"))
        assert caught.value.status == 404
        uri = uri_of(bob)
        await bob.close()
        async with asyncio.timeout(5):
            with pytest.raises(InviteError) as caught:
                await alex.invite(uri)
        assert caught.value.status == 503


async def test_busy_when_there_are_as_many_sessions_as_allowed() -> None:
    async with pair(max_sessions=1) as (alex, bob), Agent("sip:eve@rcs.example") as eve:
        await talk(alex, bob)
        with pytest.raises(InviteError) as caught:
            await eve.invite(uri_of(bob))
        assert caught.value.status == 486


@pytest.mark.rfc("3261", "9.1", "9.2")
async def test_a_cancelled_invite_is_taken_back() -> None:
    async with pair() as (alex, bob):
        feed = bob.events()
        task = asyncio.create_task(alex.invite(uri_of(bob)))
        async for event in feed:
            if type(event).__name__ == "Invited":
                task.cancel()
            if type(event).__name__ == "InviteCancelled":
                break
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bob.invitations == ()


async def test_several_chats_at_a_time() -> None:
    async with pair() as (alex, bob), Agent("sip:eve@rcs.example") as eve:
        one = await talk(alex, bob)
        two = await talk(eve, bob)
        three = await talk(alex, eve)
        for ours, theirs in (one, two, three):
            await (await ours.send("a")).delivered(timeout=5)
            await (await theirs.send("b")).delivered(timeout=5)
        assert len(bob.chats) == len(alex.chats) == len(eve.chats) == 2


async def test_a_new_session_with_the_same_peer_replaces_the_old_one() -> None:
    async with pair() as (alex, bob):
        old, old_theirs = await talk(alex, bob)
        new, new_theirs = await talk(alex, bob)
        assert isinstance(await take(old_theirs, SessionEnded), SessionEnded)
        assert isinstance(await take(old, SessionEnded), SessionEnded)
        await (await new.send("still here")).delivered(timeout=5)
        assert bob.chats == (new_theirs,)


async def test_the_peer_vanishes() -> None:
    async with pair() as (alex, bob):
        ours, theirs = await talk(alex, bob)
        link = theirs.session.link
        assert link is not None
        stream = link._stream
        assert stream is not None
        stream.abort()
        ended = await take(ours, SessionEnded)
        assert isinstance(ended, SessionEnded)
        assert "lost" in ended.reason
        await take(theirs, SessionEnded)
        assert alex.chats == bob.chats == ()


@pytest.mark.rfc("3261", "15.1.1", "15.1.2")
async def test_closing_an_agent_ends_its_chats() -> None:
    async with pair() as (alex, bob):
        ours, theirs = await talk(alex, bob)
        await bob.close()
        ended = await take(ours, SessionEnded)
        assert isinstance(ended, SessionEnded)
        assert ended.by_peer
        assert [type(event) async for event in theirs][-1] is SessionEnded


@pytest.fixture
def letter(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "out" / "letter.bin"
    path.parent.mkdir()
    path.write_bytes(bytes(range(256)) * 4096)
    yield path


async def test_a_file_is_taken_into_the_download_directory(letter: Path, tmp_path: Path) -> None:
    target = tmp_path / "in"
    async with pair(downloads=target) as (alex, bob):
        ours, theirs = await talk(alex, bob)
        for _ in range(2):
            transfer = await ours.send_file(letter)
            await transfer.done(timeout=10)
            assert transfer.octets == transfer.size == letter.stat().st_size
        received = await take(theirs, FileReceived)
        again = await take(theirs, FileReceived)
        assert isinstance(received, FileReceived)
        assert isinstance(again, FileReceived)
        assert received.path == target / "letter.bin"
        assert again.path == target / "letter (1).bin"
        assert received.path.read_bytes() == again.path.read_bytes() == letter.read_bytes()
        assert received.sha1 == transfer.sha1
        assert sorted(path.name for path in target.iterdir()) == ["letter (1).bin", "letter.bin"]
        # The chat is untouched by the files beside it.
        await (await ours.send("got it?")).delivered(timeout=5)


async def test_a_file_that_is_here_is_kept_when_the_agent_is_closed(tmp_path: Path) -> None:
    large, empty = tmp_path / "large.bin", tmp_path / "empty"
    with large.open("wb") as file:
        file.truncate(16 << 20)
    empty.touch()
    async with pair(downloads=tmp_path / "in") as (alex, bob):
        feed = bob.events()
        ours, _ = await talk(alex, bob)
        for path in (large, empty):
            await (await ours.send_file(path)).done(timeout=20)
        await bob.close()
        received = [event.name async for event in feed if isinstance(event, FileReceived)]
    assert sorted(received) == ["empty", "large.bin"]
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["empty", "large.bin"]


async def test_a_file_is_refused(letter: Path) -> None:
    async with pair() as (alex, bob):
        ours, theirs = await talk(alex, bob)
        transfer = await ours.send_file(letter)
        offered = await take(theirs, FileOffered)
        assert isinstance(offered, FileOffered)
        assert (offered.name, offered.size) == ("letter.bin", letter.stat().st_size)
        offered.offer.reject()
        with pytest.raises(TransferError, match="603"):
            await transfer.done(timeout=5)


async def test_a_file_that_is_too_large_is_refused(letter: Path) -> None:
    async with pair(max_file_size=1000) as (alex, bob):
        ours, _ = await talk(alex, bob)
        transfer = await ours.send_file(letter)
        with pytest.raises(TransferError, match="larger than the peer takes"):
            await transfer.done(timeout=5)


async def test_rules_refuse_a_file_or_take_it(letter: Path, tmp_path: Path) -> None:
    rules = FileRules.parse(["refuse size>2MB", "accept from=alex@rcs.example size<=1100000"])
    large = letter.with_name("large.bin")
    large.write_bytes(bytes(2_000_001))
    middle = letter.with_name("middle.bin")
    middle.write_bytes(bytes(1_500_000))
    async with pair(downloads=tmp_path / "in", file_rules=rules) as (alex, bob):
        ours, theirs = await talk(alex, bob)
        feed = bob.events()
        transfer = await ours.send_file(large)
        with pytest.raises(TransferError, match="603"):
            await transfer.done(timeout=5)
        async with asyncio.timeout(5):
            async for event in feed:
                if isinstance(event, FileRefused):
                    assert (event.name, event.size) == ("large.bin", 2_000_001)
                    break
        await (await ours.send_file(letter)).done(timeout=5)
        # What no rule fits is asked.
        asked = await ours.send_file(middle)
        while (offered := await take(theirs, FileOffered)).name != "middle.bin":
            continue
        offered.offer.reject()
        with pytest.raises(TransferError, match="603"):
            await asked.done(timeout=5)
        target = tmp_path / "in"
        await eventually(lambda: [path.name for path in target.iterdir()] == ["letter.bin"])


async def test_a_file_that_leaves_too_little_room_is_not_taken(
    letter: Path, tmp_path: Path
) -> None:
    async with pair(disk_reserve=10**18) as (alex, bob):
        ours, theirs = await talk(alex, bob)
        transfer = await ours.send_file(letter)
        offered = await take(theirs, FileOffered)
        assert isinstance(offered, FileOffered)
        with pytest.raises(TransferError, match="do not fit"):
            await offered.offer.accept(tmp_path / "not" / "there")
        with pytest.raises(TransferError, match="the peer has no place for the file"):
            await transfer.done(timeout=5)
    assert not (tmp_path / "not").exists()


async def test_a_file_is_cancelled_and_nothing_is_left(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    target = tmp_path / "in"
    async with pair(downloads=target) as (alex, bob):
        ours, theirs = await talk(alex, bob)
        transfer = await ours.send_file(large)
        async with asyncio.timeout(10):
            while transfer.octets == 0:
                await asyncio.sleep(0.001)
        await transfer.cancel()
        with pytest.raises(TransferError, match="cancelled"):
            await transfer.done(timeout=5)
        async with asyncio.timeout(5):
            async for event in theirs:
                if type(event).__name__ == "FileFailed":
                    break
        assert list(target.iterdir()) == []


async def test_what_cannot_be_sent_is_told(tmp_path: Path) -> None:
    async with pair() as (alex, bob):
        ours, _ = await talk(alex, bob)
        with pytest.raises(TransferError, match="cannot be read"):
            await ours.send_file(tmp_path / "missing")
        with pytest.raises(TransferError, match="not a file"):
            await ours.send_file(tmp_path)
