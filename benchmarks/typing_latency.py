"""How long a key takes to its letter on the screen, while much comes in.

``rcsops chat`` runs as a person has it, in a terminal of 200x50 whose other end is this program: it
writes a key and reads until the letter is drawn. First at rest; then beside one file after the
other; then beside messages in a session, as many a second as it is told, and beside these with the
protocol panel open (F2). They come from a peer in a
process of its own without a history, so that it is never what limits them. What came is counted in
the history, where in the end every message must be, once and in order.

Not under ``chrt``: the system carries what is typed and drawn over to the other end of the terminal
in a thread of its own, which programs with a real-time priority keep waiting on busy processors.

    python benchmarks/typing_latency.py [--rate N] [--seconds N] [--only PHASE]

Exit code 1 when a message is missing, doubled or out of its order, or when 99 of 100 keys take
longer than 50 ms beside messages.
"""

import argparse
import asyncio
import contextlib
import fcntl
import itertools
import os
import pty
import random
import re
import select
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from chat_screen import TEXT, setup

from rcsops import Agent
from rcsops.settings import Project
from rcsops.testing import EmbeddedServer

GOAL_MS = 50.0
F2, ESCAPE = "\x1bOQ", "\x1b"
LETTERS = "αβγδεζηθικλμνξοπρστυφχψ"
_GAP = (0.06, 0.14)
_TICKS = os.sysconf("SC_CLK_TCK")


class Person:
    """Somebody in front of a terminal in which ``rcsops chat`` runs."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.process_id, self._terminal = pty.fork()
        if not self.process_id:
            os.chdir(directory)
            os.environ.update(TERM="xterm-256color", LANG="C.UTF-8")
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, [sys.executable, "-m", "rcsops", "chat", *words])
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))

    def read(self, until: bytes, seconds: float) -> bool:
        """Reads what is drawn, until it has some octets; empty: for so many seconds."""
        seen = b""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._terminal], [], [], left)[0]:
                seen = seen[-16:] + os.read(self._terminal, 1 << 16)
                if until and until in seen:
                    return True
        return False

    def wait(self, until: str) -> None:
        if not self.read(until.encode(), 60.0):
            raise TimeoutError(f"{until!r} was not drawn")

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def types(self, count: int) -> list[float]:
        """Milliseconds from a key to its letter, for keys at a fast typist's pace."""
        took = []
        for number in range(count):
            letter = LETTERS[number % len(LETTERS)]
            begin = time.perf_counter()
            self.press(letter)
            self.wait(letter)
            took.append((time.perf_counter() - begin) * 1000)
            self.read(b"", random.uniform(*_GAP))
            if letter == LETTERS[-1] or number + 1 == count:
                for _ in range(number % len(LETTERS) + 1):
                    self.press("\x7f")
                    self.read(b"", 0.02)
        return took

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / _TICKS

    def leave(self) -> None:
        self.press("\x11")
        with contextlib.suppress(OSError, TimeoutError):
            self.read(b"good bye", 10.0)
        os.close(self._terminal)
        os.waitpid(self.process_id, 0)


class Came:
    """What has come, as the history has it."""

    def __init__(self, directory: Path) -> None:
        self._history = directory / ".rcsops/agents/alex@rcs.example/history.db"
        self._files = directory

    def texts(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(f"file:{self._history}?mode=ro", uri=True)) as base:
            query = "SELECT text FROM message WHERE text LIKE 'number %' ORDER BY id"
            return [text for (text,) in base.execute(query)]

    def messages(self) -> int:
        with contextlib.closing(sqlite3.connect(f"file:{self._history}?mode=ro", uri=True)) as base:
            query = "SELECT count(*) FROM message WHERE text LIKE 'number %'"
            return int(base.execute(query).fetchone()[0])

    def octets(self) -> int:
        total = 0
        for each in self._files.rglob("*film*"):
            # One that is through gets its name while we look.
            with contextlib.suppress(FileNotFoundError):
                if "sent" not in each.parts:
                    total += each.stat().st_size
        return total


@contextlib.contextmanager
def peer(directory: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Bob, in a process of his own, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, __file__, *words],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def show(what: str, took: list[float]) -> float:
    ordered = sorted(took)
    high = ordered[int(len(ordered) * 0.99)]
    print(
        f"{what:44} p50 {statistics.median(ordered):5.1f} ms   p99 {high:5.1f} ms"
        f"   the longest of {len(ordered)} {ordered[-1]:5.1f} ms",
        flush=True,
    )
    return high


