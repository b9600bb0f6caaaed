import io
import os
import tarfile
from pathlib import Path

import pytest

from rcsops.errors import EngineError
from rcsops.opensips.archive import top_directory, unpack


def archive(path: Path, *members: tuple[str, bytes | str, bytes], mode: int = 0o644) -> Path:
    """Members are name, content (or the target of a link), type."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, mode, 1_500_000_000
            if isinstance(content, str):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def names(directory: Path) -> list[str]:
    return sorted(str(each.relative_to(directory)) for each in directory.rglob("*"))


def test_files_modes_times_and_links(tmp_path: Path) -> None:
    target = tmp_path / "into"
    target.mkdir()
    packed = archive(
        tmp_path / "a.tar.gz",
        ("top/lib/x.c", b"int x;", tarfile.REGTYPE),
        ("top/run", b"#!", tarfile.REGTYPE),
        ("top/link", "lib/x.c", tarfile.SYMTYPE),
        mode=0o4777,
    )
    unpack(packed, target)
    top = top_directory(target)
    assert names(top) == ["lib", "lib/x.c", "link", "run"]
    assert (top / "run").stat().st_mode & 0o7777 == 0o755
    assert (top / "run").stat().st_mtime == 1_500_000_000
    assert (top / "link").read_bytes() == b"int x;"
    with packed.open("rb") as file:
        other = tmp_path / "other"
        other.mkdir()
        import gzip

        with gzip.open(file) as plain:
            unpack(plain, other, name="a stream")  # type: ignore[arg-type]
    assert names(other) == names(target)


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", b"x", tarfile.REGTYPE),
        ("a/../../outside", b"x", tarfile.REGTYPE),
        ("{tmp}/outside", b"x", tarfile.REGTYPE),
        ("link", "..", tarfile.SYMTYPE),
        ("a/link", "../../outside", tarfile.SYMTYPE),
        ("link", "{tmp}", tarfile.SYMTYPE),
        ("link", "a/../../outside", tarfile.SYMTYPE),
        ("hard", "/etc/passwd", tarfile.LNKTYPE),
        ("fifo", "", tarfile.FIFOTYPE),
        ("device", "", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member[0]}-{member[1]}",
)
def test_nothing_is_written_outside(tmp_path: Path, member: tuple[str, bytes | str, bytes]) -> None:
    target = tmp_path / "into"
    target.mkdir()
    name, content, kind = member
    name = name.replace("{tmp}", str(tmp_path))
    if isinstance(content, str):
        content = content.replace("{tmp}", str(tmp_path))
    packed = archive(tmp_path / "a.tar.gz", (name, content, kind))
    with pytest.raises(EngineError):
        unpack(packed, target)
    assert names(target) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tar.gz", "into"]


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    target, outside = tmp_path / "into", tmp_path / "outside"
    for directory in (target, outside):
        directory.mkdir()
    packed = archive(
        tmp_path / "a.tar.gz",
        ("deep/link", "there", tarfile.SYMTYPE),
        ("deep/link/file", b"x", tarfile.REGTYPE),
    )
    with pytest.raises(EngineError):
        unpack(packed, target)
    assert names(outside) == []


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all", os.urandom(3000)], ids=["nothing", "text", "noise"]
)
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    target, packed = tmp_path / "into", tmp_path / "a.tar.gz"
    target.mkdir()
    packed.write_bytes(content)
    with pytest.raises(EngineError, match=r"not a whole tar archive"):
        unpack(packed, target)


def test_half_an_archive(tmp_path: Path) -> None:
    target = tmp_path / "into"
    target.mkdir()
    packed = archive(tmp_path / "a.tar.gz", ("x", os.urandom(100_000), tarfile.REGTYPE))
    packed.write_bytes(packed.read_bytes()[:50_000])
    with pytest.raises(EngineError, match=r"not a whole tar archive"):
        unpack(packed, target)


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "into"
    target.mkdir()
    monkeypatch.setattr("rcsops.opensips.archive.MAX_OCTETS", 1000)
    packed = archive(tmp_path / "a.tar.gz", ("x", b"\0" * 2000, tarfile.REGTYPE))
    with pytest.raises(EngineError, match="too large"):
        unpack(packed, target)
    assert names(target) == []
