"""The chat screen with a long history, and while a peer writes as fast as it is told to.

A history of 100,000 messages, 10,000 of them with bob, is made; then the real screen opens bob's
conversation, scrolls through it, and is typed to: at rest, while a peer in another process sends
one file after the other, and while it writes 1,000 messages a second in a session, or as many as
get through. What came is printed beside each. The terminal is Textual's headless one, 200x50, which
draws all and writes nothing.

    python benchmarks/chat_screen.py [--rate N] [--seconds N]
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import insert
from textual import events

from rcsops.cli.agent_setup import AgentChoices, AgentSetup
from rcsops.cli.chat_screen import screen_app
from rcsops.database import open_engine, prepare_history
from rcsops.database.schema import message
from rcsops.operations.chat import ChatRoom
from rcsops.settings import Project
from rcsops.testing import EmbeddedServer
from rcsops.tui.app import ChatApp
from rcsops.tui.wire import Wire

TEXT = "message {0}: the quick brown fox jumps over the lazy dog and does it again " * 2


def history(path: Path, total: int, with_bob: int) -> None:
    """Makes it; bob's messages are spread over all of it."""
    engine = open_engine(f"sqlite:///{path}", create=True)
    each = total // with_bob
    now = time.time() - total
    with engine.begin() as connection:
        prepare_history(connection)
        rows = [
            {
                "peer": f"sip:{'bob' if number % each == 0 else f'peer{number % 50}'}@rcs.example",
                "direction": "in" if number % 3 else "out",
                "message_id": f"id{number}",
                "text": TEXT.format(number),
                "status": "received" if number % 3 else "displayed",
                "sent_at": now + number,
                "stored_at": now + number,
            }
            for number in range(total)
        ]
        connection.execute(insert(message), rows)
    engine.dispose()


def setup(project: Project, user: str) -> AgentSetup:
    choices = AgentChoices(
        server=None, transport=None, domain=None, bind=None, start_server=False, trace=None
    )
    return AgentSetup.of(project, user, choices)


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.0005)


async def drawn(app: ChatApp) -> None:
    """Waits until what has changed is on the screen."""
    done = asyncio.get_running_loop().create_future()
    app.view.call_after_refresh(lambda: done.done() or done.set_result(None))
    await done


async def keystrokes(app: ChatApp, count: int) -> list[float]:
    """Milliseconds from a key to its letter on the screen, for keys at a fast typist's pace."""
    took = []
    composer = app.view.composer
    for _ in range(count):
        length = len(composer.text)
        begin = time.perf_counter()
        app.post_message(events.Key("x", "x"))
        await until(lambda length=length: len(composer.text) > length)
        await drawn(app)
        took.append((time.perf_counter() - begin) * 1000)
        await asyncio.sleep(0.06)
    composer.put_aside()
    return took


