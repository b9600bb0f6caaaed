"""What commands print: JSON for machines, tables and lines for people.

Text that came from a network or a database is shown by `visible`, so that an escape sequence in
somebody's name cannot take over the terminal.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from rcsops.errors import UsageError
from rcsops.text import visible as made_visible

_SPACES = str.maketrans("\r\n\t", "   ")
_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """Adds ``--json`` to a command, as its argument ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for another program to read."
    )(command)


def yes_option(command: _Command) -> _Command:
    """Adds ``--yes`` to a command that asks before it destroys."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def visible(text: object) -> str:
    """The text with its control characters shown instead of obeyed; line ends stay spaces."""
    shown = str(text)
    return shown if shown.isprintable() else made_visible(shown.translate(_SPACES))


def plain(value: object) -> Any:
    """A value as JSON has it: named tuples and dataclasses become objects, the rest strings."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(each) for name, each in zip(value._fields, value, strict=True)}
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def print_json(value: object, **more: object) -> None:
    """Prints one JSON document; ``more`` adds keys to an object."""
    import json

    document = plain(value)
    if more:
        document.update({name: plain(each) for name, each in more.items()})
    # Escaped to ASCII where the terminal's encoding is unknown; surrogates would not encode.
    click.echo(json.dumps(document, indent=2))


def say(text: str) -> None:
    """One line of a command's result."""
    click.echo(visible(text))


def note(text: str) -> None:
    """One line beside the result, on stderr, so that a pipe gets the result alone."""
    click.echo(visible(text), err=True)


def print_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """``name: value`` lines with the values in one column."""
    rows = [(name, visible(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0) + 2
    for name, value in rows:
        click.echo(f"{name + ':':<{width}}{value}".rstrip())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table that fits the terminal; on a pipe aligned columns, nothing cut off."""
    shown = [[visible("" if each is None else each) for each in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="ellipsis")
        for row in shown:
            table.add_row(*(Text(each) for each in row))
        Console().print(table)
        return
    widths = [
        max([len(column), *(len(row[index]) for row in shown)])
        for index, column in enumerate(columns)
    ]
    for row in ([column.upper() for column in columns], *shown):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def confirm(question: str, *, yes: bool) -> None:
    """Goes on if the person agrees, or ``yes`` was given; otherwise the command ends here.

    Raises `UsageError` where nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is here to answer.", hint="add --yes to go on")
    if not click.confirm(visible(question), default=False, err=True):
        note("Nothing was changed.")
        raise click.exceptions.Exit(1)
