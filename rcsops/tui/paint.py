"""Rows of a conversation drawn as lines of a terminal.

Peers' words pass `rcsops.text.visible` here and become segments as they are: no markup is read.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

from rich.cells import cell_len, split_graphemes
from rich.segment import Segment
from rich.style import Style

from rcsops.operations.wording import amount
from rcsops.text import visible
from rcsops.tui.rows import Row

__all__ = ["LINK", "STYLES", "Painter", "Previews", "clipped", "plain_text", "wrapped"]

STYLES = (
    "time",
    "tick",
    "displayed",
    "failed",
    "me",
    "them",
    "mine",
    "theirs",
    "note",
    "warning",
    "day",
    "unread",
    "link",
    "file",
    "bar",
    "track",
    "found",
)
"""The names of the styles that a painter needs; each is a component class of the timeline."""

# Further lines of long paragraphs are hard to find on a wide screen.
_WIDEST = 110
_NARROWEST = 16
# A new name stands over messages of one sender after so long.
_PAUSE = timedelta(minutes=10)
_GUTTER = len("00:00 ✓✓ ")
_BAR = "▌"
LINK = re.compile(r"https?://[!-~]+[0-9A-Za-z/#=&_~%+-]")
_TICKS = {
    "held": "◌ ",
    "queued": "◌ ",
    "stored": "⇡ ",
    "sent": "✓ ",
    "delivered": "✓✓",
    "displayed": "✓✓",
    "failed": "✗ ",
}


class Previews(Protocol):
    """Pictures of files, as lines."""

    def lines(self, row: Row, width: int) -> list[list[Segment]]:
        """The picture of a row's file at most ``width`` columns wide; nothing without one."""


class _NoPreviews:
    def lines(self, row: Row, width: int) -> list[list[Segment]]:
        return []


