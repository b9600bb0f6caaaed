"""Files are written whole or not at all."""

import asyncio
import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rcsops.errors import TransferError
from rcsops.rcs import FileSelector
from rcsops.ua.files import OutgoingFile
from rcsops.ua.incoming_file import Checkpoint, IncomingFile
from rcsops.ua.transfer_store import Facts, TransferStore

DATA = bytes(range(256)) * 10
SHA1 = hashlib.sha1(DATA).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


def incoming(
    directory: Path, name: str, size: int, sha1: str | None, sha256: str | None = None
) -> IncomingFile:
    return IncomingFile(directory, name, FileSelector(size=size, sha1=sha1, sha256=sha256))


async def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    file = incoming(tmp_path, "a.bin", len(DATA), SHA1.upper())
    assert not (tmp_path / "a.bin").exists()
    # Chunks may come in any order.
    file.write(1000, DATA[1000:])
    file.write(0, DATA[:1000])
    path, sha1 = await file.commit()
    assert (path, sha1) == (tmp_path / "a.bin", SHA1)
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.bin"]


async def test_it_never_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_text("mine")
    (tmp_path / "a.tar (1).gz").symlink_to("/nowhere")
    file = incoming(tmp_path, "a.tar.gz", len(DATA), SHA1)
    file.write(0, DATA)
    path, _ = await file.commit()
    assert path.name == "a.tar (2).gz"
    assert (tmp_path / "a.tar.gz").read_text() == "mine"


@pytest.mark.parametrize(
    ("size", "sha1", "data", "message"),
    [
        (len(DATA), "0" * 40, DATA, "hash"),
        (len(DATA) + 1, SHA1, DATA, "of"),
    ],
)
async def test_what_is_not_as_promised_leaves_nothing(
    tmp_path: Path, size: int, sha1: str, data: bytes, message: str
) -> None:
    file = incoming(tmp_path, "a.bin", size, sha1)
    file.write(0, data)
    with pytest.raises(TransferError, match=message):
        await file.commit()
    assert os.listdir(tmp_path) == []


async def test_the_second_hash_counts_as_well(tmp_path: Path) -> None:
    for sha256, kept in ((SHA256, True), ("0" * 64, False)):
        file = incoming(tmp_path, "a.bin", len(DATA), SHA1, sha256)
        file.write(0, DATA)
        if kept:
            await file.commit()
        else:
            with pytest.raises(TransferError, match="hash"):
                await file.commit()
    assert os.listdir(tmp_path) == ["a.bin"]


async def test_who_writes_faster_than_the_disk_is_told_when_there_is_room(tmp_path: Path) -> None:
    piece = bytes(range(256)) * 256
    count = 512
    file = incoming(tmp_path, "a.bin", count * len(piece), hashlib.sha1(piece * count).hexdigest())
    told = asyncio.Event()
    file.on_written = told.set
    waits = 0
    for number in range(count):
        file.write(number * len(piece), piece)
        if file.is_full:
            waits += 1
            while not file.has_room:
                told.clear()
                await asyncio.wait_for(told.wait(), 10)
            assert file.written
    path, _ = await file.commit()
    assert waits > 2
    assert path.read_bytes() == piece * count


async def test_what_is_written_twice_is_hashed_as_it_is_in_the_end(tmp_path: Path) -> None:
    file = incoming(tmp_path, "a.bin", len(DATA), SHA1)
    file.write(0, b"x" * 100 + DATA[100:])
    await file.flush()
    file.write(0, DATA[:100])
    assert (await file.commit())[1] == SHA1


