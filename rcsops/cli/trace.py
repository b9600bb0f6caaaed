"""``rcsops trace``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, note, print_json
from rcsops.cli.trace_options import FORMATS
from rcsops.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rcsops.trace import Arrow

_WIDEST = 140
# So wide must a terminal be for two messages side by side.
_SIDE_BY_SIDE = 110


@click.command()
@click.argument(
    "files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--user", "users", multiple=True, metavar="USER", help="Only calls of USER.")
@click.option("--call-id", "call_ids", multiple=True, metavar="ID", help="Only the call ID.")
@click.option(
    "--method", "methods", multiple=True, metavar="METHOD", help="Only METHOD and its answers."
)
@click.option("--explain", is_flag=True, help="Say in plain words what each message does.")
@click.option("--show", type=click.IntRange(min=1), metavar="N",
              help="Message number N whole, and what its headers say.")  # fmt: skip
@click.option("--compare", type=(click.IntRange(min=1), click.IntRange(min=1)), metavar="N M",
              help="What is different in messages number N and M.")  # fmt: skip
@click.option("--export", "form", type=click.Choice(FORMATS), help="Write the ladder as this.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="With --export: a new FILE (stdout).",
)
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Go on with what is added to the FILEs; without any, with what the running server does.",
)
@click.option(
    "--hep",
    metavar="ADDRESS",
    help="Take what OpenSIPS or Kamailio send as HEP 3 to udp:HOST:PORT.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="With --follow or --hep: end after N seconds (Ctrl-C).",
)
@click.option("--show-credentials", is_flag=True, help="Leave nonces, digests and keys readable.")
@click.option("--limit", type=click.IntRange(min=1), default=100_000, show_default=True,
              metavar="N", help="Read no more than N messages.")  # fmt: skip
@json_option
@click.pass_obj
def trace(
    context: Context,
    files: tuple[Path, ...],
    users: tuple[str, ...],
    call_ids: tuple[str, ...],
    methods: tuple[str, ...],
    explain: bool,
    show: int | None,
    compare: tuple[int, int] | None,
    form: str | None,
    output: Path | None,
    follow: bool,
    hep: str | None,
    seconds: float | None,
    show_credentials: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Draw the ladder of SIP and MSRP messages.

    FILEs are traces (of `rcsops start`, `chat`, `send` or `listen` with --trace) and captures
    (pcap, pcapng); what several hold of one conversation is put together. With --follow or --hep
    the ladder grows as messages pass.
    """
    from rcsops.operations.trace import Wanted, read_ladder

    live = follow or hep is not None
    if not files and not live:
        raise UsageError("name a FILE", hint="or follow the running server: rcsops trace --follow")
    if output is not None and form is None:
        raise UsageError("-o needs --export", hint=f"one of: {', '.join(FORMATS)}")
    if (form is not None) + as_json + (show is not None) + (compare is not None) > 1:
        raise UsageError("--export, --json, --show and --compare exclude each other")
    if live and (show is not None or compare is not None):
        raise UsageError("--show and --compare are for what has been written")
    if seconds is not None and not live:
        raise UsageError("--seconds needs --follow or --hep")
    if output is not None and str(output) != "-" and output.exists():
        raise UsageError(f"{output} is there already", hint="name another file")
    wanted = Wanted(users, call_ids, methods)
    if live:
        from rcsops.cli.trace_live import follow_live

        follow_live(
            context,
            files,
            hep,
            wanted,
            seconds=seconds,
            limit=limit,
            show_credentials=show_credentials,
            explained=explain,
            as_json=as_json,
            form=form,
            output=output,
        )
        return
    ladder = read_ladder(files, wanted, limit=limit, show_credentials=show_credentials)
    for sentence in ladder.notes:
        note(sentence)
    arrows = ladder.arrows
    if show is not None:
        _show(arrows, show)
    elif compare is not None:
        _compare(arrows, *compare)
    elif form is not None:
        export_ladder(arrows, form, output, title=", ".join(path.name for path in files),
                      explained=explain)  # fmt: skip
    elif as_json:
        print_json(_as_json(arrows, explained=explain))
    elif not arrows:
        note("no messages")
    else:
        _draw(arrows, explained=explain)


