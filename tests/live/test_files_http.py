"""Files by the content server of `rcsops start` beside an OpenSIPS, as processes (RCC.07)."""

import os
from pathlib import Path

import pytest

from rcsops.opensips.installed import Installation
from rcsops.testing.waiting import free_port
from tests.cli.test_scripts import listening, sent
from tests.live.subjects import INSTALLATIONS, NO_OPENSIPS
from tests.live.test_opensips_engine import Lab, lab_of

pytestmark = [
    pytest.mark.feature("files"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(not INSTALLATIONS, reason=NO_OPENSIPS),
]


def begin(lab: Lab) -> None:
    """Two users, the OpenSIPS, and a content server beside it."""
    toml = lab.directory / "rcsops.toml"
    listen = f"http:127.0.0.1:{free_port('127.0.0.1')}"
    toml.write_text(f'{toml.read_text()}[content]\nlisten = "{listen}"\n')
    for name in ("alex", "bob"):
        lab.ok("user", "add", name, "--generate")
    lab.ok("start")


@pytest.mark.smoke
def test_files_by_http_to_who_is_there_and_who_is_away(
    installation: Installation, tmp_path: Path
) -> None:
    there, away = tmp_path / "there.jpg", tmp_path / "away.jpg"
    for path in (there, away):
        path.write_bytes(os.urandom(300_000))
    got = tmp_path / "got"
    with lab_of(installation) as lab:
        begin(lab)
        with listening(lab, "bob", "--json", "--files", str(got)) as listener:
            words = ("--file", str(there), "--via", "http", "--wait", "delivered")
            done = sent(lab, "alex", "bob", *words)
            assert (done["status"], done["way"]) == ("delivered", "http")
            listener.sees("file-received")
            assert listener.end() == 0
        assert [each.read_bytes() for each in got.iterdir()] == [there.read_bytes()]

        # What tells of it waits in the table of msilo until bob registers again.
        done = sent(lab, "alex", "bob", "--file", str(away))
        assert (done["status"], done["way"]) == ("stored", "http")
        with listening(lab, "bob", "--json", "--files", str(got)) as listener:
            listener.sees("file-received")
            assert listener.end() == 0
        assert [each["event"] for each in listener.messages] == ["message", "file-received"]
    assert (got / away.name).read_bytes() == away.read_bytes()
    assert sorted(each.name for each in got.iterdir()) == ["away.jpg", "there.jpg"]
