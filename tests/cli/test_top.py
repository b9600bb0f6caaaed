"""``rcsops top`` on the embedded server, as a process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

import rcsops
from rcsops.settings import Project
from rcsops.testing.embedded import EmbeddedServer

pytestmark = pytest.mark.timeout(120)

RCSOPS = [sys.executable, "-m", "rcsops"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    users = {"alex": "of alex", "bob": "of bob"}
    with EmbeddedServer(tmp_path_factory.mktemp("watched") / "project", users) as running:
        yield running


def top(server: EmbeddedServer, *words: str, **environment: str) -> str:
    finished = subprocess.run(
        [*RCSOPS, "-C", str(server.directory), "top", *words],
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    assert "\x1b" not in finished.stdout
    return finished.stdout


def test_once_for_programs(server: EmbeddedServer) -> None:
    command = [*RCSOPS, "-C", str(server.directory), "top", "--once", "--json", "--interval", "6"]
    measuring = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        # While it measures: each registers, sends and unregisters.
        send = [*RCSOPS, "-C", str(server.directory), "send", "alex", "bob", "hello"]
        subprocess.run(send, check=True, capture_output=True, timeout=60)
    document = json.loads(measuring.communicate(timeout=60)[0])
    assert document["running"] is document["answers"] is True
    assert document["engine"] == "embedded"
    assert document["registered"] == 0
    (process,) = document["processes"]
    assert process["pid"] > 0
    assert process["memory"] > 10 << 20
    assert 0 <= process["load"] <= 4
    assert document["memory"] == process["memory"]
    assert document["dialogs"] is None
    # Whether they fell into its interval or after it depends on the machine.
    assert document["requests_per_second"] >= 0
    assert json.loads(top(server, "--once", "--json", "--interval", "0.2"))["stored"] == 2


def test_once_for_people(server: EmbeddedServer) -> None:
    shown = top(server, "--once", "--interval", "0.2", PYTHONIOENCODING="utf-8")
    assert shown.startswith(f"rcsops {rcsops.__version__} (embedded)  up 0:")
    # It keeps no list of calls, and shows none.
    assert "dialogs" not in shown
    for word in ("registered", "messages/s", "transactions", "pid", "SIP server udp:127.0.0.1:"):
        assert word in shown
    lines = shown.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert top(server, "--once", "--interval", "0.2", PYTHONIOENCODING="ascii").isascii()


def test_once_on_a_pipe_leaves_the_lines_whole(server: EmbeddedServer) -> None:
    said = "a day of " + " ".join(f"fault{number}" for number in range(60))
    log = Project.find(server.directory).run_dir / "server.log"
    with log.open("a") as stream:
        stream.write(f"2026-11-26 00:00:00,000 ERROR:rcsops.server: {said}\n")
    lines = top(server, "--once", "--interval", "0.2").splitlines()
    assert f"2026-11-26 00:00:00 ERROR:rcsops.server: {said}" in lines


def test_lines_on_a_pipe(server: EmbeddedServer) -> None:
    command = [*RCSOPS, "-C", str(server.directory), "top", "--interval", "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(2)
    assert process.wait(30) == 0
    assert all(", messages/s 0.0, transactions 0" in line for line in lines)


def test_the_screen(server: EmbeddedServer) -> None:
    log = Project.find(server.directory).run_dir / "server.log"
    with log.open("a") as stream:
        stream.write("2026-11-26 00:00:00,000 ERROR:rcsops.server: a \x1b[31mbad\x1b[0m day\n")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rcsops", "-C", str(server.directory), "top", "--interval", "0.3"],
        env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"},
        dimensions=(30, 100),
        encoding="utf-8",
        timeout=30,
    )
    child.expect(r"rcsops \S+ \(embedded\)")
    child.expect(r"messages/s +0\.0 +▁")
    child.expect(r"2026-11-26 00:00:00 ERROR:rcsops.server: a \\x1b\[31mbad")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_small_screen_keeps_the_numbers_and_the_last_bars(server: EmbeddedServer) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rcsops", "-C", str(server.directory), "top", "--interval", "0.2"],
        env={key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        | {"TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"},
        dimensions=(20, 34),
        encoding="utf-8",
        timeout=20,
    )
    # The name of the process is what gives way.
    child.expect(r"\d+ +\d+% +\d+ +SIP.*…")
    # Of more measurements than there is room for, the last stand there, and nothing is cut.
    for _ in range(25):
        child.expect(r"messages/s +0\.0 +(▁+) *\r")
        assert child.match is not None
        if len(child.match[1]) >= 12:
            break
    for _ in range(5):
        child.expect(r"messages/s +0\.0 +([^\r]*)\r")
        assert child.match is not None
        assert set(child.match[1].strip()) == {"▁"}
        assert len(child.match[1].strip()) <= 34 - len("registrations/s  0.0  ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text('domain = "rcs.example"\n')
    finished = subprocess.run(
        [*RCSOPS, "-C", str(tmp_path), "top"], capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[0].endswith("the server is not running")
    assert "rcsops start" in finished.stderr
