"""start, stop, restart, status, logs: the server as a process."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rcsops.testing import wait_until
from tests.cli.conftest import Finished, Shell


class ServerShell:
    """A project with a database and a server that listens on any free port."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.ok = shell.ok
        (shell.directory / "rcsops.toml").write_text(
            'listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]\n'
        )
        shell.ok("db", "create")

    def __call__(self, *words: str) -> Finished:
        return self.shell(*words)

    @property
    def run(self) -> Path:
        # Not always in the project: a path too long for a Unix socket gets a shorter one.
        return Path(self.shell("status", "--json").json["log"]).parent

    @property
    def pid(self) -> int:
        return int(self.ok("status", "--json").json["pid"])

    @property
    def port(self) -> int:
        return int(self.ok("status", "--json").json["listeners"][0].rpartition(":")[2])


@pytest.fixture
def project(rcsops: Shell) -> Iterator[ServerShell]:
    made = ServerShell(rcsops)
    yield made
    with contextlib.suppress(AssertionError):
        made("stop")


def lives(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def options(port: int) -> bool:
    """Whether a SIP server answers OPTIONS over UDP at a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(5)
        probe.connect(("127.0.0.1", port))
        local = probe.getsockname()[1]
        probe.send(
            b"OPTIONS sip:rcs.example SIP/2.0\r\nMax-Forwards: 5\r\n"
            b"Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKx%d;rport\r\n"
            b"From: <sip:probe@rcs.example>;tag=1\r\nTo: <sip:rcs.example>\r\n"
            b"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n" % (local, local)
        )
        return probe.recv(65535).startswith(b"SIP/2.0 200 ")


def test_start_stop_and_what_status_says(project: ServerShell) -> None:
    found = project("status", "--json")
    assert found.code == 3
    assert found.json["running"] is False
    started = project.ok("start", "--json").json
    assert started["already"] is False
    (stream, datagram) = sorted(started["listeners"])
    assert stream.removeprefix("tcp:") == datagram.removeprefix("udp:")
    found = project.ok("status", "--json")
    assert found.json["engine"] == "embedded"
    assert found.json["answers"] is True
    assert found.json["pid"] == started["pid"]
    assert found.json["version"].startswith("rcsops (")
    assert found.json["uptime"] >= 0
    assert found.json["counts"]["usrloc:registered_users"] == 0
    assert f"pid {started['pid']}" in project.ok("status").out
    assert options(project.port)
    # In a session of its own: it outlives the terminal.
    assert os.getsid(started["pid"]) == started["pid"]
    assert project.ok("stop", "--json").json["how"] == "mi"
    assert not lives(started["pid"])
    assert sorted(each.name for each in project.run.iterdir()) == ["lock", "server.log"]
    assert "was not running" in project.ok("stop").out
    assert project("status").code == 3


def test_a_second_start_leaves_the_first_as_it_was(project: ServerShell) -> None:
    project.ok("start")
    pid, port = project.pid, project.port
    again = project.ok("start")
    assert f"already running, pid {pid}" in again.out
    assert project.ok("start", "--json").json["already"] is True
    refused = project("start", "--foreground")
    assert refused.code == 1
    assert f"already running, pid {pid}" in refused.err
    assert project.pid == pid
    assert options(port)
    assert (project.run / "pid").read_text() == f"{pid}\n"


def test_a_port_in_use_names_the_address_and_who_has_it(rcsops: Shell) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        (rcsops.directory / "rcsops.toml").write_text(f'listen = ["tcp:127.0.0.1:{port}"]\n')
        rcsops.ok("db", "create")
        failed = rcsops("start")
    assert failed.code == 1
    assert f"tcp:127.0.0.1:{port}: the port is in use" in failed.err
    assert f"pid {os.getpid()}" in failed.err
    assert "hint:" in failed.err
    assert rcsops("status").code == 3


def test_without_a_database_start_says_what_to_type(rcsops: Shell) -> None:
    failed = rcsops("start")
    assert failed.code == 1
    assert "rcsops db create" in failed.err


def test_what_a_killed_server_left_is_no_obstacle(project: ServerShell) -> None:
    project.ok("start")
    pid = project.pid
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (project.run / "fifo").exists()
    assert project("status").code == 3
    # Nobody hangs at the FIFO of a dead server.
    asked = project("mi", "uptime")
    assert asked.code == 1
    assert "not running" in asked.err
    project.ok("start")
    assert project.pid != pid
    os.kill(project.pid, signal.SIGKILL)
    project("stop")
    assert not (project.run / "fifo").exists()


def test_a_stuck_server_is_seen_and_ended(project: ServerShell) -> None:
    project.ok("start")
    pid = project.pid
    os.kill(pid, signal.SIGSTOP)
    found = project.ok("status", "--json").json
    assert found["running"] is True
    assert found["answers"] is False
    stopped = project.ok("stop", "--json").json
    assert stopped == {"pid": pid, "how": "SIGKILL", "was_running": True}
    assert project("status").code == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_gracefully(project: ServerShell, number: signal.Signals) -> None:
    project.ok("start")
    pid = project.pid
    os.kill(pid, number)
    deadline = time.monotonic() + 10
    while project("status").code != 3:
        assert time.monotonic() < deadline
    assert project.ok("logs", "-n", "1").out.rstrip().endswith("ended")
    assert not (project.run / "pid").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("words", [("start",), ("start", "--foreground")])
def test_an_interrupted_start_leaves_nothing(
    project: ServerShell, words: tuple[str, ...], number: signal.Signals
) -> None:
    shell = project.shell
    starting = subprocess.Popen(
        [sys.executable, "-m", "rcsops", *words],
        cwd=shell.directory,
        env=shell.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def servers() -> list[psutil.Process]:
        # Not before it is what it will be: its parent is held until then, and hears of no signal.
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(starting.pid).children()
            return [each for each in children if "rcsops.server" in each.cmdline()]
        return []

    (server,) = wait_until(servers, what="the server")
    try:
        # So that it cannot answer, and the start has to wait for it.
        server.suspend()
        starting.send_signal(number)
        assert starting.wait(30) != 0
        assert not lives(server.pid)
    finally:
        starting.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            server.kill()


def test_restart(project: ServerShell) -> None:
    project.ok("start")
    first = project.pid
    result = project.ok("restart", "--json").json
    assert result["stopped"]["pid"] == first
    assert result["started"]["pid"] == project.pid != first


def test_in_the_foreground_it_ends_with_ctrl_c(project: ServerShell) -> None:
    terminal = project.shell.terminal("start", "--foreground")
    terminal.expect("listening at")
    assert project.ok("status", "--json").json["running"] is True
    terminal.sendintr()
    terminal.expect("ended")
    terminal.expect("$")
    terminal.wait()
    assert terminal.exitstatus == 0
    assert project("status").code == 3


def test_files_are_private(project: ServerShell) -> None:
    project.ok("start")
    for name in ("lock", "pid", "fifo", "mi.sock", "server.log"):
        mode = stat.S_IMODE((project.run / name).stat().st_mode)
        assert mode == 0o600, name
    assert stat.S_IMODE(project.run.stat().st_mode) == 0o700
    secret = project.shell.directory / ".rcsops" / "server-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_trace_holds_each_message_once(project: ServerShell) -> None:
    trace = project.shell.directory / "trace.jsonl"
    project.ok("start", "--trace", str(trace))
    assert options(project.port)
    project.ok("stop")
    from rcsops.trace import read_trace

    entries = list(read_trace(trace))
    assert [entry.direction for entry in entries] == ["in", "out"]
    assert {entry.node for entry in entries} == {"server"}


def test_the_server_goes_on_after_clients_have_gone(project: ServerShell) -> None:
    """An answer to a port where nobody listens any more brings an ICMP error back."""
    project.ok("start")
    port = project.port
    for _ in range(3):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            gone.sendto(
                b"OPTIONS sip:rcs.example SIP/2.0\r\n"
                b"Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKgone\r\n"
                b"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\n"
                b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n" % gone.getsockname()[1],
                ("127.0.0.1", port),
            )
        time.sleep(0.1)
        assert options(port)


def test_log_lines_cannot_be_forged(project: ServerShell) -> None:
    project.ok("start")
    port = project.port
    forged = b"x\x1b[31m\x9b"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(
            b"ACK sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK" + forged + b"\r\n",
            ("127.0.0.1", port),
        )
    assert options(port)
    assert b"\x1b" not in (project.run / "server.log").read_bytes()


def test_logs(project: ServerShell) -> None:
    none = project("logs")
    assert none.code == 1
    assert "no log yet" in none.err
    project.ok("start")
    project.ok("restart")
    assert len(project.ok("logs", "-n", "2").lines) == 2
    assert len(project.ok("logs", "-n", "1", "--json").json["lines"]) == 1
    follower = project.shell.terminal("logs", "--follow", "-n", "0")
    time.sleep(0.5)
    project.ok("stop")
    follower.expect("ended")
    follower.sendintr()
    follower.expect("$")
    follower.close()
