"""The list of conversations and contacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from rcsops.text import visible
from rcsops.tui.paint import clipped
from rcsops.tui.state import Conversation
from rcsops.tui.styles import background, ink, label

__all__ = ["ConversationList"]

# Lines that belong to no peer.
_HEADING = -1
_EMPTY, _CONTACTS, _FILTERED = range(3)
_HEADINGS = ("", " Contacts", " unread alone · u shows all")
_MARKS = {"open": "●", "calling": "◌", "letters": "✉", "": " "}


class ConversationList(ScrollView, can_focus=True):
    """One line for each peer, two where something was said: a mark for the session (● open,
    ◌ being set up, ✉ written to without one), the name, how many messages are unread, and the
    beginning of the last one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "list--name",
        "list--current",
        "list--cursor",
        "list--preview",
        "list--badge",
        "list--open",
        "list--away",
        "list--asks",
        "list--heading",
    }
    DEFAULT_CSS = """
    ConversationList {
        width: 30;
        background: $surface;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        overflow-y: auto;
        & > .list--name { text-style: bold; }
        & > .list--current { background: $marked; }
        & > .list--cursor { background: $foreground 12%; }
        & > .list--preview { color: $text-muted; }
        & > .list--badge { background: $error; color: $text; text-style: bold; }
        & > .list--open { color: $success; }
        & > .list--away { color: $text-muted; }
        & > .list--asks { color: $text-warning; text-style: bold; }
        & > .list--heading { color: $text-muted; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("enter,space,right", "choose", "Open", show=False),
        Binding("u", "unread", "Unread only", show=False),
    ]

    @dataclass
    class Chosen(Message):
        """A conversation is to be shown."""

        peer: str

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._all: Sequence[Conversation] = ()
        self._items: Sequence[Conversation] = ()
        self._unread_alone = False
        self._lines: list[tuple[int, int]] = []
        self._current = ""
        self._cursor = 0
        self._ground: tuple[int, Style] = (0, Style())
        self._drawn: dict[int, object] = {}

    def show(self, items: Sequence[Conversation], current: str) -> None:
        """Takes what there is, in its order, and the address of the one that is shown."""
        under = self._items[self._cursor].peer if self._cursor < len(self._items) else ""
        self._all = items
        if self._unread_alone:
            items = [each for each in items if each.unread or each.asks or each.peer == current]
        self._items = items
        if current != self._current or not self.has_focus:
            under = current
        self._current = current
        self._cursor = next((i for i, each in enumerate(items) if each.peer == under), 0)
        lines: list[tuple[int, int]] = []
        contacts = False
        for index, each in enumerate(items):
            if not each.known and not contacts:
                contacts = True
                lines += [(_HEADING, _EMPTY), (_HEADING, _CONTACTS)][0 if lines else 1 :]
            lines += [(index, 0), (index, 1)] if each.known else [(index, 0)]
        if self._unread_alone:
            lines += [(_HEADING, _EMPTY), (_HEADING, _FILTERED)]
        self._lines = lines
        size = Size(self.scrollable_content_region.width, len(lines))
        if size != self.virtual_size:
            self.virtual_size = size
            self.refresh()
            return
        top = self.scroll_offset.y
        for line in range(top, top + self.size.height):
            if self._drawn.get(line) != self._about(line):
                self.refresh_line(line)

    def _about(self, line: int) -> object:
        """All that a line says, for it to be drawn only when that is other than before."""
        if line >= len(self._lines):
            return None
        index, part = self._lines[line]
        if index < 0:
            return part
        each = self._items[index]
        said: tuple[object, ...]
        if part:
            said = (each.preview, each.preview_mine, each.composing, each.asks)
        else:
            when = "" if each.last_at is None else _when(each.last_at)
            said = (each.name, each.unread, each.asks, each.session, when, each.known)
        here = each.peer == self._current, self.has_focus and index == self._cursor
        return each.peer, part, here, said

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines in view."""
        # What they have in common is looked up once for all, as it takes as long as a line.
        self._ground = (self.scrollable_content_region.width, self.rich_style)
        if len(self._drawn) > 1000:
            self._drawn.clear()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line of what is in view."""
        width, base = self._ground
        line = y + self.scroll_offset.y
        self._drawn[line] = self._about(line)
        if line >= len(self._lines):
            return Strip.blank(width, base)
        index, part = self._lines[line]
        if index < 0:
            text = clipped(_HEADINGS[part], width)
            style = self._style("heading")
            return Strip([Segment(text, style)]).crop_extend(0, width, base).apply_style(base)
        item = self._items[index]
        if item.peer == self._current:
            base = base + background(self, "list--current")
        elif self.has_focus and index == self._cursor:
            base = base + background(self, "list--cursor")
        segments = self._last_words(item, width) if part else self._headline(item, width)
        return Strip(segments).crop_extend(0, width, base).apply_style(base)

    def _style(self, name: str) -> Style:
        return (label if name == "badge" else ink)(self, f"list--{name}")

    def _headline(self, item: Conversation, width: int) -> list[Segment]:
        badge = ""
        if item.asks:
            badge = " ? "
        elif item.unread:
            badge = f" {item.unread if item.unread < 1000 else '999+'} "
        when = "" if badge or item.last_at is None else _when(item.last_at)
        room = width - 4 - max(len(badge) + 1, len(when) + 1)
        name = clipped(visible(item.name), room)
        gap = " " * max(1, width - 3 - cell_len(name) - len(badge) - len(when) - 1)
        mark = self._style("open" if item.session == "open" else "away")
        bold = self._style("name") if item.known else Style()
        segments = [Segment(f" {_MARKS[item.session]} ", mark), Segment(name, bold), Segment(gap)]
        if badge:
            style = self._style("asks") + Style(reverse=True) if item.asks else self._style("badge")
            segments.append(Segment(badge, style))
        else:
            segments.append(Segment(when, self._style("preview")))
        return segments

    def _last_words(self, item: Conversation, width: int) -> list[Segment]:
        if item.asks:
            return [Segment(f"   {clipped(visible(item.asks), width - 4)}", self._style("asks"))]
        if item.composing:
            return [Segment("   is typing …", self._style("open"))]
        said = visible(" ".join(item.preview.split()))
        text = f"you: {said}" if item.preview_mine else said
        return [Segment(f"   {clipped(text, width - 4)}", self._style("preview"))]

    @property
    def items(self) -> Sequence[Conversation]:
        """What stands in the list, in its order."""
        return self._items

    # --- choosing ----------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        """Moves the cursor."""
        self._cursor = max(0, min(len(self._items) - 1, self._cursor + step))
        line = next((i for i, (index, _) in enumerate(self._lines) if index == self._cursor), 0)
        if line < self.scroll_offset.y:
            self.scroll_to(y=line, animate=False)
        elif line + 2 > self.scroll_offset.y + self.scrollable_content_region.height:
            self.scroll_to(y=line + 2 - self.scrollable_content_region.height, animate=False)
        self.refresh()

    def action_unread(self) -> None:
        """Shows what has something unread, or asks something, alone; again: everything."""
        self._unread_alone = not self._unread_alone
        self._drawn.clear()
        self.show(self._all, self._current)
        self.refresh()

    def action_choose(self) -> None:
        """Shows the conversation under the cursor."""
        if self._cursor < len(self._items):
            self.post_message(self.Chosen(self._items[self._cursor].peer))

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        line = -1 if at is None else at.y + self.scroll_offset.y
        if 0 <= line < len(self._lines) and self._lines[line][0] >= 0:
            self._cursor = self._lines[line][0]
            self.action_choose()

    def on_resize(self, _event: events.Resize) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._lines))


def _when(at: datetime) -> str:
    today = datetime.now().astimezone().date()
    if at.date() == today:
        return f"{at:%H:%M}"
    if (today - at.date()).days < 7:
        return f"{at:%a}"
    return f"{at.day} {at:%b}" if at.year == today.year else f"{at:%Y}"