def export_ladder(
    arrows: "Sequence[Arrow]",
    form: str,
    output: Path | None,
    *,
    title: str,
    explained: bool = False,
) -> None:
    """Writes the ladder to a new file, or to stdout, as ``form``; `rcsops demo` does so too."""
    from rcsops.operations.trace import write_export
    from rcsops.trace.export_text import export

    if output is not None and str(output) != "-":
        write_export(arrows, form, output, title=title, explained=explained)
        number = len(arrows)
        note(f"wrote {number} message{'' if number == 1 else 's'} to {output}")
        return
    if form == "pcap" and sys.stdout.isatty():
        raise UsageError("a capture is not for a terminal", hint="add: -o FILE")
    stream = sys.stdout.buffer
    for piece in export(arrows, form, title=title, width=ladder_width(), explained=explained):
        stream.write(piece)
    stream.flush()


def _as_json(arrows: "Sequence[Arrow]", *, explained: bool) -> list[dict[str, object]]:
    from rcsops.trace import explain, ladder_json

    documents = ladder_json(arrows)
    if explained:
        for document, told in zip(documents, explain(arrows), strict=True):
            document["explanation"] = told.text
    return documents


def _draw(arrows: "Sequence[Arrow]", *, explained: bool) -> None:
    from rcsops.cli.ladder import print_ladder, shown
    from rcsops.trace import explain
    from rcsops.trace.export_text import explained_lines

    print_ladder(arrows, width=ladder_width(), numbers=range(1, len(arrows) + 1))
    if explained:
        for number, (arrow, told) in enumerate(zip(arrows, explain(arrows), strict=True), 1):
            click.echo()
            for line in explained_lines(number, arrow, told, min(ladder_width(), 100)):
                click.echo(shown(line), nl=False)


def _message(arrows: "Sequence[Arrow]", number: int) -> "Arrow":
    if number > len(arrows):
        raise UsageError(f"there is no message {number}", hint=f"they go up to {len(arrows)}")
    return arrows[number - 1]


def _show(arrows: "Sequence[Arrow]", number: int) -> None:
    from rcsops.cli.ladder import shown
    from rcsops.trace import explain
    from rcsops.trace.export_text import message_lines

    arrow = _message(arrows, number)
    told = explain(arrows[:number])[-1]
    for line in message_lines(number, arrow, told, min(ladder_width(), 100)):
        click.echo(shown(line), nl=False)


def _compare(arrows: "Sequence[Arrow]", first: int, second: int) -> None:
    from rcsops.cli.ladder import print_side_by_side, shown, unicode_output
    from rcsops.trace import compare
    from rcsops.trace.export_text import change_lines, difference_lines

    before, after = _message(arrows, first), _message(arrows, second)
    if before.protocol != after.protocol:
        raise UsageError(f"message {first} is {before.protocol}, {second} is {after.protocol}")
    found = compare(before.protocol, before.data, after.data)
    width = ladder_width()
    if sys.stdout.isatty() and unicode_output() and width >= _SIDE_BY_SIDE:
        titles = (f"{first} {before.marked_label}", f"{second} {after.marked_label}")
        print_side_by_side(found, titles, width=width)
    else:
        for line in difference_lines(found):
            click.echo(shown(line), nl=False)
    click.echo()
    for line in change_lines(found, min(width, 100)):
        click.echo(shown(line), nl=False)


def ladder_width() -> int:
    """How wide the ladder is drawn here."""
    import shutil

    if not sys.stdout.isatty():
        return 100
    return min(shutil.get_terminal_size().columns, _WIDEST)
