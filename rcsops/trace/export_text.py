"""The ladder and its messages as plain text, and whatever else the ladder is written as."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from rcsops.text import visible
from rcsops.trace.compare import Difference
from rcsops.trace.draw import BOTH_TIMES, draw_ladder
from rcsops.trace.explain import Explained, explain, explain_headers
from rcsops.trace.explain_changes import explain_changes
from rcsops.trace.export_html import write_html
from rcsops.trace.export_mermaid import write_mermaid
from rcsops.trace.export_pcap import write_pcap
from rcsops.trace.export_svg import write_svg
from rcsops.trace.ladder import Arrow, times_between
from rcsops.trace.record import TraceEntry

Format = Literal["text", "mermaid", "svg", "html", "pcap", "trace"]
FORMATS: tuple[str, ...] = get_args(Format)
"""What :func:`export` writes."""

_LONGEST_BODY = 65536


def export(
    arrows: Sequence[Arrow], form: str, *, title: str, width: int = 100, explained: bool = False
) -> Iterator[bytes]:
    """The ladder in one of :data:`FORMATS`, in pieces; raises ValueError for another.

    ``trace`` is the JSON lines that a tap writes, one for each message. ``title`` stands above a
    page of HTML; ``width`` and ``explained`` count for text.
    """
    match form:
        case "pcap":
            return write_pcap(arrows)
        case "text":
            return _encoded(write_text(arrows, width=width, explained=explained))
        case "mermaid":
            return _encoded(write_mermaid(arrows))
        case "svg":
            return _encoded(write_svg(arrows))
        case "html":
            return _encoded(write_html(arrows, title=title))
        case "trace":
            return _encoded(_trace(arrows))
    raise ValueError(f"unknown format {form!r}")


def _encoded(lines: Iterator[str]) -> Iterator[bytes]:
    return (line.encode("utf-8", "backslashreplace") for line in lines)


def _trace(arrows: Sequence[Arrow]) -> Iterator[str]:
    for arrow in arrows:
        entry = TraceEntry(
            time=arrow.timestamp,
            protocol="msrp" if arrow.protocol == "msrp" else "sip",
            direction="seen",
            transport=arrow.transport,
            local=arrow.source_address,
            remote=arrow.target_address,
            node="trace",
            data=arrow.data,
        )
        yield entry.to_json() + "\n"


def write_text(
    arrows: Sequence[Arrow],
    *,
    width: int = 100,
    ascii_only: bool = False,
    explained: bool = False,
) -> Iterator[str]:
    """The ladder with a number and the times before each arrow; ``explained`` adds what each
    message does."""
    numbers = range(1, len(arrows) + 1)
    for line in draw_ladder(
        arrows,
        width=width,
        ascii_only=ascii_only,
        numbers=numbers,
        gaps=times_between(arrows),
        seconds=width >= BOTH_TIMES,
    ):
        yield f"{line.text}\n"
    if explained:
        for number, told in zip(numbers, explain(arrows), strict=True):
            yield "\n"
            yield from explained_lines(number, arrows[number - 1], told, width)


def explained_lines(number: int, arrow: Arrow, told: Explained, width: int) -> Iterator[str]:
    """What one message does, in a few lines."""
    head = f"{number}. {arrow.source} to {arrow.target}: {arrow.marked_label}, {arrow.time:.3f} s"
    if told.waited is not None:
        head += f", {told.waited * 1000:.1f} ms after the one before in its call"
    yield f"{visible(head)}\n"
    yield from _wrapped(told.text, width, "   ")
    if told.answers is not None:
        yield f"   It answers number {told.answers + 1}.\n"
    if told.repeats is not None:
        yield f"   It repeats number {told.repeats + 1}.\n"
    elif told.follows is not None:
        yield f"   Before it came number {told.follows + 1}.\n"


def message_lines(number: int, arrow: Arrow, told: Explained, width: int) -> Iterator[str]:
    """One message whole: what it does, itself, and what its headers say."""
    yield from explained_lines(number, arrow, told, width)
    yield "\n"
    text = arrow.data[:_LONGEST_BODY].decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    for line in text.rstrip("\n").split("\n"):
        yield f"    {visible(line)}".rstrip() + "\n"
    if len(arrow.data) > _LONGEST_BODY:
        yield f"    ({len(arrow.data) - _LONGEST_BODY} more octets)\n"
    for header in explain_headers(arrow.protocol, arrow.data):
        yield f"\n{visible(header.name)} ({header.rfc})\n"
        yield from _wrapped(header.text, width, "    ")


def difference_lines(differences: Sequence[Difference]) -> Iterator[str]:
    """A comparison as lines that begin with "-" (first), "+" (second) or a space (both)."""
    for difference in differences:
        name = f"{visible(difference.name)}: " if difference.name else ""
        first, second = visible(difference.first, keep="\n"), visible(difference.second, keep="\n")
        if difference.kind == "same":
            for line in first.splitlines():
                yield f"  {name}{line}\n"
            continue
        if difference.kind != "added":
            yield f"- {name}{first}\n"
        if difference.kind != "removed":
            yield f"+ {name}{second}\n"


def change_lines(differences: Sequence[Difference], width: int) -> Iterator[str]:
    """What a comparison says in plain words."""
    yield "What changed:\n"
    for told in explain_changes(differences):
        yield from _wrapped(told, width, "   ")


def _wrapped(text: str, width: int, indent: str) -> Iterator[str]:
    shown = visible(text)
    for line in textwrap.wrap(
        shown, max(width, 40), initial_indent=indent, subsequent_indent=indent
    ):
        yield f"{line}\n"
