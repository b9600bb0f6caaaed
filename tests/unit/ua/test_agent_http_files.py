"""Files over HTTP between agents, through a SIP server and a content server of their own."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from rcsops import Agent
from rcsops.errors import AgentError, TransferError
from rcsops.rcs import FileInfo, StoredFile
from rcsops.settings import FileRules
from rcsops.testing.relay import TcpRelay
from rcsops.testing.waiting import free_port
from rcsops.ua import (
    Chat,
    Delivered,
    Event,
    FileFailed,
    FileOffered,
    FileProgress,
    FileReceived,
    FileRefused,
    FileUploaded,
    HttpOffer,
    TextReceived,
    TransferStatus,
)
from tests.content_client import ContentLab, content_lab
from tests.offers import offer_left
from tests.survivors import open_files

pytestmark = pytest.mark.timeout(120)

PHOTO = bytes(range(256)) * 1200
E = TypeVar("E", bound=Event)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentLab]:
    with content_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "beach.jpg"
    path.write_bytes(PHOTO)
    return path


def agent(lab: ContentLab, name: str, **options: object) -> Agent:
    settings: dict[str, object] = {
        "server": lab.server.address,
        "password": {"alex": "secret", "bob": "secret of bob"}[name],
        "content": lab.base,
    }
    return Agent(f"sip:{name}@rcs.example", **(settings | options))  # type: ignore[arg-type]


def rules(*texts: str) -> FileRules:
    return FileRules.parse(texts)


async def take(stream: AsyncIterator[Event], kind: type[E]) -> E:
    async with asyncio.timeout(30):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


async def test_a_file_waits_for_who_is_away(lab: ContentLab, photo: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    small.write_bytes(b"a small picture")
    async with agent(lab, "alex", history=tmp_path / "alex.db") as alex:
        await alex.register()
        told = alex.events()
        upload = await alex.send_file_http("bob", photo, thumbnail=small)
        await upload.done(30)
        assert upload.receipt is not None and upload.info is not None
        await upload.receipt.stored(10)
        uploaded = await take(told, FileUploaded)
        assert (uploaded.peer, uploaded.size) == ("sip:bob@rcs.example", len(PHOTO))
        assert uploaded.message_id == upload.receipt.message_id

        async with agent(
            lab,
            "bob",
            history=tmp_path / "bob.db",
            downloads=tmp_path / "in",
            file_rules=rules("accept size<=1MB"),
        ) as bob:
            feed = bob.events()
            await bob.register()
            message = await take(feed, TextReceived)
            received = await take(feed, FileReceived)
            await take(told, Delivered)
            assert bob.history is not None and alex.history is not None
            (ours,) = await alex.history.messages()
            await eventually_kept(bob)
            (theirs,) = await bob.history.messages()

    assert message.file is not None and message.pager
    assert message.file.thumbnail is not None and message.file.thumbnail.size == 15
    assert message.text.startswith("beach.jpg (image/jpeg, 307200 octets, until 20")
    assert received.path.read_bytes() == PHOTO and received.path.name == "beach.jpg"
    assert received.sha1 == hashlib.sha1(PHOTO).hexdigest()
    kind = "application/vnd.gsma.rcs-ft-http+xml"
    assert (ours.content_type, theirs.content_type) == (kind, kind)
    assert ours.attachment is not None and theirs.attachment is not None
    assert ours.attachment.path == str(photo)
    assert theirs.attachment == ours.attachment._replace(path=str(received.path))


async def eventually_kept(agent: Agent) -> None:
    """Until the history knows where the file is."""
    for _ in range(500):
        assert agent.history is not None
        (message,) = await agent.history.messages()
        if message.attachment is not None and message.attachment.path:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the history does not know the file")


async def open_chat(alex: Agent, bob: Agent) -> tuple[Chat, Chat]:
    await asyncio.gather(alex.register(), bob.register())
    calling = asyncio.create_task(alex.invite("bob"))
    async for invitation in bob.incoming():
        theirs = await invitation.accept()
        return await calling, theirs
    raise AssertionError("nobody called")


async def test_a_file_in_a_chat_waits_for_an_answer(
    lab: ContentLab, photo: Path, tmp_path: Path
) -> None:
    async with agent(lab, "alex") as alex, agent(lab, "bob") as bob:
        ours, theirs = await open_chat(alex, bob)
        events = aiter(theirs)

        upload = await alex.send_file_http("bob", photo, chat=ours)
        message = await take(events, TextReceived)
        offered = await take(events, FileOffered)

        assert message.chat_id == offered.chat_id == theirs.chat_id
        assert (offered.name, offered.size, offered.content_type) == (
            "beach.jpg",
            len(PHOTO),
            "image/jpeg",
        )
        assert isinstance(offered.offer, HttpOffer) and offered.offer.pending
        # What could not begin may be tried again.
        with pytest.raises(TransferError, match=r"beach\.jpg"):
            await offered.offer.accept(photo)
        assert offered.offer.pending
        download = await offered.offer.accept(tmp_path / "in")
        await download.done(30)
        await take(events, FileReceived)
        assert download.path is not None and download.path.read_bytes() == PHOTO
        await upload.done(5)
        assert upload.receipt is not None
        await upload.receipt.delivered(10)
        with pytest.raises(TransferError, match="answered already"):
            await offered.offer.accept(tmp_path)
        assert offered.offer.reject() is False


@pytest.mark.parametrize(
    ("rule", "options"),
    [("refuse type=image/*", {}), ("accept", {"max_file_size": 1000})],
)
async def test_a_file_that_is_not_wanted(
    lab: ContentLab, photo: Path, tmp_path: Path, rule: str, options: dict[str, int]
) -> None:
    async with (
        agent(lab, "alex") as alex,
        agent(lab, "bob", downloads=tmp_path / "in", file_rules=rules(rule), **options) as bob,
    ):
        feed = bob.events()
        await asyncio.gather(alex.register(), bob.register())

        await (await alex.send_file_http("bob", photo)).done(30)
        refused = await take(feed, FileRefused)

    assert (refused.name, refused.size) == ("beach.jpg", len(PHOTO))
    assert not (tmp_path / "in").exists()


async def test_no_file_is_begun_while_the_agent_closes(
    lab: ContentLab, photo: Path, tmp_path: Path
) -> None:
    async with agent(lab, "alex") as alex, agent(lab, "bob", history=tmp_path / "bob.db") as bob:
        await asyncio.gather(alex.register(), bob.register())
        feed = bob.events()
        await (await alex.send_file_http("bob", photo)).done(30)
        offer = (await take(feed, FileOffered)).offer
        closing = asyncio.create_task(bob.close())
        await asyncio.sleep(0)
        with pytest.raises(AgentError, match="closed"):
            await offer.accept(tmp_path / "in")
        await closing
    assert not (tmp_path / "in").exists()
    assert open_files(tmp_path / "in") == []
    async with agent(lab, "bob", history=tmp_path / "bob.db") as bob:
        assert [each.transfer_id for each in await bob.waiting_offers()] == [offer.transfer_id]


async def test_many_files_at_once_wait_for_their_turn(
    lab: ContentLab, photo: Path, tmp_path: Path
) -> None:
    """As for one who was away for long."""
    async with agent(lab, "alex") as alex, agent(lab, "bob") as bob:
        await asyncio.gather(alex.register(), bob.register())
        feed = bob.events()
        for _ in range(24):
            await (await alex.send_file_http("bob", photo)).done(30)
        offers = [(await take(feed, FileOffered)).offer for _ in range(24)]
        downloads = [await offer.accept(tmp_path / "in") for offer in offers]
        # Over MSRP others may send meanwhile.
        assert not bob.files.is_full
        for download in downloads:
            await download.done(30)
    assert len(list((tmp_path / "in").iterdir())) == 24


async def test_a_name_is_the_same_by_either_way(lab: ContentLab, tmp_path: Path) -> None:
    path = tmp_path / 'a "quoted" name\nof 100%22 <x>.txt'
    path.write_text("something")
    async with agent(lab, "alex") as alex, agent(lab, "bob") as bob:
        await asyncio.gather(alex.register(), bob.register())
        feed = bob.events()
        await (await alex.send_file_http("bob", path)).done(30)
        by_http = await take(feed, FileOffered)
        by_msrp = asyncio.create_task(take(feed, FileOffered))
        transfer = await alex.send_file("bob", path)
        offered = await by_msrp
        offered.offer.reject()
        with pytest.raises(TransferError):
            await transfer.done(20)
        assert by_http.name == offered.name == "a _quoted_ nameof 100%22 _x_.txt"


async def test_a_file_for_which_there_is_no_room(
    lab: ContentLab, photo: Path, tmp_path: Path
) -> None:
    taking = {"downloads": tmp_path / "in", "file_rules": rules("accept"), "disk_reserve": 1 << 60}
    async with agent(lab, "alex") as alex, agent(lab, "bob", **taking) as bob:
        await asyncio.gather(alex.register(), bob.register())
        feed = bob.events()
        await (await alex.send_file_http("bob", photo)).done(30)
        failed = await take(feed, FileFailed)
        assert failed.incoming and "do not fit" in failed.reason


@pytest.mark.foul
async def test_an_address_that_leads_inside_is_not_fetched(lab: ContentLab, tmp_path: Path) -> None:
    knocked = []

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocked.append(writer.get_extra_info("peername"))
        writer.close()

    inside = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = inside.sockets[0].getsockname()[1]
    async with (
        agent(lab, "alex") as alex,
        agent(lab, "bob", downloads=tmp_path / "in", file_rules=rules("accept")) as bob,
    ):
        feed = bob.events()
        await asyncio.gather(alex.register(), bob.register())
        evil = FileInfo(StoredFile(f"http://127.0.0.1:{port}/admin", 5, "text/plain"), "a.txt")
        await alex.pager.send(alex.peer_uri("bob"), evil, conversation_id=None, message_id=None)

        failed = await take(feed, FileFailed)
    inside.close()
    await inside.wait_closed()

    assert "not fetched from 127.0.0.1" in failed.reason
    assert knocked == [] and list((tmp_path / "in").iterdir()) == []


@pytest.mark.foul
async def test_a_hostile_document_is_answered_and_not_shown(lab: ContentLab) -> None:
    async with agent(lab, "alex") as alex, agent(lab, "bob") as bob:
        feed = bob.events()
        await asyncio.gather(alex.register(), bob.register())
        url = StoredFile("https://h.example/f", 5, "text/plain")
        for document in (b"<!DOCTYPE x><file/>", b"<file/>", b"\xff" * 50, b"<a>" * 200):
            broken = FileInfo(url, "n", document=document)
            receipt = await alex.pager.send(
                alex.peer_uri("bob"), broken, conversation_id=None, message_id=None
            )
            with pytest.raises(Exception, match=r"400|415"):
                await receipt.stored(20)
        await (await alex.send_message("bob", "still there")).delivered(20)
        assert (await take(feed, TextReceived)).text == "still there"


async def test_both_ways_go_on_after_a_break(tmp_path: Path) -> None:
    data = bytes(range(256)) * 80_000
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    port = free_port()
    async with TcpRelay(f"127.0.0.1:{port}") as relay:
        settings = f'url = "http://{relay.address}"'
        lab = ContentLab(tmp_path / "lab", settings, port=port)
        lab.base = f"http://{relay.address}/ft"
        with lab.server:
            async with (
                agent(lab, "alex") as alex,
                agent(lab, "bob", downloads=tmp_path / "in", file_rules=rules("accept")) as bob,
            ):
                await asyncio.gather(alex.register(), bob.register())
                relay.fuses.update(up=5_000_000, down=5_000_000)
                feed = bob.events()
                upload = await alex.send_file_http("bob", path)
                await upload.done(60)
                received = await take(feed, FileReceived)
            log = lab.log

    assert not relay.fuses
    assert received.path.read_bytes() == data
    assert "PUT /ft/u/… from 127.0.0.1: 200" in log
    assert "GET /ft/d/… from 127.0.0.1: 206" in log


async def test_an_upload_is_given_up(lab: ContentLab, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(50_000_000))
    async with agent(lab, "alex", history=tmp_path / "alex.db") as alex:
        await alex.register()
        feed = alex.events()
        upload = await alex.send_file_http("bob", path)
        await take(feed, FileProgress)
        await upload.cancel()

        with pytest.raises(TransferError, match="cancelled"):
            await upload.done(5)
        assert (await take(feed, FileFailed)).reason == "cancelled"
        assert alex.history is not None and await alex.history.messages() == []


async def test_a_pause_while_it_is_made_sure_what_is_there_counts(
    lab: ContentLab, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(50_000_000))
    kept = {"history": tmp_path / "alex.db", "transfers": tmp_path / "kept"}
    async with agent(lab, "alex", **kept) as alex:
        await alex.register()
        feed = alex.events()
        await alex.send_file_http("bob", path)
        await take(feed, FileProgress)
    async with agent(lab, "alex", **kept) as alex:
        await alex.register()
        alex.files.find_unfinished()
        (upload,) = alex.transfers
        # The file is read through once more before it goes on.
        await asyncio.gather(upload.resume(), upload.pause())
        await asyncio.sleep(0.5)
        assert upload.paused
        assert upload.status is TransferStatus.INTERRUPTED
        await upload.resume()
        await upload.done(30)
        assert upload.receipt is not None


@pytest.mark.parametrize("how", ["cancel", "suspend"])
@pytest.mark.parametrize("who", ["alex", "bob"])
async def test_it_is_ended_while_it_is_made_sure_what_is_there(
    tmp_path: Path, who: str, how: str
) -> None:
    path, target, states = tmp_path / "film.mp4", tmp_path / "in", tmp_path / "kept"
    path.write_bytes(bytes(80_000_000))
    kept: dict[str, object] = {"history": tmp_path / "history.db", "transfers": states}
    if who == "bob":
        kept |= {"downloads": target, "file_rules": rules("accept")}
    of_alex, of_bob = (kept, {}) if who == "alex" else ({}, kept)
    # A lab of its own, where nothing waits for anybody.
    with content_lab(tmp_path / "lab") as lab:
        async with agent(lab, "bob", **of_bob) as bob, agent(lab, "alex", **of_alex) as alex:
            await asyncio.gather(alex.register(), bob.register())
            feed = (alex if who == "alex" else bob).events()
            upload = await alex.send_file_http("bob", path)
            if who == "bob":
                await upload.done(30)
            await take(feed, FileProgress)
        async with agent(lab, who, **kept) as one:
            await one.register()
            (transfer,) = one.transfers
            # What is there is read through once more before it goes on.
            await asyncio.gather(transfer.resume(), getattr(transfer, how)())
            await asyncio.sleep(0.5)
            failed, left = TransferStatus.FAILED, TransferStatus.INTERRUPTED
            assert transfer.status is (failed if how == "cancel" else left)
            assert open_files(target) == open_files(path) == []
    assert len(list(states.iterdir())) == (how == "suspend")
    assert len(list(target.glob(".*"))) == (how == "suspend" and who == "bob")


@pytest.mark.parametrize("how", ["shortened", "grown"])
async def test_a_file_that_is_changed_while_it_is_sent(
    lab: ContentLab, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(80_000_000))
    async with agent(lab, "alex") as alex:
        await alex.register()
        feed = alex.events()
        upload = await alex.send_file_http("bob", path)
        await take(feed, FileProgress)
        with path.open("r+b") as file:
            file.truncate(1_000_000 if how == "shortened" else 80_000_001)
        with pytest.raises(TransferError, match=r"film.mp4 was changed while it was sent"):
            await upload.done(40)
        assert upload.status is TransferStatus.FAILED


async def test_what_the_content_server_refuses(tmp_path: Path, photo: Path) -> None:
    with content_lab(tmp_path / "lab", "max_file = 100_000") as lab:
        async with agent(lab, "alex") as alex, agent(lab, "bob", password="wrong") as bob:
            upload = await alex.send_file_http("bob", photo)
            with pytest.raises(TransferError, match="a file may have 100000 octets"):
                await upload.done(30)
            upload = await bob.send_file_http("alex", photo)
            with pytest.raises(TransferError, match="does not take our password"):
                await upload.done(30)


async def test_it_is_said_that_files_go_over_http(lab: ContentLab) -> None:
    async with agent(lab, "alex") as alex, agent(lab, "bob", content="") as bob:
        await asyncio.gather(alex.register(), bob.register())

        assert (await bob.capabilities("alex")).file_transfer_http
        assert not (await alex.capabilities("bob", fresh=True)).file_transfer_http


async def test_offers_of_two_peers_by_the_same_name(lab: ContentLab, tmp_path: Path) -> None:
    """A Message-ID is its sender's to choose: it must not hide the offer of another."""
    path, peers = tmp_path / "bob.db", ("sip:alex@rcs.example", "sip:mallory@rcs.example")
    await offer_left(path, *peers, message_id="the-same")
    async with agent(lab, "bob", history=path) as bob:
        offers = await bob.waiting_offers()
        assert {offer.peer for offer in offers} == set(peers)
        assert await bob.waiting_offers() == []
