"""Files over HTTP whose agents are killed half way, by processes: what was through is not sent
again."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rcsops.testing import wait_until
from rcsops.testing.waiting import free_port
from tests.cli.chatting import PATIENCE, Lab
from tests.cli.test_scripts import RCSOPS, Listening, listening, rcsops, send, sent
from tests.slow_relay import SlowRelay

SIZE = 24_000_000
HALF = SIZE // 2
SLOWLY = 6_000_000


class SlowLab(Lab):
    """Its content server is behind a relay; ``log`` is what that server says of requests."""

    relay: SlowRelay

    @property
    def log(self) -> str:
        return (self.project.run_dir / "content" / "server.log").read_text()

    @property
    def rests(self) -> int:
        """How many uploads have gone on."""
        return len(re.findall(r"PUT /ft/u/\S+ from \S+: 200", self.log))

    @property
    def parts(self) -> int:
        """How many downloads have gone on."""
        return self.log.count(": 206")

    def uploads(self, user: str) -> dict[str, bool]:
        """The addresses of the user's uploads, and whether each is whole."""
        file = self.project.content_dir / "content.db"
        with closing(sqlite3.connect(file)) as database:
            rows = database.execute(
                "SELECT token, whole FROM transfer WHERE owner = ?", (f"{user}@rcs.example",)
            ).fetchall()
        return {token: bool(whole) for token, whole in rows}

    def transfers(self, user: str) -> list[Path]:
        """What the user's agents keep of transfers."""
        return list(self.project.make_agent_dir(f"{user}@rcs.example").glob("transfers/*.json"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowLab]:
    port = free_port("127.0.0.1")
    with SlowRelay(port, 0) as relay:
        settings = f'[content]\nlisten = "http:127.0.0.1:{port}"\nurl = "http://{relay.address}"\n'
        with SlowLab(tmp_path_factory.mktemp("http"), settings=settings) as lab:
            lab.relay = relay
            yield lab


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(SIZE))
    return path


def killed_upload(lab: SlowLab, alex: str, bob: str, film: Path) -> None:
    """`rcsops send`, killed when half of the file is at the content server."""
    lab.relay.rate, before = SLOWLY, lab.relay.up
    process = subprocess.Popen(
        [*RCSOPS, "send", alex, bob, "--file", str(film)],
        cwd=lab.directory,
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: lab.relay.up - before > HALF, PATIENCE, what="half of the upload")
    finally:
        process.kill()
        process.wait()
        lab.relay.rate = 0


def killed_download(lab: SlowLab, alex: str, bob: str, film: Path, got: Path) -> None:
    """`rcsops listen`, killed when half of the file is there."""
    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"
    lab.relay.rate, before = SLOWLY, lab.relay.down
    try:
        with listening(lab, bob, "--files", str(got)) as listener:
            wait_until(lambda: lab.relay.down - before > HALF, PATIENCE, what="half of the file")
            listener.process.kill()
    finally:
        lab.relay.rate = 0


def received(lab: SlowLab, bob: str, got: Path) -> list[str]:
    """Bob listens again until a file is there; what was told."""
    with listening(lab, bob, "--files", str(got)) as listener:
        listener.sees("received film.mp4")
        assert listener.end() == 0
    return listener.err