async def test_a_part_is_kept_and_goes_on_where_it_was(tmp_path: Path) -> None:
    file = incoming(tmp_path, "a.bin", len(DATA), SHA1, SHA256)
    file.write(0, DATA[:1000])
    await file.flush()
    assert file.rewind() == 1000
    checkpoint = file.checkpoint
    assert checkpoint == Checkpoint(1000, hashlib.sha1(DATA[:1000]).hexdigest())
    # More had come when the process was killed.
    file.write(1000, b"lost")
    await file.suspend()
    promised = FileSelector(size=len(DATA), sha1=SHA1, sha256=SHA256)
    again = IncomingFile(tmp_path, "a.bin", promised, kept=file.partial)
    await again.verify(checkpoint)
    assert (again.written, file.partial.stat().st_size) == (1000, 1000)
    again.write(1000, DATA[1000:])
    path, sha1 = await again.commit()
    assert (path.read_bytes(), sha1) == (DATA, SHA1)


async def test_a_part_that_has_changed_is_not_believed(tmp_path: Path) -> None:
    file = incoming(tmp_path, "a.bin", len(DATA), SHA1)
    file.write(0, DATA[:1000])
    await file.flush()
    file.rewind()
    await file.suspend()
    for damaged in (b"X" + DATA[1:1000], DATA[:999]):
        file.partial.write_bytes(damaged)
        again = IncomingFile(tmp_path, "a.bin", FileSelector(size=len(DATA)), kept=file.partial)
        with pytest.raises(TransferError, match="has changed"):
            await again.verify(file.checkpoint)
        await again.suspend()


async def test_what_came_in_disorder_is_not_gone_on_with(tmp_path: Path) -> None:
    file = incoming(tmp_path, "a.bin", len(DATA), SHA1)
    file.write(1000, DATA[1000:])
    await file.flush()
    assert file.rewind() == 0
    file.write(0, DATA)
    assert (await file.commit())[1] == SHA1


async def test_more_than_promised_is_refused_and_an_abort_leaves_nothing(tmp_path: Path) -> None:
    file = incoming(tmp_path, "a.bin", 10, None)
    with pytest.raises(TransferError, match="more"):
        file.write(5, b"123456")
    file.write(5, b"12345")
    file.abort()
    file.abort()
    assert os.listdir(tmp_path) == []


async def test_without_a_promised_hash_the_size_counts(tmp_path: Path) -> None:
    file = incoming(tmp_path, "a.bin", len(DATA), None)
    file.write(0, DATA)
    assert (await file.commit())[1] == SHA1


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".", "..", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferError, match="safe"):
        incoming(tmp_path, name, 1, None)


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TransferError, match="no file can be made"):
        incoming(tmp_path / "file" / "sub", "a", 1, None)


async def test_a_file_to_send_is_read_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(DATA)
    file = await OutgoingFile.open(path)
    assert (file.name, file.size, file.sha1) == ("photo.jpg", len(DATA), SHA1)
    assert file.content_type == "image/jpeg"
    assert file.sha256 == SHA256
    read = file.reader()
    assert read(100) + read(10_000) == DATA
    assert read(1) == b""
    assert file.reader(1000)(10_000) == DATA[1000:]
    assert file.unchanged
    path.write_bytes(DATA + b"more")
    assert not file.unchanged
    file.close()


async def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TransferError, match="not a file"):
        await OutgoingFile.open(tmp_path / "fifo")


async def test_a_file_system_without_hard_links_keeps_files_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    for name in ("a.bin", "a (1).bin"):
        file = incoming(tmp_path, "a.bin", len(DATA), SHA1)
        file.write(0, DATA)
        path, _ = await file.commit()
        assert (path.name, path.read_bytes()) == (name, DATA)
    assert sorted(os.listdir(tmp_path)) == ["a (1).bin", "a.bin"]


def test_what_is_kept_of_a_transfer_may_grow_shorter(tmp_path: Path) -> None:
    known = {"transfer_id": "t", "conversation_id": "", "content_type": "image/png", "size": 10}
    facts = Facts(
        True, "sip:bob@rcs.example", "", name="a.png", sha1="", sha256="", path="a.part", **known
    )
    record = TransferStore(tmp_path).create(replace(facts, validator=f'"{"v" * 9000}"'))
    assert record is not None
    record.save(facts)
    record.close()
    (found,) = TransferStore(tmp_path).free()
    assert found.facts == facts
    found.close()
