"""Messages without a session: what goes, what comes, and what is refused."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import DatabaseError, DeliveryError
from rcsops.rcs import ChatCodec, DeliveryReceived, Outgoing, write_message
from rcsops.rcs import TextReceived as Text
from rcsops.sip import Response, Uri
from rcsops.testing import eventually
from rcsops.transport import TapRecord, system_tokens, wall_clock
from rcsops.transport.requester import send
from rcsops.ua import Chat, Delivered, Displayed, Event, Failed, Sent, TextReceived, inbox

from .lab import lab

pytestmark = pytest.mark.timeout(30)


def address(agent: Agent) -> str:
    return f"sip:{agent.uri.username}@127.0.0.1:{agent.host.addresses[0].port}"


class Feed:
    """Everything that an agent tells, kept."""

    def __init__(self, agent: Agent) -> None:
        self.events: list[Event] = []
        self._task = asyncio.create_task(self._follow(agent))

    async def _follow(self, agent: Agent) -> None:
        async for event in agent.events():
            self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, TextReceived)]

    async def until(self, kind: type[Event], count: int = 1) -> Event:
        await eventually(lambda: len(self.of(kind)) >= count, 10)
        return self.of(kind)[-1]


@asynccontextmanager
async def pair(tmp_path: Path, **options: object) -> AsyncIterator[tuple[Agent, Agent, Feed, Feed]]:
    async with (
        Agent("sip:alex@rcs.example", history=tmp_path / "alex.db") as alex,
        Agent("sip:bob@rcs.example", history=tmp_path / "bob.db", **options) as bob,  # type: ignore[arg-type]
    ):
        feeds = Feed(alex), Feed(bob)
        await asyncio.sleep(0)
        yield alex, bob, *feeds


async def deliver(sender: Agent, to: Agent, message: Outgoing, **headers: str) -> Response:
    """A MESSAGE made by hand, as another user agent would send it."""
    uri = Uri.parse(address(to))
    request = sender.create_request("MESSAGE", uri, [])
    tokens = system_tokens()
    write_message(request, message, conversation_id=tokens.uuid(), contribution_id=tokens.uuid())
    for name, value in headers.items():
        request.set(name.replace("_", "-"), value)
    return await send(sender.host.endpoint, request, await sender.targets_for(uri))


TYPING = (
    '<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>'
)


def plain(text: str, content_type: str = "text/plain") -> Outgoing:
    return Outgoing("", content_type, text.encode())


async def test_a_message_arrives_and_its_receipt_comes_back(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, heard, seen):
        receipt = await alex.send_message(address(bob), "Grüße 👋")
        await receipt.sent(5)
        await receipt.delivered(5)
        event = await seen.until(TextReceived)
        assert isinstance(event, TextReceived)
        assert (event.text, event.peer, event.chat_id) == ("Grüße 👋", alex.aor, "")
        assert event.pager
        assert event.message_id == receipt.message_id
        assert event.sent_at is not None
        assert event.sent_at <= event.received_at
        await heard.until(Delivered)
        assert len(heard.of(Sent)) == 1
        assert alex.history is not None
        assert bob.history is not None
        assert [(m.text, m.status) for m in await alex.history.messages()] == [
            ("Grüße 👋", "delivered")
        ]
        assert [(m.text, m.status) for m in await bob.history.messages()] == [
            ("Grüße 👋", "received")
        ]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_through_a_server_that_challenges(tmp_path: Path, transport: str) -> None:
    async with (
        lab() as server,
        Agent(
            "sip:alex@rcs.example", server=server.address, password="secret-a", transport=transport
        ) as alex,
        Agent(
            "sip:bob@rcs.example", server=server.address, password="secret-b", transport=transport
        ) as bob,
    ):
        server.challenges = True
        seen = Feed(bob)
        await alex.register()
        absent = await alex.send_message("bob", "are you there?")
        with pytest.raises(DeliveryError) as refused:
            await absent.sent(5)
        assert refused.value.status == 480
        assert absent.status == "failed"
        await bob.register()
        texts = [str(number) for number in range(30)]
        receipts = [await alex.send_message("bob", text) for text in texts]
        for receipt in receipts:
            await receipt.delivered(5)
        await seen.until(TextReceived, 30)
        assert seen.texts == texts
        assert server.challenged > 0


async def test_the_server_keeps_it(tmp_path: Path) -> None:
    async with (
        lab() as server,
        Agent("sip:alex@rcs.example", server=server.address, password="secret-a") as alex,
    ):
        server.stores = True
        await alex.register()
        receipt = await alex.send_message("bob", "later")
        await receipt.stored(5)
        assert receipt.status == "stored"
        with pytest.raises(DeliveryError):
            await receipt.sent(0.05)


async def test_a_text_that_is_too_long_is_refused_before_anything_happens(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, _, seen):
        with pytest.raises(DeliveryError) as refused:
            await alex.send_message(address(bob), "x" * 2000)
        assert "octets too long" in str(refused.value)
        assert "session" in refused.value.hint
        over = int(str(refused.value).split()[3])
        receipt = await alex.send_message(address(bob), "x" * (2000 - over - 10))
        await receipt.delivered(5)
        assert alex.history is not None
        assert len(await alex.history.messages()) == 1
        await seen.until(TextReceived)


async def test_what_comes_twice_is_shown_once_and_answered_each_time(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, _, seen):
        codec = ChatCodec(alex.tokens)
        message = codec.compose_text("once", wall_clock())
        for _ in range(3):
            assert (await deliver(alex, bob, message)).status == 200
        last = codec.compose_text("last", wall_clock())
        await deliver(alex, bob, last)
        await seen.until(TextReceived, 2)
        assert seen.texts == ["once", "last"]
    # The history outlives the process.
    async with pair(tmp_path) as (alex, bob, _, seen):
        assert (await deliver(alex, bob, message)).status == 200
        assert (await deliver(alex, bob, plain("new"))).status == 200
        await seen.until(TextReceived)
        assert seen.texts == ["new"]


async def test_a_plain_text_of_another_phone(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, heard, seen):
        response = await deliver(alex, bob, plain("plain"))
        assert response.status == 200
        assert not response.has("Contact")
        assert not response.body
        event = await seen.until(TextReceived)
        assert isinstance(event, TextReceived)
        assert event.sent_at is None
        # The same request by another way: the same message.
        call = {"Call_ID": "again", "CSeq": "7 MESSAGE"}
        for _ in range(2):
            await deliver(alex, bob, plain("by two ways"), **call)
        await deliver(alex, bob, plain("end"))
        await seen.until(TextReceived, 3)
        assert seen.texts == ["plain", "by two ways", "end"]
        # Nobody asked for a receipt.
        assert heard.events == []


@pytest.mark.foul
@pytest.mark.rfc("3261", "8.2.3")
@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("image/png", "x", 415),
        ("", "x", 415),
        ("application/im-iscomposing+xml", "<x/>", 400),
        ("application/im-iscomposing+xml", TYPING, 415),
        ("message/cpim", "not CPIM", 400),
        ("message/cpim", "From: <sip:a@b>\r\n\r\nContent-Type: image/png\r\n\r\nx", 415),
        ("message/imdn+xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><imdn/>", 400),
        ("multipart/mixed;boundary=x", "--x--", 415),
    ],
)
async def test_what_is_not_taken(tmp_path: Path, content_type: str, body: str, status: int) -> None:
    async with pair(tmp_path) as (alex, bob, _, _):
        response = await deliver(alex, bob, plain(body, content_type or "text/plain"))
        if content_type:
            assert response.status == status
            if status == 415:
                assert "message/cpim" in (response.get("Accept") or "")
        packed = await deliver(alex, bob, plain("x"), Content_Encoding="gzip")
        assert packed.status == 415
        assert packed.get("Accept-Encoding") == "identity"
        assert bob.history is not None
        stored = await bob.history.messages()
        assert len(stored) == (0 if content_type else 1)


async def test_messages_that_were_kept_are_shown_in_the_order_in_which_they_were_written(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (alex, bob, _, seen):
        codec = ChatCodec(alex.tokens)
        start = wall_clock() - timedelta(hours=3)
        written = [
            codec.compose_text(str(number), start + timedelta(minutes=number))
            for number in range(6)
        ]
        for number in (1, 0, 2, 5, 4, 3):
            assert (await deliver(alex, bob, written[number])).status == 200
        await seen.until(TextReceived, 6)
        assert seen.texts == ["0", "1", "2", "3", "4", "5"]
        event = seen.of(TextReceived)[0]
        assert isinstance(event, TextReceived)
        assert event.sent_at is not None
        assert abs(event.sent_at - start) < timedelta(seconds=1)


@pytest.mark.rfc("3261", "8.2.5")
async def test_what_cannot_be_stored_is_not_answered_200(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, _, seen):
        assert bob.history is not None
        await bob.history.close()
        codec = ChatCodec(alex.tokens)
        message = codec.compose_text("lost?", wall_clock())
        assert (await deliver(alex, bob, message)).status == 500
        assert seen.texts == []
        await seen.until(Failed)
        report = codec.delivery_report(
            codec.receive(message.content_type, message.body),  # type: ignore[arg-type]
            wall_clock(),
        )
        assert (await deliver(alex, bob, report)).status == 500
        with pytest.raises(DatabaseError):
            await bob.send_message(address(alex), "not without my history")


async def test_a_report_that_is_not_kept_before_the_end_is_not_answered_200(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (alex, bob, _, _):
        receipt = await alex.send_message(address(bob), "hello")
        await receipt.delivered(5)
        codec, now = ChatCodec(bob.tokens), wall_clock()
        came = codec.compose_text("hello", now, message_id=receipt.message_id)
        seen = codec.display_report(codec.receive(came.content_type, came.body), now)  # type: ignore[arg-type]
        with closing(sqlite3.connect(tmp_path / "alex.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked = asyncio.create_task(deliver(bob, alex, seen))
            await asyncio.sleep(0.3)
            ending = asyncio.create_task(alex.close())
            # What it has not kept two seconds after its end, it gives up.
            assert (await asyncio.wait_for(asked, 10)).status == 500
            other.execute("ROLLBACK")
        await ending


async def test_no_more_is_taken_than_can_be_stored_or_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_MAX_WAITING", 5)
    async with (
        Agent("sip:alex@rcs.example") as alex,
        Agent("sip:bob@rcs.example", history=tmp_path / "bob.db") as bob,
    ):
        feed = bob.events()
        statuses = [(await deliver(alex, bob, plain(str(number)))).status for number in range(8)]
        assert statuses == [200] * 5 + [480] * 3
        for number in range(5):
            event = await anext(feed)
            assert isinstance(event, TextReceived)
            assert event.text == str(number)
        response = await deliver(alex, bob, plain("again"))
        assert response.status == 200


async def test_a_report_that_comes_in_a_later_life_is_kept_and_told(tmp_path: Path) -> None:
    async with pair(tmp_path) as (alex, bob, _, _):
        await alex.send_message(address(bob), "before")
        receipt = await alex.send_message("sip:bob@127.0.0.1:1", "nobody there")
        with pytest.raises(DeliveryError):
            await receipt.sent(5)
    async with pair(tmp_path) as (alex, bob, heard, _):
        report = DeliveryReceived(receipt.message_id, "delivery", "delivered")
        # It has arrived after all.
        await alex.pager.take_report("sip:bob@rcs.example", report)
        await alex.pager.take_report("sip:bob@rcs.example", report)
        seen = DeliveryReceived(receipt.message_id, "display", "displayed")
        await alex.pager.take_report("sip:bob@rcs.example", seen)
        await alex.pager.take_report("sip:bob@rcs.example", report)
        unknown = DeliveryReceived("nobody knows this", "delivery", "delivered")
        await alex.pager.take_report("sip:bob@rcs.example", unknown)
        late = DeliveryReceived(receipt.message_id, "delivery", "failed")
        await alex.pager.take_report("sip:bob@rcs.example", late)
        await heard.until(Displayed)
        assert [type(event) for event in heard.events] == [Delivered, Displayed]
        assert alex.history is not None
        statuses = {m.text: m.status for m in await alex.history.messages()}
        assert statuses == {"before": "delivered", "nobody there": "displayed"}


async def test_a_report_of_somebody_else_counts_for_nothing(tmp_path: Path) -> None:
    async with (
        lab() as server,
        Agent(
            "sip:alex@rcs.example",
            server=server.address,
            password="secret-a",
            history=tmp_path / "alex.db",
        ) as alex,
    ):
        server.stores = True
        heard = Feed(alex)
        await alex.register()
        receipt = await alex.send_message("bob", "later")
        await receipt.stored(5)
        report = DeliveryReceived(receipt.message_id, "delivery", "delivered")
        await alex.pager.take_report("sip:eve@rcs.example", report)
        assert receipt.status == "stored"
        assert heard.of(Delivered) == []
        await alex.pager.take_report("sip:bob@rcs.example", report)
        assert receipt.status == "delivered"


async def test_a_negative_report_is_a_failure(tmp_path: Path) -> None:
    async with (
        lab() as server,
        Agent("sip:alex@rcs.example", server=server.address, password="secret-a") as alex,
    ):
        server.stores = True
        heard = Feed(alex)
        await alex.register()
        receipt = await alex.send_message("bob", "later")
        await receipt.stored(5)
        failed = DeliveryReceived(receipt.message_id, "delivery", "failed")
        await alex.pager.take_report("sip:bob@rcs.example", failed)
        event = await heard.until(Failed)
        assert isinstance(event, Failed)
        assert event.reason == "the peer's device says failed"
        with pytest.raises(DeliveryError):
            await receipt.delivered(5)


async def test_the_receipt_goes_over_the_session_that_is_open(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def tap(record: TapRecord) -> None:
        if record.direction == "out":
            sent.append(record.data)

    async with pair(tmp_path, tap=tap) as (alex, bob, heard, _):

        async def accept() -> object:
            async for invitation in bob.incoming():
                return await invitation.accept()
            raise AssertionError("nobody called")

        chat, other = await asyncio.gather(alex.invite(address(bob)), accept())
        assert isinstance(other, Chat)
        # As a server would have it: both are known by their addresses of record.
        other.peer = alex.aor
        receipt = await alex.send_message(address(bob), "beside the session")
        await receipt.delivered(5)
        await heard.until(Delivered)
        await chat.close()
    assert not any(data.startswith(b"MESSAGE ") for data in sent)


async def test_a_receipt_over_a_later_session(tmp_path: Path) -> None:
    """Of a message that went without one, or in a session that has ended."""
    async with pair(tmp_path) as (alex, bob, heard, _):

        async def accept() -> object:
            async for invitation in bob.incoming():
                return await invitation.accept()
            raise AssertionError("nobody called")

        receipt = await alex.send_message("sip:bob@127.0.0.1:1", "nobody there")
        with pytest.raises(DeliveryError):
            await receipt.sent(5)
        chat, other = await asyncio.gather(alex.invite(address(bob)), accept())
        assert isinstance(other, Chat)
        link = other.session.link
        assert link is not None
        codec = ChatCodec(bob.tokens)
        about = codec.receive("text/plain", b"")
        assert isinstance(about, Text)
        report = codec.delivery_report(
            replace(about, message_id=receipt.message_id, date_time="2026-11-23T22:05:00Z"),
            wall_clock(),
        )
        link.session.send(report.content_type, report.body)
        link.pump()
        event = await heard.until(Delivered)
        assert isinstance(event, Delivered)
        assert event.message_id == receipt.message_id
        await chat.close()
