"""Files between two agents, whose connections break, stand still and go on."""

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rcsops import Agent
from rcsops.errors import TransferError, UsageError
from rcsops.msrp import MsrpUri
from rcsops.settings import FileRules
from rcsops.testing import TcpRelay
from rcsops.testing.waiting import eventually
from rcsops.ua import (
    Event,
    FileFailed,
    FileInterrupted,
    FilePaused,
    FileReceived,
    FileResumed,
    FileSent,
    Transfer,
    TransferStatus,
    file_desk,
)
from tests.unit.ua.lab import Lab, lab

pytestmark = [pytest.mark.timeout(60), pytest.mark.rfc("5547", "8")]

ANY = FileRules.parse(["accept"])
SIZE = 24 << 20


class Side:
    """An agent with all that it has told, and the way to it."""

    server: ClassVar[Lab]

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.events: list[Event] = []
        self._follower = asyncio.create_task(self._follow(agent.events()))

    async def _follow(self, feed: AsyncIterator[Event]) -> None:
        async for event in feed:
            self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def sees(self, kind: type[Any]) -> Any:
        await eventually(lambda: self.of(kind), timeout=20, what=kind.__name__)
        return self.of(kind)[-1]

    async def transfer(self) -> Transfer:
        await eventually(lambda: self.agent.transfers, timeout=20)
        return self.agent.transfers[-1]

    @property
    def uri(self) -> str:
        return self.agent.aor


@pytest.fixture(autouse=True)
async def server() -> AsyncIterator[Lab]:
    async with lab(**{name: f"of {name}" for name in ("alex", "bob", "eve")}) as made:
        Side.server = made
        yield made


@asynccontextmanager
async def side(name: str, directory: Path, **options: Any) -> AsyncIterator[Side]:
    # Small chunks, so that a transfer takes long enough to be caught midway.
    options = {"file_chunk": 2048, "retry_base": 0.05} | options
    agent = Agent(
        f"sip:{name}@rcs.example",
        server=Side.server.address,
        password=f"of {name}",
        file_rules=ANY,
        transfers=directory / f"{name}-state",
        **options,
    )
    async with agent:
        await agent.register()
        yield Side(agent)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.bin"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    return path


async def offer_of(bob: Side) -> Any:
    await eventually(lambda: bob.agent.invitations, timeout=20)
    return bob.agent.invitations[0]


async def begin(alex: Side, bob: Side, film: Path, target: Path) -> tuple[Transfer, Transfer]:
    """A transfer of which something is through."""
    ours = await alex.agent.send_file(bob.uri, film)
    theirs = await (await offer_of(bob)).accept(target)
    await eventually(lambda: theirs.octets > 1 << 20, timeout=20, interval=0.001)
    return ours, theirs


@asynccontextmanager
async def relayed(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TcpRelay]:
    """MSRP connections to the agent come through a relay, as through a NAT that forwards a port."""
    msrp = await agent.host.msrp()
    async with TcpRelay(f"127.0.0.1:{msrp.port}") as relay:
        port = int(relay.address.rpartition(":")[2])
        straight = msrp.new_path

        def through(host: str, *, secure: bool = False) -> tuple[MsrpUri, ...]:
            return (replace(straight(host, secure=secure)[0], port=port),)

        monkeypatch.setattr(msrp, "new_path", through)
        yield relay


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def stands_still(transfer: Transfer) -> int:
    """Waits until nothing has come for a while; how much there is then."""
    async with asyncio.timeout(20):
        while True:
            octets = transfer.octets
            await asyncio.sleep(0.3)
            if transfer.octets == octets:
                return octets


