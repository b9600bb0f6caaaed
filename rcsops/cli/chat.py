"""``rcsops chat``."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.agent_setup import AgentChoices, AgentSetup, agent_options
from rcsops.cli.chat_lines import JsonLines, PipeLines, TerminalLines
from rcsops.cli.chat_print import JsonPrinter, PlainPrinter
from rcsops.cli.chat_setup import instance_id, kept_secret, open_standard_files, tap_to
from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option
from rcsops.operations.chat import COMMANDS, ChatRoom

if TYPE_CHECKING:
    from rcsops.operations.chat_notices import Line
    from rcsops.ua import Agent


@click.command()
@click.argument("user", metavar="USER", shell_complete=complete_user)
@click.argument("peer", metavar="[PEER]", required=False)
@agent_options
@click.option(
    "--auto-accept/--ask",
    default=True,
    help="Accept invitations and files at once (default), or ask each time.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where received files go (the user's own directory of this project).",
)
@click.option(
    "--plain",
    is_flag=True,
    help="Lines instead of the full screen (also chat.front, or TERM=dumb).",
)
@json_option
@click.pass_obj
def chat(
    context: Context,
    user: str,
    peer: str | None,
    choices: AgentChoices,
    auto_accept: bool,
    files: Path | None,
    plain: bool,
    as_json: bool,
) -> int:
    """Register as USER and wait for an invitation, or invite PEER.

    Lines typed are messages; /help shows the commands. Those of a session, and files, go directly
    from one agent to the other over MSRP: encrypted where both have --transport tls or wss to the
    server (msrp_security in [agent] says more), else in the clear.

    On a pipe, each line of input is a message or a command, and waits for what was asked before
    it; the chat ends with the input, and the exit code is 1 when something did not get through.
    With --json, a line {"text": "..."} is a message too, and everything that happens is a JSON
    object on a line of its own.

    The password is the one kept by `rcsops user add`, or RCSOPS_PASSWORD, or it is asked for.
    """
    from rcsops.logs import log_to_stderr

    open_standard_files()
    log_to_stderr("WARNING")
    setup = AgentSetup.of(context.project, user, choices)
    with (
        tap_to(choices.trace, setup.account.username) as tap,
        instance_id(setup.directory) as instance,
    ):
        make_agent = partial(setup.agent, instance_id=instance, asking=not auto_accept)
        room = partial(
            ChatRoom,
            server=setup.server,
            domain=setup.domain,
            directory=files or setup.directory / "files",
            auto_accept=auto_accept,
            scripted=not sys.stdin.isatty(),
            credential=lambda: kept_secret(setup.project, setup.account),
        )
        if not (plain or as_json) and _has_screen(setup):
            from rcsops.cli.chat_screen import run_screen
            from rcsops.tui.wire import Wire

            wire = Wire(setup.account.username, tap)
            return asyncio.run(run_screen(setup, partial(room, make_agent(tap=wire)), wire, peer))
        agent = make_agent(tap=tap)
        # Who types at a terminal sees what it shows; of a pipe nobody knows.
        watched = sys.stdout.isatty() and sys.stdin.isatty() and not as_json
        return asyncio.run(
            _chat(agent, partial(room, agent, watched=watched), peer, as_json=as_json)
        )


def _has_screen(setup: AgentSetup) -> bool:
    """Whether the person has a terminal that shows more than lines, and wants it to."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and sys.stderr.isatty()
        and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
        and setup.project.settings.chat_front == "screen"
    )


async def _chat(
    agent: "Agent",
    make_room: "Callable[..., ChatRoom]",
    peer: str | None,
    *,
    as_json: bool,
) -> int:
    from rcsops.transport.loop import settle_collector

    terminal = sys.stdout.isatty()
    notify: JsonPrinter | PlainPrinter = JsonPrinter()
    if not as_json:
        notify = PlainPrinter(
            colour=terminal and not os.environ.get("NO_COLOR"),
            width=_columns if terminal else None,
        )
    room = make_room(notify=notify)
    await agent.start()
    settle_collector()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, room.stop)
    if sys.stdin.isatty() and terminal and not as_json:
        typed = TerminalLines(lambda: _prompt(room, agent), COMMANDS)
        with typed.printing():
            return await room.run(typed, peer=peer)
    lines: AsyncIterator[Line] = PipeLines(sys.stdin.fileno())
    return await room.run(JsonLines(lines) if as_json else lines, peer=peer)


def _columns() -> int:
    # Asked each time, for a window changes its size; COLUMNS does not.
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _prompt(room: ChatRoom, agent: "Agent") -> str:
    me = agent.uri.username
    return f"{me} → {room.target}> " if room.target else f"{me}> "
