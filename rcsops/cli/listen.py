"""``rcsops listen``."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.agent_setup import AgentChoices, AgentSetup, agent_options
from rcsops.cli.chat_print import JsonPrinter, PlainPrinter
from rcsops.cli.chat_setup import instance_id, open_standard_files, tap_to
from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option, note

if TYPE_CHECKING:
    from rcsops.operations.listen import Listener


@click.command()
@click.argument("user", metavar="USER", shell_complete=complete_user)
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Run this (by sh -c) for each message; what it prints is sent back.",
)
@click.option(
    "--exec-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Kill a COMMAND that takes longer.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Take files, as [files] says, into DIR (they are refused).",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="End after N messages and their files over HTTP.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End after so long.",
)
@agent_options
@json_option
@click.pass_obj
def listen(
    context: Context,
    user: str,
    command: str | None,
    exec_timeout: float,
    files: Path | None,
    count: int | None,
    timeout: float | None,
    choices: AgentChoices,
    as_json: bool,
) -> int:
    """Register as USER, accept every chat, and print each message as it comes.

    Messages and received files go to standard output, the rest to standard error. What the server
    kept while USER was away comes first.

    COMMAND gets the text of a message on its input, and in its environment RCSOPS_FROM, RCSOPS_TO,
    RCSOPS_MESSAGE_ID, RCSOPS_CHAT_ID, RCSOPS_SENT_AT and RCSOPS_TEXT. One that prints nothing, or
    fails, gives no answer.

    Ctrl-C and SIGTERM end it in order. The exit code is 0, or 1 when there were not N messages
    (with their files over HTTP) within --timeout, one of these files could not be fetched, or USER
    is not registered any more.

    The password is the one kept by `rcsops user add`, or RCSOPS_PASSWORD, or it is asked for.
    """
    from rcsops.logs import log_to_stderr
    from rcsops.operations.chat_events import Teller
    from rcsops.operations.listen import Listener

    open_standard_files()
    log_to_stderr("WARNING")
    setup = AgentSetup.of(context.project, user, choices)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with (
        tap_to(choices.trace, setup.account.username) as tap,
        instance_id(setup.directory) as instance,
    ):
        listener = Listener(
            setup.agent(tap=tap, instance_id=instance),
            teller=Teller(setup.domain, setup.server),
            tell=JsonPrinter() if as_json else PlainPrinter(colour=colour),
            note=note,
            command=command or "",
            command_seconds=exec_timeout,
            directory=files,
            watched=sys.stdout.isatty(),
            count=count,
        )
        return 0 if asyncio.run(_listen(listener, timeout)) else 1


async def _listen(listener: "Listener", seconds: float | None) -> bool:
    from rcsops.transport.loop import settle_collector

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, listener.stop)
    settle_collector()
    return await listener.run(seconds)
