"""The chat screen with a long history.

A history of 100,000 messages, 10,000 of them with bob, is made; then the real screen opens bob's
conversation, scrolls through it, and searches. The terminal is Textual's headless one, 200x50,
which draws all and writes nothing. How long a key takes is measured by typing_latency.py.

    python benchmarks/chat_screen.py
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import insert

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
    done = asyncio.Event()
    app.view.call_after_refresh(done.set)
    await done.wait()


async def measure(directory: Path, project: Project) -> None:
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
    async with app.run_test(size=(200, 50)):
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
        app.leave()
        app.leave()
        with contextlib.suppress(TimeoutError):
            await until(lambda: not app.is_running, 10)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        users = {"alex": "alex's secret", "bob": "bob's secret"}
        with EmbeddedServer(directory / "project", users) as server:
            project = Project.find(server.directory, environment={})
            history(project.make_agent_dir("alex@rcs.example") / "history.db", 100_000, 10_000)
            asyncio.run(measure(server.directory, project))


if __name__ == "__main__":
    main()