async def test_both_sides_pause_and_go_on(film: Path, tmp_path: Path) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await begin(alex, bob, film, tmp_path / "in")
        for one, other, by in ((ours, theirs, bob), (theirs, ours, alex)):
            await one.pause()
            paused = await by.sees(FilePaused)
            assert paused.by_peer
            assert one.status is other.status is TransferStatus.PAUSED
            # What was in the pipes still comes; then nothing does.
            stood = await stands_still(theirs)
            assert stood == ours.octets
            with pytest.raises(TransferError, match="paused by the peer"):
                await other.resume()
            await asyncio.sleep(0.1)
            assert theirs.octets == stood < SIZE
            await one.resume()
            if one is ours:
                await eventually(
                    lambda stood=stood: theirs.octets > stood, timeout=20, interval=0.001
                )
        await ours.done(20)
        await theirs.done(20)
        received = await bob.sees(FileReceived)
        assert digest(received.path) == digest(film)
        assert len(bob.of(FileResumed)) == len(alex.of(FileResumed)) == 2
        assert list((tmp_path / "alex-state").iterdir()) == []
        assert list((tmp_path / "bob-state").iterdir()) == []


@pytest.mark.parametrize("who", ["sender", "receiver", "fetcher"])
async def test_what_is_paused_before_it_begins_stands_still(
    film: Path, tmp_path: Path, who: str
) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        if who == "fetcher":
            await alex.agent.share(bob.uri, film)
            theirs = await bob.agent.fetch_file(alex.uri, tmp_path / "in", name="film.bin")
            await theirs.pause()
            ours = await alex.transfer()
        else:
            ours = await alex.agent.send_file(bob.uri, film)
            if who == "sender":
                await ours.pause()
            theirs = await (await offer_of(bob)).accept(tmp_path / "in")
            if who == "receiver":
                await theirs.pause()
        one, by = (ours, bob) if who == "sender" else (theirs, alex)
        assert (await by.sees(FilePaused)).by_peer
        assert ours.status is theirs.status is TransferStatus.PAUSED
        stood = await stands_still(theirs)
        assert stood == ours.octets
        await asyncio.sleep(0.2)
        assert theirs.octets == stood < SIZE
        await one.resume()
        await asyncio.gather(ours.done(20), theirs.done(20))
        assert digest(tmp_path / "in" / "film.bin") == digest(film)


async def test_pauses_that_are_taken_back_at_once(film: Path, tmp_path: Path) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await begin(alex, bob, film, tmp_path / "in")
        for one in (theirs, ours, theirs):
            # The peer has not answered yet.
            await asyncio.gather(one.pause(), one.resume())
        await asyncio.gather(ours.pause(), theirs.pause())
        await asyncio.gather(ours.resume(), theirs.resume())
        await asyncio.gather(ours.done(40), theirs.done(40))
        assert digest(tmp_path / "in" / "film.bin") == digest(film)
        assert os.listdir(tmp_path / "in") == ["film.bin"]


async def test_it_goes_on_by_itself_when_the_connection_breaks(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        side("alex", tmp_path) as alex,
        side("bob", tmp_path) as bob,
        relayed(alex.agent, monkeypatch) as relay,
    ):
        ours, theirs = await begin(alex, bob, film, tmp_path / "in")
        for times in (1, 2):
            relay.cut()
            await eventually(lambda times=times: len(bob.of(FileResumed)) >= times, timeout=20)
            had = bob.of(FileResumed)[-1].octets
            await eventually(lambda had=had: theirs.octets > had, timeout=20, interval=0.001)
        await ours.done(20)
        await theirs.done(20)
        received = await bob.sees(FileReceived)
        assert digest(received.path) == digest(film)
        interrupted = alex.of(FileInterrupted)
        assert all(0 < each.octets < SIZE and each.retry_in < 1 for each in interrupted)
        # It went on where it had been, and the peer was not asked again.
        assert all(each.octets > 0 for each in bob.of(FileResumed))
        assert os.listdir(tmp_path / "in") == ["film.bin"]


