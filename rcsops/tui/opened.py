"""A message of the ladder opened, as what a screen shows."""

from textual.content import Content

from rcsops.text import visible
from rcsops.trace import explain_headers, highlight
from rcsops.tui.wire import Step

__all__ = ["opened"]

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
