"""Files between two ``rcsops`` processes that are stopped, killed and started again."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import PATIENCE, ChatProcess, Lab, talk

pytestmark = [pytest.mark.timeout(180), pytest.mark.rfc("5547", "8")]

SIZE = 90 << 20


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.bin"
    with path.open("wb") as file:
        for number in range(SIZE >> 20):
            file.write(number.to_bytes(8, "big") * (1 << 17))
    return path


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def users(lab: Lab) -> list[str]:
    return lab.users("alex", "bob")


@pytest.fixture
def alex(lab: Lab, users: list[str]) -> Iterator[ChatProcess]:
    with lab.waiting(users[0]) as chat:
        yield chat


@pytest.fixture
def bob(lab: Lab, users: list[str], tmp_path: Path) -> Iterator[ChatProcess]:
    with lab.waiting(users[1], "--files", str(tmp_path / "in")) as chat:
        yield chat


def together(alex: ChatProcess, bob: ChatProcess) -> None:
    alex.type(f"/invite {bob.user}")
    talk(alex, bob)


def test_each_side_pauses_and_goes_on(alex: ChatProcess, bob: ChatProcess, film: Path) -> None:
    together(alex, bob)
    alex.type(f"/send {film}")
    number = alex.wait("file-offering")["number"]
    bob.wait("file-progress")
    alex.type(f"/pause {number}")
    assert bob.wait("file-paused")["by_peer"]
    alex.type("/files")
    [listed] = alex.wait("files")["files"]
    assert (listed["status"], listed["name"]) == ("paused", "film.bin")
    assert 0 < listed["octets"] < listed["total"] == SIZE
    # The chat goes on beside it.
    bob.say("take your time")
    alex.wait("message", text="take your time")
    alex.type("/resume")
    bob.wait("file-resumed")
    bob.wait("file-progress")
    bob.type("/pause 1")
    assert alex.wait("file-paused")["by_peer"]
    alex.type("/resume")
    assert "paused by the peer" in alex.wait("error")["error"]
    bob.type("/resume 1")
    alex.wait("file-sent")
    assert digest(bob.wait("file-received")["path"]) == digest(film)
    alex.type("/files", "/pause 7", "/pause")
    assert alex.wait("files")["files"] == []
    assert "no file 7" in alex.wait("error")["error"]
    assert "which file" in alex.wait("error")["error"]


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_each_side_cancels(
    alex: ChatProcess, bob: ChatProcess, film: Path, tmp_path: Path, who: str
) -> None:
    together(alex, bob)
    alex.type(f"/send {film}")
    bob.wait("file-progress")
    (alex if who == "sender" else bob).type("/cancel")
    alex.wait("file-failed")
    bob.wait("file-failed")
    assert list((tmp_path / "in").iterdir()) == []


def test_a_receiver_that_is_killed_gets_the_rest_when_it_is_back(
    lab: Lab, alex: ChatProcess, users: list[str], film: Path, tmp_path: Path
) -> None:
    words = (users[1], "--files", str(tmp_path / "in"))
    with lab.waiting(*words) as bob:
        together(alex, bob)
        alex.type(f"/send {film}")
        while bob.wait("file-progress")["octets"] < 20 << 20:
            continue
        bob.kill()
    interrupted = alex.wait("file-interrupted")
    assert interrupted["retry_in"] is not None
    assert 290 < interrupted["gives_up_in"] <= 300
    with lab.waiting(*words) as bob:
        resumed = bob.wait("file-resumed")
        assert 8 << 20 <= resumed["octets"] < SIZE
        assert digest(bob.wait("file-received", timeout=60)["path"]) == digest(film)
        alex.wait("file-sent")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["film.bin"]


def kept(lab: Lab, user: str, direction: str) -> list[str]:
    """The names of the files in a user's history."""
    files = [each for each in lab.history(user) if each["file"] is not None]
    return [each["file"]["name"] for each in files if each["direction"] == direction]


