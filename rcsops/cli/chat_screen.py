"""``rcsops chat`` as a full screen. Imported where it is shown, for that takes its time."""

import os
from collections.abc import Callable
from functools import partial

import click

from rcsops.cli.agent_setup import AgentSetup
from rcsops.logs import log_to
from rcsops.operations.chat import ChatRoom
from rcsops.operations.chat_memory import ChatMemory
from rcsops.tui.app import ChatApp, ScreenSetup
from rcsops.tui.desk import LogNotices
from rcsops.tui.wire import Wire

__all__ = ["run_screen", "screen_app"]


def screen_app(
    setup: AgentSetup, make_room: Callable[..., ChatRoom], wire: Wire, peer: str | None
) -> ChatApp:
    """The program of the screen; ``make_room`` makes a room but for its ``notify``, ``wire`` is the
    tap of its agent."""
    settings = setup.project.settings
    return ChatApp(
        lambda notify: partial(make_room, several=True)(notify=notify),
        ScreenSetup(
            memory=ChatMemory(setup.project, setup.account),
            wire=wire,
            server=setup.server,
            transport=setup.transport,
            theme=settings.chat_theme,
            notifications=settings.chat_notifications,
            mouse=settings.chat_mouse,
            keys=dict(settings.chat_keys),
        ),
        peer=peer,
    )


async def run_screen(
    setup: AgentSetup, make_room: Callable[..., ChatRoom], wire: Wire, peer: str | None
) -> int:
    """Shows it until the person leaves; the exit code."""
    for name in ("COLUMNS", "LINES"):
        # What a shell has put there stays as it is when the window changes its size.
        os.environ.pop(name, None)
    app = screen_app(setup, make_room, wire, peer)
    with log_to(LogNotices(app)):
        code = app.outcome(await app.run_async())
    # The screen is gone, and what it said.
    click.echo(app.farewell)
    return code
