"""A message of the ladder opened, or two of them compared, as what a screen shows."""

from textual.content import Content

from rcsops.text import visible
from rcsops.trace import Difference, compare, explain_changes, explain_headers, highlight
from rcsops.tui.wire import Step

__all__ = ["compared", "opened"]

_COLOURS = {
    "method": "bold $primary",
    "status": "bold $success",
    "version": "$text-muted",
    "uri": "$accent",
    "name": "$text-primary",
    "parameter": "$text-muted",
    "string": "$text-success",
    "number": "$text-warning",
    "tag": "$accent",
    "end": "$text-muted",
}
_LONGEST = 400
_MARKS = {"same": ("  ", "$text-muted"), "removed": ("- ", "$text-error"),
          "added": ("+ ", "$text-success")}  # fmt: skip


def opened(step: Step) -> Content:
    """A message with what it does here, and what its headers say."""
    arrow = step.arrow
    told = [Content.styled(f"{visible(step.told.text)}\n", "bold")]
    facts = [f"{visible(arrow.source)} to {visible(arrow.target)}", arrow.transport.upper()]
    if step.told.waited is not None:
        facts.append(f"{step.told.waited * 1000:.1f} ms after the one before")
    if arrow.retransmission:
        facts.append("a retransmission")
    told.append(Content.styled(" · ".join(facts) + "\n\n", "$text-muted"))
    for number, line in enumerate(highlight(arrow.data)):
        if number >= _LONGEST:
            told.append(Content.styled("…\n", "$text-muted"))
            break
        told += [Content.styled(visible(each.text), _COLOURS.get(each.kind, "")) for each in line]
        told.append(Content("\n"))
    for header in explain_headers(arrow.protocol, arrow.data):
        told += [
            Content.styled(f"\n{visible(header.name)}  ", "bold $primary"),
            Content(header.text),
            Content.styled(f"  ({header.rfc})", "$text-muted"),
        ]
    return Content.assemble(*told)


def compared(held: Step, step: Step) -> Content:
    """What is different in ``step``, beside the message that is held, and why."""
    title = f"{held.number} {held.arrow.marked_label}  →  {step.number} {step.arrow.marked_label}"
    parts = [Content.styled(f"{visible(title)}\n", "bold")]
    if held.number == step.number:
        parts.append(
            Content.styled("held: open another message to compare, m ends it", "$text-muted")
        )
        return Content.assemble(*parts)
    if held.arrow.protocol != step.arrow.protocol:
        parts.append(Content("one is SIP, the other MSRP: there is nothing to compare"))
        return Content.assemble(*parts)
    parts.append(
        Content.styled("- in the first only · + in the second · m ends it\n\n", "$text-muted")
    )
    found = compare(step.arrow.protocol, held.arrow.data, step.arrow.data)
    parts += [Content(f"• {visible(told)}\n") for told in explain_changes(found)]
    parts.append(Content("\n"))
    for each in found[:_LONGEST]:
        parts += _difference(each)
    return Content.assemble(*parts)


def _difference(each: Difference) -> list[Content]:
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
