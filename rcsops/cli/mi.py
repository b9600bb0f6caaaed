"""``rcsops mi`` and ``rcsops contacts``: the running server's management interface."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option, plain, print_json, print_table, say, visible
from rcsops.errors import RcsopsError


def _complete_command(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    from rcsops.operations.mi import MiClient

    try:
        project = (context.find_object(Context) or Context()).project
        names = MiClient.of(project, timeout=1.0).call("which")
    except RcsopsError:
        return []
    return [str(name) for name in names if str(name).startswith(incomplete)]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", shell_complete=_complete_command)
@click.argument("arguments", nargs=-1)
@click.option("--timeout", default=5.0, show_default=True, help="Seconds to wait for the answer.")
@json_option
@click.pass_obj
def mi(
    context: Context, command: str, arguments: tuple[str, ...], timeout: float, as_json: bool
) -> None:
    """Give COMMAND to the running server; `rcsops mi which` lists the commands.

    ARGUMENTS are values in order, or all of the form name=value; [..] and {..} are read as JSON.
    """
    from rcsops.operations.mi import MiClient, parse_words

    result = MiClient.of(context.project, timeout=timeout).call(command, parse_words(arguments))
    if as_json:
        print_json(result)
    else:
        for line in _lines(plain(result)):
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
