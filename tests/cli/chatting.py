"""A server, users made on demand, and ``rcsops chat`` as processes: on terminals and on pipes."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect
import psutil

from rcsops.operations import db, users
from rcsops.operations.mi import contacts
from rcsops.settings import Project
from rcsops.sip.digest import ALGORITHMS, hash_a1
from rcsops.testing import EmbeddedServer

PATIENCE = 30.0
CHAT = (sys.executable, "-m", "rcsops", "chat")


class Lab:
    """A project with its running server; each test makes users of its own."""

    def __init__(self, root: Path, *, more: Iterable[str] = (), settings: str = "") -> None:
        self.directory = root
        self.server = EmbeddedServer(root, more=more, settings=settings)
        self._count = 0

    def __enter__(self) -> "Lab":
        (self.directory / "rcsops.toml").write_text(self.server.settings_text)
        self.project = Project.find(str(self.directory))
        db.create(self.project)
        self.server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.server.stop()

    @property
    def environment(self) -> dict[str, str]:
        return {**self.server.environment, "TERM": "xterm", "LANG": "C.UTF-8"}

    def users(self, *names: str) -> list[str]:
        """Makes users that no other test has."""
        self._count += 1
        made = [f"{name}{self._count}" for name in names]
        for name in made:
            users.add_user(self.project, name, password=f"secret of {name}")
        return made

    def forget_password(self, user: str) -> None:
        """As on a machine where the user was not added."""
        self.project.credentials.remove(f"{user}@rcs.example")

    def keep_password(self, user: str, password: str) -> None:
        """As `rcsops user passwd` leaves it for local use."""
        ha1 = {name: hash_a1(user, "rcs.example", password, name) for name in ALGORITHMS}
        self.project.credentials.put(f"{user}@rcs.example", ha1)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The server is there and does not answer."""
        pid = self.server.json("status")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def is_registered(self, user: str) -> bool:
        """What the server says."""
        return bool(contacts(self.project, user))

    def history(self, user: str) -> list[dict[str, Any]]:
        """What ``rcsops history`` says of all messages of a user."""
        done = subprocess.run(
            [sys.executable, "-m", "rcsops", "history", user, "--all", "--json"],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=True,
        )
        messages: list[dict[str, Any]] = json.loads(done.stdout)["messages"]
        return messages

    def start(self, user: str, *words: str) -> "ChatProcess":
        """``rcsops chat USER WORDS --json`` on pipes."""
        return ChatProcess(self, user, *words)

    @contextmanager
    def waiting(self, user: str, *words: str) -> "Iterator[ChatProcess]":
        """The same, registered."""
        with self.start(user, *words) as chat:
            chat.wait("registered")
            yield chat

    @contextmanager
    def terminal(self, user: str, *words: str, columns: int = 120) -> "Iterator[Terminal]":
        """``rcsops chat USER WORDS --plain`` on a pseudo-terminal."""
        terminal = Terminal(self, [user, *words, "--plain"], columns)
        try:
            yield terminal
        finally:
            terminal.kill()

    def run(
        self,
        user: str,
        *words: str,
        stdin: bytes | str = b"",
        environment: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> "Finished":
        """Runs it with ``stdin`` as a pipe until it ends."""
        done = subprocess.run(
            [*CHAT, user, *words],
            cwd=self.directory,
            env={**self.environment, **(environment or {})},
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


class Finished:
    """What a process left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        assert "Traceback" not in err, err
        self.code = code
        self.out = out
        self.err = err

    @property
    def texts(self) -> list[str]:
        """The lines without their times."""
        return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in self.out.splitlines()]

    @property
    def notices(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The notices with this event."""
        return [notice for notice in self.notices if notice["event"] == event]


class ChatProcess:
    """``rcsops chat … --json``, its notices as they come."""

    def __init__(
        self, lab: Lab | EmbeddedServer, user: str, *words: str, prefix: Sequence[str] = ()
    ) -> None:
        self.user = user
        self.address = f"sip:{user}@rcs.example"
        self.notices: list[dict[str, Any]] = []
        self._taken = 0
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [*prefix, *CHAT, user, *words, "--json"],
            cwd=lab.directory,
            env=lab.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        self._errors = b""
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.notices.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self.notices.append({"event": "(end of output)"})
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors = self._process.stderr.read()

    def __enter__(self) -> "ChatProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        assert b"Traceback" not in self._errors, self._errors.decode()

    def wait(self, event: str, *, timeout: float = PATIENCE, **values: object) -> dict[str, Any]:
        """The next notice of that kind; those before it are done with."""

        def matches(notice: Mapping[str, Any]) -> bool:
            return notice["event"] == event and values.items() <= notice.items()

        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for index in range(self._taken, len(self.notices)):
                    if matches(self.notices[index]):
                        self._taken = index + 1
                        return self.notices[index]
                left = deadline - time.monotonic()
                ended = bool(self.notices) and self.notices[-1]["event"] == "(end of output)"
                assert left > 0 and not ended, (
                    f"{self.user}: no {event} {values} in {self.notices[self._taken :]}; "
                    f"{self._errors.decode()}"
                )
                self._news.wait(left)

    def wait_any(self, *events: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next notice of one of these kinds; those before it are done with."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for index in range(self._taken, len(self.notices)):
                    if self.notices[index]["event"] in events:
                        self._taken = index + 1
                        return self.notices[index]
                left = deadline - time.monotonic()
                assert left > 0, f"{self.user}: none of {events} in {self.notices[self._taken :]}"
                self._news.wait(left)

    def settled(self, *events: str, timeout: float = PATIENCE) -> str:
        """Which of these comes next; those before it are done with."""
        return str(self.wait_any(*events, timeout=timeout)["event"])

    def skip(self) -> None:
        """What has been said so far is done with."""
        self._taken = len(self.notices)

    @property
    def is_connected(self) -> bool:
        """Whether it has a TCP connection to somebody."""
        connections = psutil.Process(self._process.pid).net_connections("tcp")
        return any(each.status == psutil.CONN_ESTABLISHED for each in connections)

    def type(self, *lines: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self._process.stdin.flush()

    def say(self, text: str) -> None:
        """A message with whatever is in it."""
        self.type(json.dumps({"text": text}))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """It has no time for goodbyes."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def finish(self, timeout: float = PATIENCE) -> int:
        """Ends its input and waits for its end; the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.ended(timeout)

    def ended(self, timeout: float = PATIENCE) -> int:
        """Waits for its end; the exit code."""
        code = self._process.wait(timeout)
        self._readers[0].join(PATIENCE)
        return code


class Terminal:
    """``rcsops chat --plain`` on a pseudo-terminal, as a person sees and types it."""

    def __init__(self, lab: Lab, words: Sequence[str], columns: int = 120) -> None:
        self._child: pexpect.spawn[str] = pexpect.spawn(
            CHAT[0],
            [*CHAT[1:], *words],
            cwd=str(lab.directory),
            env=lab.environment,
            encoding="utf-8",
            codec_errors="replace",  # a terminal echoes what it is given
            timeout=PATIENCE,
            dimensions=(30, columns),
        )
        self._child.delaybeforesend = None

    def sees(self, *texts: str) -> str:
        """Waits until each of these comes up, one after the other; what came before the last."""
        before = ""
        for text in texts:
            self._child.expect_exact(text)
            before = str(self._child.before)
        return before

    def matches(self, pattern: str) -> "re.Match[str]":
        """The same for a regular expression."""
        self._child.expect(pattern)
        found = self._child.match
        assert isinstance(found, re.Match)
        return found

    def type(self, *lines: str) -> None:
        """Lines, each with the Enter key."""
        for line in lines:
            self._child.send(f"{line}\r")

    def press(self, keys: str) -> None:
        self._child.send(keys)

    def press_bytes(self, keys: bytes) -> None:
        os.write(self._child.child_fd, keys)

    def signal(self, number: signal.Signals) -> None:
        self._child.kill(number)

    def rest(self) -> str:
        """Everything up to its end."""
        self._child.expect(pexpect.EOF)
        return str(self._child.before)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        self.rest()
        self._child.wait()
        assert self._child.exitstatus is not None
        return int(self._child.exitstatus)

    def kill(self) -> None:
        self._child.close(force=True)


def talk(caller: ChatProcess, callee: ChatProcess) -> None:
    """Both are in a session that works in both directions."""
    caller.wait("session", peer=callee.address)
    callee.wait("session", peer=caller.address)
    for one, other in ((caller, callee), (callee, caller)):
        one.say(f"{one.user} is here")
        one.wait("status", status="delivered")
        other.wait("message", text=f"{one.user} is here")


def timed(work: Callable[[], object]) -> float:
    """How many seconds it takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start
