"""The run of a load as a picture: rates, latencies, and what generator and server used."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import RcsopsError, UsageError
from rcsops.loadgen import LoadReport, Second

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["FORMATS", "check_chart", "draw_chart"]

FORMATS = (".svg", ".png")
_MIB = 1 << 20
_COLOURS = {
    "register": "#1f77b4",
    "invite": "#ff7f0e",
    "message": "#2ca02c",
    "pager": "#d62728",
    "bye": "#9467bd",
}


def check_chart(path: Path) -> None:
    """Whether `draw_chart` can draw such a file: asked before a long load, not after it. Raises as
    that does."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path.name} is neither .svg nor .png")
    if find_spec("matplotlib") is None:
        raise RcsopsError(
            "a chart needs the Python package matplotlib, which is not installed",
            hint=f"type: {sys.executable} -m pip install matplotlib",
        )


def draw_chart(report: LoadReport, path: Path) -> None:
    """Draws ``path``, an SVG or a PNG by its suffix.

    Raises UsageError for another suffix or a file that cannot be written, RcsopsError where
    matplotlib is not installed.
    """
    check_chart(path)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    # Text stays text in an SVG, so that it can be searched and read out.
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "rcsops"
    figure = Figure(figsize=(10, 8), layout="constrained")
    rates, latencies, use = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    seconds = [each for each in report.seconds if each.phase in ("running", "draining")]
    _draw_rates(rates, seconds)
    _draw_latencies(latencies, seconds)
    _draw_use(use, seconds)
    plan = report.plan
    figure.suptitle(
        f"{plan.scenario}: {report.joined} agents over {plan.transport}, {plan.rate:g} a second, "
        f"{report.error_share:.2%} failed"
    )
    limits = report.limits()
    if limits:
        figure.text(
            0.5, -0.02, f"the generator was a limit: {'; '.join(limits)}", ha="center", color="red"
        )
    try:
        figure.savefig(path, dpi=120, bbox_inches="tight", metadata={_date_key(path): None})
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _date_key(path: Path) -> str:
    return "Date" if path.suffix.lower() == ".svg" else "Creation Time"


def _draw_rates(axes: "Axes", seconds: list[Second]) -> None:
    times = [second.time for second in seconds]
    for name in _names(seconds):
        done = [second.done.get(name, 0) for second in seconds]
        if any(done):
            axes.plot(times, done, label=f"{name} done", color=_COLOURS.get(name))
    failed = [sum(second.failed.values()) for second in seconds]
    axes.plot(times, failed, label="failed", color="red", linestyle="--")
    axes.set_ylabel("a second")
    axes.set_ylim(bottom=0)
    _finish(axes)


def _draw_latencies(axes: "Axes", seconds: list[Second]) -> None:
    for name in _names(seconds):
        for attribute, style in (("p50", "-"), ("p99", ":")):
            found = [
                (second.time, getattr(second, attribute)[name] * 1000)
                for second in seconds
                if name in getattr(second, attribute)
            ]
            if found:
                axes.plot(
                    *zip(*found, strict=True),
                    linestyle=style,
                    label=f"{name} {attribute}",
                    color=_COLOURS.get(name),
                )
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    _finish(axes)


def _draw_use(axes: "Axes", seconds: list[Second]) -> None:
    times = [second.time for second in seconds]
    axes.plot(times, [s.memory / _MIB for s in seconds], label="generator MiB", color="#1f77b4")
    watched = [s for s in seconds if s.server_memory is not None]
    axes.plot(
        [s.time for s in watched],
        [(s.server_memory or 0) / _MIB for s in watched],
        label="server MiB",
        color="#ff7f0e",
    )
    axes.set_ylabel("MiB")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    busy = axes.twinx()
    busy.plot(times, [s.busy * 100 for s in seconds], ":", label="generator %", color="#1f77b4")
    busy.plot(
        [s.time for s in watched],
        [(s.server_busy or 0) * 100 for s in watched],
        ":",
        label="server %",
        color="#ff7f0e",
    )
    busy.set_ylabel("% of a processor")
    busy.set_ylim(bottom=0)
    handles, labels = axes.get_legend_handles_labels()
    more, more_labels = busy.get_legend_handles_labels()
    _finish(axes, handles + more, labels + more_labels)


def _finish(
    axes: "Axes", handles: "list[Artist] | None" = None, labels: list[str] | None = None
) -> None:
    if handles is None or labels is None:
        handles, labels = axes.get_legend_handles_labels()
    axes.grid(alpha=0.3)
    # Above the lines, not over them.
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        fontsize="small",
        ncols=8,
        frameon=False,
    )


def _names(seconds: list[Second]) -> list[str]:
    """The operations of the load itself; registering comes before it."""
    found = dict.fromkeys(name for second in seconds for name in second.done)
    return [name for name in found if name != "join"]
