"""Displayed notifications: sent when a message was seen, once, by the way there is, or never."""

import asyncio
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import DeliveryError
from rcsops.rcs import CpimMessage, DeliveryReceived
from rcsops.rcs.imdn import CONTENT_TYPE
from rcsops.testing import eventually
from rcsops.transport import TapRecord, wall_clock
from rcsops.ua import Chat, Delivered, Displayed, Failed, MessageStatus, Stored, TextReceived

from .lab import lab
from .test_agent_history import talk
from .test_agent_pager import Feed, address, pair

pytestmark = pytest.mark.timeout(30)


@pytest.mark.rfc("5438", "7.2.1.3")
@pytest.mark.parametrize("kept", [True, False], ids=["history", "memory"])
async def test_in_a_session_once_it_was_seen_and_only_once(tmp_path: Path, kept: bool) -> None:
    async with (
        Agent("sip:alex@rcs.example", history=tmp_path / "alex.db") as alex,
        Agent("sip:bob@rcs.example", history=tmp_path / "bob.db" if kept else None) as bob,
    ):
        ours, theirs = await talk(alex, bob)
        heard = Feed(alex)
        seen = Feed(bob)
        receipt = await ours.send("look at me")
        await receipt.delivered(5)
        message = await seen.until(TextReceived)
        assert isinstance(message, TextReceived)
        # The device has it; nobody has looked.
        await (await ours.send("and at me")).delivered(5)
        assert receipt.status == "delivered"
        theirs.mark_displayed(message)
        bob.mark_displayed(message)
        await receipt.displayed(5)
        await heard.until(Displayed)
        await (await ours.send("last")).delivered(5)
        assert len(heard.of(Displayed)) == 1
        assert alex.history is not None
        first = (await alex.history.messages())[0]
        assert list(first.times) == ["queued", "sent", "delivered", "displayed"]
        if bob.history is not None:
            await eventually_settled(bob)
            came = (await bob.history.messages())[0]
            assert (came.status, list(came.times)) == (
                "displayed", ["received", "delivered", "displayed"]
            )  # fmt: skip


async def eventually_settled(agent: Agent) -> None:
    """Until the agent owes nobody a notification."""
    assert agent.history is not None
    async with asyncio.timeout(10):
        while any(each.owed for each in await agent.history.messages()):
            await asyncio.sleep(0.01)