async def measure(directory: Path, project: Project, rate: int, seconds: float) -> None:
    alex = setup(project, "alex")
    wire = Wire("alex")
    room = partial(
        ChatRoom,
        alex.agent(tap=wire),
        server=alex.server,
        domain=alex.domain,
        directory=directory / "files",
    )
    app = screen_app(alex, room, wire, None)
    async with app.run_test(size=(200, 50)) as pilot:
        await until(lambda: app.state.registration == "registered")
        begin = time.perf_counter()
        app.open("sip:bob@rcs.example")
        timeline = app.view.timeline
        await until(lambda: bool(timeline._blocks))
        await drawn(app)
        print(
            f"opening the conversation of 10,000    {(time.perf_counter() - begin) * 1000:7.1f} ms"
        )
        pages = []
        for _ in range(700):
            at = time.perf_counter()
            app.view.action_page_up()
            await drawn(app)
            pages.append((time.perf_counter() - at) * 1000)
            await asyncio.sleep(0.005)
        print(f"a page back, of 700: median            {statistics.median(pages):7.1f} ms")
        print(f"                     the slowest       {max(pages):7.1f} ms")
        shown = app.state.shown
        print(f"rows loaded after that                 {len(shown.rows or ()) if shown else 0:7d}")
        begin = time.perf_counter()
        found = await app._setup.memory.search("message 50001:")
        print(
            f"search in 100,000 messages             {(time.perf_counter() - begin) * 1000:7.1f} ms"
        )
        assert len(found) == 1
        timeline.action_last()
        await pilot.pause()
        show("a key, at rest", await keystrokes(app, 60))
        try:
            with peer(directory, "--send-files"):
                await until(lambda: octets(directory / "files") > 0)
                begin, had = time.perf_counter(), octets(directory / "files")
                took = await keystrokes(app, int(seconds / 0.08))
                mega = (octets(directory / "files") - had) / 1e6
                spent = time.perf_counter() - begin
                show(f"a key, with files at {mega / spent:.1f} MB a second", took)
                assert mega > 0
            with peer(directory, "--write", str(rate), str(seconds + 5)):
                await until(
                    lambda: app.state.shown is not None and app.state.shown.session == "open"
                )
                bob = app.state.conversation("sip:bob@rcs.example")
                begin = time.perf_counter()
                came = count_messages(app)
                await asyncio.sleep(0.5)
                took = await keystrokes(app, int(seconds / 0.08))
                spent = time.perf_counter() - begin
                show(f"a key, with {came() / spent:.0f} messages a second", took)
                assert came() > 0
                assert bob.index
        finally:
            app.leave()
            app.leave()
            with contextlib.suppress(TimeoutError):
                await until(lambda: not app.is_running, 10)


@contextlib.contextmanager
def peer(directory: Path, *words: str) -> Iterator[None]:
    """Bob, in a process of his own, for as long as the block goes."""
    process = subprocess.Popen([sys.executable, __file__, *words], cwd=directory)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def octets(directory: Path) -> int:
    """How much of files has come."""
    total = 0
    for each in directory.rglob("*"):
        # One that is through gets its name while we look.
        with contextlib.suppress(FileNotFoundError):
            total += each.stat().st_size if each.is_file() else 0
    return total


def count_messages(app: ChatApp) -> Callable[[], int]:
    """How many have been drawn or are gone by since now."""
    seen = 0
    hear = app._ear.hear

    def counting(notice: object) -> None:
        nonlocal seen
        seen += getattr(notice, "event", "") == "message"
        hear(notice)  # type: ignore[arg-type]

    app._ear.hear = counting  # type: ignore[method-assign,assignment]
    return lambda: seen


def show(what: str, took: list[float]) -> None:
    ordered = sorted(took)
    high = ordered[int(len(ordered) * 0.95)]
    print(f"{what}: median {statistics.median(ordered):.1f} ms, 95 % within {high:.1f} ms")


async def write(project: Project, rate: int, seconds: float) -> None:
    """The peer: so many messages a second."""
    async with setup(project, "bob").agent(tap=None) as bob:
        await bob.register()
        chat = await bob.invite("alex")
        begin = time.monotonic()
        sent = 0
        while time.monotonic() - begin < seconds:
            due = int((time.monotonic() - begin) * rate)
            while sent < due:
                await chat.send(f"number {sent}: {TEXT.format(sent)}")
                sent += 1
            await asyncio.sleep(0.005)


async def send_files(project: Project, directory: Path) -> None:
    """The peer: one file after the other, until it is ended."""
    async with setup(project, "bob").agent(tap=None) as bob:
        await bob.register()
        for number in itertools.count(1):
            path = directory / f"film{number}.bin"
            path.write_bytes(os.urandom(1 << 20) * 64)
            transfer = await bob.send_file("alex", path)
            await transfer.done()
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--write", nargs=2, metavar=("RATE", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--send-files", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        asyncio.run(write(Project.find(), int(given.write[0]), float(given.write[1])))
        return
    if given.send_files:
        with tempfile.TemporaryDirectory() as name:
            asyncio.run(send_files(Project.find(), Path(name)))
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        users = {"alex": "alex's secret", "bob": "bob's secret"}
        with EmbeddedServer(directory / "project", users) as server:
            project = Project.find(server.directory, environment={})
            history(project.make_agent_dir("alex@rcs.example") / "history.db", 100_000, 10_000)
            asyncio.run(measure(server.directory, project, given.rate, given.seconds))


if __name__ == "__main__":
    main()
