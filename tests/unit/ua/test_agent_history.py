"""Stored before shown, once, and honestly when it cannot be."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rcsops import Agent
from rcsops.errors import DatabaseError, InviteError
from rcsops.msrp import MsrpSession
from rcsops.rcs import ChatCodec, FileSelector, Outgoing
from rcsops.rcs import TextReceived as TextMessage
from rcsops.sip import Flow
from rcsops.transport import wall_clock
from rcsops.ua import Chat, Event, Failed, FileReceived, SessionEnded, TextReceived, chat
from rcsops.ua.history import History
from rcsops.ua.receipts import Receipt
from rcsops.ua.reception import _chat_for
from rcsops.ua.transfer import Transfer

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


async def test_a_notification_that_is_given_up_at_the_end_holds_no_end_back(tmp_path: Path) -> None:
    async with Agent("sip:bob@rcs.example") as bob:
        alex = Agent("sip:alex@rcs.example", history=tmp_path / "alex.db")
        await alex.start()
        ours, theirs = await talk(alex, bob)
        codec, now = ChatCodec(bob.tokens), wall_clock()
        # Of a message that was not sent in this session.
        came = codec.receive(*_parts(codec.compose_text("earlier", now)))
        assert isinstance(came, TextMessage)
        report = codec.display_report(came, now)
        link = theirs.session.link
        assert link is not None
        with contextlib.closing(sqlite3.connect(tmp_path / "alex.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            link.session.send(report.content_type, report.body)
            link.pump()
            await asyncio.sleep(0.3)
            ending = asyncio.create_task(alex.close())
            # The agent waits two seconds for it, and gives it up with its other tasks.
            await asyncio.sleep(4)
            db.execute("ROLLBACK")
            await ending
        async with asyncio.timeout(2):
            seen = [event async for event in ours]
        assert isinstance(seen[-1], SessionEnded)


def _parts(message: Outgoing) -> tuple[str, bytes]:
    return message.content_type, message.body


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


async def test_a_file_that_cannot_be_stored_is_not_offered_and_one_that_came_is_there(
    tmp_path: Path,
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("a note")
    async with (
        Agent("sip:alex@rcs.example", history=tmp_path / "alex.db") as alex,
        Agent(
            "sip:bob@rcs.example", history=tmp_path / "bob.db", downloads=tmp_path / "bob"
        ) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        assert alex.history is not None and bob.history is not None
        told = bob.events()
        await (await ours.send_file(note)).done(timeout=5)
        await _received(told)
        (sent,) = await alex.history.messages()
        assert sent.attachment is not None
        assert (sent.status, sent.attachment.path) == ("delivered", str(note))
        assert sent.conversation_id == ours.conversation_id
        (came,) = await bob.history.messages()
        assert came.attachment == sent.attachment._replace(path=str(tmp_path / "bob" / "note.txt"))
        assert (came.direction, came.status) == ("in", "received")
        # Its sender is told the truth: the file has arrived.
        await bob.history.close()
        await (await ours.send_file(note)).done(timeout=5)
        await _received(told)
        assert (tmp_path / "bob" / "note (1).txt").read_text() == "a note"
        with pytest.raises(DatabaseError):
            await theirs.send_file(note)


async def _received(told: AsyncIterator[Event]) -> None:
    async with asyncio.timeout(5):
        while not isinstance(await anext(told), FileReceived):
            pass


async def test_a_history_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("this is no database at all, and long enough to see so")
    agent = Agent("sip:bob@rcs.example", history=tmp_path / "bad.db")
    with pytest.raises(DatabaseError):
        await agent.start()
    await agent.close()


async def test_no_more_is_read_than_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Agent("sip:alex@rcs.example") as alex,
        Agent("sip:bob@rcs.example", history=tmp_path / "bob.db") as bob,
    ):
        ours, theirs = await talk(alex, bob)
        history = bob.history
        assert history is not None
        waiting: list[Callable[[], None]] = []

        def slow(*args: Any, **named: Any) -> None:
            waiting.append(lambda: incoming(*args, **named))

        incoming = history.incoming
        monkeypatch.setattr(History, "incoming", lambda self, *a, **n: slow(*a, **n))
        sending = asyncio.create_task(_send_all(ours, ["x" * 300_000] * 40))
        async with asyncio.timeout(10):
            while not theirs._held_back:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            assert len(waiting) < 20
            while not sending.done() or sending.result()[-1].status != "delivered":
                while waiting:
                    waiting.pop(0)()
                await asyncio.sleep(0.005)
        assert theirs._storing_weight == 0


async def _send_all(chat: Chat, texts: list[str]) -> list[Receipt]:
    return [await chat.send(text) for text in texts]


async def test_a_peer_that_answers_no_receipt_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "_MAX_REPORTS", 3000)
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, theirs = await talk(alex, bob)
        link = theirs.session.link
        assert link is not None
        # As if every chunk of a full window waited for its answer.
        link.session._sender.window = 0
        receipts = await _send_all(ours, [str(number) for number in range(50)])
        for receipt in receipts:
            await receipt.sent(timeout=5)
        assert 3000 < link.session.octets_waiting < 5000
        link.session._sender.window = 512
        link.pump()
        await receipts[0].delivered(timeout=5)


@pytest.mark.foul
async def test_what_nobody_here_reads_is_not_called_delivered() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, _ = await talk(alex, bob)
        link = ours.session.link
        assert link is not None
        message = ChatCodec(alex.tokens).compose("application/x-other", b"what?", wall_clock())
        receipt = Receipt(message.message_id, "")
        ours.fates.remember(receipt)
        link.session.send(message.content_type, message.body, message_id=message.message_id)
        link.pump()
        await (await ours.send("after it")).delivered(timeout=5)
        assert receipt.status == "sent"


async def test_a_message_that_was_given_up_before_it_was_sent_is_kept_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Agent("sip:alex@rcs.example", history=tmp_path / "alex.db") as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        ours, _ = await talk(alex, bob)
        monkeypatch.setattr(MsrpSession, "can_send", lambda self: False)
        sending = asyncio.create_task(ours.send("never mind"))
        async with asyncio.timeout(5):
            while not ours.fates.receipts:
                await asyncio.sleep(0.005)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert alex.history is not None
        assert [entry.status for entry in await alex.history.messages()] == ["failed"]


async def test_a_peer_whose_headers_are_no_utf_8_does_not_break_the_history(
    tmp_path: Path,
) -> None:
    history = await History.open(tmp_path / "bob.db")
    stored: asyncio.Future[bool | DatabaseError] = asyncio.get_running_loop().create_future()
    history.incoming(
        "sip:a@b", "m", "text", wall_clock(), conversation_id="c\udcff", done=stored.set_result
    )
    assert await stored is True
    await history.outgoing("sip:a@b", "n", "half \ud800", wall_clock())
    history.status("sip:a@b", "n", "failed", "no \udcff")
    incoming, outgoing = await history.messages()
    assert (incoming.conversation_id, outgoing.text) == ("c?", "half ?")
    assert (outgoing.status, outgoing.reason) == ("failed", "no ?")
    await history.close()


def test_an_offer_that_does_not_come_from_the_server_belongs_to_no_chat() -> None:
    flow = Flow("tcp", ("127.0.0.1", 1), ("192.0.2.1", 5060))
    open_chat = SimpleNamespace(peer="sip:alex@rcs.example", conversation_id="c")

    def chat_for(server: object, peer: str, *, trusted: bool = False) -> object:
        agent = SimpleNamespace(
            options=SimpleNamespace(server=server),
            chats=(open_chat,),
            is_from_server=lambda _: trusted,
        )
        return _chat_for(agent, peer, flow, "c")  # type: ignore[arg-type]

    assert chat_for("sip:server", open_chat.peer) is None
    assert chat_for("sip:server", open_chat.peer, trusted=True) is open_chat
    # Who knows the thread is not who it is with.
    assert chat_for("sip:server", "sip:eve@rcs.example", trusted=True) is None
    assert chat_for(None, "sip:alex@192.0.2.1") is open_chat


async def test_progress_that_is_none_is_not_told() -> None:
    told: list[object] = []
    agent = SimpleNamespace(publish=told.append)
    transfer = Transfer(
        agent,  # type: ignore[arg-type]
        peer="p", uri="u", chat=None, transfer_id="t", conversation_id="c",
        selector=FileSelector("n", size=5), incoming=True,
    )  # fmt: skip
    for _ in range(3):
        transfer._progress(5)
    assert len(told) == 1


async def test_an_invitation_that_rings_for_too_long_is_not_answered_here_and_missed_there(
    tmp_path: Path,
) -> None:
    async with (
        Agent("sip:alex@rcs.example", history=tmp_path / "alex.db", invite_seconds=0.3) as alex,
        Agent("sip:bob@rcs.example", history=tmp_path / "bob.db") as bob,
    ):
        with pytest.raises(InviteError):
            await alex.invite(f"sip:bob@127.0.0.1:{bob.host.addresses[0].port}")
    for name, row in (("alex", ("out", "no answer")), ("bob", ("in", "missed"))):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as kept:
            assert kept.execute("SELECT direction, ended FROM session").fetchall() == [row]


async def test_an_agent_that_is_closed_has_missed_what_rang(tmp_path: Path) -> None:
    async with Agent("sip:alex@rcs.example", history=tmp_path / "alex.db") as alex:
        async with Agent("sip:bob@rcs.example", history=tmp_path / "bob.db") as bob:
            port = bob.host.addresses[0].port
            inviting = asyncio.create_task(alex.invite(f"sip:bob@127.0.0.1:{port}"))
            async for _ in bob.incoming():
                break
        with pytest.raises(InviteError):
            await inviting
    for name, row in (("alex", ("out", "not reached")), ("bob", ("in", "missed"))):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as kept:
            assert kept.execute("SELECT direction, ended FROM session").fetchall() == [row]
