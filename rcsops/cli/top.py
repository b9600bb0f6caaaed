"""``rcsops top``."""

import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, plain, print_json, visible
from rcsops.cli.sparkline import sparkline
from rcsops.errors import EngineError
from rcsops.operations.wording import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rcsops.operations.top import ProcessUse, Snapshot

_HISTORY = 240
_VERSION = re.compile(r"(\S+) \((\d[\w.-]*)")
_ROWS = 20
# Columns where there is no terminal, in which lines would have to fit: more than any line has.
_WHOLE = 1 << 16


@click.command()
@click.option("--once", is_flag=True, help="Measure for one interval, print that, and end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2, max=3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure for each line.",
)
@json_option
@click.pass_obj
def top(context: Context, once: bool, interval: float, as_json: bool) -> None:
    """Watch the server: who is registered, what it does each second, its processes, its errors.

    On a terminal a screen that Ctrl-C ends, on a pipe a line for each interval. Rates are of the
    server's own statistics (MI), load and memory of its processes from the system.
    """
    from rcsops.operations.top import Sampler

    sampler = Sampler(context.project)
    first = sampler.take()
    if not first.running:
        raise EngineError("the server is not running", hint="to start it: rcsops start")
    try:
        if once:
            time.sleep(interval)
            _print_once(sampler.take(), as_json=as_json)
        elif as_json or not sys.stdout.isatty():
            while True:
                time.sleep(interval)
                _print_line(sampler.take(), as_json=as_json)
        else:
            _Screen(sampler.take, interval).run(first)
    except KeyboardInterrupt:
        # It is how one leaves.
        return


def _print_once(snapshot: "Snapshot", *, as_json: bool) -> None:
    if as_json:
        print_json(snapshot)
        return
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WHOLE
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    if not _unicode() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    with console.capture() as capture:
        for part in _parts(snapshot, {}, console.width):
            console.print(part)
    for line in capture.get().splitlines():
        # A table fills its lines up.
        click.echo(line.rstrip())


def _print_line(snapshot: "Snapshot", *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plain(snapshot)))
    else:
        shown = ", ".join(f"{name} {value}" for name, value, _ in _figures(snapshot))
        clock = time.strftime("%H:%M:%S", time.localtime(snapshot.time))
        click.echo(f"{clock} {shown if snapshot.answers else 'no answer'}")
    sys.stdout.flush()


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _figures(snapshot: "Snapshot") -> list[tuple[str, str, float | None]]:
    """Name, value in words, and the value where it is worth a line of bars."""
    rate = snapshot.messages_per_second
    dialogs = snapshot.dialogs
    figures = [
        ("registered", str(snapshot.registered), snapshot.registered),
        ("contacts", str(snapshot.contacts), None),
        ("registrations/s", _number(snapshot.registrations_per_second),
         snapshot.registrations_per_second),
        ("messages/s", _number(rate), rate),
        ("transactions", str(snapshot.transactions), snapshot.transactions),
        ("dialogs", str(dialogs), dialogs),
        ("stored", str(snapshot.stored), None),
    ]  # fmt: skip
    # A server that keeps no list of calls has none to show.
    return [each for each in figures if each[0] != "dialogs" or dialogs is not None]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _parts(
    snapshot: "Snapshot",
    history: "dict[str, deque[float]]",
    width: int,
    height: int | None = None,
) -> "Iterable[RenderableType]":
    """What is shown; in a screen of so many lines the processes leave room for the errors, and what
    is left parts the lists."""
    from rich.text import Text

    shown = _figures(snapshot)
    busiest = sorted(snapshot.processes, key=lambda each: -(each.load or 0))
    rows, gap = _ROWS, True
    if height is not None:
        # The first line, the heads of both lists, and the line that counts the others.
        rows = height - 2 - len(shown) - (len(snapshot.errors) + 1 if snapshot.errors else 0)
        gap = rows - len(busiest) >= 3
        rows = max(rows if rows >= len(busiest) else rows - 1, 1)
    yield _headline(snapshot, leaves=height is not None)
    if gap:
        yield ""
    yield _figure_table(shown, history, width)
    if gap:
        yield ""
    yield _process_table(busiest[:rows])
    left = len(busiest) - rows
    if left > 0:
        yield Text(f"{left} more processes", style="dim")
    if snapshot.errors:
        if gap:
            yield ""
        yield Text("recent errors", style="bold")
        for line in snapshot.errors:
            yield Text(visible(line), style="red", no_wrap=True, overflow="ellipsis")