def test_a_receiver_that_is_killed_with_the_whole_file_has_it_once(
    lab: Lab, alex: ChatProcess, users: list[str], film: Path, tmp_path: Path
) -> None:
    words = (users[1], "--files", str(tmp_path / "in"))
    final = tmp_path / "in" / film.name
    with lab.waiting(*words) as bob:
        together(alex, bob)
        # Nobody is told of a file before the history has it.
        history = lab.project.agent_dir(users[1]) / "history.db"
        with closing(sqlite3.connect(history, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            alex.type(f"/send {film}")
            wait_until(final.exists, 60)
            bob.kill()
    with lab.waiting(*words) as bob:
        received = bob.wait("file-received", timeout=60)
        assert digest(received["path"]) == digest(film)
        alex.wait("file-sent")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["film.bin"]
    assert kept(lab, users[1], "in") == kept(lab, users[0], "out") == ["film.bin"]


def sending(lab: Lab, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rcsops", "send", *words],
        cwd=lab.directory,
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_send_that_is_killed_goes_on_when_it_is_run_again(
    lab: Lab, bob: ChatProcess, users: list[str], film: Path, tmp_path: Path
) -> None:
    words = (users[0], users[1], "--file", str(film))
    with sending(lab, *words) as first:
        while bob.wait("file-progress")["octets"] < 20 << 20:
            continue
        first.kill()
    bob.wait("file-interrupted")
    with sending(lab, *words) as again:
        out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert out == f"delivered to {users[1]}\n"
    assert 20 << 20 <= bob.wait("file-resumed")["octets"] < SIZE
    assert digest(bob.wait("file-received")["path"]) == digest(film)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["film.bin"]


def test_both_are_killed_and_the_receiver_fetches_the_rest(
    lab: Lab, users: list[str], film: Path, tmp_path: Path
) -> None:
    words = (users[1], "--files", str(tmp_path / "in"))
    with lab.waiting(users[0]) as alex, lab.waiting(*words) as bob:
        together(alex, bob)
        alex.type(f"/send {film}")
        while bob.wait("file-progress")["octets"] < 20 << 20:
            continue
        alex.kill()
        bob.kill()
    with lab.waiting(users[0]) as alex, lab.waiting(*words) as bob:
        bob.type("/files")
        [listed] = bob.wait("files")["files"]
        assert (listed["status"], listed["incoming"]) == ("interrupted", True)
        assert 8 << 20 <= listed["octets"] < SIZE
        bob.type(f"/resume {listed['number']}")
        assert bob.wait("file-resumed")["octets"] == listed["octets"]
        assert digest(bob.wait("file-received", timeout=60)["path"]) == digest(film)
        alex.wait("file-sent")


def test_what_is_shared_is_fetched_and_nothing_else(
    alex: ChatProcess, bob: ChatProcess, film: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not shared")
    together(alex, bob)
    bob.type("/get film.bin")
    assert "No such file is shared" in bob.wait("file-failed")["reason"]
    alex.type(f"/share {film}")
    shared = alex.wait("file-shared")
    bob.type(f"/get {shared['sha1']}")
    received = bob.wait("file-received", timeout=PATIENCE)
    assert (received["name"], digest(received["path"])) == ("film.bin", digest(film))
    for wanted in ("secret.txt", str(secret)):
        bob.type(f"/get {wanted}")
        assert "No such file is shared" in bob.wait("file-failed")["reason"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["film.bin"]


def test_commands_without_what_they_need(alex: ChatProcess) -> None:
    alex.type("/get", "/share", "/get x", "/share x", "/resume 1")
    for hint in ("/get picture.jpg", "/share picture.jpg"):
        assert alex.wait("error")["hint"] == hint
    for _ in range(2):
        assert alex.wait("error")["error"] == "with whom?"
    assert alex.wait("error")["error"] == "there is no file 1"
