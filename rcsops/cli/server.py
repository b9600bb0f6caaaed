"""``rcsops start``, ``stop``, ``restart``, ``reload``, ``status``, ``logs`` and ``service``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, note, print_fields, print_json, say, visible
from rcsops.errors import UsageError
from rcsops.operations.wording import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rcsops.operations.engine import CertificateStatus, ContentStatus
    from rcsops.operations.server import ServerStatus, Started, Stopped

NOT_RUNNING = 3
"""The exit code of ``status`` when no server runs."""

_trace_option = click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every SIP message to FILE, as JSON lines.",
)

_user_option = click.option(
    "--user", default="", metavar="NAME", help="As root: run OpenSIPS as this user."
)
_group_option = click.option(
    "--group", default="", metavar="NAME", help="With --user: this group may use `rcsops mi`."
)


@click.command()
@click.option("--foreground", "-F", is_flag=True, help="Stay in this terminal; Ctrl-C ends it.")
@_user_option
@_group_option
@_trace_option
@json_option
@click.pass_obj
def start(
    context: Context, foreground: bool, user: str, group: str, trace: Path | None, as_json: bool
) -> None:
    """Start the SIP server, and wait until it answers.

    One that runs already is left as it is.
    """
    from rcsops.operations import server

    if foreground:
        code = server.run_in_foreground(context.project, trace=trace, user=user, group=group)
        raise click.exceptions.Exit(1 if code else 0)
    _print_started(server.start(context.project, trace=trace, user=user, group=group), as_json)


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
@_user_option
@_group_option
@_trace_option
@json_option
@click.pass_obj
def restart(context: Context, user: str, group: str, trace: Path | None, as_json: bool) -> None:
    """Stop the SIP server and start it again; contacts stay."""
    from rcsops.operations import server

    stopped, started = server.restart(context.project, trace=trace, user=user, group=group)
    if as_json:
        print_json({"stopped": stopped, "started": started})
        return
    say(_stopped(stopped))
    _print_started(started, as_json)


@click.command()
@json_option
@click.pass_obj
def reload(context: Context, as_json: bool) -> None:
    """Let OpenSIPS read its script anew; nobody's call or registration is lost.

    The script is what opensips.cfg has from "requests" on. With an error in it the server keeps
    the one that it has.
    """
    from rcsops.operations import server

    notes = server.reload(context.project)
    if as_json:
        print_json({"reloaded": True, "notes": notes})
        return
    say("the server has read its script anew")
    for text in notes:
        note(text)


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
        say(f"the server is not running{f': {result.fault}' if result.fault else ''}")
        note(f"start it: rcsops start (database {result.database})")
    else:
        state = "running" if result.answers else "running, but it does not answer"
        print_fields(
            [
                ("server", f"{state}, pid {result.pid or 'unknown'}"),
                *([("fault", result.fault)] if result.fault else []),
                ("engine", ", ".join(filter(None, (result.engine, result.version)))),
                *(_answered(result) if result.answers else []),
                ("memory", "" if result.memory is None else f"{result.memory / 1e6:.0f} MB"),
                *([("processes", result.processes)] if result.processes > 1 else []),
                *([("content", _content(result.content))] if result.content else []),
                ("database", result.database),
                ("log", result.log),
            ]
        )
        _note_certificate(result.certificate)
        _note_large_log(result.log)
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


@click.command()
@click.option("--user", default="", metavar="NAME", help="Whom the server runs as (the owner).")
@click.option("--group", default="", metavar="NAME", help="The group that may use `rcsops mi`.")
@click.option("--logrotate", is_flag=True, help="Print a configuration for logrotate instead.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it to FILE, such as /etc/systemd/system/rcsops.service.",
)
@click.pass_obj
def service(context: Context, user: str, group: str, logrotate: bool, output: Path | None) -> None:
    """Write a unit of systemd for this project's server.

    It starts the server when the machine does, as a user without rights, shut off from everything
    that a SIP server does not need.
    """
    from rcsops.operations.service import logrotate_text, plan_service

    if logrotate:
        _write(logrotate_text(context.project), output)
        return
    unit = plan_service(context.project, user=user, group=group)
    for text in unit.notes:
        note(text)
    _write(unit.text, output)
    if output is not None:
        note(f"next, as root: systemctl daemon-reload; systemctl enable --now {output.name}")


def _answered(result: "ServerStatus") -> list[tuple[str, object]]:
    """What only a server that answers can tell."""
    counts = result.counts
    return [
        ("uptime", "" if result.uptime is None else duration(result.uptime)),
        ("listens", ", ".join(result.listeners)),
        *([("tls", _certificate(result.certificate))] if result.certificate else []),
        ("users", f"{counts.get('usrloc:registered_users', 0)} registered"),
        ("contacts", counts.get("usrloc:location-contacts", 0)),
        (
            "requests",
            f"{counts.get('core:rcv_requests', 0)} received, "
            f"{counts.get('core:fwd_requests', 0)} forwarded",
        ),
        *_messages(counts),
    ]


def _messages(counts: "Mapping[str, int]") -> list[tuple[str, str]]:
    """What was kept for users who are away; nothing where that is not counted."""
    stored = counts.get("msilo:stored_messages")
    if stored is None:
        return []
    delivered = counts.get("msilo:dumped_messages", 0)
    return [("messages", f"{stored} stored for users who were away, {delivered} handed on")]


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    say(f"wrote {output}")


def _certificate(found: "CertificateStatus") -> str:
    left = f"{found.days_left} days left" if found.days_left >= 0 else "EXPIRED"
    return f"{found.path}, until {found.not_after:%Y-%m-%d}, {left}"


def _content(found: "ContentStatus") -> str:
    if not found.running:
        return f"NOT RUNNING, see {found.log}"
    return f"{found.url}, pid {found.pid}, {found.files} files, {found.octets / 1e6:.1f} MB"


def _note_certificate(found: "CertificateStatus | None") -> None:
    if found is None:
        return
    from rcsops.operations.certs import RENEW_DAYS

    if found.days_left < RENEW_DAYS:
        note("to renew the certificate of a lab: rcsops certs; then rcsops restart")


def _note_large_log(name: str) -> None:
    from rcsops.operations.engine import file_size
    from rcsops.operations.server import LARGE_LOG

    size = file_size(Path(name))
    if size > LARGE_LOG:
        note(f"the log has {size / 1e6:.0f} MB; to rotate it: rcsops service --logrotate")


def _print_started(result: "Started", as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    where = ", ".join(result.listeners)
    if result.already:
        say(f"the server is already running, pid {result.pid}, at {where}")
    else:
        say(f"the server is running, pid {result.pid}, at {where}")
    for text in result.notes:
        note(text)


def _stopped(result: "Stopped") -> str:
    if result.pid is None:
        return "the server was not running"
    forced = "" if result.how == "mi" else f" (it took {result.how})"
    return f"the server has ended, pid {result.pid}{forced}"