def beside_files(person: Person, directory: Path, seconds: float) -> None:
    came = Came(directory)
    with peer(directory, "--send-files"):
        while not came.octets():
            person.read(b"", 0.1)
        had, begin = came.octets(), time.perf_counter()
        took = person.types(int(seconds / 0.12))
        rate = (came.octets() - had) / (time.perf_counter() - begin) / 1e6
    show(f"beside files, {rate:.0f} MB a second", took)
    assert rate > 0
    person.read(b"", 3.0)


def beside_messages(
    person: Person, directory: Path, rate: int, seconds: float, *, panel: bool = False
) -> bool:
    """False when it is not as it must be."""
    came = Came(directory)
    before = came.messages()
    if panel:
        # The keys are the ladder's then, until they are given back to what is written.
        person.press(F2)
        person.wait("SIP and MSRP")
        person.press(ESCAPE)
        person.read(b"", 1.0)
    with peer(directory, "--write", str(rate), str(seconds + 15.0)) as bob:
        while came.messages() - before < rate:
            person.read(b"", 0.1)
        had, begin, cpu = came.messages(), time.perf_counter(), person.cpu_seconds
        took = person.types(int(seconds / 0.12))
        spent = time.perf_counter() - begin
        got = came.messages() - had
        cost = (person.cpu_seconds - cpu) / got * 1e6
        what = "messages a second" + (", with the panel" if panel else "")
        high = show(f"beside {got / spent:.0f} {what}", took)
        print(f"{'':44} a message costs {cost:.0f} µs of processor time")
        assert bob.stdin is not None
        assert bob.stdout is not None
        bob.stdin.write("enough\n")
        bob.stdin.flush()
        while not select.select([bob.stdout], [], [], 0)[0]:
            person.read(b"", 0.1)
        sent = int(bob.stdout.readline())
    numbers = [int(re.match(r"number (\d+):", text)[1]) for text in came.texts()[before:]]  # type: ignore[index]
    if numbers != list(range(sent)):
        print(f"of {sent} messages there are {len(numbers)}, {len(set(numbers))} of them different")
        return False
    print(f"{'':44} all {sent} are in the history, once and in order")
    if panel:
        person.press(F2)
    return high <= GOAL_MS


def measure(directory: Path, only: str, rate: int, seconds: float) -> bool:
    person = Person(directory, "alex", "bob")
    try:
        person.wait("is not there")
        person.read(b"", 2.0)
        if only in ("", "rest"):
            show("at rest", person.types(int(seconds / 0.12)))
        if only in ("", "files"):
            beside_files(person, directory, seconds)
        good = True
        if only in ("", "messages"):
            good = beside_messages(person, directory, rate, seconds)
        if only in ("", "panel"):
            good &= beside_messages(person, directory, rate, seconds, panel=True)
        return good
    finally:
        person.leave()


# --- the peer ------------------------------------------------------------------------------------


def bob(project: Project) -> Agent:
    his = setup(project, "bob")
    return Agent(f"sip:{his.account}", server=his.server, credential=his.credential, bind=his.bind)


async def write(project: Project, rate: int, seconds: float) -> None:
    """So many messages a second, until a line comes or the time is over; says how many, when
    all have arrived."""
    enough = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    async with bob(project) as agent:
        await agent.register()
        chat = await agent.invite("alex")
        begin = time.monotonic()
        sent = 0
        receipt = None
        while time.monotonic() - begin < seconds and not enough.done():
            due = int((time.monotonic() - begin) * rate)
            while sent < due:
                receipt = await chat.send(f"number {sent}: {TEXT.format(sent)}")
                sent += 1
            await asyncio.sleep(0.005)
        if receipt is not None:
            await receipt.delivered()
        print(sent, flush=True)
        await enough
        await asyncio.sleep(5.0)


async def send_files(project: Project, directory: Path) -> None:
    """One file after the other, until it is ended."""
    async with bob(project) as agent:
        await agent.register()
        for number in itertools.count(1):
            path = directory / f"film{number}.bin"
            path.write_bytes(os.urandom(1 << 20) * 64)
            transfer = await agent.send_file("alex", path)
            await transfer.done()
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", choices=["rest", "files", "messages", "panel"], default="")
    parser.add_argument("--write", nargs=2, metavar=("RATE", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--send-files", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        asyncio.run(write(Project.find(), int(given.write[0]), float(given.write[1])))
        return
    if given.send_files:
        with tempfile.TemporaryDirectory(prefix="sent") as name:
            asyncio.run(send_files(Project.find(), Path(name)))
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        users = {"alex": "alex's secret", "bob": "bob's secret"}
        with EmbeddedServer(directory / "project", users) as server:
            good = measure(server.directory, given.only, given.rate, given.seconds)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
