"""The ladder as text: a column for each node, an arrow for each message."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rcsops.text import visible
from rcsops.trace.labels import fitting_label
from rcsops.trace.ladder import Arrow
from rcsops.trace.names import is_server
from rcsops.trace.text import cell_width, fit

_TIME_WIDTH = 9
_NUMBER_WIDTH = 5
_NARROWEST = 12
_LONGEST_NAME = 21
_STYLES = {"again": "yellow", "failed": "red", "sip": "cyan", "msrp": "magenta"}

BOTH_TIMES = 80
"""So wide must a ladder be to show the times since its first arrow and since the one before; a
narrower one has the latter alone."""


@dataclass(frozen=True, slots=True)
class _Glyphs:
    life: str
    line: str
    right: str
    left: str
    ellipsis: str


_UNICODE = _Glyphs("│", "─", "▶", "◀", "…")
_ASCII = _Glyphs("|", "-", ">", "<", "...")


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """One line of the picture; ``style`` is a style of rich, "" for none."""

    text: str
    style: str = ""


def order_nodes(arrows: Iterable[Arrow]) -> list[str]:
    """The columns from left to right: the agents by name, the servers after the first of them."""
    return in_order({name for arrow in arrows for name in (arrow.source, arrow.target)})


def in_order(names: Iterable[str]) -> list[str]:
    """As :func:`order_nodes`, of names."""
    names = set(names)
    servers = sorted(name for name in names if is_server(name))
    agents = sorted(names.difference(servers), key=lambda name: (":" in name, name))
    return [*agents[:1], *servers, *agents[1:]]


def draw_ladder(
    arrows: Sequence[Arrow],
    *,
    nodes: Sequence[str] | None = None,
    width: int = 80,
    ascii_only: bool = False,
    numbers: Sequence[int] = (),
    head: bool = True,
    gaps: Sequence[float | None] = (),
    seconds: bool = True,
) -> list[DrawnLine]:
    """The lines of the picture, none wider than ``width`` columns if the nodes fit at all.

    With ``numbers``, one for each arrow, they stand before the times. With ``gaps``, one for each,
    too, the seconds since the arrow before stand behind the times, or without ``seconds`` in their
    place. Without ``head`` the picture goes on from one drawn before: no addresses and names above.
    """
    if not arrows:
        return []
    glyphs = _ASCII if ascii_only else _UNICODE
    columns = list(nodes if nodes is not None else order_nodes(arrows))
    columns += [name for name in order_nodes(arrows) if name not in columns]
    indent = _NUMBER_WIDTH if numbers else 0
    times = ("seconds",) * seconds + ("since",) * bool(gaps)
    lanes = _Lanes(columns, width - _TIME_WIDTH * len(times) - indent)
    lines: list[DrawnLine] = []
    if head:
        lines += _legend(arrows, columns, width, glyphs)
        lines.append(DrawnLine(" " * indent + _row(times, lanes.names(glyphs)), "bold"))
    for position, arrow in enumerate(arrows):
        number = f"{numbers[position]:>{indent}}" if numbers else ""
        picture = _arrow(arrow, lanes, glyphs)
        times = (f"{arrow.time:.3f}",) * seconds
        times += (gap_words(gaps[position]),) if gaps else ()
        lines.append(DrawnLine(number + _row(times, picture), _STYLES[arrow.kind]))
    return lines


def _row(times: Iterable[str], rest: str) -> str:
    return ("".join(f"{time:>{_TIME_WIDTH - 1}} " for time in times) + rest).rstrip()


def gap_words(seconds: float | None) -> str:
    """A time between two arrows in two or three digits, as "+12 ms"; "" for None."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        milliseconds = seconds * 1000
        return f"+{milliseconds:.{1 if milliseconds < 9.95 else 0}f} ms"
    if seconds < 99.5:
        return f"+{seconds:.{1 if seconds < 9.95 else 0}f} s"
    return f"+{seconds / 60:.0f} min"


class _Lanes:
    """Where the line of each node stands: as far apart as they can, for the words between them."""

    def __init__(self, columns: Sequence[str], width: int) -> None:
        names = [visible(name) for name in columns]
        # Names are centred on their lines: what stands out at the edges is room lost.
        before = min(cell_width(names[0]), _LONGEST_NAME) // 2
        after = min(cell_width(names[-1]) + 1, _LONGEST_NAME) // 2
        gaps = max(len(columns) - 1, 1)
        self.gap = max((width - before - after - 1) // gaps, _NARROWEST)
        self.centre = {name: before + self.gap * number for number, name in enumerate(columns)}
        self.total = before + self.gap * (len(columns) - 1) + after + 1
        self._names = names

    def names(self, glyphs: _Glyphs) -> str:
        """The line with the names of the nodes, each over its own."""
        text = ""
        for name, centre in zip(self._names, self.centre.values(), strict=True):
            shown = fit(name, min(self.gap - 1, _LONGEST_NAME), ellipsis=glyphs.ellipsis)
            text += " " * (centre - cell_width(shown) // 2 - cell_width(text)) + shown
        return text


def _legend(
    arrows: Sequence[Arrow], columns: Sequence[str], width: int, glyphs: _Glyphs
) -> list[DrawnLine]:
    """Who is where: the first address of each node, the one that it speaks SIP from."""
    addresses: dict[str, str] = {}
    for arrow in arrows:
        for name, (host, port) in (
            (arrow.source, arrow.source_address),
            (arrow.target, arrow.target_address),
        ):
            addresses.setdefault(name, f"{host}:{port}")
    lines = [""]
    for name in columns:
        if name == addresses.get(name, name):
            continue
        shown = fit(f"{visible(name)} {addresses[name]}", width, ellipsis=glyphs.ellipsis)
        if lines[-1] and cell_width(lines[-1]) + 3 + cell_width(shown) > width:
            lines.append("")
        lines[-1] += f"   {shown}" if lines[-1] else shown
    return [DrawnLine(line, "dim") for line in lines if line]


def _arrow(arrow: Arrow, lanes: _Lanes, glyphs: _Glyphs) -> str:
    cells = [" "] * lanes.total
    for centre in lanes.centre.values():
        cells[centre] = glyphs.life
    source, target = lanes.centre[arrow.source], lanes.centre[arrow.target]
    if source == target:
        # A message of a node to itself (a spiral) has no way to draw: it stands beside the line.
        start = source + 2 if source + 2 + _NARROWEST <= lanes.total else 0
        label = fitting_label(arrow, max(lanes.total - start - 3, 0), ellipsis=glyphs.ellipsis)
        return _placed(cells, start, f"{glyphs.left}{glyphs.right} {label}", glyphs)
    first, last = min(source, target) + 1, max(source, target) - 1
    span = last - first + 1
    for position in range(first, last + 1):
        cells[position] = glyphs.line
    if target > source:
        cells[last] = glyphs.right
    else:
        cells[first] = glyphs.left
    text = f" {fitting_label(arrow, span - 4, ellipsis=glyphs.ellipsis)} "
    # Not over the head of the arrow.
    start = first + max((span - cell_width(text)) // 2, 1 if target < source else 0)
    return _placed(cells, start, text, glyphs)


def _placed(cells: list[str], start: int, text: str, glyphs: _Glyphs) -> str:
    """``cells`` with ``text`` over them from ``start`` on, and not wider than before."""
    text = fit(text, len(cells) - start, ellipsis=glyphs.ellipsis)
    return "".join(cells[:start]) + text + "".join(cells[start + cell_width(text) :])
