"""Two messages of the ladder compared, as what a screen shows: side by side where there is room."""

from textual.content import Content

from rcsops.text import visible
from rcsops.trace import (
    BesidePiece,
    Difference,
    beside,
    cell_width,
    compare,
    explain_changes,
    fit,
)
from rcsops.tui.styles import MUTED
from rcsops.tui.wire import Step

__all__ = ["compared"]

# So wide must it be for two values beside each other; else one stands below the other.
_SIDE_BY_SIDE = 106
_LONGEST = 400
_SAME, _FIRST, _SECOND = MUTED, "$text-error", "$text-success"
_MARKS = {"same": ("  ", _SAME), "removed": ("- ", _FIRST), "added": ("+ ", _SECOND)}


def compared(held: Step, step: Step, width: int) -> Content:
    """What is different in ``step``, beside the message that is held, and why; ``width`` columns
    are there for it."""
    if held.number == step.number:
        words = "held: the arrow keys mark another to compare it with · m ends it"
        return Content.assemble(Content.styled(f"{_title(held)}\n", "bold"), _muted(words))
    title = f"{_title(held)}  →  {_title(step)}"
    parts = [Content.styled(f"{title}\n", "bold")]
    if held.arrow.protocol != step.arrow.protocol:
        parts.append(Content("one is SIP, the other MSRP: there is nothing to compare"))
        return Content.assemble(*parts)
    found = compare(step.arrow.protocol, held.arrow.data, step.arrow.data)
    wide = width >= _SIDE_BY_SIDE
    legend = "- in the first only · + in the second · m ends it\n\n"
    parts.append(_muted(f"≠ differs · {legend}" if wide else legend))
    parts += [Content(f"• {visible(told)}\n") for told in explain_changes(found)]
    parts.append(Content("\n"))
    if wide:
        parts += _side_by_side(held, step, found[:_LONGEST], width)
    else:
        parts += [line for each in found[:_LONGEST] for line in _one_below_the_other(each)]
    return Content.assemble(*parts)


def _title(step: Step) -> str:
    return visible(f"{step.number} {step.arrow.marked_label}")


def _muted(text: str) -> Content:
    return Content.styled(text, _SAME)


def _side_by_side(held: Step, step: Step, found: list[Difference], width: int) -> list[Content]:
    picture = beside(found, width)
    names, values = picture.names, picture.values
    left = fit(_title(held), values)
    head = f"{'':{names}}  {left}{' ' * (values - cell_width(left))} │ {fit(_title(step), values)}"
    parts = [Content.styled(f"{head}\n", "bold")]
    for line in picture.lines:
        same = line.kind == "same"
        name = line.name + " " * (names + 2 - cell_width(line.name))
        parts.append(Content.styled(name, _SAME if same else "bold $primary"))
        parts += [_value(piece, line.kind, _FIRST) for piece in line.first]
        taken = sum(cell_width(piece.text) for piece in line.first)
        parts.append(Content.styled(f"{' ' * (values - taken)} {line.mark} ", _SAME))
        parts += [_value(piece, line.kind, _SECOND) for piece in line.second]
        parts.append(Content("\n"))
    return parts


def _value(piece: BesidePiece, kind: str, ink: str) -> Content:
    if kind == "same":
        return _muted(piece.text)
    return Content.styled(piece.text, f"bold {ink}" if piece.differs else "")


def _one_below_the_other(each: Difference) -> list[Content]:
    name = f"{each.name}: " if each.name else ""
    if each.kind == "changed":
        halves = [("removed", each.first), ("added", each.second)]
    else:
        halves = [(each.kind, each.second if each.kind == "added" else each.first)]
    lines = []
    for kind, value in halves:
        mark, style = _MARKS[kind]
        lines += [
            Content.styled(f"{mark}{visible(name + line)}\n", style)
            for line in value.splitlines()[:_LONGEST]
        ]
    return lines
