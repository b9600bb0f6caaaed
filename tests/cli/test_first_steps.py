"""The first steps, typed as they stand in an empty directory."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from rcsops.testing import free_port

pytestmark = pytest.mark.timeout(120)

PASSWORD = "a password that is long"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory; the home of its user is beside it."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A person's environment, with a free port in place of 5060."""
    port = free_port()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RCSOPS_", "XDG_", "LC_"))
    }
    return {
        **kept,
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "RCSOPS_LISTEN": f"udp:127.0.0.1:{port},tcp:127.0.0.1:{port}",
    }


@pytest.fixture
def terminal(place: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """Types ``rcsops WORDS`` at a terminal; whatever still runs at the end is ended."""
    opened: list[pexpect.spawn[str]] = []

    def run(*words: str) -> "pexpect.spawn[str]":
        child = pexpect.spawn(
            sys.executable,
            ["-m", "rcsops", *words],
            cwd=place,
            env=environment,
            encoding="utf-8",
            timeout=20,
            dimensions=(24, 100),
        )
        opened.append(child)
        return child

    yield run
    for child in opened:
        child.close(force=True)
    quietly(place, environment, "stop")


def quietly(
    place: Path, environment: dict[str, str], *words: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rcsops", *words],
        cwd=place,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def ends(child: "pexpect.spawn[str]") -> tuple[str, int | None]:
    """The rest of what it prints, without escape sequences, and its exit code."""
    child.expect(pexpect.EOF)
    rest = ESCAPES.sub("", child.before or "")
    child.close()
    return rest, child.exitstatus


def test_the_first_steps_as_they_stand(terminal: Terminal) -> None:
    made, code = ends(terminal("db", "create"))
    assert code == 0, made
    added = terminal("user", "add", "bob")
    for _ in range(2):
        added.expect("(?i)password|confirm|again|repeat")
        added.expect(":")
        added.sendline(PASSWORD)
    said, code = ends(added)
    assert code == 0, said
    assert PASSWORD not in said
    chat = terminal("chat", "bob")
    chat.expect(r"\[Y/n\]")
    chat.sendline("")
    chat.expect("Write a message")
    chat.expect("● .*bob at 127")
    chat.send("/quit\r")
    said, code = ends(chat)
    assert "unregistered" in said
    assert code == 0


def test_without_a_server_a_pipe_is_told_what_to_type(
    place: Path, environment: dict[str, str]
) -> None:
    assert quietly(place, environment, "db", "create").returncode == 0
    words = ("user", "add", "bob", "--password-stdin")
    assert quietly(place, environment, *words, stdin=f"{PASSWORD}\n").returncode == 0
    finished = quietly(place, environment, "chat", "bob")
    assert finished.returncode == 1
    assert "rcsops start" in finished.stderr
    assert "Traceback" not in finished.stderr
