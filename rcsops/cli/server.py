"""``rcsops start``, ``stop``, ``restart``, ``status`` and ``logs``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, note, print_fields, print_json, say, visible

if TYPE_CHECKING:
    from rcsops.operations.server import Started, Stopped

NOT_RUNNING = 3
"""The exit code of ``status`` when no server runs."""

_trace_option = click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every SIP message to FILE, as JSON lines.",
)


@click.command()
@click.option("--foreground", "-F", is_flag=True, help="Stay in this terminal; Ctrl-C ends it.")
@_trace_option
@json_option
@click.pass_obj
def start(context: Context, foreground: bool, trace: Path | None, as_json: bool) -> None:
    """Start the SIP server, and wait until it answers."""
    from rcsops.operations import server

    if foreground:
        code = server.run_in_foreground(context.project, trace=trace)
        raise click.exceptions.Exit(1 if code else 0)
    _print_started(server.start(context.project, trace=trace), as_json)


@click.command()
@json_option
@click.pass_obj
def stop(context: Context, as_json: bool) -> None:
    """Stop the SIP server."""
    from rcsops.operations import server

    result = server.stop(context.project)
    if as_json:
        print_json(result, was_running=result.pid is not None)
    else:
        say(_stopped(result))


@click.command()
@_trace_option
@json_option
@click.pass_obj
def restart(context: Context, trace: Path | None, as_json: bool) -> None:
    """Stop the SIP server and start it again; contacts stay."""
    from rcsops.operations import server

    stopped, started = server.restart(context.project, trace=trace)
    if as_json:
        print_json({"stopped": stopped, "started": started})
        return
    say(_stopped(stopped))
    _print_started(started, as_json)


@click.command()
@json_option
@click.pass_obj
def status(context: Context, as_json: bool) -> None:
    """Show whether the SIP server runs, where it listens and what it has done.

    Exit code 3 if it does not run.
    """
    from rcsops.operations import server

    result = server.status(context.project)
    if as_json:
        print_json(result)
    elif not result.running:
        say("the server is not running")
        note(f"start it: rcsops start (database {result.database})")
    else:
        counts = result.counts
        state = "running" if result.answers else "running, but it does not answer"
        print_fields(
            [
                ("server", f"{state}, pid {result.pid}"),
                ("engine", f"{result.engine}, {result.version}" if result.version else "embedded"),
                ("uptime", _duration(result.uptime)),
                ("listens", ", ".join(result.listeners)),
                ("users", f"{counts.get('usrloc:registered_users', 0)} registered"),
                ("contacts", counts.get("usrloc:location-contacts", 0)),
                (
                    "requests",
                    f"{counts.get('core:rcv_requests', 0)} received, "
                    f"{counts.get('core:fwd_requests', 0)} forwarded",
                ),
                ("memory", "" if result.memory is None else f"{result.memory / 1e6:.0f} MB"),
                ("database", result.database),
                ("log", result.log),
            ]
        )
    if not result.running:
        raise click.exceptions.Exit(NOT_RUNNING)


@click.command()
@click.option(
    "-n",
    "--lines",
    default=50,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many lines from the end.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written; Ctrl-C ends it.")
@json_option
@click.pass_obj
def logs(context: Context, lines: int, follow: bool, as_json: bool) -> None:
    """Show the SIP server's log."""
    from rcsops.operations import server

    if not follow:
        found = server.log_tail(context.project, lines)
        if as_json:
            print_json({"lines": found})
            return
        for line in found:
            click.echo(visible(line))
        return
    import json

    try:
        for line in server.follow_log(context.project, lines, lambda: False):
            click.echo(json.dumps({"line": line}) if as_json else visible(line))
    except KeyboardInterrupt:
        return


def _print_started(result: "Started", as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    where = ", ".join(result.listeners)
    if result.already:
        say(f"the server is already running, pid {result.pid}, at {where}")
    else:
        say(f"the server is running, pid {result.pid}, at {where}")


def _stopped(result: "Stopped") -> str:
    if result.pid is None:
        return "the server was not running"
    forced = "" if result.how == "mi" else f" (it took {result.how})"
    return f"the server has ended, pid {result.pid}{forced}"


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return ""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    text = f"{hours}:{minutes:02}:{left:02}"
    return f"{days} d {text}" if days else text