def _headline(snapshot: "Snapshot", *, leaves: bool) -> "RenderableType":
    """What serves, for how long, and how one ``leaves`` a screen."""
    from rich.text import Text

    state = "" if snapshot.answers else "  does not answer" if snapshot.running else "  has ended"
    # "OpenSIPS (3.6.8 (x86_64/linux))"
    found = _VERSION.match(snapshot.version)
    version = f"{found[1]} {found[2]}" if found else snapshot.version
    if snapshot.engine.lower() not in version.lower():
        version = f"{version} ({snapshot.engine})"
    up = "" if snapshot.uptime is None else f"  up {duration(snapshot.uptime)}"
    return Text.assemble(
        (visible(version.strip()), "bold"),
        up,
        f"  {snapshot.memory / (1 << 20):.0f} MiB",
        (state, "bold red"),
        ("  Ctrl-C ends" if leaves else "", "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _figure_table(
    shown: Sequence[tuple[str, str, float | None]], history: "dict[str, deque[float]]", width: int
) -> "RenderableType":
    from rich.table import Table

    names = max(len(name) for name, _, _ in shown)
    values = max(len(value) for _, value, _ in shown)
    # The last that there is room for.
    room = max(width - names - values - 4, 1)
    figures = Table(box=None, pad_edge=False, show_header=False)
    figures.add_column(style="cyan", no_wrap=True)
    figures.add_column(justify="right", no_wrap=True)
    figures.add_column(no_wrap=True, style="green")
    for name, value, number in shown:
        before = list(history.get(name, ()))[-room:] if number is not None else []
        figures.add_row(name, value, sparkline(before, ascii_only=not _unicode()))
    return figures


def _process_table(processes: "Sequence[ProcessUse]") -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    # The name of the process gives way, never a number.
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    digits = max((len(str(each.pid)) for each in processes), default=0)
    for column, width in (("pid", max(digits, 3)), ("load", 5), ("MiB", 4)):
        table.add_column(column, justify="right", width=width, no_wrap=True)
    table.add_column("process", overflow="ellipsis", no_wrap=True, ratio=1)
    for each in processes:
        load = "-" if each.load is None else f"{each.load:.0%}"
        memory = f"{each.memory / (1 << 20):.0f}"
        table.add_row(str(each.pid), load, memory, Text(visible(each.what)))
    return table


class _Screen:
    """The live screen, on the terminal's other page."""

    def __init__(self, take: Callable[[], "Snapshot"], interval: float) -> None:
        self._take = take
        self._interval = interval
        self._history: dict[str, deque[float]] = {}

    def run(self, snapshot: "Snapshot") -> None:
        """Goes on until Ctrl-C, also when the server ends and comes again."""
        from rich.console import Console, Group
        from rich.live import Live

        no_color = bool(os.environ.get("NO_COLOR")) or None
        console = Console(highlight=False, markup=False, emoji=False, no_color=no_color)
        # Nothing else prints; redirected, stdout would not tell its encoding.
        with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False) as live:
            while True:
                for name, _, number in _figures(snapshot):
                    if number is not None:
                        self._history.setdefault(name, deque(maxlen=_HISTORY)).append(number)
                parts = _parts(snapshot, self._history, *console.size)
                live.update(Group(*parts), refresh=True)
                time.sleep(self._interval)
                snapshot = self._take()
