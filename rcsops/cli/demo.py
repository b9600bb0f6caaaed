"""``rcsops demo``."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, note, print_json
from rcsops.cli.trace_options import FORMATS
from rcsops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rcsops.operations.demo import Progress
    from rcsops.operations.demo_result import DemoResult

_WIDEST = 120


@click.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Make the project in DIR, new or empty, and leave it there with its traces and logs.",
)
@click.option(
    "--engine",
    type=click.Choice(["embedded", "opensips"]),
    help="The server to show it on: our own (embedded), or a real OpenSIPS.",
)
@click.option(
    "--prefix",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="With opensips: the one in DIR (the project's, or one on this machine).",
)
@click.option(
    "--database",
    type=click.Choice(["auto", "mysql", "sqlite"]),
    default="auto",
    show_default=True,
    help="With opensips: the kind of the throw-away database.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print the summary only.")
@click.option(
    "--export",
    "form",
    type=click.Choice(FORMATS),
    help="Write the ladder as this, to the file of -o.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --export: a new FILE.",
)
@json_option
@click.pass_obj
def demo(
    context: Context,
    keep: Path | None,
    engine: str | None,
    prefix: Path | None,
    database: str,
    quiet: bool,
    form: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Show two users register, chat and hang up, with every message.

    Starts a server on free ports of this machine and two agents, all as processes of their own.
    alex invites bob, they exchange messages with receipts and a file on a direct connection, and
    hang up. Then follows the ladder of every SIP and MSRP message. Nothing of your own project is
    touched, and nothing is left running. The exit code is 1 if anything did not happen.
    """
    from rcsops.cli.ladder import console, print_ladder
    from rcsops.operations.demo import demonstrate
    from rcsops.operations.trace import write_export

    if (form is None) != (output is None):
        raise UsageError("--export and -o go together")
    if output is not None and output.exists():
        raise UsageError(f"{output} is there already", hint="name another file")
    if output is not None and not output.parent.is_dir():
        raise UsageError(
            f"{output} cannot be written: there is no directory {output.parent}",
            hint=f"make it first: mkdir -p {shlex.quote(str(output.parent))}",
        )
    opensips = None
    if (engine or context.engine) == "opensips":
        from rcsops.operations.demo_opensips import DemoOpenSips, find_opensips

        opensips = DemoOpenSips(find_opensips(context.project, prefix), database)
    elif prefix is not None or database != "auto":
        raise UsageError("--prefix and --database go with --engine opensips")
    if as_json:
        result = demonstrate(keep, report=lambda progress: None, opensips=opensips)
        print_json(result.to_json())
    else:
        screen = console()
        result = demonstrate(keep, report=_reporter(screen, quiet=quiet), opensips=opensips)
        if not quiet:
            if result.ladder:
                screen.print()
                print_ladder(result.ladder, width=min(screen.width, _WIDEST))
            screen.print()
        _print_summary(screen, result, keep)
    if form is not None:
        assert output is not None
        write_export(result.ladder, form, output, title="rcsops demo")
        if not as_json:
            note(f"the ladder is in {output}")
    if not result.ok:
        raise click.exceptions.Exit(1)


def _reporter(console: "Console", *, quiet: bool) -> "Callable[[Progress], None]":
    from rich.text import Text

    from rcsops.text import visible

    styles = {"alex": "green", "bob": "yellow", "server": "cyan"}

    def report(progress: "Progress") -> None:
        if not quiet:
            who = (f"{progress.who:>7}  ", styles.get(progress.who, "bold"))
            console.print(Text.assemble(who, visible(progress.text)), soft_wrap=True)

    return report


def _print_summary(console: "Console", result: "DemoResult", keep: Path | None) -> None:
    from rich.text import Text

    from rcsops.text import visible

    counts = result.summary()
    console.print(
        f"{counts['users']} users registered; {counts['messages']} messages, "
        f"{counts['delivered']} delivered; {counts['files']} file, {counts['files_intact']} intact"
    )
    for protocol in ("sip", "msrp"):
        kinds = ", ".join(f"{count} {visible(kind)}" for kind, count in counts[protocol].items())
        total = counts[f"{protocol}_messages"]
        console.print(f"{total} {protocol.upper()} messages: {kinds}", soft_wrap=True)
    again = counts["retransmissions"]
    console.print(f"{again} sent again; {counts['seconds']:.1f} s in all; nothing left running")
    if keep is not None:
        console.print(f"kept in {visible(str(keep))}", soft_wrap=True)
    for problem in result.problems:
        console.print(Text(f"did not happen: {visible(problem)}", style="red"), soft_wrap=True)
    if result.ok:
        console.print(Text("everything happened as it should", style="bold green"))
