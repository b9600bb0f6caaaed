"""Finding and ending the processes of a server, without one: by programs called opensips."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rcsops.errors import EngineError, UsageError
from rcsops.opensips.installed import Installation
from rcsops.opensips.ports import check_free, listens
from rcsops.opensips.process import (
    command_line,
    end_processes,
    find_account,
    memory_of,
    server_processes,
    spawn,
)
from rcsops.settings import Listen


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Fake:
    def __init__(self, directory: Path) -> None:
        binary = directory / "sbin" / "opensips"
        binary.parent.mkdir()
        # A main process with two workers of its group, which pay no heed to SIGTERM.
        script = directory / "script"
        # They wait without a child of their own: one has their command line until it runs another
        # program, and would be counted with them.
        never = directory / "never"
        os.mkfifo(never)
        script.write_text(
            f"if [ \"$WORKER\" ]; then trap '' TERM; : > '{directory}/deaf.'$$; "
            f"exec 3<> '{never}'; read -r -u 3; exit; fi\n"
            f'(export WORKER=1; exec -a "{binary}" bash "$0" "$@") &\n'
            f'(export WORKER=1; exec -a "{binary}" bash "$0" "$@") &\n'
            "wait\n"
        )
        self.run_dir = directory / "run"
        self.run_dir.mkdir()
        binary.symlink_to("/bin/bash")
        self.process = subprocess.Popen(
            [str(binary), str(script), "-F", "-w", str(self.run_dir), "-P", "x"],
            start_new_session=True,
        )
        until(lambda: len(list(directory.glob("deaf.*"))) == 2)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    made = Fake(tmp_path)
    yield made
    end_processes(made.run_dir, signal.SIGKILL)
    made.process.wait()


def test_all_processes_are_found_and_the_main_one_is_known(fake: Fake) -> None:
    found = server_processes(fake.run_dir)
    assert found.main == fake.process.pid
    assert memory_of(found.pids)
    assert not server_processes(fake.run_dir / "other")
    assert not server_processes(fake.run_dir.parent)


def test_orphans_are_found_and_ended(fake: Fake) -> None:
    fake.process.kill()
    fake.process.wait()
    found = server_processes(fake.run_dir)
    assert found.main == 0
    assert len(found.pids) == 2
    # They do not heed it, as those of OpenSIPS do not.
    assert end_processes(fake.run_dir, signal.SIGTERM) == 2
    time.sleep(0.1)
    assert len(server_processes(fake.run_dir).pids) == 2
    end_processes(fake.run_dir, signal.SIGKILL)
    until(lambda: not server_processes(fake.run_dir))
    assert end_processes(fake.run_dir, signal.SIGKILL) == 0


def test_another_program_with_that_directory_is_none(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "30", "-w", str(tmp_path)], stderr=subprocess.DEVNULL)
    mine = subprocess.Popen(["bash", "-c", "sleep 30; :", "x", "-w", str(tmp_path), "y"])
    try:
        assert not server_processes(tmp_path)
    finally:
        for each in (other, mine):
            each.kill()
            each.wait()


def test_it_leads_a_session_of_its_own_and_has_no_terminal(tmp_path: Path) -> None:
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    process = spawn(["/bin/sh", "-c", "ps -o sid= -p $$; echo $$; umask; pwd; cat"], log=log)
    os.close(log)
    assert process.wait(10) == 0
    session, pid, umask, directory = (tmp_path / "log").read_text().split()
    assert session == pid
    assert umask == "0077"
    assert directory == "/"


def test_every_path_of_the_command_is_absolute(tmp_path: Path) -> None:
    installation = Installation(
        "3.6.8", tmp_path, tmp_path / "sbin/opensips", tmp_path, None, (), None, True
    )
    words = command_line(installation, tmp_path / "a.cfg", tmp_path, tmp_path / "pid", None)
    values = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[:2] == [str(tmp_path / "sbin/opensips"), "-F"]
    assert values["-f"] == str(tmp_path / "a.cfg")
    assert values["-w"] == str(tmp_path)
    assert values["-P"] == str(tmp_path / "pid")
    account = find_account("root", "")
    assert command_line(installation, tmp_path, tmp_path, tmp_path, account)[-4:] == [
        "-u",
        "root",
        "-g",
        "root",
    ]


def test_users_and_groups_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="no user 'no-such'"):
        find_account("no-such", "")
    with pytest.raises(UsageError, match="no group 'no-such'"):
        find_account("root", "no-such")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_in_use_and_by_whom(transport: str) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if transport == "tcp":
            taken.listen()
        address = Listen(transport, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(EngineError, match=rf"in use by .*\(pid {os.getpid()}\)"):
            check_free(address)
        if transport == "tcp":
            assert listens(address)
    check_free(address)
    if transport == "tcp":
        assert not listens(address)


def test_an_address_that_this_machine_does_not_have() -> None:
    with pytest.raises(EngineError, match=r"cannot listen at udp:192\.0\.2\.1:5060"):
        check_free(Listen("udp", "192.0.2.1", 5060))
