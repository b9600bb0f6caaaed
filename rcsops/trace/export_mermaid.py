"""The ladder as a Mermaid sequence diagram, which many wikis and forges draw."""

from collections.abc import Iterator, Sequence

from rcsops.text import visible
from rcsops.trace.draw import gap_words, order_nodes
from rcsops.trace.ladder import Arrow, times_between

# Mermaid reads these in a label as its own: entities by number are its way to write them.
_ENTITIES = {ord(character): f"#{ord(character)};" for character in '#;<>&"`{}%'}
_LONGEST = 200


def write_mermaid(arrows: Sequence[Arrow]) -> Iterator[str]:
    """The lines of the document, each with its line end: a participant for each node, a solid
    arrow for a request, a dashed one for a response, a cross for what did not arrive. The time
    since the arrow before stands behind the label."""
    yield "sequenceDiagram\n"
    names = {name: f"n{number}" for number, name in enumerate(order_nodes(arrows))}
    for name, identifier in names.items():
        yield f"    participant {identifier} as {_label(name)}\n"
    for arrow, gap in zip(arrows, times_between(arrows), strict=True):
        line = "-->>" if arrow.summary.status is not None else "->>"
        if arrow.lost:
            line = "--x" if arrow.summary.status is not None else "-x"
        ends = f"{names[arrow.source]}{line}{names[arrow.target]}"
        yield f"    {ends}: {_label(arrow.marked_label, gap_words(gap))}\n"


def _label(text: str, gap: str = "") -> str:
    shown = visible(text)[:_LONGEST].translate(_ENTITIES).strip()
    # A label that is empty, or a keyword of Mermaid's by itself, is no label.
    shown = shown if shown and shown.lower() != "end" else f"{shown or '?'}#8203;"
    return f"{shown} · {gap}" if gap else shown
