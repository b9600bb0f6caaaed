"""``rcsops chat`` to somebody who is away, through real servers that keep messages.

Every test drives processes: what alex writes to the absent bob is stored by the server, bob sees it
once when he registers, and alex hears of that, then or later.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rcsops.testing import wait_until
from rcsops.testing.opensips import OpenSipsServer
from tests.live.phones import DOMAIN
from tests.live.talking import PATIENCE

pytestmark = pytest.mark.feature("offline messages")


class Chat:
    """``rcsops chat NAME WORDS --json`` at a server, in a directory that keeps its history."""

    def __init__(self, server: str, directory: Path, name: str, *words: str) -> None:
        self.name = name
        self.history = directory / ".rcsops" / "agents" / f"{name}@{DOMAIN}" / "history.db"
        self.notices: list[dict[str, Any]] = []
        self._taken = 0
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RCSOPS_")}
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "rcsops", "chat", name, *words),
                *("--json", "--server", server, "--domain", DOMAIN),
            ],
            cwd=directory,
            env=kept | {"HOME": str(directory), "RCSOPS_PASSWORD": f"of {name}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        if self._process.stdin is not None and self._process.stdin.closed:
            self._process.stdin = None
        _, errors = self._process.communicate()
        assert "Traceback" not in errors, errors

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.notices.append(json.loads(line))

    def wait(self, event: str, **values: object) -> dict[str, Any]:
        """The next notice of that kind; those before it are done with."""
        found: dict[str, Any] = {}

        def came() -> bool:
            for index in range(self._taken, len(self.notices)):
                notice = self.notices[index]
                if notice["event"] == event and values.items() <= notice.items():
                    self._taken = index + 1
                    found.update(notice)
                    return True
            return False

        try:
            wait_until(came, PATIENCE)
        except Exception as error:
            rest = self.notices[self._taken :]
            said = ""
            if self._process.poll() is not None and self._process.stderr is not None:
                said = f"; it ended with {self._process.returncode}: {self._process.stderr.read()}"
            raise AssertionError(f"{self.name}: no {event} {values} in {rest}{said}") from error
        return found

    def type(self, *lines: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()

    def finish(self) -> int:
        """Ends its input; the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(60)
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def statuses(self, status: str) -> set[str]:
        """The texts that have come that far."""
        return {each["text"] for each in self.notices if each.get("status") == status}

    @property
    def messages(self) -> list[str]:
        return [each["text"] for each in self.notices if each["event"] == "message"]

    def kept(self, direction: str) -> list[tuple[str, str]]:
        """The texts of its history and their states, in their order."""
        query = "SELECT text, status FROM message WHERE direction = ? ORDER BY sent_at"
        with closing(sqlite3.connect(self.history)) as connection:
            return list(connection.execute(query, (direction,)))


StartChat = Callable[..., Chat]


@pytest.fixture
def chat(opensips: OpenSipsServer) -> Iterator[StartChat]:
    with chats_at(opensips.address) as start:
        yield start


@contextlib.contextmanager
def chats_at(address: str) -> Iterator[StartChat]:
    """Starts chats at a server, all in one directory."""
    directory = Path(tempfile.mkdtemp(prefix="rcsops-"))
    (directory / "rcsops.toml").write_text(f'domain = "{DOMAIN}"\n')
    started: list[Chat] = []

    def start(name: str, *words: str) -> Chat:
        started.append(Chat(address, directory, name, *words))
        return started[-1]

    yield start
    for each in started:
        each.__exit__()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def names(opensips: OpenSipsServer) -> tuple[str, str]:
    """Two users whom no other test has."""
    names.count = getattr(names, "count", 0) + 1  # type: ignore[attr-defined]
    made = tuple(f"{name}{names.count}" for name in ("alex", "bob"))  # type: ignore[attr-defined]
    for name in made:
        opensips.add_user(name, f"of {name}")
    return made  # type: ignore[return-value]


@pytest.mark.slow
def test_a_recipient_who_is_killed_sees_nothing_twice(
    opensips: OpenSipsServer, chat: StartChat, names: tuple[str, str]
) -> None:
    a, b = names
    texts = [f"number {number}" for number in range(20)]
    alex = chat(a, b)
    alex.type(*texts)
    assert alex.finish() == 0
    shown: list[str] = []
    for _ in range(3):
        bob = chat(b)
        bob.wait("registered")
        # At a moment of its own choosing: some are answered, some are stored and not answered.
        wait_until(lambda bob=bob: bob.history.exists() and len(bob.kept("in")) > 0, PATIENCE)
        bob.kill()
        shown += bob.messages
    bob = chat(b)
    bob.wait("registered")
    # msilo tries a message again at a later REGISTER, when the attempt before has timed out.
    for _ in range(15):
        if len(bob.kept("in")) == len(texts):
            break
        bob.type("/register")
        bob.wait("waiting")
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: len(bob.kept("in")) == len(texts), 3)
    assert bob.finish() == 0
    shown += bob.messages
    assert len(shown) == len(set(shown))
    # What a kill left without an answer comes behind what msilo tried after it.
    assert sorted(text for text, _ in bob.kept("in")) == sorted(texts)


def test_twenty_messages_come_in_order(chat: StartChat, names: tuple[str, str]) -> None:
    a, b = names
    texts = [f"number {number}" for number in range(20)]
    alex = chat(a, b)
    alex.type(*texts)
    assert alex.finish() == 0
    bob = chat(b)
    wait_until(lambda: len(bob.messages) == len(texts), PATIENCE)
    assert bob.messages == texts
    assert bob.finish() == 0


def test_a_device_that_vanished_counts_as_away(chat: StartChat, names: tuple[str, str]) -> None:
    a, b = names
    bob = chat(b)
    bob.wait("registered")
    bob.kill()
    alex = chat(a)
    alex.wait("registered")
    alex.type(f"/message {b}", "hello?")
    alex.wait("status", status="stored", text="hello?")
    assert chat(b).wait("message")["text"] == "hello?"
    alex.wait("status", status="delivered", text="hello?")


def test_what_cannot_go_without_a_session(chat: StartChat, names: tuple[str, str]) -> None:
    a, b = names
    alex = chat(a, b)
    alex.wait("pager")
    alex.type("é" * 9000, "short")
    refused = alex.wait("error")
    assert "octets too long for a message without a session" in refused["error"]
    assert "invite the peer" in refused["hint"]
    alex.wait("status", status="stored", text="short")
    alex.type("/bye", "/message nobody", "anybody?")
    failed = alex.wait("status", status="failed", text="anybody?")
    assert failed["code"] == 404
    assert alex.finish() == 1


def test_a_long_text_over_udp_needs_a_session(chat: StartChat, names: tuple[str, str]) -> None:
    a, b = names
    alex = chat(a, "--transport", "udp")
    alex.wait("registered")
    alex.type(f"/message {b}", "é" * 300)
    assert "octets too long for a message without a session" in alex.wait("error")["error"]
