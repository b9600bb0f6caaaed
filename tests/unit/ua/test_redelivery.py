"""What may not have arrived goes again: by the next way, in order, under its own Message-ID."""

import asyncio
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import DeliveryError, SessionClosed
from rcsops.testing import eventually
from rcsops.transport import wall_clock
from rcsops.ua import Chat, MessageStatus, TextReceived
from rcsops.ua.history import History
from rcsops.ua.ownership import Ownership

from .lab import Lab, lab
from .test_agent_history import talk
from .test_agent_pager import Feed

pytestmark = pytest.mark.timeout(40)


def agent(server: Lab, user: str, history: Path | None = None, **options: float) -> Agent:
    return Agent(
        f"sip:{user}@rcs.example",
        server=server.address,
        password=f"secret-{user[0]}",
        history=history,
        **options,  # type: ignore[arg-type]
    )


def cut(chat: Chat) -> None:
    """As a network does it, in the middle of whatever is under way."""
    link = chat.session.link
    assert link is not None and link._stream is not None
    link._stream.abort()


def deaf(chat: Chat) -> None:
    """It reads no more."""
    link = chat.session.link
    assert link is not None
    link.pause_reading()


async def session(alex: Agent, bob: Agent) -> tuple[Chat, Chat]:
    async def accept() -> Chat:
        async for invitation in bob.incoming():
            return await invitation.accept()
        raise AssertionError("nobody called")

    ours, theirs = await asyncio.gather(alex.invite("bob"), accept())
    return ours, theirs


async def accept_all(bob: Agent) -> None:
    async for invitation in bob.incoming():
        await invitation.accept()


@pytest.mark.parametrize("size", [10, 5000], ids=["message", "session"])
async def test_a_connection_that_is_lost_in_the_middle(tmp_path: Path, size: int) -> None:
    async with (
        lab() as server,
        agent(server, "alex", tmp_path / "alex.db") as alex,
        agent(server, "bob", tmp_path / "bob.db") as bob,
    ):
        await alex.register()
        await bob.register()
        seen = Feed(bob)
        ours, theirs = await session(alex, bob)
        accepting = asyncio.create_task(accept_all(bob))
        thread = ours.conversation_id
        await (await ours.send("before")).delivered(5)
        deaf(theirs)
        receipts = [await ours.send(f"{number}" + "x" * size) for number in range(8)]
        cut(ours)
        for receipt in receipts:
            await receipt.delivered(15)
        await seen.until(TextReceived, 9)
        assert [text[0] for text in seen.texts] == ["b", *"01234567"]
        assert bob.history is not None and alex.history is not None
        identities = [each.message_id for each in await bob.history.messages()][1:]
        assert identities == [each.message_id for each in receipts]
        kept = await alex.history.messages()
        assert {each.status for each in kept} == {"delivered"}
        assert {each.conversation_id for each in kept} == {thread}
        if size > 1000:
            assert [each.conversation_id for each in alex.chats] == [thread]
            assert alex.chats[0].contribution_id != ours.contribution_id
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)


async def test_a_peer_that_tells_nothing_gets_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Chat, "notify", lambda self, notice, kind: True)
    async with lab() as server, agent(server, "alex") as alex, agent(server, "bob") as bob:
        await alex.register()
        await bob.register()
        ours, theirs = await session(alex, bob)
        receipt = await ours.send("taken")
        await receipt.sent(5)
        waiting = asyncio.create_task(receipt.delivered())
        cut(ours)
        with pytest.raises(SessionClosed):
            await waiting
        # It is not called failed for that.
        assert receipt.status == MessageStatus.SENT
        assert "MESSAGE" not in server.requests
        await eventually(lambda: theirs.ended, 5)


async def test_without_a_server_it_goes_once_more_and_then_has_failed() -> None:
    async with Agent("sip:alex@rcs.example") as alex:
        async with Agent("sip:bob@rcs.example") as bob:
            ours, theirs = await talk(alex, bob)
            await (await ours.send("here")).delivered(5)
            deaf(theirs)
            receipt = await ours.send("gone")
            cut(ours)
            await receipt.delivered(10)
            last = await talk(alex, bob)
            deaf(last[1])
            lost = await last[0].send("lost")
        with pytest.raises((DeliveryError, SessionClosed)):
            await lost.delivered(20)


@pytest.mark.foul
async def test_the_next_process_finds_what_the_last_one_left(tmp_path: Path) -> None:
    """In its order, before what is new, and nothing of those who live."""
    async with lab() as server, agent(server, "bob", tmp_path / "bob.db") as bob:
        await bob.register()
        seen = Feed(bob)
        first = await History.open(tmp_path / "alex.db")
        living = await History.open(tmp_path / "alex.db")
        for history, text in ((first, "one"), (living, "not mine"), (first, "two")):
            await history.outgoing(
                "sip:bob@rcs.example", f"id-{text[:3]}", text, _now(), address="sip:bob@rcs.example"
            )
        # As if it had been killed.
        await first.close()
        async with agent(server, "alex", tmp_path / "alex.db") as alex:
            third = await alex.send_message("bob", "three")
            await alex.register()
            await third.delivered(10)
            await seen.until(TextReceived, 3)
            assert seen.texts == ["one", "two", "three"]
            assert alex.history is not None
            kept = {each.text: each for each in await alex.history.messages()}
            assert kept["not mine"].status == "queued"
            assert kept["two"].message_id == "id-two"
        await living.close()
        async with agent(server, "alex", tmp_path / "alex.db", resend_seconds=0) as alex:
            assert alex.history is not None
            kept = {each.text: each for each in await alex.history.messages()}
            assert (kept["not mine"].status, kept["not mine"].reason) == (
                "failed", "it was not sent in time"
            )  # fmt: skip


async def test_what_a_session_took_goes_again_to_peers_who_usually_tell(tmp_path: Path) -> None:
    history = await History.open(tmp_path / "alex.db")
    for peer, text, status in (
        ("bob", "told", "delivered"),
        ("bob", "taken by his device", "sent"),
        ("carol", "taken by hers", "sent"),
    ):
        await history.outgoing(f"sip:{peer}@rcs.example", text, text, _now())
        history.status(f"sip:{peer}@rcs.example", text, status, way="session")
    await history.outgoing("sip:bob@rcs.example", "letter", "letter", _now())
    history.status("sip:bob@rcs.example", "letter", "sent", way="message")
    await history.close()
    history = await History.open(tmp_path / "alex.db")
    left = await history.take_over(1000)
    assert [each.text for each in left] == ["taken by his device"]
    await history.close()


def _now() -> datetime:

    return wall_clock()


def test_who_lives_is_known_by_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "owners"
    one, two = Ownership(path), Ownership(path)
    assert one.number != two.number
    assert not one.outlived(two.number)
    assert not one.outlived(one.number)
    two.close()
    assert one.outlived(two.number)
    # Whoever comes next finds it taken, until it is done with.
    three = Ownership(path)
    assert not three.outlived(two.number)
    one.forget(two.number)
    assert three.outlived(two.number)
    assert path.stat().st_mode & 0o777 == 0o600
    program = (
        "import sys; from pathlib import Path; from rcsops.ua.ownership import Ownership;"
        "print(Ownership(Path(sys.argv[1])).number, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        assert not one.outlived(number)
        process.kill()
        process.wait(20)
    assert one.outlived(number)
    one.close()
    three.close()
