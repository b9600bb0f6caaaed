"""``rcsops chat``."""

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.chat_lines import JsonPrinter, PipeLines, PlainPrinter, TerminalLines
from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option, note
from rcsops.errors import EngineError, UsageError
from rcsops.operations.chat import COMMANDS, ChatRoom

if TYPE_CHECKING:
    from rcsops.settings import Project
    from rcsops.sip import Credential


@click.command()
@click.argument("user", metavar="USER", shell_complete=complete_user)
@click.argument("peer", metavar="[PEER]", required=False)
@click.option("--server", metavar="HOST[:PORT]", help="SIP server (the project's own).")
@click.option("--transport", type=click.Choice(["tcp", "udp"]), help="To the server (tcp).")
@click.option("--domain", help="SIP domain of USER (the project's).")
@click.option("--bind", metavar="ADDRESS", help="Our own address (127.0.0.1).")
@click.option("--start", "start_server", is_flag=True, help="Start the local server if none runs.")
@click.option(
    "--auto-accept/--ask",
    default=True,
    help="Accept invitations and files at once (default), or ask each time.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every SIP and MSRP message to FILE as JSON lines.",
    metavar="FILE",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where received files go (the user's own directory of this project).",
)
@json_option
@click.pass_obj
def chat(
    context: Context,
    user: str,
    peer: str | None,
    server: str | None,
    transport: str | None,
    domain: str | None,
    bind: str | None,
    start_server: bool,
    auto_accept: bool,
    trace: Path | None,
    files: Path | None,
    as_json: bool,
) -> int:
    """Register as USER and wait for an invitation, or invite PEER.

    Lines typed are messages; /help shows the commands. Messages and files go directly from one
    agent to the other over MSRP; they are not encrypted. On a pipe, each line of input is a message
    or command, and the exit code is 1 when something did not get through.

    The password is the one kept by `rcsops user add`, or RCSOPS_PASSWORD, or it is asked for.
    """
    from rcsops.operations.names import parse_user

    project = context.project
    settings = project.settings
    domain = (domain or settings.domain).lower()
    account = parse_user(user, domain)
    transport = transport or settings.agent_transport
    if transport not in ("tcp", "udp"):
        raise UsageError(f"{transport} is not there yet; agents talk tcp or udp to the server")
    credential = _credential(project, account.username, domain)
    server = server or settings.agent_server or _local_server(project, transport, start_server)
    own_directory = project.make_agent_dir(str(account))
    with _tap(trace, account.username) as tap:
        from rcsops.ua import Agent

        agent = Agent(
            f"sip:{account}",
            server=server,
            transport=transport,
            credential=credential,
            min_algorithm=settings.digest_min_algorithm,
            bind=bind or settings.agent_bind,
            tap=tap,
            history=own_directory / "history.db",
            instance_id=_instance_id(own_directory),
        )
        return asyncio.run(
            _chat(
                agent,
                peer,
                server=server,
                domain=domain,
                directory=files or own_directory / "files",
                auto_accept=auto_accept,
                as_json=as_json,
            )
        )


async def _chat(
    agent: "Agent",
    peer: str | None,
    *,
    server: str,
    domain: str,
    directory: Path,
    auto_accept: bool,
    as_json: bool,
) -> int:
    typed = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    await agent.start()
    room = ChatRoom(
        agent,
        notify=JsonPrinter() if as_json else PlainPrinter(colour=colour),
        server=server,
        domain=domain,
        directory=directory,
        auto_accept=auto_accept,
        patient=not sys.stdin.isatty(),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, room.stop)
    lines: AsyncIterator[str]
    if typed:
        lines = terminal = TerminalLines(lambda: _prompt(room, agent), COMMANDS)
        with terminal.printing():
            return await room.run(lines, peer=peer)
    return await room.run(PipeLines(), peer=peer)


def _prompt(room: ChatRoom, agent: "Agent") -> str:
    me = agent.aor.removeprefix("sip:").partition("@")[0]
    return f"{me} → {room.peer}> " if room.peer else f"{me}> "


def _credential(project: "Project", username: str, domain: str) -> "Credential":
    """What answers the server's challenges, without anything on the command line."""
    from rcsops.sip import Credential

    account = f"{username}@{domain}"
    password = os.environ.get("RCSOPS_PASSWORD")
    if not password:
        kept = project.credentials.get(account)
        if kept is not None:
            return Credential(username, domain, kept)
        if not sys.stdin.isatty():
            raise UsageError(
                f"no password of {account} is known here, and nobody is here to type it",
                hint=f"rcsops user add {username}, or set RCSOPS_PASSWORD",
            )
        password = click.prompt(f"Password for {account}", hide_input=True, err=True)
    return Credential.from_password(username, domain, str(password))


def _local_server(project: "Project", transport: str, start: bool) -> str:
    """The address of the project's own server, which is started when that is wanted."""
    address = project.settings.local_server(transport)
    if address is None:
        raise UsageError(
            f"the project's server does not listen on {transport}",
            hint="choose --transport, or name a server with --server",
        )
    from rcsops.operations.server import start as start_engine
    from rcsops.operations.server import status

    if not status(project).running:
        asked = sys.stdin.isatty() and not start
        if asked and not click.confirm("No server runs here. Start it?", default=True, err=True):
            raise click.exceptions.Exit(1)
        if not start and not asked:
            raise EngineError("no server runs here", hint="type: rcsops start (or add --start)")
        started = start_engine(project)
        note(f"server started at {', '.join(started.listeners)}; rcsops stop ends it")
    return address.host_port


def _instance_id(directory: Path) -> str:
    """The agent's own URN, the same each time it starts (RFC 5626 §4.1)."""
    path = directory / "instance-id"
    with contextlib.suppress(FileNotFoundError):
        known = path.read_text(encoding="ascii", errors="replace").strip()
        if known.startswith("urn:uuid:"):
            return known
    made = f"urn:uuid:{uuid.uuid4()}"
    path.write_text(f"{made}\n", encoding="ascii")
    return made


@contextlib.contextmanager
def _tap(path: Path | None, node: str) -> "Iterator[TraceWriter | None]":
    if path is None:
        yield None
        return
    from rcsops.trace import TraceWriter

    with TraceWriter(path, node) as writer:
        yield writer
    if writer.error is not None:
        note(f"the trace is not whole: {writer.error.strerror}")


if TYPE_CHECKING:
    from rcsops.trace import TraceWriter
    from rcsops.ua import Agent
