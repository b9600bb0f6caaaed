"""The chat screen with a real server and real agents, driven by keys, and looked at."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from rcsops.cli.agent_setup import AgentChoices, AgentSetup
from rcsops.cli.chat_screen import screen_app
from rcsops.operations import db, users
from rcsops.operations.chat import ChatRoom
from rcsops.settings import Project
from rcsops.testing import EmbeddedServer
from rcsops.tui.app import ChatApp
from rcsops.tui.wire import Wire
from rcsops.ua import Agent

SIZES = {"small": (60, 20), "usual": (100, 30), "large": (250, 80)}
THEMES = ("dark", "light")


class Stage:
    """A project with its running server and some users."""

    def __init__(self, root: Path, *names: str, settings: str = "") -> None:
        self.directory = root
        self.server = EmbeddedServer(root, settings=settings)
        self._names = names

    def __enter__(self) -> "Stage":
        (self.directory / "rcsops.toml").write_text(self.server.settings_text)
        self.project = Project.find(str(self.directory), environment={})
        db.create(self.project)
        for name in self._names:
            users.add_user(self.project, name, password=f"secret of {name}")
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def setup(self, user: str) -> AgentSetup:
        choices = AgentChoices(
            server=None, transport=None, domain=None, bind=None, start_server=False, trace=None
        )
        return AgentSetup.of(self.project, user, choices)

    @asynccontextmanager
    async def agent(self, user: str) -> AsyncIterator[Agent]:
        """An agent that has registered, for whom the screen talks to."""
        async with self.setup(user).agent(tap=None) as agent:
            await agent.register()
            yield agent

    @asynccontextmanager
    async def screen(
        self,
        user: str,
        peer: str | None = None,
        *,
        size: tuple[int, int] = SIZES["usual"],
        theme: str = "dark",
        auto_accept: bool = True,
        registers: bool = True,
    ) -> "AsyncIterator[Screen]":
        """The screen of ``rcsops chat USER [PEER]``, registered unless it is not to be."""
        setup = self.setup(user)
        wire = Wire(user)
        agent = setup.agent(tap=wire, asking=not auto_accept)
        room = partial(
            ChatRoom,
            agent,
            server=setup.server,
            domain=setup.domain,
            directory=setup.directory / "files",
            auto_accept=auto_accept,
        )
        app = screen_app(setup, room, wire, peer)
        async with app.run_test(size=size, notifications=True) as pilot:
            from rcsops.tui.themes import NAMES

            app.theme = NAMES[theme]
            screen = Screen(app, pilot)
            if registers:
                await screen.until(lambda: app.state.registration == "registered", "registered")
            yield screen
            app.leave()
            await screen.until(lambda: app.farewell != "" or not app.is_running, "good-bye")


class Screen:
    """The chat screen while a test looks at it."""

    def __init__(self, app: ChatApp, pilot: Pilot[Any]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Keys of a text, one by one."""
        await self.pilot.press(*(_KEYS.get(character, character) for character in text))

    async def until(self, holds: Callable[[], bool], what: str, *, seconds: float = 15.0) -> None:
        """Waits until something holds."""
        import asyncio
        import time

        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not {what}:\n{self.text}"
            await asyncio.sleep(0.02)
        await self.pilot.pause()

    async def shows(self, *texts: str) -> None:
        """Waits until all of these are on the screen."""
        await self.until(lambda: all(text in self.text for text in texts), f"shown: {texts}")

    async def hides(self, text: str) -> None:
        """Waits until this is not on the screen any more."""
        await self.until(lambda: text not in self.text, f"gone: {text}")

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def svg(self) -> str:
        """A picture."""
        return self.app.export_screenshot(title="rcsops chat")


_KEYS = {" ": "space", "\n": "enter", "/": "slash", "?": "question_mark"}


def normalised(text: str) -> str:
    """Without what is different each time: times, dates, ports, durations."""
    text = re.sub(r"\b20\d\d-\d\d-\d\d\b", "2000-01-01", text)
    # A time of which something covers all but the hour.
    text = re.sub(r"(?m)^ \d\d(?=[│╭╰])", " 00", text)
    text = re.sub(r"\b\d\d:\d\d(:\d\d)?\b", lambda m: "00:00:00" if m[1] else "00:00", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:00000", text)
    return re.sub(r"\b\d+(\.\d+)? ms\b", "0 ms", text)
