"""The ladder as a picture: SVG, in light or dark as the reader's screen is."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from rcsops.text import visible
from rcsops.trace.draw import gap_words, order_nodes
from rcsops.trace.labels import fitting_label
from rcsops.trace.ladder import Arrow, times_between
from rcsops.trace.text import cell_width, fit

_ROW = 30
_TOP = 44
# The seconds since the first arrow, and the time since the one before, end here.
_SECONDS, _SINCE = 62, 130
_TIME = _SINCE + 8
_CHARACTER = 7.3
_GAP_LEAST, _GAP_MOST = 190, 340
_MARGIN = 80

STYLE = """
svg { background: #ffffff; font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas,
  'Noto Sans Mono CJK SC', 'Noto Sans CJK SC', 'PingFang SC', 'Hiragino Sans', 'Microsoft YaHei',
  monospace; font-size: 12px; }
.life { stroke: #b8bec6; } .name { font-weight: bold; fill: #1f2328; font-size: 13px; }
.time { fill: #656d76; font-size: 11px; } .label { fill: #1f2328;
  paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; } .wire {
  fill: none; stroke-width: 1.6; }
.sip { stroke: #0969da; } .msrp { stroke: #8250df; } .failed { stroke: #cf222e; } .again {
  stroke: #9a6700; }
.response { stroke-dasharray: 5 3; } .head { stroke: none; } .head.sip { fill: #0969da; }
.head.msrp { fill: #8250df; } .head.failed { fill: #cf222e; } .head.again { fill: #9a6700; }
.back { fill: #ffffff; } .row { fill: none; pointer-events: all; }
@media (prefers-color-scheme: dark) {
svg, .back { background: #0d1117; fill: #0d1117; } .life { stroke: #3d444d; } .name, .label {
  fill: #e6edf3; }
.label { stroke: #0d1117; }
.time { fill: #9198a1; } .sip { stroke: #4493f8; } .msrp { stroke: #ab7df8; } .failed { stroke:
  #f85149; }
.again { stroke: #d29922; } .head.sip { fill: #4493f8; } .head.msrp { fill: #ab7df8; }
.head.failed { fill: #f85149; } .head.again { fill: #d29922; }
}
"""


def write_svg(
    arrows: Sequence[Arrow], *, link: Callable[[int], str] | None = None, style: bool = True
) -> Iterator[str]:
    """The document in pieces: a column for each node, an arrow of class ``arrow`` for each message.

    ``link`` gives the address that the arrow of a number (from 0) leads to; without ``style`` the
    page that it stands in has :data:`STYLE` already.
    """
    nodes = order_nodes(arrows)
    widest = max((cell_width(visible(arrow.label)) for arrow in arrows), default=0)
    gap = int(min(max(widest * _CHARACTER + 40, _GAP_LEAST), _GAP_MOST))
    lanes = {name: _TIME + _MARGIN + gap * number for number, name in enumerate(nodes)}
    width = _TIME + 2 * _MARGIN + gap * max(len(nodes) - 1, 0)
    if any(arrow.source == arrow.target == nodes[-1] for arrow in arrows):
        # Its words stand beside the last of the lines.
        width += gap
    height = _TOP + _ROW * len(arrows) + 24
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{len(arrows)} messages">\n'
    )
    if style:
        yield f"<style>{STYLE}</style>\n"
    yield f'<rect class="back" width="{width}" height="{height}"/>\n'
    yield f"{_time(_SECONDS, 16, 'seconds')}{_time(_SINCE, 16, 'since')}\n"
    for name, x in lanes.items():
        shown = fit(visible(name), int(gap / _CHARACTER) - 1)
        yield f'<text class="name" x="{x}" y="20" text-anchor="middle">{_text(shown)}</text>\n'
        yield f'<line class="life" x1="{x}" y1="30" x2="{x}" y2="{height - 12}"/>\n'
    for number, (arrow, since) in enumerate(zip(arrows, times_between(arrows), strict=True)):
        drawn = _arrow(arrow, since, lanes, _TOP + _ROW * number, width, gap)
        if link is not None:
            drawn = f'<a href="{escape(link(number))}">{drawn}</a>'
        yield f'<g class="arrow" id="a{number + 1}">{drawn}</g>\n'
    yield "</svg>\n"


def _text(text: str) -> str:
    return escape(visible(text))


def _arrow(
    arrow: Arrow, since: float | None, lanes: dict[str, int], top: int, width: int, gap: int
) -> str:
    source, target = lanes[arrow.source], lanes[arrow.target]
    y = top + 20
    kind = arrow.kind
    dashed = " response" if arrow.summary.status is not None else ""
    label = arrow.marked_label
    room = abs(target - source) or gap
    shown = fitting_label(arrow, max(int((room - 16) / _CHARACTER), 8))
    title = f"{arrow.source} → {arrow.target}: {label} ({arrow.transport})"
    parts = [
        f"<title>{_text(title)}</title>",
        f'<rect class="row" x="0" y="{top}" width="{width}" height="{_ROW}"/>',
        _time(_SECONDS, y, f"{arrow.time:.3f}"),
        _time(_SINCE, y, gap_words(since)),
    ]
    if source == target:
        parts.append(
            f'<path class="wire {kind}{dashed}" d="M{source} {y - 7} h26 v11 h-18"/>'
            f'<text class="label" x="{source + 34}" y="{y + 2}">{_text(shown)}</text>'
        )
        tip, back = source + 2, source + 10
        y += 4
    else:
        way = 1 if target > source else -1
        tip, back = target - way * 2, target - way * 10
        end = back if not arrow.lost else source + (target - source) * 7 // 10
        parts.append(
            f'<line class="wire {kind}{dashed}" x1="{source}" y1="{y}" x2="{end}" y2="{y}"/>'
            f'<text class="label" x="{(source + target) // 2}" y="{y - 5}" '
            f'text-anchor="middle">{_text(shown)}</text>'
        )
        if arrow.lost:
            parts.append(
                f'<path class="wire {kind}" d="M{end - 5} {y - 5} l10 10 m0 -10 l-10 10"/>'
            )
            return "".join(parts)
    parts.append(
        f'<path class="head {kind}" d="M{tip} {y} L{back} {y - 4.5} L{back} {y + 4.5} Z"/>'
    )
    return "".join(parts)


def _time(x: int, y: int, words: str) -> str:
    return f'<text class="time" x="{x}" y="{y + 4}" text-anchor="end">{words}</text>' * bool(words)
