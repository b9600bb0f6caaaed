"""What two ask of a transfer that was begun at an earlier time while it is made sure what is there
of it: the part is read through once more, which takes its time."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rcsops.errors import TransferError
from rcsops.testing.waiting import eventually
from rcsops.ua import (
    FileFailed,
    FileInterrupted,
    FileReceived,
    FileResumed,
    FileSent,
    TransferStatus,
)
from rcsops.ua.receiving import IncomingTransfer
from tests.survivors import open_files
from tests.unit.ua.lab import Lab, lab
from tests.unit.ua.test_file_transfers import SIZE, Side, begin, digest, side

pytestmark = [pytest.mark.timeout(60), pytest.mark.rfc("5547", "8")]


@pytest.fixture(autouse=True)
async def server() -> AsyncIterator[Lab]:
    async with lab(**{name: f"of {name}" for name in ("alex", "bob", "eve")}) as made:
        Side.server = made
        yield made


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.bin"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    return path


async def left(film: Path, tmp_path: Path) -> None:
    """A transfer from alex to bob of which a part is through; both have ended."""
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        await begin(alex, bob, film, tmp_path / "in")


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_it_is_resumed_twice_at_once(film: Path, tmp_path: Path, who: str) -> None:
    await left(film, tmp_path)
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await alex.transfer(), await bob.transfer()
        one = ours if who == "sender" else theirs
        await asyncio.gather(one.resume(), one.resume())
        await asyncio.gather(ours.done(20), theirs.done(20))
        assert alex.of(FileFailed) == bob.of(FileFailed) == []
        assert digest(tmp_path / "in" / "film.bin") == digest(film)


async def test_both_resume_it_at_once(film: Path, tmp_path: Path) -> None:
    await left(film, tmp_path)
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await alex.transfer(), await bob.transfer()
        await asyncio.gather(ours.resume(), theirs.resume())
        await asyncio.gather(ours.done(20), theirs.done(20))
        assert alex.of(FileFailed) == bob.of(FileFailed) == []
        assert len(alex.of(FileSent)) == len(bob.of(FileReceived)) == 1
        assert digest(tmp_path / "in" / "film.bin") == digest(film)
        assert os.listdir(tmp_path / "in") == ["film.bin"]


@pytest.mark.parametrize("how", ["cancel", "suspend"])
@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_it_is_ended_while_it_is_resumed(
    film: Path, tmp_path: Path, who: str, how: str
) -> None:
    await left(film, tmp_path)
    async with side("alex", tmp_path) as alex, side("bob", tmp_path) as bob:
        ours, theirs = await alex.transfer(), await bob.transfer()
        one = ours if who == "sender" else theirs
        await asyncio.gather(one.resume(), getattr(one, how)(), return_exceptions=True)
        await asyncio.sleep(0.5)
        assert one.status is (
            TransferStatus.FAILED if how == "cancel" else TransferStatus.INTERRUPTED
        )
        assert open_files(tmp_path) == []
        assert alex.of(FileSent) == bob.of(FileReceived) == []
        if how == "cancel" and who == "receiver":
            assert os.listdir(tmp_path / "in") == []
    assert len(list((tmp_path / "in").iterdir())) == (how == "suspend" or who == "sender")


async def test_it_is_cancelled_while_the_peer_offers_the_rest(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = IncomingTransfer.claim
    cancelling: list[asyncio.Task[None]] = []

    async def claim_and_cancel(transfer: IncomingTransfer) -> None:
        cancelling.append(asyncio.create_task(transfer.cancel()))
        await claim(transfer)

    async with side("alex", tmp_path) as alex:
        async with side("bob", tmp_path) as bob:
            ours, _ = await begin(alex, bob, film, tmp_path / "in")
        async with side("bob", tmp_path) as bob:
            theirs = await bob.transfer()
            monkeypatch.setattr(IncomingTransfer, "claim", claim_and_cancel)
            await ours.resume()
            with pytest.raises(TransferError):
                await ours.done(20)
            await asyncio.gather(*cancelling)
            assert theirs.status is TransferStatus.FAILED
            assert alex.of(FileSent) == []
            assert os.listdir(tmp_path / "in") == []
            assert open_files(tmp_path / "in") == []


async def test_what_is_put_off_between_two_tries_is_not_tried_again(
    film: Path, tmp_path: Path
) -> None:
    async with side("alex", tmp_path, retry_base=1.0) as alex:
        async with side("bob", tmp_path) as bob:
            ours, _ = await begin(alex, bob, film, tmp_path / "in")
            await bob.agent.close()
        # Nobody is there; an INVITE is refused, and the next one is to follow.
        await ours.resume()
        await eventually(lambda: alex.of(FileInterrupted)[-1:] and ours.call is None, timeout=20)
        await ours.suspend()
        with pytest.raises(TransferError, match="left to whoever"):
            await ours.resume()
        async with side("bob", tmp_path) as bob:
            await asyncio.sleep(3)
            assert bob.of(FileResumed) == []
            found = await alex.transfer()
            assert found is not ours
            await found.resume()
            await found.done(20)
            assert digest(tmp_path / "in" / "film.bin") == digest(film)
