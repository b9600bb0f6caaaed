"""``rcsops load`` on a real embedded server, as a process."""

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import free_port, wait_until
from tests.cli.conftest import Shell

SHORT = ("--agents", "20", "--rate", "10", "--duration", "4", "--ramp", "1", "--think", "0.05")


@pytest.fixture
def served(rcsops: Shell) -> Iterator[Shell]:
    """A project with a server that runs."""
    port = free_port()
    listen = f'["udp:127.0.0.1:{port}", "tcp:127.0.0.1:{port}"]'
    (rcsops.directory / "rcsops.toml").write_text(f"listen = {listen}\n")
    rcsops.ok("db", "create")
    rcsops.ok("start")
    yield rcsops
    rcsops("stop")


def _registered(served: Shell) -> int:
    status = served.ok("status", "--json").json
    return int(status["counts"]["usrloc:registered_users"])


def test_a_mixed_load_with_chart_and_result(served: Shell) -> None:
    ran = served.ok("load", *SHORT, "--json", "--chart", "run.svg", "--output", "run.json")
    result = ran.json
    assert result == json.loads((served.directory / "run.json").read_text())
    assert result["joined"] == 20 and result["ended"] == "finished"
    operations = result["operations"]
    assert operations["invite"]["succeeded"] == operations["invite"]["started"] > 5
    done = sum(operations[name]["succeeded"] for name in ("message", "pager"))
    assert done == result["messages"]["received"] > 10
    assert result["messages"]["lost"] == result["messages"]["twice"] == 0
    assert result["error_share"] == 0
    assert {"running", "draining"} & {second["phase"] for second in result["seconds"]}
    assert any(second["server_memory"] for second in result["seconds"])
    for operation in operations.values():
        latency = operation["latency_ms"]
        assert 0 <= latency["p50"] <= latency["p99"] <= latency["max"]
    chart = ET.parse(served.directory / "run.svg").getroot()
    assert "message p99" in " ".join(chart.itertext())
    # Every registration was taken back.
    assert "0 registered" in served.ok("status").out


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pager_mode(served: Shell, transport: str) -> None:
    scenario = ("--scenario", "pager", "--transport", transport, "--messages", "2")
    result = served.ok("load", *SHORT, *scenario, "--json").json
    pager = result["operations"]["pager"]
    assert pager["succeeded"] == pager["started"] > 10, pager["causes"]
    messages = result["messages"]
    assert messages["received"] == messages["sent"] == pager["started"]
    assert messages["lost"] == messages["twice"] == 0


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_a_secure_load(rcsops: Shell, transport: str) -> None:
    listen = f'["{transport}:127.0.0.1:{free_port()}"]'
    (rcsops.directory / "rcsops.toml").write_text(f"listen = {listen}\n")
    rcsops.ok("db", "create")
    rcsops.ok("certs")
    rcsops.ok("start")
    try:
        result = rcsops.ok("load", *SHORT, "--transport", transport, "--json").json
    finally:
        rcsops("stop")
    assert result["joined"] == 20
    assert result["error_share"] == 0
    assert result["messages"]["lost"] == 0
    assert result["messages"]["received"] > 10


def test_registrations_over_udp_from_two_processes(served: Shell) -> None:
    done = served.ok(
        *("load", "--scenario", "register", "--transport", "udp", "--processes", "2"),
        *("--agents", "10", "--rate", "40", "--duration", "3", "--ramp", "0", "--even"),
    )
    assert "10 of 10 agents registered; finished" in done.out
    row = next(line for line in done.lines if line.startswith("register"))
    started, succeeded, failed = row.split()[1:4]
    assert (started, failed) == (succeeded, "0")
    assert int(started) == pytest.approx(118, abs=2)


@pytest.mark.slow  # it waits for the last timer
def test_nothing_is_left_over(served: Shell) -> None:
    # Over TCP the longest that a transaction waits here is Timer L, of accepted INVITEs.
    result = served.ok("load", *SHORT, "--settle", "45", "--json").json
    assert result["left"] == {"transactions": 0, "dialogs": 0, "tasks": 0, "sockets": 0}


def test_the_generator_says_when_agents_run_out(served: Shell) -> None:
    done = served.ok(
        *("load", "--scenario", "call", "--agents", "2", "--rate", "20", "--duration", "2"),
        *("--ramp", "0", "--think", "0.5"),
    )
    assert re.search(r"the generator was a limit: \d+ things could not begin", done.out)