def test_an_upload_goes_on_after_its_agent_was_killed(
    lab: SlowLab, film: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    killed_upload(lab, alex, bob, film)
    assert len(lab.transfers(alex)) == 1
    rests, before = lab.rests, lab.relay.up

    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"

    assert lab.rests == rests + 1
    assert lab.relay.up - before < SIZE - HALF + 2_000_000
    assert lab.transfers(alex) == []
    received(lab, bob, tmp_path / "got")
    assert (tmp_path / "got" / "film.mp4").read_bytes() == film.read_bytes()
    assert len(json.loads(rcsops(lab, "history", bob, "--json").out)["messages"]) == 1


def test_another_file_is_not_gone_on_with(lab: SlowLab, film: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    killed_upload(lab, alex, bob, film)
    (begun,) = lab.uploads(alex)
    film.write_bytes(film.read_bytes()[::-1])

    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"

    # Whether the second upload broke off and went on, as on a busy machine, does not matter.
    uploads = lab.uploads(alex)
    assert not uploads.pop(begun) and [*uploads.values()] == [True]
    received(lab, bob, tmp_path / "got")
    assert (tmp_path / "got" / "film.mp4").read_bytes() == film.read_bytes()


def test_a_download_goes_on_after_its_agent_was_killed(
    lab: SlowLab, film: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    got = tmp_path / "got"
    killed_download(lab, alex, bob, film, got)
    (part,) = got.iterdir()
    assert part.name.startswith(".rcsops-") and len(lab.transfers(bob)) == 1
    ranges, before = lab.parts, lab.relay.down

    told = received(lab, bob, got)

    assert any("film.mp4 goes on at" in line for line in told)
    assert lab.parts == ranges + 1
    assert lab.relay.down - before < SIZE - 2_000_000
    assert [each.name for each in got.iterdir()] == ["film.mp4"]
    assert (got / "film.mp4").read_bytes() == film.read_bytes()
    assert lab.transfers(bob) == []
    (kept,) = json.loads(rcsops(lab, "history", bob, "--json").out)["messages"]
    assert kept["file"]["path"] == str(got / "film.mp4")


def test_a_listener_that_is_killed_with_the_whole_file_has_it_once(
    lab: SlowLab, film: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    got = tmp_path / "got"
    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"
    lab.relay.rate, before = SLOWLY, lab.relay.down
    history = lab.project.agent_dir(f"{bob}@rcs.example") / "history.db"
    try:
        with listening(lab, bob, "--files", str(got)) as listener:
            wait_until(lambda: lab.relay.down - before > HALF, PATIENCE, what="half of the file")
            # Nobody is told of a file before the history knows where it is.
            with closing(sqlite3.connect(history, isolation_level=None)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                lab.relay.rate = 0
                wait_until((got / "film.mp4").exists, PATIENCE)
                listener.process.kill()
                listener.process.wait()
    finally:
        lab.relay.rate = 0
    (kept,) = json.loads(rcsops(lab, "history", bob, "--json").out)["messages"]
    assert kept["file"]["path"] == ""
    before = lab.relay.down

    received(lab, bob, got)

    assert lab.relay.down == before
    assert [each.name for each in got.iterdir()] == ["film.mp4"]
    assert (got / "film.mp4").read_bytes() == film.read_bytes()
    assert lab.transfers(bob) == []
    (kept,) = json.loads(rcsops(lab, "history", bob, "--json").out)["messages"]
    assert kept["file"]["path"] == str(got / "film.mp4")


def test_a_part_that_is_not_what_it_was_counts_for_nothing(
    lab: SlowLab, film: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    got = tmp_path / "got"
    killed_download(lab, alex, bob, film, got)
    (part,) = got.iterdir()
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(b"not what came")

    received(lab, bob, got)

    assert [each.name for each in got.iterdir()] == ["film.mp4"]
    assert (got / "film.mp4").read_bytes() == film.read_bytes()


def test_what_the_content_server_has_no_more_is_given_up(
    lab: SlowLab, film: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    got = tmp_path / "got"
    killed_download(lab, alex, bob, film, got)
    (record,) = lab.transfers(bob)
    facts = json.loads(record.read_text())
    assert facts["until"] > time.time()
    record.write_text(json.dumps(facts | {"until": int(time.time()) - 1}))

    with listening(lab, bob, "--files", str(got)) as listener:
        wait_until(lambda: not lab.transfers(bob), PATIENCE)
        assert listener.end() == 0

    assert list(got.iterdir()) == []


def test_a_chat_goes_on_with_what_it_was_fetching(lab: SlowLab, film: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    got = tmp_path / "got"
    killed_download(lab, alex, bob, film, got)
    with lab.start(bob, "--files", str(got)) as chat:
        came = chat.wait("file-received", name="film.mp4")
        assert chat.finish() == 0
    assert Path(came["path"]).read_bytes() == film.read_bytes()
    assert [each["total"] for each in chat.notices if each["event"] == "file-resumed"] == [SIZE]


def test_an_upload_that_was_ended_goes_on_by_the_same_command(
    lab: SlowLab, film: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    lab.relay.rate = SLOWLY // 4
    try:
        done = send(lab, alex, bob, "--file", str(film), "--timeout", "5")
    finally:
        lab.relay.rate = 0
    assert done.code == 1
    assert "not through within 5 s" in done.err and "the same command goes on" in done.err
    rests = lab.rests

    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"

    assert lab.rests == rests + 1


def test_a_listener_that_ends_keeps_what_came(lab: SlowLab, film: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    got = tmp_path / "got"
    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"
    lab.relay.rate, before = SLOWLY, lab.relay.down
    listener = Listening(lab, bob, "--files", str(got))
    try:
        wait_until(lambda: lab.relay.down - before > HALF, PATIENCE, what="half of the file")
        listener.process.send_signal(signal.SIGTERM)
        assert listener.ended() == 0
    finally:
        listener.process.kill()
        lab.relay.rate = 0
    before = lab.relay.down

    received(lab, bob, got)

    assert lab.relay.down - before < SIZE - 2_000_000
    assert (got / "film.mp4").read_bytes() == film.read_bytes()


# --- by hand -------------------------------------------------------------------------------------


def test_an_upload_is_paused_and_goes_on(lab: SlowLab, film: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--files", str(tmp_path / "got")) as peer, lab.start(alex, bob) as chat:
        chat.wait("session")
        lab.relay.rate, rests, before = SLOWLY, lab.rests, lab.relay.up
        chat.type(f"/send {film}")
        number = chat.wait("file-offering", name="film.mp4", via="http")["number"]
        wait_until(lambda: lab.relay.up - before > HALF, PATIENCE, what="half of the upload")
        chat.type(f"/pause {number}", "/files")
        assert chat.wait("file-paused", name="film.mp4")["by_peer"] is False
        (listed,) = chat.wait("files")["files"]
        assert (listed["status"], listed["via"], listed["paused"]) == ("paused", "http", True)
        assert 0 < listed["octets"] < SIZE
        passed = lab.relay.up
        lab.relay.rate = 0
        chat.type("/resume")
        chat.wait("file-resumed", name="film.mp4")
        chat.wait("file-uploaded", name="film.mp4")
        assert lab.rests == rests + 1
        assert lab.relay.up - passed < SIZE
        came = peer.wait("file-received", name="film.mp4")
        assert Path(came["path"]).read_bytes() == film.read_bytes()
        chat.type("/files")
        assert chat.wait("files")["files"] == []


def test_a_download_is_paused_and_goes_on(lab: SlowLab, film: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"
    lab.relay.rate, parts = SLOWLY, lab.parts
    with lab.start(bob, "--files", str(tmp_path / "got")) as chat:
        chat.wait("file-progress")
        chat.type("/pause")
        chat.wait("file-paused", name="film.mp4")
        lab.relay.rate = 0
        chat.type("/files")
        (listed,) = chat.wait("files")["files"]
        assert (listed["status"], listed["incoming"]) == ("paused", True)
        # Neither the chat's end, which does not wait for it, nor the next one goes on with it.
        assert chat.finish() == 1
    assert len(lab.transfers(bob)) == 1
    with lab.waiting(bob, "--files", str(tmp_path / "got")) as chat:
        chat.type("/files")
        (listed,) = chat.wait("files")["files"]
        assert (listed["status"], listed["paused"]) == ("interrupted", True)
        chat.type("/resume")
        chat.wait("file-resumed", name="film.mp4")
        came = chat.wait("file-received", name="film.mp4")
    assert Path(came["path"]).read_bytes() == film.read_bytes()
    assert lab.parts == parts + 1


def test_a_download_is_given_up(lab: SlowLab, film: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    got = tmp_path / "got"
    assert sent(lab, alex, bob, "--file", str(film))["status"] == "stored"
    lab.relay.rate = SLOWLY
    with lab.start(bob, "--files", str(got)) as chat:
        chat.wait("file-progress")
        chat.type("/cancel")
        assert chat.wait("file-failed", name="film.mp4")["reason"] == "cancelled"
        lab.relay.rate = 0
        chat.type("/files")
        assert chat.wait("files")["files"] == []
    assert list(got.iterdir()) == [] and lab.transfers(bob) == []


def test_an_upload_that_is_given_up_is_not_told_of(lab: SlowLab, film: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    lab.relay.rate = SLOWLY
    with lab.waiting(bob) as peer, lab.start(alex, bob) as chat:
        chat.wait("session")
        chat.type(f"/send {film}")
        chat.wait("file-progress")
        chat.type("/cancel")
        assert chat.wait("file-failed", name="film.mp4")["reason"] == "cancelled"
        lab.relay.rate = 0
        chat.type("/resume")
        chat.wait("error")
        chat.type("nothing else")
        peer.wait("message", text="nothing else")
        assert not any("film.mp4" in each.get("text", "") for each in peer.notices)
    assert lab.transfers(alex) == []


def test_what_was_killed_is_given_up_by_hand(lab: SlowLab, film: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    killed_upload(lab, alex, bob, film)
    with lab.waiting(alex) as chat:
        chat.type("/files")
        (listed,) = chat.wait("files")["files"]
        assert (listed["status"], listed["incoming"]) == ("interrupted", False)
        chat.type("/cancel")
        chat.wait("file-failed", name="film.mp4")
    assert lab.transfers(alex) == []
    assert film.stat().st_size == SIZE
