"""``rcsops demo``: the whole of it, as a process."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rcsops.testing import wait_until
from rcsops.trace import cell_width

pytestmark = pytest.mark.timeout(120)

COMMAND = [sys.executable, "-m", "rcsops", "demo"]


def environment(tmp_path: Path) -> dict[str, str]:
    """Its own home and place for temporary files, so that nothing else is in them."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    scratch = tmp_path / "tmp"
    scratch.mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(home), "TMPDIR": str(scratch), "NO_COLOR": "1"}


def processes_of(tmp_path: Path) -> list[str]:
    """The command lines of the living processes that name this test's directory."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(tmp_path) in " ".join(words):
            found.append(" ".join(words))
    return found


def test_as_json(tmp_path: Path) -> None:
    finished = subprocess.run(
        [*COMMAND, "--json"], env=environment(tmp_path), cwd=tmp_path, capture_output=True
    )
    document = json.loads(finished.stdout)
    assert document["problems"] == []
    assert document["ok"] is True
    assert finished.returncode == 0
    assert document["users"] == ["alex@rcs.example", "bob@rcs.example"]
    assert {message["from"] for message in document["messages"]} == set(document["users"])
    assert {message["status"] for message in document["messages"]} == {"delivered"}
    assert len({message["id"] for message in document["messages"]}) == len(document["messages"])
    assert [file["intact"] for file in document["files"]] == [True]
    ladder = document["ladder"]
    assert [entry["time"] for entry in ladder] == sorted(entry["time"] for entry in ladder)
    for entry in ladder:
        assert {"time", "from", "to", "call_id"} <= entry.keys()
        assert ("method" in entry) != ("status" in entry)
        assert entry["from"] in ("alex", "server", "bob")
        assert entry["to"] in ("alex", "server", "bob")
        assert entry["call_id"]
    assert not any(entry["lost"] for entry in ladder)
    invites = {entry["call_id"] for entry in ladder if entry.get("method") == "INVITE"}
    chat = {entry["call_id"] for entry in ladder if entry["protocol"] == "msrp"}
    # The chat and the file each have a session of their own.
    assert chat <= invites
    assert len(chat) == 2
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_for_people(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    finished = subprocess.run(
        [*COMMAND, "--keep", str(kept)],
        env={**environment(tmp_path), "PYTHONIOENCODING": "utf-8"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, (finished.stdout, finished.stderr)
    assert "everything happened as it should" in finished.stdout
    assert "\x1b" not in finished.stdout
    lines = finished.stdout.splitlines()
    picture = [line for line in lines if "│" in line]
    assert all(cell_width(line) <= 80 for line in picture)
    drawn = "\n".join(picture)
    for word in ("REGISTER (digest)", "180 Ringing (INVITE)", "ACK", "imdn delivered", "BYE"):
        assert word in drawn
    assert (kept / "rcsops.toml").exists()
    for node in ("alex", "server", "bob"):
        trace = kept / f"{node}.trace.jsonl"
        assert trace.stat().st_mode & 0o077 == 0
        assert 'response=\\"xxxx' in trace.read_text()
    assert processes_of(tmp_path) == []


def test_only_the_summary(tmp_path: Path) -> None:
    finished = subprocess.run(
        [*COMMAND, "--quiet"],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, (finished.stdout, finished.stderr)
    assert len(finished.stdout.splitlines()) < 10
    assert "5 messages, 5 delivered; 1 file, 1 intact" in finished.stdout


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("account bob", signal.SIGINT),
        ("listens on", signal.SIGINT),
        ("MSRP connection", signal.SIGINT),
        ("writes", signal.SIGINT),
        ("writes", signal.SIGTERM),
    ],
)
def test_nothing_is_left_when_it_is_interrupted(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*COMMAND],
        env={**environment(tmp_path), "PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if moment in line:
                break
        process.send_signal(number)
        said = process.stderr.read()
        code = process.wait(timeout=30)
    assert code == 130
    assert "Traceback" not in said
    wait_until(lambda: not processes_of(tmp_path), what="the end of every process")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep this")
    finished = subprocess.run(
        [*COMMAND, "--keep", str(tmp_path)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 2
    assert "is not empty" in finished.stderr
    assert (tmp_path / "mine").read_text() == "keep this"


def test_the_ladder_as_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    finished = subprocess.run(
        [*COMMAND, "--quiet", "--export", "svg", "-o", str(picture)],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, (finished.stdout, finished.stderr)
    found = re.search(r"(\d+) SIP messages.*?(\d+) MSRP messages", finished.stdout, re.DOTALL)
    assert found is not None
    assert picture.read_text().count('<g class="arrow"') == int(found[1]) + int(found[2])
    again = subprocess.run(
        [*COMMAND, "--export", "svg", "-o", str(picture)], capture_output=True, text=True
    )
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert subprocess.run([*COMMAND, "--export", "svg"], capture_output=True).returncode == 2
    nowhere = tmp_path / "absent" / "demo.svg"
    refused = subprocess.run(
        [*COMMAND, "--export", "svg", "-o", str(nowhere)], capture_output=True, text=True
    )
    assert refused.returncode == 2
    # Said before anything runs.
    assert refused.stdout == ""
    assert f"there is no directory {nowhere.parent}" in refused.stderr
    assert "mkdir -p" in refused.stderr


@pytest.mark.parametrize("form", ["trace", "pcap"])
def test_the_ladder_is_read_again(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"demo.{form}"
    finished = subprocess.run(
        [*COMMAND, "--json", "--export", form, "-o", str(file)],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, (finished.stdout, finished.stderr)
    assert file.stat().st_mode & 0o777 == 0o600
    read = subprocess.run(
        [sys.executable, "-m", "rcsops", "trace", str(file), "--json"],
        env=environment(tmp_path),
        capture_output=True,
        check=True,
    )
    labels = [each["label"] for each in json.loads(read.stdout)]
    shown = [each["label"] for each in json.loads(finished.stdout)["ladder"]]
    assert sorted(labels) == sorted(shown)
    written = file.read_bytes()
    assert b'response="xxxx' in written.replace(b"\\", b"")
    assert not re.search(rb'response="[0-9a-f]{32}', written.replace(b"\\", b""))
