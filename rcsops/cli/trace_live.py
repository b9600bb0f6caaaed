"""``rcsops trace --follow`` and ``--hep``: the ladder that grows."""

import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from rcsops.cli.context import Context
from rcsops.cli.ladder import print_ladder, shown
from rcsops.cli.output import note
from rcsops.cli.trace import export_ladder, ladder_width
from rcsops.operations.terminations import handled
from rcsops.operations.trace import Wanted, without_credentials_of
from rcsops.operations.trace_live import FileSource, HepSource, ServerSource, Source, follow
from rcsops.operations.trace_opensips import OpenSipsSource
from rcsops.trace import Arrow, Story, ladder_json, order_nodes, times_between
from rcsops.trace.draw import in_order
from rcsops.trace.export_text import explained_lines
from rcsops.trace.select import Selection

_HEAD_AGAIN = 50


def follow_live(
    context: Context,
    files: Sequence[Path],
    hep: str | None,
    wanted: Wanted,
    *,
    seconds: float | None,
    limit: int,
    show_credentials: bool,
    explained: bool,
    as_json: bool,
    form: str | None,
    output: Path | None,
) -> None:
    """Prints messages until the time is over, the server ends or the person has seen enough."""
    sources: list[Source] = [FileSource(path) for path in files]
    if hep is not None:
        listener = HepSource(hep)
        sources.append(listener)
        note(f"listening for HEP at {listener.address}")
    elif not files:
        project = context.project
        embedded = project.settings.engine == "embedded"
        sources.append(ServerSource(project) if embedded else OpenSipsSource(project))
        note("following the server")
    selection = Selection(wanted)
    screen = _Lines(explained) if as_json else _Quiet() if form is not None else _Screen(explained)
    kept: list[Arrow] = []
    count = 0
    with (
        _ends() as ended,
        contextlib.closing(follow(sources, seconds=seconds, stopped=ended)) as batches,
    ):
        for batch in batches:
            chosen = list(itertools.islice(selection.choose(batch), limit - count))
            if not show_credentials:
                chosen = [without_credentials_of(arrow) for arrow in chosen]
            count += len(chosen)
            if form is not None:
                kept += chosen
            screen.show(chosen)
            if count >= limit:
                note(f"{count} messages; see --limit")
                break
    for sentence in (sentence for source in sources for sentence in source.notes):
        note(sentence)
    if form is not None:
        export_ladder(kept, form, output, title="rcsops trace", explained=explained)


@contextlib.contextmanager
def _ends() -> Iterator[Callable[[], bool]]:
    """Whether the person, or the system, wants it to end: that is no failure, and what has been
    seen is still shown and written. A second Ctrl-C does not wait for that."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    with handled(ask):
        yield lambda: bool(asked)


class _Quiet:
    def show(self, arrows: Sequence[Arrow]) -> None:
        """Shows nothing: what has come is written at the end."""


class _Lines:
    """One object a line."""

    def __init__(self, explained: bool) -> None:
        self._story = Story() if explained else None

    def show(self, arrows: Sequence[Arrow]) -> None:
        """Prints them at once."""
        for arrow, document in zip(arrows, ladder_json(arrows), strict=True):
            if self._story is not None:
                document["explanation"] = self._story.tell(arrow).text
            click.echo(json.dumps(document))
        sys.stdout.flush()


class _Screen:
    """The ladder, with the names above it whenever somebody new has come."""

    def __init__(self, explained: bool) -> None:
        self._story = Story() if explained else None
        self._nodes: list[str] = []
        self._number = 0
        self._since_head = 0
        self._last: list[Arrow] = []

    def show(self, arrows: Sequence[Arrow]) -> None:
        """Prints them at once."""
        for arrow in arrows:
            self._one(arrow)
        sys.stdout.flush()

    def _one(self, arrow: Arrow) -> None:
        new = [each for each in order_nodes([arrow]) if each not in self._nodes]
        if new:
            self._nodes = _joined(self._nodes, arrow)
        self._number += 1
        head = bool(new) or self._since_head >= _HEAD_AGAIN
        self._since_head = 0 if head else self._since_head + 1
        if head and self._number > 1:
            click.echo()
        width = ladder_width()
        *_, gap = times_between([*self._last, arrow])
        self._last = [arrow]
        print_ladder(
            [arrow],
            width=width,
            numbers=[self._number],
            nodes=self._nodes,
            head=head,
            gaps=[gap],
        )
        if self._story is not None:
            for line in explained_lines(self._number, arrow, self._story.tell(arrow), width):
                click.echo(shown(line), nl=False)


def _joined(nodes: list[str], arrow: Arrow) -> list[str]:
    """The columns with the ends of ``arrow``; those that have been silent longest give way."""
    ends = [arrow.source, arrow.target]
    room = max((ladder_width() - 20) // 14, 2)
    others = [name for name in nodes if name not in ends]
    kept = others[max(len(others) - max(room - len(set(ends)), 0), 0) :]
    return in_order([*kept, *ends])