async def test_a_break_without_an_end_leaves_both_sides_able_to_go_on(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        side("alex", tmp_path, resume_seconds=0.0) as alex,
        side("bob", tmp_path) as bob,
        relayed(alex.agent, monkeypatch) as relay,
        relayed(bob.agent, monkeypatch),
    ):
        ours, theirs = await begin(alex, bob, film, tmp_path / "in")
        relay.shut = True
        relay.cut()
        # Nothing is tried any more.
        with pytest.raises(TransferError, match=f"interrupted at [1-9][0-9]* of {SIZE}"):
            await ours.done(20)
        await bob.sees(FileInterrupted)
        assert ours.status is theirs.status is TransferStatus.INTERRUPTED
        # The one who waits for the rest fetches it.
        await theirs.resume()
        await theirs.done(20)
        await ours.done(20)
        assert digest(tmp_path / "in" / "film.bin") == digest(film)
        resumed = bob.of(FileResumed)[0]
        assert 1 << 20 <= resumed.octets < SIZE


async def test_a_sender_that_falls_silent_is_not_waited_for_for_ever(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        side("alex", tmp_path) as alex,
        side("bob", tmp_path, idle_timeout=1.0) as bob,
        relayed(alex.agent, monkeypatch) as relay,
        relayed(bob.agent, monkeypatch),
    ):
        ours, theirs = await begin(alex, bob, film, tmp_path / "in")
        await ours.pause()
        await bob.sees(FilePaused)
        # Who was told to wait does so.
        await asyncio.sleep(2)
        assert theirs.status is TransferStatus.PAUSED
        await ours.resume()
        await eventually(lambda: theirs.status is TransferStatus.RUNNING, timeout=20)
        relay.freeze()
        interrupted = await bob.sees(FileInterrupted)
        assert "nothing came for 1 s" in interrupted.reason
        # Its sender hears of it, and goes on.
        await ours.done(20)
        await theirs.done(20)
        assert digest(tmp_path / "in" / "film.bin") == digest(film)


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_either_side_resumes_after_both_were_restarted(
    film: Path, tmp_path: Path, who: str
) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        await begin(alex, bob, film, tmp_path / "in")
    assert alex.of(FileFailed) == bob.of(FileFailed) == []
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await alex.transfer(), await bob.transfer()
        assert ours.status is theirs.status is TransferStatus.INTERRUPTED
        assert 0 < theirs.octets < SIZE
        await (ours if who == "sender" else theirs).resume()
        await asyncio.gather(ours.done(20), theirs.done(20))
        assert bob.of(FileResumed)[0].octets > 0
        assert digest(tmp_path / "in" / "film.bin") == digest(film)
        assert os.listdir(tmp_path / "in") == ["film.bin"]
        assert os.listdir(tmp_path / "bob-state") == os.listdir(tmp_path / "alex-state") == []


async def test_sending_the_same_file_again_goes_on_with_it(film: Path, tmp_path: Path) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        await begin(alex, bob, film, tmp_path / "in")
        await alex.agent.close()
        theirs = await bob.transfer()
        await eventually(lambda: theirs.status is TransferStatus.INTERRUPTED, timeout=20)
        async with side("alex", tmp_path) as again:
            ours = await again.agent.send_file(bob.uri, film)
            assert ours.transfer_id == theirs.transfer_id
            await ours.done(20)
        assert bob.of(FileResumed)[0].octets > 0
        assert digest(tmp_path / "in" / "film.bin") == digest(film)


