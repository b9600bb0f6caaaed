"""``rcsops trace --follow`` and ``--hep``, as a process beside what it follows."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from rcsops.errors import MiError
from rcsops.operations.mi import MiClient
from rcsops.settings import Project
from rcsops.testing import wait_until
from rcsops.testing.embedded import EmbeddedServer
from tests.unit.trace.messages import ALEX, SERVER, request, response, seen

pytestmark = pytest.mark.timeout(120)

USERS = {"alex": "of alex", "bob": "of bob"}
RCSOPS = [sys.executable, "-m", "rcsops"]


class Follower:
    """A running ``rcsops trace``; what it prints goes to files."""

    def __init__(self, directory: Path, process: "subprocess.Popen[bytes]") -> None:
        self.directory = directory
        self.process = process

    @property
    def printed(self) -> str:
        return (self.directory / "out").read_text()

    @property
    def said(self) -> str:
        return (self.directory / "err").read_text()

    def ready(self, word: str) -> None:
        wait_until(lambda: word in self.said, 30, what=f"the follower, which says {self.said}")

    def wait_for(self, word: str) -> None:
        wait_until(lambda: word in self.printed, 30, what=f"{word} in {self.printed}")

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def following(directory: Path, *words: str, project: Path | None = None) -> Iterator[Follower]:
    directory.mkdir(exist_ok=True)
    command = [*RCSOPS, *(["-C", str(project)] if project else []), "trace", *words]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
    try:
        yield Follower(directory, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("followed") / "project", USERS) as running:
        yield running


def send(server: EmbeddedServer, *words: str) -> None:
    command = [*RCSOPS, "-C", str(server.directory), "send", "alex", "bob", "hello", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def tap_socket(server: EmbeddedServer) -> list[str]:
    run = Project.find(server.directory).run_dir
    return [each.name for each in run.iterdir() if each.name.startswith("tap-")]


def test_the_running_server(server: EmbeddedServer, tmp_path: Path) -> None:
    with following(tmp_path, "--follow", "--explain", project=server.directory) as follower:
        follower.ready("following the server")
        send(server)
        follower.wait_for("202 Accepted (MESSAGE)")
        follower.wait_for("200 OK (REGISTER)")
        assert follower.end() == 0
    lines = follower.printed.splitlines()
    assert lines[1].split() == ["seconds", "since", "alex", "server"]
    assert "REGISTER" in lines[2]
    assert lines[2].split()[0] == "1"
    assert "without credentials" in follower.printed
    assert 'nonce="' not in follower.printed
    assert tap_socket(server) == []


def test_two_at_once_and_one_ends(server: EmbeddedServer, tmp_path: Path) -> None:
    with (
        following(tmp_path / "1", "-f", "--json", "--method", "MESSAGE",
                  project=server.directory) as one,
        following(tmp_path / "2", "-f", "--export", "html", "-o", str(tmp_path / "all.html"),
                  project=server.directory) as two,
    ):  # fmt: skip
        one.ready("following")
        two.ready("following")
        send(server)
        one.wait_for('"status": 202')
        assert one.end(signal.SIGTERM) == 0
        send(server)
        assert two.end() == 0
    documents = [json.loads(line) for line in one.printed.splitlines()]
    assert {each.get("method") or each["cseq_method"] for each in documents} == {"MESSAGE"}
    page = (tmp_path / "all.html").read_text()
    assert page.count('<section class="message"') >= 12


def test_the_end_of_the_server_ends_it(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "project", USERS) as running:
        with following(tmp_path / "f", "-f", project=running.directory) as follower:
            follower.ready("following")
            running.stop()
            assert follower.process.wait(30) == 0
        assert "the server has ended" in follower.said


def test_a_follower_that_is_killed_is_forgotten(server: EmbeddedServer, tmp_path: Path) -> None:
    client = MiClient.of(Project.find(server.directory))
    for number in range(6):
        with following(tmp_path / str(number), "-f", project=server.directory) as follower:
            follower.ready("following")
            follower.end(signal.SIGKILL)
    # More than the server would show its messages to at once.
    send(server)
    with pytest.raises(MiError, match="Nobody watches"):
        client.call("tap_stop", [f"tap-{follower.process.pid}"])


def test_a_reader_that_does_not_read_is_left_out(server: EmbeddedServer) -> None:
    """The server goes on, and its memory does not grow without bound."""
    project = Project.find(server.directory)
    client = MiClient.of(project)
    path = project.run_dir / "tap-slow"
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone,
    ):
        listener.bind(str(path))
        listener.listen(1)
        client.call("tap_start", ["tap-slow", "30"])
        connection = listener.accept()[0]
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(1)
        dropped = 0
        for number in range(400):
            branch = f"z9hG4bKslow{number}"
            data = (
                f"OPTIONS sip:127.0.0.1:{server.port} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{phone.getsockname()[1]};branch={branch}\r\n"
                f"From: <sip:a@x>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {branch}\r\n"
                f"CSeq: 1 OPTIONS\r\nMax-Forwards: 5\r\nX: {'x' * 30_000}\r\n"
                "Content-Length: 0\r\n\r\n"
            ).encode()
            phone.sendto(data, ("127.0.0.1", server.port))
            with_answer = phone.recv(65535)
            assert with_answer.startswith(b"SIP/2.0 ")
            if number % 50 == 49:
                dropped = client.call("tap_start", ["tap-slow", "30"])["Dropped"]
        assert dropped > 0
        client.call("tap_stop", ["tap-slow"])
        connection.close()
    path.unlink()
    send(server)


@pytest.mark.parametrize("name", ["../mi.sock", "/tmp/x", "", ".hidden", "a" * 60, "absent"])
def test_only_a_socket_of_the_run_directory(server: EmbeddedServer, name: str) -> None:
    client = MiClient.of(Project.find(server.directory))
    with pytest.raises(MiError, match=r"Bad socket name|Cannot connect"):
        client.call("tap_start", [name, "5"])


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "3601", "x"])
def test_only_for_a_while(server: EmbeddedServer, seconds: str) -> None:
    client = MiClient.of(Project.find(server.directory))
    with pytest.raises(MiError, match="Seconds must be"):
        client.call("tap_start", ["tap-x", seconds])


def test_traces_that_are_being_written(tmp_path: Path) -> None:
    register = request("REGISTER", branch="1")
    lines = [
        seen(1.0, "alex", "out", ALEX, SERVER, register),
        seen(1.001, "server", "in", SERVER, ALEX, register),
        seen(1.1, "server", "out", SERVER, ALEX, response(200, "OK", "REGISTER", branch="1")),
    ]
    first, second = tmp_path / "alex.jsonl", tmp_path / "server.jsonl"
    first.write_text(lines[0].to_json() + "\n")
    with following(tmp_path / "f", "-f", str(first), str(second)) as follower:
        # The second is not there yet; a line may come in pieces.
        text = lines[1].to_json() + "\n" + lines[2].to_json() + "\n"
        with second.open("w") as stream:
            stream.write(text[:-100])
            stream.flush()
            stream.write(text[-100:])
        follower.wait_for("200 OK (REGISTER)")
        second.unlink()
        second.write_text(lines[2].to_json().replace('"time": 1.1', '"time": 1.2') + "\n")
        follower.wait_for("200 OK (REGISTER) (again)")
        # The times between go on from one batch to the next.
        assert re.search(r" 0\.200 +\+100 ms .*\(again\)", follower.printed), follower.printed
        assert follower.end() == 0


def test_on_a_narrow_terminal_the_silent_give_way(tmp_path: Path) -> None:
    trace = tmp_path / "many.jsonl"
    with trace.open("w") as stream:
        for number in range(6):
            phone = ("127.0.0.1", 41000 + number)
            entry = seen(
                number, f"phone{number}", "out", phone, SERVER, request("REGISTER", branch="1")
            )
            stream.write(entry.to_json() + "\n")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rcsops", "trace", "-f", str(trace)],
        env={**os.environ, "NO_COLOR": "1", "LANG": "C.UTF-8", "COLUMNS": "50"},
        dimensions=(40, 50),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("phone5 .*REGISTE")
    printed = child.before + child.after
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    printed = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    heads = [line.split()[1:] for line in printed.splitlines() if line.split()[:1] == ["since"]]
    assert heads[0] == ["phone0", "server"]
    assert [len(each) for each in heads] == [2] * 6, printed


@pytest.mark.parametrize("words", [(), ("-f", "--seconds", "1")], ids=["written", "live"])
def test_json_with_explanations(tmp_path: Path, words: tuple[str, ...]) -> None:
    trace = tmp_path / "one.jsonl"
    entry = seen(1.0, "alex", "out", ALEX, SERVER, request("REGISTER", branch="1"))
    trace.write_text(entry.to_json() + "\n")
    command = [*RCSOPS, "trace", str(trace), "--json", "--explain", *words]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = json.loads(done.stdout)
    assert "without credentials" in (found if words else found[0])["explanation"]


def hep(data: bytes, *, source: int, target: int) -> bytes:
    chunks = [
        (1, b"\x02"), (2, b"\x11"), (3, bytes([127, 0, 0, 1])), (4, bytes([127, 0, 0, 1])),
        (7, struct.pack("!H", source)), (8, struct.pack("!H", target)),
        (9, struct.pack("!I", 1000)), (10, struct.pack("!I", 0)), (11, b"\x01"),
        (12, struct.pack("!I", 7)), (15, data),
    ]  # fmt: skip
    body = b"".join(struct.pack("!HHH", 0, kind, len(each) + 6) + each for kind, each in chunks)
    return b"HEP3" + struct.pack("!H", len(body) + 6) + body


def test_hep(tmp_path: Path) -> None:
    people = "From: <sip:carol@rcs.example>;tag=1\r\nTo: <sip:carol@rcs.example>\r\n"
    with following(tmp_path / "f", "--hep", "udp:127.0.0.1:0", "--limit", "2") as follower:
        follower.ready("listening for HEP at udp:127.0.0.1:")
        port = int(follower.said.strip().rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            address = ("127.0.0.1", port)
            sender.sendto(b"HEP3 nonsense", address)
            register = request("REGISTER", branch="1", headers=people)
            sender.sendto(hep(register, source=40001, target=5060), address)
            answer = response(200, "\x1b[31mOK", "REGISTER", branch="1")
            sender.sendto(hep(answer, source=5060, target=40001), address)
        assert follower.process.wait(30) == 0
    assert "carol" in follower.printed
    assert "200 \\x1b[31mOK (REGISTER)" in follower.printed
    assert "see --limit" in follower.said


def test_for_some_seconds(tmp_path: Path) -> None:
    with following(tmp_path / "f", "--hep", "udp:127.0.0.1:0", "--seconds", "0.2") as follower:
        assert follower.process.wait(30) == 0


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text('domain = "rcs.example"\n')
    for words, said in {
        ("--follow",): "not running",
        ("--engine", "opensips", "--follow"): "--hep",
        ("--hep", "nowhere"): "no address",
        ("--hep", "udp:127.0.0.1:99999"): "no address",
        ("--hep", "udp:192.0.2.1:9060"): "cannot listen",
        ("--hep", "udp:127.0.0.1:0", "--show", "1"): "what has been written",
        ("x", "--seconds", "1"): "needs --follow",
    }.items():
        before = words[:2] if words[0] == "--engine" else ()
        finished = subprocess.run(
            [*RCSOPS, "-C", str(tmp_path), *before, "trace", *words[len(before) :]],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert finished.returncode in (1, 2), words
        assert said in finished.stderr, words
        assert "Traceback" not in finished.stderr
