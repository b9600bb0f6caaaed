"""What ``rcsops load`` shows while it runs, and at its end."""

import os
from types import TracebackType
from typing import TYPE_CHECKING

from rcsops.cli.output import print_table, say, visible
from rcsops.cli.sparkline import sparkline

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from rcsops.loadgen import LoadPlan, LoadReport, Second

_MIB = 1 << 20
_HISTORY = 40
_CAUSES = 5
_COLUMNS = ("", "started", "done", "failed", "a second", "p50 ms", "p90 ms", "p99 ms", "max ms")


class LoadScreen:
    """A live screen on stderr; a context manager."""

    def __init__(self, plan: "LoadPlan") -> None:
        from rich.console import Console
        from rich.live import Live

        self._plan = plan
        console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")) or None)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LoadScreen":
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self, second: "Second", report: "LoadReport") -> None:
        """Draws how it stands; for `run_load`."""
        from rich.console import Group

        self._live.update(
            Group(self._head(second, report), _table(second, report), *_tail(report)), refresh=True
        )

    def _head(self, second: "Second", report: "LoadReport") -> "Text":
        from rich.text import Text

        plan = self._plan
        where = f"{plan.scenario} at {plan.server} over {plan.transport}"
        if second.phase == "joining":
            done = f"{report.joined} of {plan.agents} agents registered"
        else:
            done = f"{second.time:.0f} of {plan.duration:.0f} s, {second.open} open"
        use = f"generator {second.busy:.0%} {second.memory / _MIB:.0f} MiB"
        if second.server_memory is not None:
            use += f", server {second.server_busy:.0%} {second.server_memory / _MIB:.0f} MiB"
        return Text.assemble((where, "bold"), f"\n{second.phase}: {done}; {use}")


def _table(second: "Second", report: "LoadReport") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (*_COLUMNS, "done each second"):
        table.add_column(column, justify="left" if column in ("", "done each second") else "right")
    for name, row in _rows(report, second).items():
        history = [each.done.get(name, 0) for each in report.seconds[-_HISTORY:]]
        table.add_row(name, *row, sparkline(history))
    return table


def _rows(report: "LoadReport", second: "Second | None" = None) -> dict[str, list[str]]:
    """A row for each operation; the rate is that of ``second``, or of the whole load."""
    rows = {}
    for name, operation in report.statistics.operations.items():
        rate = operation.succeeded / report.plan.duration
        latency = operation.latency
        rows[name] = [
            str(operation.started),
            str(operation.succeeded),
            str(operation.failures),
            f"{second.done.get(name, 0)}" if second else "" if name == "join" else f"{rate:.1f}",
            *(f"{latency.percentile(share) * 1000:.1f}" for share in (0.5, 0.9, 0.99)),
            f"{latency.maximum * 1000:.1f}",
        ]
    return rows


def _tail(report: "LoadReport") -> "list[Text]":
    from rich.text import Text

    lines = [Text(line, style="red") for line in _causes(report)]
    return lines + [Text(f"generator: {line}", style="yellow") for line in report.limits()]


def _causes(report: "LoadReport") -> list[str]:
    found = [
        (count, f"{name}: {cause}")
        for name, operation in report.statistics.operations.items()
        for cause, count in operation.failed.items()
    ]
    found.sort(reverse=True)
    return [f"{count} {visible(what)}" for count, what in found[:_CAUSES]]


def print_report(report: "LoadReport") -> None:
    """The outcome for a person."""
    statistics = report.statistics
    say(f"{report.joined} of {report.plan.agents} agents registered; {report.ended}")
    print_table(_COLUMNS, [[name, *row] for name, row in _rows(report).items()])
    if statistics.sent:
        say(
            f"messages: {statistics.sent} sent, {statistics.received} received, "
            f"{statistics.lost} lost, {statistics.twice} twice"
        )
    for line in _causes(report):
        say(f"failed: {line}")
    if report.left is not None:
        held = ", ".join(f"{count} {name}" for name, count in report.left.items() if count)
        say(f"left over: {held or 'nothing'}")
    for line in report.limits():
        say(f"the generator was a limit: {line}")
