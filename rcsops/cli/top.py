"""``rcsops top``."""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, plain, print_json, visible
from rcsops.cli.sparkline import sparkline
from rcsops.errors import EngineError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rcsops.operations.top import Snapshot

_HISTORY = 60
_ROWS = 20


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

    width = None if sys.stdout.isatty() else 100
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    if not _unicode() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    with console.capture() as capture:
        for part in _parts(snapshot, {}):
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
    return [
        ("registered", str(snapshot.registered), snapshot.registered),
        ("contacts", str(snapshot.contacts), None),
        ("registrations/s", _number(snapshot.registrations_per_second),
         snapshot.registrations_per_second),
        ("messages/s", _number(rate), rate),
        ("transactions", str(snapshot.transactions), snapshot.transactions),
        ("dialogs", "-" if dialogs is None else str(dialogs), dialogs),
        ("stored", str(snapshot.stored), None),
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _parts(
    snapshot: "Snapshot", history: "dict[str, deque[float]]", height: int | None = None
) -> "Iterable[RenderableType]":
    """What is shown; in a screen of so many lines the processes leave room for the errors."""
    from rich.table import Table
    from rich.text import Text

    state = "" if snapshot.answers else "  does not answer" if snapshot.running else "  has ended"
    head = f"{snapshot.engine} {snapshot.version}".strip()
    up = "" if snapshot.uptime is None else f"  up {_duration(snapshot.uptime)}"
    yield Text.assemble(
        (visible(head), "bold"), up, f"  {snapshot.memory / (1 << 20):.0f} MiB", (state, "bold red")
    )
    shown = _figures(snapshot)
    figures = Table(box=None, pad_edge=False, show_header=False)
    figures.add_column(style="cyan")
    figures.add_column(justify="right")
    figures.add_column(no_wrap=True, style="green")
    for name, value, number in shown:
        values = history.get(name, deque())
        bars = sparkline(list(values), ascii_only=not _unicode()) if number is not None else ""
        figures.add_row(name, value, bars)
    yield figures
    processes = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("pid", "load", "MiB"):
        processes.add_column(column, justify="right")
    processes.add_column("process", overflow="ellipsis", no_wrap=True)
    busiest = sorted(snapshot.processes, key=lambda each: -(each.load or 0))
    rows = _ROWS
    if height is not None:
        # The first line, the heads of both lists, and the line that counts the others.
        rows = height - 2 - len(shown) - (len(snapshot.errors) + 1 if snapshot.errors else 0)
        rows = max(rows if rows >= len(busiest) else rows - 1, 1)
    for each in busiest[:rows]:
        load = "-" if each.load is None else f"{each.load:.0%}"
        memory = f"{each.memory / (1 << 20):.0f}"
        processes.add_row(str(each.pid), load, memory, Text(visible(each.what)))
    yield processes
    left = len(busiest) - rows
    if left > 0:
        yield Text(f"{left} more processes", style="dim")
    if snapshot.errors:
        yield Text("recent errors", style="bold")
        for line in snapshot.errors:
            yield Text(visible(line), style="red", no_wrap=True, overflow="ellipsis")


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


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
                parts = _parts(snapshot, self._history, console.size.height)
                live.update(Group(*parts), refresh=True)
                time.sleep(self._interval)
                snapshot = self._take()