def test_the_generator_says_when_files_run_out(served: Shell) -> None:
    # 80 calls want to be open at once; with so few files there is room for half of them.
    words = (
        *("load", "--scenario", "call", "--agents", "200", "--rate", "40", "--duration", "4"),
        *("--ramp", "0", "--think", "2"),
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 200; exec "$0" -m rcsops "$@"', sys.executable, *words],
        cwd=served.directory,
        env=served.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert re.search(r"the generator was a limit: \d+ MSRP connections could not", done.stdout)
    assert re.search(r"failed: \d+ invite: MsrpUnreachable", done.stdout)


def test_wrong_passwords_are_told_by_cause(served: Shell) -> None:
    (served.directory / "users.csv").write_text(
        "user,password\n" + "".join(f"nobody{n},wrong-password\n" for n in range(4))
    )
    done = served("load", "--users", "users.csv", "--agents", "4", "--duration", "1")
    assert done.code == 1
    assert "no agent could register" in done.err and "40" in done.err
    # Bad accounts are named by line.
    (served.directory / "bad.csv").write_text("user,password\nbob,\n")
    done = served("load", "--users", "bad.csv", "--agents", "2")
    assert done.code == 2 and "line 2" in done.err


def test_a_server_that_dies_shows_as_failures(served: Shell) -> None:
    command = [sys.executable, "-m", "rcsops", "load", *SHORT, "--duration", "8", "--json"]
    process = subprocess.Popen(
        [*command, "--max-errors", "1"],
        cwd=served.directory,
        env=served.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = served.ok("status", "--json").json["pid"]
    wait_until(lambda: _registered(served) == 20, what="agents", timeout=60)
    os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=110)
    result = json.loads(out)
    assert process.returncode == 1
    assert result["error_share"] > 0.01
    assert result["operations"]["invite"]["causes"]
    assert result["messages"]["lost"] == 0


def test_ctrl_c_ends_it_in_order(served: Shell) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rcsops", "load", *SHORT, "--duration", "600"],
        cwd=served.directory,
        env=served.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: _registered(served) == 20, what="agents", timeout=60)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert "20 of 20 agents registered; interrupted" in out
    assert "0 registered" in served.ok("status").out


def test_accounts_are_made_once_and_removed(served: Shell) -> None:
    for _ in range(2):
        served.ok(
            "load", "--scenario", "register", "--agents", "3", "--rate", "5", "--duration", "1"
        )
    assert [u["user"] for u in served.ok("user", "list", "--json").json["users"]] == [
        f"load-{number:06d}@rcs.example" for number in (1, 2, 3)
    ]
    assert served.ok("load", "--remove-users").out == "removed 3 accounts\n"
    assert served.ok("user", "list", "--json").json["users"] == []


def test_what_is_asked_wrongly(rcsops: Shell, tmp_path: Path) -> None:
    assert rcsops("load").code == 1
    rcsops.ok("db", "create")
    done = rcsops("load")
    assert done.code == 1 and "rcsops start" in done.err
    done = rcsops("load", "--server", "127.0.0.1:5999")
    assert done.code == 2 and "--users" in done.err
    done = rcsops("load", "--chart", "run.pdf")
    assert done.code == 2 and ".svg" in done.err
    assert rcsops("load", "--rate", "0").code == 2
    assert rcsops("load", "--users", "nowhere.csv").code == 2


def test_accounts_are_read_as_user_import_reads_them(served: Shell) -> None:
    file = served.directory / "accounts.txt"
    # As Windows writes it, and without a suffix that says what it is.
    file.write_text("\ufeffuser,password\nann,of ann\nben,of ben\n", encoding="utf-8")
    served.ok("user", "import", "accounts.txt")
    short = ("--agents", "2", "--duration", "1", "--rate", "2", "--scenario", "register")
    assert served.ok("load", *short, "--users", "accounts.txt", "--json").json["joined"] == 2
    file.write_bytes(b"user,password\nann,of ann\nb\xe9n,of ben\n")
    done = served("load", *short, "--users", "accounts.txt")
    assert done.code == 2
    assert done.err.startswith("error: line 3 of the accounts: ")