@dataclass
class Painter:
    """Draws rows ``width`` columns wide; ``today`` is left out of day lines as a date."""

    styles: Mapping[str, Style]
    width: int
    today: date
    resend_key: str = "r"
    previews: Previews = field(default_factory=_NoPreviews)
    sought: str = ""

    def paint(self, row: Row, before: Row | None, *, unread: bool = False) -> list[list[Segment]]:
        """The lines of a row; ``before`` is the row above, ``unread``: the first one of those."""
        lines: list[list[Segment]] = []
        if before is None or before.time.date() != row.time.date():
            lines.append(self._rule(_day(row.time.date(), self.today), "day"))
        if unread:
            lines.append(self._rule("new", "unread"))
        if not row.is_message:
            lines += self._note(row)
        else:
            if lines or self._begins(row, before):
                lines.append(self._name(row))
            lines += self._message(row)
        return lines

    def _begins(self, row: Row, before: Row | None) -> bool:
        return (
            before is None
            or not before.is_message
            or before.kind != row.kind
            or row.time - before.time > _PAUSE
        )

    def _rule(self, words: str, style: str) -> list[Segment]:
        width = min(self.width, _WIDEST + _GUTTER + 1)
        left = max(2, (width - cell_len(words) - 2) // 2)
        right = max(0, width - left - cell_len(words) - 2)
        return [Segment(f"{'─' * left} {words} {'─' * right}", self.styles[style])]

    def _name(self, row: Row) -> list[Segment]:
        whose = "me" if row.kind == "out" else "them"
        name = clipped(visible(row.sender), self.width - _GUTTER)
        return [Segment(" " * _GUTTER), Segment(name, self.styles[whose])]

    def _note(self, row: Row) -> list[list[Segment]]:
        style = self.styles[{"error": "failed", "warning": "warning"}.get(row.level, "note")]
        mark = "! " if row.level == "error" else "· "
        lines = []
        head = [
            Segment(f"{row.time:%H:%M} ", self.styles["time"]),
            Segment(" " * (_GUTTER - 8) + mark, style),
        ]
        for text in self._text_lines(row.text, self._columns):
            lines.append([*head, Segment(text, style)])
            head = [Segment(" " * _GUTTER)]
        return lines

    def _message(self, row: Row) -> list[list[Segment]]:
        ours = row.kind == "out"
        bar = Segment(f"{_BAR} ", self.styles["me" if ours else "them"])
        style = self.styles["mine" if ours else "theirs"]
        lines: list[list[Segment]] = []
        for body in self._body(row, style):
            lead = self._lead(row) if not lines else [Segment(" " * _GUTTER)]
            lines.append([*lead, bar, *body])
        return lines

    def _lead(self, row: Row) -> list[Segment]:
        lead = [Segment(f"{row.time:%H:%M} ", self.styles["time"])]
        if row.kind != "out":
            return [*lead, Segment("   ")]
        style = self.styles.get(row.status) or self.styles["tick"]
        return [*lead, Segment(_TICKS.get(row.status, "  "), style), Segment(" ")]

    def _body(self, row: Row, style: Style) -> Iterator[list[Segment]]:
        said = False
        if row.text or row.file is None:
            said = True
            for line in _lines(row.text):
                yield from self._said(line, style)
        if row.file is not None:
            yield from self._file(row)
            said = True
        dim = self.styles["time"]
        if row.written is not None:
            day = "" if row.written.date() == row.time.date() else f"{row.written:%d %B} "
            yield [Segment(f"written {day}{row.written:%H:%M}", dim)]
        if row.status == "failed":
            reason = visible(row.reason) or "it did not get through"
            again = f" · {self.resend_key} sends it again" if row.kind == "out" else ""
            if row.lost_file:
                again = f" · {self.resend_key} asks for it again"
            for text in wrapped(f"{reason}{again}", self._columns):
                yield [Segment(text, self.styles["failed"])]
        elif row.status == "declined":
            for text in wrapped(visible(row.reason), self._columns):
                yield [Segment(text, dim)]
        elif row.status == "stored":
            yield [Segment("kept by the server until the peer is there", dim)]
        elif row.status == "held":
            yield [Segment("waits for the session", dim)]
        if not said:
            yield []

    def _said(self, line: str, style: Style) -> Iterator[list[Segment]]:
        """A line in pieces that have room; a link that is in several leads from each to its end."""
        links = list(LINK.finditer(line))
        start = 0
        for piece in wrapped(line, self._columns):
            # Where it was broken at a space, that is in no piece.
            start += not line.startswith(piece, start)
            end = start + len(piece)
            parts = [
                (max(link.start(), start) - start, min(link.end(), end) - start, link[0])
                for link in links
                if link.start() < end and link.end() > start
            ]
            yield self._marked(piece, style, parts)
            start = end

    def _marked(
        self, text: str, style: Style, links: Iterable[tuple[int, int, str]]
    ) -> list[Segment]:
        """A piece with its links, and with what was searched for."""
        segments: list[Segment] = []
        at = 0
        for start, end, target in links:
            if start > at:
                segments += self._found(text[at:start], style)
            link = self.styles["link"] + Style(link=target)
            segments.append(Segment(text[start:end], link))
            at = end
        if at < len(text) or not segments:
            segments += self._found(text[at:], style)
        return segments

    def _found(self, text: str, style: Style) -> list[Segment]:
        if not self.sought:
            return [Segment(text, style)]
        segments: list[Segment] = []
        at, low, sought = 0, text.lower(), self.sought.lower()
        while len(low) == len(text) and (index := low.find(sought, at)) >= 0:
            if index > at:
                segments.append(Segment(text[at:index], style))
            segments.append(Segment(text[index : index + len(sought)], self.styles["found"]))
            at = index + len(sought)
        segments.append(Segment(text[at:], style))
        return segments

    def _file(self, row: Row) -> Iterator[list[Segment]]:
        file = row.file
        assert file is not None
        name = clipped(visible(file.name), max(self._columns - 14, _NARROWEST))
        yield [
            Segment("▤ ", self.styles["bar"]),
            Segment(name, self.styles["file"]),
            Segment(f"  {amount(file.size)}" if file.size else "", self.styles["time"]),
        ]
        if file.waits_as:
            yield from self._question(file.waits_as)
        elif file.moving or (row.status == "queued" and not file.octets):
            yield self._progress(row)
        if row.kind == "in" and file.path is not None:
            yield [Segment(self._place(file.path), self.styles["time"])]
        yield from self.previews.lines(row, min(self._columns, 48))

    def _question(self, number: int) -> Iterator[list[Segment]]:
        """An offer that waits for the user's answer, with how it is given to this one."""
        words = "waits for your answer"
        how = f" · /accept {number} or /decline {number}"
        if len(words) + len(how) <= self._columns:
            yield [Segment(words, self.styles["unread"]), Segment(how, self.styles["time"])]
        else:
            yield [Segment(words, self.styles["unread"])]

    def _place(self, path: Path) -> str:
        """Where a file was put, with its end when there is no room for all of it."""
        words = visible(_at_home(path))
        room = self._columns - len("saved as ")
        while cell_len(words) > room:
            slash = words.find("/", 2)
            words = "…" + words[slash if slash > 0 else 2 :]
        return f"saved as {words}"

    def _progress(self, row: Row) -> list[Segment]:
        file = row.file
        assert file is not None
        dim = self.styles["time"]
        if not file.octets and row.kind == "out":
            return [Segment("offered; waits for the peer", dim)]
        width = max(10, min(30, self._columns - 30))
        share = min(file.octets / file.size, 1.0) if file.size else 0.0
        full = round(share * width)
        rate = f" · {amount(round(file.rate))}/s" if file.rate else ""
        if file.pause:
            rate = f" · {file.pause}; {self.resend_key} goes on"
        return [
            Segment("━" * full, self.styles["bar"]),
            Segment("━" * (width - full), self.styles["track"]),
            Segment(f" {share:4.0%} of {amount(file.size)}{rate}", dim),
        ]

    @property
    def _columns(self) -> int:
        """How wide the text of a message is."""
        return max(_NARROWEST, min(self.width - _GUTTER - 2, _WIDEST))

    @staticmethod
    def _text_lines(text: str, columns: int) -> Iterator[str]:
        for line in _lines(text):
            yield from wrapped(line, columns)


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\r\n", "\n").split("\n"):
        yield visible(line.expandtabs(4))


def _day(day: date, today: date) -> str:
    if day == today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    return f"{day:%A} {day.day} {day:%B %Y}"


def wrapped(text: str, columns: int) -> Iterable[str]:
    """``text`` in pieces of at most ``columns`` columns, broken at spaces where there are some."""
    if text.isascii():
        return [text] if len(text) <= columns else _wrapped_ascii(text, columns)
    return _wrapped(text, columns)


def _wrapped_ascii(text: str, columns: int) -> Iterator[str]:
    start = 0
    while len(text) - start > columns:
        space = text.rfind(" ", start, start + columns + 1)
        end = space if space > start else start + columns
        yield text[start:end]
        start = end + (space > start)
    yield text[start:]


def _wrapped(text: str, columns: int) -> Iterator[str]:
    spans, _ = split_graphemes(text)
    start = width = 0
    space = -1
    for first, end, cells in spans:
        if text[first:end] == " ":
            space = first
        width += cells
        if width > columns and first > start:
            cut = space if space > start else first
            yield text[start:cut]
            start = cut + (cut == space)
            space = -1
            width = cell_len(text[start:end])
    yield text[start:]


def clipped(text: str, columns: int) -> str:
    """``text`` cut to at most ``columns`` columns, with an ellipsis where something is left out."""
    if cell_len(text) <= columns:
        return text
    if columns < 1:
        return ""
    kept, left = 0, columns - 1
    for _, end, cells in split_graphemes(text)[0]:
        left -= cells
        if left < 0:
            break
        kept = end
    return text[:kept] + "…"


def _at_home(path: Path) -> str:
    home = os.path.expanduser("~")
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def plain_text(row: Row) -> str:
    """What a copy of the row is: its text, or the file's place."""
    if row.file is not None and not row.text:
        return str(row.file.path or row.file.name)
    return row.text
