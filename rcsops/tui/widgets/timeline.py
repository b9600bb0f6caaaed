"""A conversation: rows of any number, of which those in view are drawn."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from rcsops.tui.paint import STYLES, Painter, Previews, clipped
from rcsops.tui.rows import Row
from rcsops.tui.styles import background, ink, label

__all__ = ["Timeline"]

# So near to an end of what is loaded, more is asked for.
_NEAR = 30
# Finished lines carry caches of their own, which for thousands of rows are too many.
_MOST_STRIPS = 300


class Timeline(ScrollView, can_focus=True):
    """Shows the rows that it is given, in their order; the last unless somebody scrolls.

    The arrow keys mark a message, for the keys that do something with one.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "timeline--cursor",
        *(f"timeline--{name}" for name in STYLES),
    }
    DEFAULT_CSS = """
    Timeline {
        background: $background;
        color: $foreground;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        overflow-y: scroll;
        &:focus { background-tint: $foreground 2%; }
        & > .timeline--cursor { background: $marked; }
        & > .timeline--time { color: $text-muted; }
        & > .timeline--tick { color: $text-muted; }
        & > .timeline--displayed { color: $accent; text-style: bold; }
        & > .timeline--failed { color: $text-error; }
        & > .timeline--me { color: $primary; text-style: bold; }
        & > .timeline--them { color: $success; text-style: bold; }
        & > .timeline--mine { color: $foreground; }
        & > .timeline--theirs { color: $foreground; }
        & > .timeline--note { color: $text-muted; }
        & > .timeline--warning { color: $text-warning; }
        & > .timeline--day { color: $text-muted; }
        & > .timeline--unread { color: $text-error; text-style: bold; }
        & > .timeline--link { color: $text-accent; text-style: underline; }
        & > .timeline--file { color: $foreground; text-style: bold; }
        & > .timeline--bar { color: $success; }
        & > .timeline--track { color: $foreground 35%; }
        & > .timeline--found { background: $warning; color: $background; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "mark(-1)", "Message above", show=False),
        Binding("down,j", "mark(1)", "Message below", show=False),
        Binding("home,g", "first", "First message", show=False),
        Binding("end,G", "last", "Last message", show=False),
    ]

    # Rows that come change how much there is to scroll, and not the place of any widget.
    virtual_size = Reactive(Size(0, 0), layout=False)

    @dataclass
    class More(Message):
        """Rows ``older`` than the first one, or newer than the last, would be welcome."""

        older: bool

    @dataclass
    class Ends(Message):
        """The very ``first`` or last row of the conversation is wanted."""

        first: bool

    class Marked(Message):
        """Another row is marked, or none."""

    class AtEnd(Message):
        """The last row has come into view."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.marked: Row | None = None
        self.older = False
        self.newer = False
        self.sought = ""
        self.resend_key = "r"
        self.previews: Previews | None = None
        self._instead: tuple[str, ...] = ()
        self._rows: list[Row] = []
        self.first_unread = ""
        self._blocks: list[list[list[Segment]]] = []
        self._starts: list[int] = [0]
        self._painter: Painter | None = None
        self._restyled = False
        self._asked: tuple[bool, int] | None = None
        # Not asked of the place where it is: that changes when the widget shrinks.
        self._follows = True
        self._cursor_style = Style()
        # Lines as they stand on the screen, by their number, and what they were made for.
        self._strips: dict[int, Strip] = {}
        self._ground: tuple[int, int, Style] = (0, 0, Style())

    # --- what is shown -----------------------------------------------------------------------

    @property
    def at_end(self) -> bool:
        """Whether the last row is in view and nothing comes after it."""
        return not self.newer and round(self.scroll_y) >= self.max_scroll_y

    def show(self, rows: list[Row], *, first_unread: str = "", place: str = "") -> None:
        """Takes the rows, with all that was there before forgotten.

        The list stays the caller's, who tells of changes by the methods below. ``place`` is the key
        of the row to be seen; empty: the last.
        """
        self._rows = rows
        self.first_unread = first_unread
        self.marked = None
        self._asked = None
        self._draw_all()
        if place:
            index = next((i for i, row in enumerate(rows) if row.key == place), len(rows) - 1)
            self._see(index, centre=True)
            self.marked = rows[index] if rows else None
        else:
            self._to_end()
        self.refresh()

    def instead(self, words: tuple[str, ...]) -> None:
        """Takes the lines that stand in the middle while there is no row."""
        if words != self._instead:
            self._instead = words
            self.refresh()

    def appended(self, *, pruned: int = 0) -> None:
        """Rows were added at the end of the list, and ``pruned`` taken away at its beginning."""
        self._asked = None
        if pruned:
            del self._blocks[:pruned]
            self._resized()
        for index in range(len(self._blocks), len(self._rows)):
            self._blocks.append(self._paint(index))
            self._starts.append(self._starts[-1] + len(self._blocks[-1]))
        self._measure()
        if self._follows:
            self._to_end()
            self.refresh()
        elif pruned:
            self.refresh()

    def prepended(self, count: int) -> None:
        """So many rows were added at the beginning of the list, and some may have been taken away
        at its end: what is in view stays where it is."""
        self._asked = None
        before = self._starts[1] if len(self._starts) > 1 else 0
        # The row that was the first has another above it now.
        self._blocks[:1] = [self._paint(index) for index in range(min(count + 1, len(self._rows)))]
        del self._blocks[len(self._rows) :]
        self._resized()
        self._measure()
        self._scroll(self.scroll_offset.y + self._starts[min(count + 1, len(self._rows))] - before)
        self.refresh()

    def changed(self, rows: Iterable[Row]) -> None:
        """What rows say has changed."""
        keys = {row.key for row in rows}
        taller = False
        # Nearly always it is one of the last.
        for index in reversed(range(len(self._blocks))):
            if not keys:
                break
            row = self._rows[index]
            if row.key not in keys:
                continue
            keys.discard(row.key)
            block = self._paint(index)
            taller |= len(block) != len(self._blocks[index])
            self._blocks[index] = block
            self._refresh_row(index)
        if taller:
            self._resized()
            self._measure()
            if self._follows:
                self._to_end()
            self.refresh()

    def redraw(self) -> None:
        """Draws all rows anew, and stays where it is."""
        anchor, inside = self._anchor()
        follows = self._follows
        self._draw_all()
        if follows:
            self._to_end()
        elif self._rows:
            self._scroll(self._starts[min(anchor, len(self._rows) - 1)] + inside)
        self.refresh()

    # --- drawing -----------------------------------------------------------------------------

    def _draw_all(self) -> None:
        self._painter = None
        self._blocks = [self._paint(index) for index in range(len(self._rows))]
        self._resized()
        self._measure()

    def _resized(self) -> None:
        """Rows are other than they were: counts the lines anew."""
        self._starts = [0, *accumulate(map(len, self._blocks))]
        self._strips.clear()

    def _refresh_row(self, index: int) -> None:
        """Draws the lines of a row anew, if any are in view."""
        for line in range(self._starts[index], self._starts[index + 1]):
            self._strips.pop(line, None)
        height = self.scrollable_content_region.height
        above = self.scroll_offset.y - max(0, height - self._starts[-1])
        top = max(self._starts[index] - above, 0)
        bottom = min(self._starts[index + 1] - above, height)
        if top < bottom:
            self.refresh(Region(0, top, self.size.width, bottom - top))

    def _styles(self) -> dict[str, Style]:
        return {
            name: (label if name == "found" else ink)(self, f"timeline--{name}") for name in STYLES
        }

    def _restyle(self) -> None:
        """The theme may be another: the rows get its colours, and stay where they are."""
        self._restyled = False
        styles = self._styles()
        if self._painter is None or self._painter.styles == styles:
            return
        self._cursor_style = background(self, "timeline--cursor")
        # Of the width that they have: where that has changed as well, all is drawn anew next.
        self._painter = replace(self._painter, styles=styles)
        self._blocks = [self._paint(index) for index in range(len(self._blocks))]
        self._strips.clear()

    def _paint(self, index: int) -> list[list[Segment]]:
        if self._painter is None:
            self._cursor_style = background(self, "timeline--cursor")
            self._painter = Painter(
                self._styles(),
                max(self.scrollable_content_region.width, 20),
                datetime.now().astimezone().date(),
                resend_key=self.resend_key,
                sought=self.sought,
            )
            if self.previews is not None:
                self._painter.previews = self.previews
        row = self._rows[index]
        before = self._rows[index - 1] if index else None
        return self._painter.paint(row, before, unread=row.key == self.first_unread)

    def _measure(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, self._starts[-1])
        self._scroll_update(self.virtual_size)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines in view."""
        if self._restyled:
            self._restyle()
        # What they have in common is looked up once for all, as it takes as long as a line.
        region = self.scrollable_content_region
        ground = (region.width, region.height, self.rich_style)
        if ground != self._ground or len(self._strips) > _MOST_STRIPS:
            self._ground = ground
            self._strips.clear()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line of what is in view."""
        width, height, base = self._ground
        if not self._rows:
            return self._line_instead(y - (height - len(self._instead)) // 2, width, base)
        line = y + self.scroll_offset.y
        # Few messages stand at the bottom, where one writes.
        line -= max(0, height - self._starts[-1])
        if not 0 <= line < self._starts[-1]:
            return Strip.blank(width, base)
        if self.marked is not None or self.text_selection is not None:
            return self._strip(line, width, base)
        strip = self._strips.get(line)
        if strip is None:
            strip = self._strips[line] = self._strip(line, width, base)
        return strip

    def _line_instead(self, line: int, width: int, base: Style) -> Strip:
        if not 0 <= line < len(self._instead):
            return Strip.blank(width, base)
        words = clipped(self._instead[line], width)
        left = " " * ((width - cell_len(words)) // 2)
        style = ink(self, "timeline--note" if line else "timeline--day")
        strip = Strip([Segment(left), Segment(words, style)])
        return strip.crop_extend(0, width, base).apply_style(base)

    def _strip(self, line: int, width: int, base: Style) -> Strip:
        index = bisect.bisect_right(self._starts, line) - 1
        strip = Strip(self._blocks[index][line - self._starts[index]])
        if self.marked is self._rows[index] and self.has_focus:
            base = base + self._cursor_style
        strip = strip.crop_extend(0, width, base).apply_style(base)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(line)) is not None:
            strip = self._selected(strip, span, width)
        return strip.apply_offsets(0, line)

    def _selected(self, strip: Strip, span: tuple[int, int], width: int) -> Strip:
        start, end = span
        end = width if end < 0 else min(end, width)
        if start >= end:
            return strip
        marked = self.screen.get_component_rich_style("screen--selection")
        parts = list(strip.divide([cut for cut in (start, end, width) if cut]))
        at = 1 if start else 0
        parts[at] = Strip(
            [segment for segment in parts[at].apply_style(Style()) if segment.text]
        ).apply_style(marked)
        return Strip.join(parts)

    # --- scrolling ---------------------------------------------------------------------------

    def _to_end(self) -> None:
        self._scroll(self.max_scroll_y)
        self._follows = True

    def _scroll(self, line: int) -> None:
        self.scroll_to(y=line, animate=False, force=True)

    def _anchor(self) -> tuple[int, int]:
        line = min(self.scroll_offset.y, self._starts[-1])
        index = max(0, bisect.bisect_right(self._starts, line) - 1)
        return index, line - self._starts[index] if index < len(self._starts) else 0

    def _see(self, index: int, *, centre: bool = False) -> None:
        if not 0 <= index < len(self._rows):
            return
        top, bottom = self._starts[index], self._starts[index + 1]
        height = max(1, self.scrollable_content_region.height)
        if centre:
            self._scroll(max(0, (top + bottom - height) // 2))
        elif top < self.scroll_offset.y:
            self._scroll(top)
        elif bottom > self.scroll_offset.y + height:
            self._scroll(bottom - height)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self.is_attached or not self._rows:
            return
        if new_value < old_value and new_value <= _NEAR and self.older:
            self._ask(older=True)
        elif new_value > old_value and new_value >= self.max_scroll_y - _NEAR and self.newer:
            self._ask(older=False)
        self._follows = self.at_end
        if self._follows:
            self.post_message(self.AtEnd())

    def _ask(self, *, older: bool) -> None:
        wish = (older, len(self._rows))
        if self._asked != wish:
            self._asked = wish
            self.post_message(self.More(older))

    def on_resize(self, event: events.Resize) -> None:
        if self._painter is None or self._painter.width != max(
            self.scrollable_content_region.width, 20
        ):
            self.redraw()
        elif self._follows:
            self._to_end()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        # The colours of the component classes are set after this: the next drawing asks for them.
        self._restyled = True

    # --- marking -----------------------------------------------------------------------------

    def action_mark(self, step: int) -> None:
        """Marks the next message up or down."""
        where = self._index_of(self.marked)
        if where is None:
            # From below the last line in view.
            line = self.scroll_offset.y + max(1, self.scrollable_content_region.height)
            where = min(bisect.bisect_left(self._starts, line), len(self._rows))
            step = -1
        index = where + step
        while 0 <= index < len(self._rows) and not self._rows[index].is_message:
            index += step
        if 0 <= index < len(self._rows):
            self.marked = self._rows[index]
            self._see(index)
        elif step < 0:
            self._scroll(0)
            if self.older:
                self._ask(older=True)
        else:
            self.marked = None
            self._to_end()
        self.post_message(self.Marked())
        self.refresh()

    def _index_of(self, row: Row | None) -> int | None:
        if row is None:
            return None
        return next((i for i, each in enumerate(self._rows) if each is row), None)

    def unmark(self) -> None:
        """No message is marked."""
        if self.marked is not None:
            self.marked = None
            self.post_message(self.Marked())
            self.refresh()

    def action_first(self) -> None:
        """Goes to the first message of all."""
        if self.older:
            self.post_message(self.Ends(first=True))
        else:
            self._scroll(0)

    def action_last(self) -> None:
        """Goes to the last message of all."""
        self.unmark()
        if self.newer:
            self.post_message(self.Ends(first=False))
        else:
            self._to_end()

    def on_click(self, event: events.Click) -> None:
        line = event.get_content_offset(self)
        if line is None:
            return
        at = line.y + self.scroll_offset.y
        at -= max(0, self.scrollable_content_region.height - self._starts[-1])
        if 0 <= at < self._starts[-1]:
            row = self._rows[bisect.bisect_right(self._starts, at) - 1]
            if row.is_message:
                self.marked = row
                self.post_message(self.Marked())
                self.refresh()

    # --- copying with the mouse ----------------------------------------------------------------

    @property
    def allow_select(self) -> bool:
        return True

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text that is selected with the mouse."""
        text = "\n".join(
            "".join(segment.text for segment in line).rstrip()
            for block in self._blocks
            for line in block
        )
        return selection.extract(text), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
