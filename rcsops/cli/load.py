"""``rcsops load``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.account_files import accounts_format, reading_accounts
from rcsops.cli.context import Context
from rcsops.cli.output import json_option, print_json, say
from rcsops.errors import EngineError, UsageError

if TYPE_CHECKING:
    from rcsops.loadgen import Account, LoadPlan


@click.command()
@click.option(
    "--scenario",
    type=click.Choice(["register", "call", "chat", "pager", "mixed"]),
    default="mixed",
    show_default=True,
    help="What begins again and again.",
)
@click.option("--agents", default=100, show_default=True, type=click.IntRange(2, 1_000_000))
@click.option(
    "--rate",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, 1e6, min_open=True),
    help="How many begin each second, whether or not those before have ended.",
)
@click.option(
    "--duration",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, 1e6, min_open=True),
    metavar="SECONDS",
)
@click.option(
    "--ramp",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="The rate grows from nothing for so long.",
)
@click.option(
    "--think",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Between two messages of a chat; how long a call is held.",
)
@click.option(
    "--messages", default=4, show_default=True, type=click.IntRange(1), help="In each chat."
)
@click.option(
    "--size", default=80, show_default=True, type=click.IntRange(1), help="Of a message, in octets."
)
@click.option("--even", is_flag=True, help="Even gaps, not those of independent callers.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 256))
@click.option(
    "--sockets",
    default=1,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Sockets (connections) to the server that the agents of a process share.",
)
@click.option(
    "--transport",
    type=click.Choice(["tcp", "udp", "tls", "ws", "wss"]),
    help="To the server (tcp).",
)
@click.option("--server", metavar="URI", help="Any SIP server: HOST[:PORT] or sip:… (own one).")
@click.option("--domain", help="SIP domain of the agents (the project's).")
@click.option(
    "--users",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Accounts with passwords, CSV or JSON lines (made in the own database without it).",
)
@click.option("--seed", default=0, type=int, help="Another number gives another random order.")
@click.option(
    "--settle",
    default=0.0,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Wait so long at the end for every timer, then count what is left over.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="JSON result."
)
@click.option(
    "--chart",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Picture of the run, .svg or .png.",
)
@click.option(
    "--max-errors",
    default=100.0,
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit code 1 if more than that fails.",
)
@click.option("--remove-users", is_flag=True, help="Remove the accounts that loads have made.")
@json_option
@click.pass_obj
def load(
    context: Context,
    /,
    server: str | None,
    domain: str | None,
    transport: str | None,
    users: Path | None,
    output: Path | None,
    chart: Path | None,
    max_errors: float,
    remove_users: bool,
    as_json: bool,
    agents: int,
    **wanted: "float | int | str | bool",
) -> int:
    """Put a SIP server under load: many agents register, call and chat.

    Each agent is a complete one, with digest, dialogs and MSRP; messages are counted on both sides.
    What is due begins on time (an open loop), and latencies count from when it was due. Without
    --server the load goes to the project's own server, with accounts load-000001 and on, which are
    added to its database.

    The exit code is 1 if a message was lost or came twice, if nothing succeeded, or with
    --max-errors.
    """
    from rcsops.loadgen import LoadPlan
    from rcsops.operations.load import load as run
    from rcsops.operations.load import remove_accounts, write_result

    if remove_users:
        say(f"removed {remove_accounts(context.project)} accounts")
        return 0
    if chart is not None:
        from rcsops.operations.load_chart import check_chart

        check_chart(chart)
    settings = context.project.settings
    transport = transport or settings.agent_transport
    address = server or settings.agent_server or _own_server(context, transport)
    plan = LoadPlan(
        server=address,
        domain=(domain or settings.domain).lower(),
        transport=transport,
        bind=_bind(context, address),
        agents=agents,
        ca=str(context.project.authorities or ""),
        system_ca=not settings.tls_ca,
        **wanted,  # type: ignore[arg-type]
    )
    accounts = _accounts(context, plan, users, own=server is None)
    if as_json or not sys.stderr.isatty():
        report = run(context.project, plan, accounts)
    else:
        from rcsops.cli.load_screen import LoadScreen

        with LoadScreen(plan) as screen:
            report = run(context.project, plan, accounts, on_second=screen.show)
    if output is not None:
        write_result(report, output)
    if chart is not None:
        from rcsops.operations.load_chart import draw_chart

        draw_chart(report, chart)
    if as_json:
        print_json(report.to_json())
    else:
        from rcsops.cli.load_screen import print_report

        print_report(report)
    succeeded = any(
        each.succeeded for name, each in report.statistics.operations.items() if name != "join"
    )
    good = report.accounted and succeeded and report.error_share * 100 <= max_errors
    return 0 if good else 1


def _own_server(context: Context, transport: str) -> str:
    from rcsops.operations.server import status

    address = context.project.settings.local_server(transport)
    if address is None:
        raise UsageError(
            f"the project's server does not listen on {transport}",
            hint="choose another --transport, or name a server with --server",
        )
    if not status(context.project).running:
        raise EngineError("no server runs here", hint="type: rcsops start, or name a --server")
    return address.host_port


def _bind(context: Context, address: str) -> str:
    from rcsops.cli.chat_setup import choose_bind

    return choose_bind(context.project.settings.agent_bind, address)


def _accounts(
    context: Context, plan: "LoadPlan", users: Path | None, *, own: bool
) -> "list[Account]":
    from rcsops.operations.load import make_accounts, read_accounts

    if users is None:
        if not own:
            raise UsageError(
                "the accounts of another server are not known here", hint="name a file with --users"
            )
        return make_accounts(context.project, plan.agents)
    with reading_accounts(str(users)) as stream:
        accounts = list(read_accounts(stream, accounts_format(users.name), plan.domain))
    if len(accounts) < plan.agents:
        raise UsageError(
            f"{users.name} has {len(accounts)} accounts for {plan.agents} agents",
            hint=f"add --agents {len(accounts)}",
        )
    return accounts[: plan.agents]