async def test_outside_of_a_session_it_goes_in_a_message(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def tap(record: TapRecord) -> None:
        if record.direction == "out":
            sent.append(record.data)

    async with pair(tmp_path, tap=tap) as (alex, bob, heard, seen):
        receipt = await alex.send_message(address(bob), "hello")
        message = await seen.until(TextReceived)
        assert isinstance(message, TextReceived)
        bob.mark_displayed(message)
        await receipt.displayed(5)
        await heard.until(Displayed)
        await eventually_settled(bob)
        # In a session that ended before the message was seen.
        chat, _ = await talk(alex, bob)
        later = await chat.send("read me later")
        message = await seen.until(TextReceived, 2)
        assert isinstance(message, TextReceived)
        await later.delivered(5)
        await chat.close()
        await eventually(lambda: not bob.chats, 5)
        bob.mark_displayed(message)
        await heard.until(Displayed, 2)
        await eventually_settled(bob)
    reports = [data for data in sent if data.startswith(b"MESSAGE ")]
    assert len(reports) == 3
    assert sum(b"<displayed/>" in data for data in reports) == 2


async def test_switched_off_nobody_learns_it_and_the_history_has_it(tmp_path: Path) -> None:
    async with pair(tmp_path, display_notifications=False) as (alex, bob, heard, seen):
        chat, _ = await talk(alex, bob)
        receipts = [await alex.send_message(address(bob), "one"), await chat.send("two")]
        messages = [await seen.until(TextReceived, 2), seen.of(TextReceived)[0]]
        for message in messages:
            assert isinstance(message, TextReceived)
            bob.mark_displayed(message)
        for receipt in receipts:
            await receipt.delivered(5)
        last = await chat.send("three")
        await last.delivered(5)
        assert [each.status for each in receipts] == ["delivered"] * 2
        assert heard.of(Displayed) == []
        assert bob.history is not None
        kept = await bob.history.messages()
        assert [each.status for each in kept] == ["displayed", "displayed", "received"]
        await eventually_settled(bob)


async def test_a_message_that_comes_again_is_told_again(tmp_path: Path) -> None:
    """Its sender has missed what we told: it was killed before it noted that."""
    async with pair(tmp_path) as (alex, bob, _, seen):
        receipt = await alex.send_message(address(bob), "hello")
        message = await seen.until(TextReceived)
        assert isinstance(message, TextReceived)
        bob.mark_displayed(message)
        await receipt.displayed(5)
    async with Agent("sip:alex@rcs.example") as alex, pair(tmp_path) as (_, bob, _, seen):
        again = await alex.send_message(address(bob), "hello", message_id=receipt.message_id)
        await again.displayed(5)
        assert seen.texts == []


def report(identity: str, kind: str, status: str) -> DeliveryReceived:
    return DeliveryReceived(identity, kind, status)


@pytest.mark.rfc("5438", "7.1.3")
async def test_notifications_in_any_order_twice_and_of_nothing() -> None:
    async with (
        lab() as server,
        Agent("sip:alex@rcs.example", server=server.address, password="secret-a") as alex,
    ):
        server.stores = True
        heard = Feed(alex)
        await alex.register()

        async def tell(receipt_id: str, *reports: tuple[str, str]) -> None:
            for kind, status in reports:
                await alex.pager.take_report(
                    "sip:bob@rcs.example", report(receipt_id, kind, status)
                )

        early = await alex.send_message("bob", "displayed before delivered")
        await early.stored(5)
        await tell(early.message_id, ("display", "displayed"), ("delivery", "delivered"))
        await tell(early.message_id, ("display", "displayed"), ("delivery", "failed"))
        assert early.status == "displayed"
        await heard.until(Displayed)
        await tell("nobody knows this", ("delivery", "delivered"), ("display", "displayed"))
        silent = await alex.send_message("bob", "a peer that does not tell")
        await silent.stored(5)
        waiting = asyncio.create_task(silent.displayed(5))
        await tell(silent.message_id, ("delivery", "delivered"), ("display", "forbidden"))
        with pytest.raises(DeliveryError, match="does not tell"):
            await waiting
        assert silent.status == "delivered"
        await heard.until(Delivered)
        assert len(heard.of(Displayed)) == 1
        assert len(heard.of(Delivered)) == 1
        assert heard.of(Failed) == []


@pytest.mark.foul
@pytest.mark.rfc("5438", "7.2.1.2")
@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("delivery", "failed", "the peer's device says failed"),
        ("delivery", "forbidden", "the peer's device says forbidden"),
        ("delivery", "error", "the peer's device says error"),
        ("processing", "forbidden", "a server on the way says forbidden"),
        ("processing", "error", "a server on the way says error"),
        ("processing", "processed", ""),
        ("processing", "stored", ""),
    ],
)
async def test_what_went_wrong_on_the_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, status: str, words: str
) -> None:
    # A device that notifies of nothing by itself; its user's messages are not shown as failed.
    monkeypatch.setattr(Chat, "notify", lambda self, notice, kind: True)
    async with (
        Agent("sip:alex@rcs.example", history=tmp_path / "alex.db") as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        ours, theirs = await talk(alex, bob)
        heard = Feed(alex)
        receipt = await ours.send("into silence")
        await receipt.sent(5)
        xml = (
            '<imdn xmlns="urn:ietf:params:xml:ns:imdn">'
            f"<message-id>{receipt.message_id}</message-id><datetime>2026-11-26T06:00:00Z</datetime>"
            f"<{kind}-notification><status><{status}/></status></{kind}-notification></imdn>"
        )
        wrapped = CpimMessage.make(CONTENT_TYPE, xml.encode(), date_time=wall_clock())
        back = theirs.session.link
        assert back is not None
        back.session.send("message/cpim", bytes(wrapped))
        back.pump()
        if words:
            failed = await heard.until(Failed)
            assert isinstance(failed, Failed)
            assert failed.reason == words
        else:
            await (await ours.send("after it")).sent(5)
            assert heard.of(Failed) == []
            assert receipt.status == MessageStatus.SENT
            assert heard.of(Stored) == []
        assert alex.history is not None
        kept = (await alex.history.messages())[0]
        assert (kept.status, kept.reason) == (("failed", words) if words else ("sent", ""))
