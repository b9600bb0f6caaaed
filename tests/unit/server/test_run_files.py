import os
import stat
from pathlib import Path

import pytest

from rcsops.server.run_files import write_private


def test_what_is_private_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "started.json"
    path.write_text("before")
    path.chmod(0o644)
    write_private(path, b"after")
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_no_link_that_lies_in_wait_is_followed(tmp_path: Path) -> None:
    """In a run directory that root shares with the server's user."""
    ours = tmp_path / "ours"
    ours.write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("started.json", f".started.json.{os.getpid()}"):
        (run / name).symlink_to(ours)
    write_private(run / "started.json", b"told")
    assert ours.read_text() == "precious"
    assert (run / "started.json").read_bytes() == b"told"
    assert not (run / "started.json").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_it_is_given_away_before_anybody_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = []
    replace = os.replace

    def seen(source: str, target: Path) -> None:
        owners.append(Path(source).stat().st_uid)
        replace(source, target)

    monkeypatch.setattr(os, "replace", seen)
    write_private(tmp_path / "opensips.cfg", b"script", owner=(65534, 65534))
    assert owners == [65534]
    assert (tmp_path / "opensips.cfg").stat().st_uid == 65534
