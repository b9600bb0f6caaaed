"""``rcsops mi``, ``contacts`` and ``dialogs``: the running server's management interface."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option, plain, print_json, print_table, say, visible
from rcsops.errors import RcsopsError


def _complete_command(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    from rcsops.operations.mi import MiClient, commands

    try:
        project = (context.find_object(Context) or Context()).project
        names = commands(MiClient.of(project, timeout=1.0))
    except RcsopsError:
        return []
    return [name for name in names if name.startswith(incomplete)]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", shell_complete=_complete_command)
@click.argument("arguments", nargs=-1)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds to wait for the answer.",
)
@click.option("--url", metavar="URL", help="Ask the server whose MI is at this http(s) URL.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With https: certificates to trust instead of the system's.",
)
@json_option
@click.pass_obj
def mi(
    context: Context,
    command: str,
    arguments: tuple[str, ...],
    timeout: float,
    url: str | None,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Give COMMAND to the running server; `rcsops mi which` lists the commands.

    ARGUMENTS are values in order, or all of the form name=value; [..] and {..} are read as JSON.
    Commands have other names from OpenSIPS 4.0 on (usrloc:dump for ul_dump); either will do.
    """
    from rcsops.operations.mi import MiClient, ask, parse_words

    if url:
        client = MiClient.at(url, timeout=timeout, ca=ca)
    else:
        client = MiClient.of(context.project, timeout=timeout)
    result = ask(client, command, parse_words(arguments))
    if as_json:
        print_json(result)
        return
    shown = plain(result)
    if rows := _rows(shown):
        columns = list(dict.fromkeys(name for row in rows for name in row))
        print_table(columns, [[row.get(name, "") for name in columns] for row in rows])
        return
    for line in _lines(shown):
        click.echo(line)


@click.command()
@click.argument("name", metavar="[USER]", required=False, shell_complete=complete_user)
@json_option
@click.pass_obj
def contacts(context: Context, name: str | None, as_json: bool) -> None:
    """Show who is registered, and where; all users, or one."""
    from rcsops.operations.mi import contacts as find_contacts

    found = find_contacts(context.project, name)
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"{name} is not registered" if name else "nobody is registered")
        return
    print_table(
        ["user", "contact", "expires", "q", "received", "agent"],
        [
            (each.user, each.contact, each.expires, each.q, each.received, each.user_agent)
            for each in found
        ],
    )


@click.command()
@json_option
@click.pass_obj
def dialogs(context: Context, as_json: bool) -> None:
    """Show which calls are set up or going on."""
    from rcsops.operations.mi import dialogs as find_dialogs

    found = find_dialogs(context.project)
    if as_json:
        print_json(found)
        return
    if not found:
        say("no call is going on")
        return
    print_table(
        ["state", "caller", "callee", "since", "Call-ID"],
        [
            (each.state, each.caller, each.callee, _time(each.started), each.call_id)
            for each in found
        ],
    )


def _time(seconds: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def _rows(value: Any) -> list[Mapping[str, Any]]:
    """What can be shown as a table: objects with nothing nested in them, perhaps under one name."""
    if isinstance(value, Mapping) and len(value) == 1:
        value = next(iter(value.values()))
    if not isinstance(value, list) or not value:
        return []
    flat = all(
        isinstance(each, Mapping)
        and not any(isinstance(inner, (Mapping, list)) for inner in each.values())
        for each in value
    )
    return value if flat else []


def _lines(value: Any, indent: str = "") -> Iterable[str]:
    """A result for people: names and values, nested ones further in."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, (Mapping, list)) and inner:
                yield f"{indent}{visible(name)}:"
                yield from _lines(inner, indent + "  ")
            else:
                yield f"{indent}{visible(name)}: {_scalar(inner)}"
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, (Mapping, list)):
                if index:
                    yield ""
                yield from _lines(inner, indent)
            else:
                yield f"{indent}{_scalar(inner)}"
    else:
        yield f"{indent}{_scalar(value)}"


def _scalar(value: object) -> str:
    return "" if value in (None, [], {}) else visible(value)