@pytest.mark.parametrize("since", ["nothing", "changed"])
async def test_what_had_its_name_already_is_not_received_twice(
    film: Path, tmp_path: Path, since: str
) -> None:
    """Who was killed then has the file, or also its row in the history, and the record of it."""
    path, states, target = tmp_path / "bob.db", tmp_path / "bob-state", tmp_path / "in"
    async with side("alex", tmp_path) as alex:
        async with side("bob", tmp_path, history=path) as bob:
            with closing(sqlite3.connect(path, isolation_level=None)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                ours, theirs = await begin(alex, bob, film, target)
                await eventually((target / "film.bin").exists, timeout=20)
                [record] = states.iterdir()
                facts = record.read_bytes()
                lock.execute("ROLLBACK")
            await asyncio.gather(ours.done(20), theirs.done(20))
        record.write_bytes(facts)
        if since == "changed":
            (target / "film.bin").write_text("something else")
        async with side("bob", tmp_path, history=path) as bob:
            theirs = await bob.transfer()
            assert theirs.status is TransferStatus.INTERRUPTED
            await theirs.resume()
            await theirs.done(20)
            assert theirs.path is not None
            assert digest(theirs.path) == digest(film)
            assert bob.agent.history is not None
            rows = [each.attachment for each in await bob.agent.history.messages()]
        found = ["film.bin"] if since == "nothing" else ["film (1).bin", "film.bin"]
        assert sorted(os.listdir(target)) == found
        assert [each.name for each in rows if each is not None] == ["film.bin"] * len(found)
        assert os.listdir(states) == []


@pytest.mark.parametrize("damage", ["gone", "changed", "forged", "no facts"])
async def test_a_part_that_is_not_right_comes_anew(film: Path, tmp_path: Path, damage: str) -> None:
    async with side("alex", tmp_path) as alex:
        async with side("bob", tmp_path) as bob:
            ours, _ = await begin(alex, bob, film, tmp_path / "in")
        [state], [part] = (tmp_path / "bob-state").iterdir(), (tmp_path / "in").iterdir()
        facts = json.loads(state.read_text())
        if damage == "gone":
            part.unlink()
        elif damage == "no facts":
            state.write_text(state.read_text()[:40])
        else:
            with part.open("r+b") as file:
                file.write(b"something else")
        if damage == "forged":
            forged = part.read_bytes()[: facts["octets"]]
            facts["octets_sha1"] = hashlib.sha1(forged).hexdigest()
            state.write_text(json.dumps(facts))
        await eventually(lambda: ours.status is TransferStatus.INTERRUPTED, timeout=20)
        async with side("bob", tmp_path, downloads=tmp_path / "in") as bob:
            await ours.resume()
            await ours.done(20)
            await bob.sees(FileReceived)
        assert digest(tmp_path / "in" / "film.bin") == digest(film)


@pytest.mark.parametrize("who", ["alex", "bob"])
async def test_what_was_kept_stays_until_it_is_cancelled(
    film: Path, tmp_path: Path, who: str
) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        await begin(alex, bob, film, tmp_path / "in")
    state = tmp_path / f"{who}-state"
    for cancels in (False, True):
        async with side(who, tmp_path) as one:
            transfer = await one.transfer()
            if cancels:
                await transfer.cancel()
                await one.sees(FileFailed)
        assert bool(one.of(FileFailed)) is cancels
        assert len(list(state.iterdir())) == (not cancels)
    assert len(list((tmp_path / "in").iterdir())) == (who == "alex")


async def test_a_refused_request_for_the_rest_loses_nothing(film: Path, tmp_path: Path) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        _, theirs = await begin(alex, bob, film, tmp_path / "in")
        await alex.agent.close()
        await eventually(lambda: theirs.status is TransferStatus.INTERRUPTED, timeout=20)
        for path in (tmp_path / "alex-state").iterdir():
            path.unlink()
        async with side("alex", tmp_path):
            await theirs.resume()
            with pytest.raises(TransferError, match="No such file is shared"):
                await theirs.done(20)
        assert theirs.status is TransferStatus.INTERRUPTED
        assert len(list((tmp_path / "in").iterdir())) == 1


async def test_what_stands_still_does_not_pile_up(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_desk, "_MAX_STANDING", 1)
    async with side("bob", tmp_path) as bob:
        for number in range(3):
            async with side("alex", tmp_path / str(number)) as alex:
                await begin(alex, bob, film, tmp_path / "in")
            standing = bob.agent.files.transfers
            await eventually(
                lambda: all(
                    each.status is TransferStatus.INTERRUPTED for each in bob.agent.files.transfers
                ),
                timeout=20,
            )
            assert len(standing) <= 2
        assert len(list((tmp_path / "bob-state").iterdir())) == 3


async def test_a_file_that_has_changed_is_not_gone_on_with(film: Path, tmp_path: Path) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        await begin(alex, bob, film, tmp_path / "in")
        await alex.agent.close()
        with film.open("r+b") as file:
            file.write(b"another film")
        async with side("alex", tmp_path) as again:
            ours = await again.transfer()
            with pytest.raises(TransferError, match="has changed"):
                await ours.resume()


@pytest.mark.parametrize("how", ["shortened", "overwritten"])
async def test_a_file_that_is_changed_while_it_is_sent(
    film: Path, tmp_path: Path, how: str
) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await begin(alex, bob, film, tmp_path / "in")
        with film.open("r+b") as file:
            if how == "shortened":
                file.truncate(SIZE // 2)
            else:
                file.seek(SIZE - 10)
                file.write(b"other")
        with pytest.raises(TransferError, match="was changed while it was sent"):
            await ours.done(20)
        with pytest.raises(TransferError, match=r"gave it up|not the one that was promised"):
            await theirs.done(20)
        assert os.listdir(tmp_path / "in") == []
        assert os.listdir(tmp_path / "alex-state") == os.listdir(tmp_path / "bob-state") == []


async def test_a_file_for_which_there_is_no_room(film: Path, tmp_path: Path) -> None:
    async with (
        side("alex", tmp_path) as alex,
        side("bob", tmp_path, downloads=tmp_path / "in", disk_reserve=1 << 60) as bob,
    ):
        ours = await alex.agent.send_file(bob.uri, film)
        with pytest.raises(TransferError, match="the peer has no place for the file"):
            await ours.done(20)
        failed = await bob.sees(FileFailed)
        assert failed.incoming and "do not fit" in failed.reason


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_either_side_cancels_for_good(film: Path, tmp_path: Path, who: str) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await begin(alex, bob, film, tmp_path / "in")
        await (ours if who == "sender" else theirs).cancel()
        for each in (ours, theirs):
            with pytest.raises(TransferError, match=r"cancelled|gave it up|refused the data: 413"):
                await each.done(20)
        await alex.sees(FileFailed)
        await bob.sees(FileFailed)
        assert os.listdir(tmp_path / "in") == []
        assert os.listdir(tmp_path / "alex-state") == os.listdir(tmp_path / "bob-state") == []
        assert alex.agent.transfers == bob.agent.transfers == ()


@pytest.mark.rfc("5547", "6")
@pytest.mark.parametrize("pulled", [False, True], ids=["sent", "fetched"])
@pytest.mark.parametrize(
    "modified", [1_000_000_000, 0, 32_503_680_000], ids=["2001", "1970", "3000"]
)
async def test_a_file_keeps_its_date(tmp_path: Path, pulled: bool, modified: int) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("for bob")
    os.utime(letter, (modified, modified))
    began = time.time()
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        if pulled:
            await alex.agent.share(bob.uri, letter)
            got = await bob.agent.fetch_file(alex.uri, tmp_path / "in", name="letter.txt")
        else:
            await alex.agent.send_file(bob.uri, letter)
            got = await (await offer_of(bob)).accept(tmp_path / "in")
        await got.done(20)
    assert got.path is not None
    found = got.path.stat().st_mtime
    if modified > began:
        # No file is of a day that is yet to come.
        assert began - 60 < found <= time.time() + 60
    else:
        assert found == modified


async def test_what_is_shared_again_is_open_once(film: Path, tmp_path: Path) -> None:
    def descriptors() -> int:
        links = (os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd"))
        return sum(link == os.path.realpath(film) for link in links)

    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        sha1 = await alex.agent.share(bob.uri, film)
        got = await bob.agent.fetch_file(alex.uri, tmp_path / "in", sha1=sha1)
        async with asyncio.timeout(10):
            while not alex.agent.transfers:
                await asyncio.sleep(0)
        # Also while it is being fetched, which goes on.
        for _ in range(5):
            await alex.agent.share(bob.uri, film)
        await got.done(20)
        async with asyncio.timeout(10):
            while alex.agent.transfers:
                await asyncio.sleep(0.01)
        assert descriptors() == 1
    assert descriptors() == 0


async def test_what_is_shared_can_be_fetched_and_nothing_else(film: Path, tmp_path: Path) -> None:
    secret, letter = tmp_path / "secret.txt", tmp_path / "letter.txt"
    secret.write_text("not for bob")
    letter.write_text("for bob")
    async with (
        side("alex", tmp_path) as alex,
        side("bob", tmp_path) as bob,
        side("eve", tmp_path) as eve,
    ):
        sha1 = await alex.agent.share("sip:bob@rcs.example", film)
        await alex.agent.share("sip:eve@rcs.example", secret)
        target = tmp_path / "in"
        for wanted in ({"name": "film.bin"}, {"sha1": sha1}, {"name": "film.bin", "sha1": sha1}):
            got = await bob.agent.fetch_file(alex.uri, target, **wanted)
            await got.done(20)
            assert got.path is not None
            assert digest(got.path) == digest(film)
        # Neither what is another's, nor what is not shared, nor a path to it.
        for name in ("secret.txt", "letter.txt", str(secret), "../secret.txt", "FILM.BIN"):
            with pytest.raises(TransferError, match="No such file is shared with you"):
                await (await bob.agent.fetch_file(alex.uri, target, name=name)).done(20)
        with pytest.raises(TransferError, match="No such file"):
            await (await eve.agent.fetch_file(alex.uri, target, name="film.bin")).done(20)
        with pytest.raises(UsageError):
            await bob.agent.fetch_file(alex.uri, target)
        # What has changed since is not what was shared.
        film.write_text("another")
        with pytest.raises(TransferError, match="No such file"):
            await (await bob.agent.fetch_file(alex.uri, target, sha1=sha1)).done(20)
        # What was sent may be fetched again by who got it.
        sent = await alex.agent.send_file(bob.uri, letter)
        await (await offer_of(bob)).accept(target)
        await sent.done(20)
        again = await bob.agent.fetch_file(alex.uri, target, sha1=sent.sha1)
        await again.done(20)
        assert again.path == target / "letter (1).txt"
        await eventually(lambda: len(alex.of(FileSent)) == 5, timeout=20)


async def test_what_is_fetched_goes_on_when_the_connection_breaks(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        side("alex", tmp_path) as alex,
        side("bob", tmp_path) as bob,
        relayed(bob.agent, monkeypatch) as relay,
    ):
        await alex.agent.share("sip:bob@rcs.example", film)
        theirs = await bob.agent.fetch_file(alex.uri, tmp_path / "in", name="film.bin")
        await eventually(lambda: theirs.octets > 1 << 20, timeout=20, interval=0.001)
        relay.cut()
        await theirs.done(20)
        assert bob.of(FileInterrupted)[0].retry_in is not None
        assert bob.of(FileResumed)[0].octets > 0
        assert digest(tmp_path / "in" / "film.bin") == digest(film)


async def test_several_at_a_time_each_way(tmp_path: Path) -> None:
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        files = []
        for number in range(4):
            path = tmp_path / f"{number}.bin"
            path.write_bytes(os.urandom(1 << 20) * (number + 1))
            files.append(path)
            for one, other in ((alex, bob), (bob, alex)):
                await one.agent.send_file(other.uri, path)
                await (await offer_of(other)).accept(tmp_path / f"to-{other.agent.uri.username}")
        for each in (alex, bob):
            await eventually(lambda each=each: len(each.of(FileReceived)) == 4, timeout=20)
            await eventually(lambda each=each: len(each.of(FileSent)) == 4, timeout=20)
        for path in files:
            for name in ("alex", "bob"):
                assert digest(tmp_path / f"to-{name}" / path.name) == digest(path)
