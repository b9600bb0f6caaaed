"""A message of the ladder opened, as what a screen shows."""

import re
from collections.abc import Iterator, Sequence

from textual.content import Content

from rcsops.text import visible
from rcsops.trace import Piece, cell_width, explain_headers, highlight
from rcsops.tui.styles import MUTED
from rcsops.tui.wire import Step

__all__ = ["opened"]

_COLOURS = {
    "method": "bold $primary",
    "status": "bold $success",
    "version": MUTED,
    "uri": "$accent",
    "name": "$text-primary",
    "parameter": MUTED,
    "string": "$text-success",
    "number": "$text-warning",
    "tag": "$accent",
    "end": MUTED,
}
_LONGEST = 400
_INDENT = "    "
# A parameter of a header begins with a semicolon, or ends with a comma.
_PARTS = re.compile(r"(?=;)|(?<=, )")
# What the values of RCS's feature tags (RCC.07) have in common, which says least and is longest.
_COMMON = re.compile(r"urn%3Aurn-7%3A3gpp-(?:service|application)\.ims\.(?:icsi|iari)\.(?:oma\.)?")


def opened(step: Step, width: int, *, whole: bool) -> Content:
    """A message with what it does here, and what its headers say, in ``width`` columns. Unless it
    has the ``whole`` room, what the values of feature tags have in common stands as "…"."""
    arrow = step.arrow
    told = [Content.styled(f"{visible(step.told.text)}\n", "bold")]
    facts = [f"{visible(arrow.source)} to {visible(arrow.target)}", arrow.transport.upper()]
    if step.told.waited is not None:
        facts.append(f"{step.told.waited * 1000:.1f} ms after the one before")
    if arrow.retransmission:
        facts.append("a retransmission")
    told.append(Content.styled(" · ".join(facts) + "\n\n", MUTED))
    for number, line in enumerate(highlight(arrow.data)):
        if number >= _LONGEST:
            told.append(Content.styled("…\n", MUTED))
            break
        told += [*_laid_out(_inked(line, whole), width), Content("\n")]
    for header in explain_headers(arrow.protocol, arrow.data):
        told += [
            Content.styled(f"\n{visible(header.name)}  ", "bold $primary"),
            Content(header.text),
            Content.styled(f"  ({header.rfc})", MUTED),
        ]
    return Content.assemble(*told)


def _inked(line: Sequence[Piece], whole: bool) -> Iterator[tuple[str, str]]:
    """The pieces of a line with their styles; what a device can do stands back."""
    feature = False
    for text, kind in line:
        feature = text.startswith("+g.") if kind == "parameter" else feature and kind != "uri"
        if feature and kind in ("parameter", "string"):
            yield visible(text if whole else _COMMON.sub("…", text)), MUTED
        else:
            yield visible(text), _COLOURS.get(kind, "")


def _laid_out(pieces: Iterator[tuple[str, str]], width: int) -> Iterator[Content]:
    """A line that is too long is broken before a parameter, not in the middle of a word."""
    taken = 0
    part: list[tuple[str, str]] = []

    def placed() -> Iterator[Content]:
        nonlocal taken
        size = sum(cell_width(text) for text, _ in part)
        if taken and taken + size > width:
            yield Content(f"\n{_INDENT}")
            taken = len(_INDENT)
        taken += size
        yield from (Content.styled(text, style) for text, style in part)
        part.clear()

    for text, style in pieces:
        first, *more = [text] if text[:1] == '"' else _PARTS.split(text)
        part.append((first, style))
        for each in more:
            yield from placed()
            part.append((each, style))
    yield from placed()
