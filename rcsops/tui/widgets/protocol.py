"""The protocol beside the chat: the ladder of SIP and MSRP, and each message opened."""

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from rcsops.text import visible
from rcsops.trace import draw_ladder, explain_headers, highlight, order_nodes
from rcsops.tui.styles import background, ink
from rcsops.tui.wire import Step, Wire

__all__ = ["ProtocolPanel"]

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


class ProtocolPanel(Vertical):
    """The ladder of ``wire``, with the peer of the shown conversation or of everything, and below
    it the message that is marked."""

    DEFAULT_CSS = """
    ProtocolPanel {
        display: none;
        background: $surface;
        #wire-title { height: 1; padding: 0 1; background: $panel; }
        #ladder { height: 1fr; }
        #opened {
            height: 1fr; padding: 0 1;
            border-top: solid $border; scrollbar-size-vertical: 1;
        }
        #message { height: auto; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("a", "all", "All or this peer", show=False)]

    def __init__(self, wire: Wire, *, id: str) -> None:
        super().__init__(id=id)
        self._wire = wire
        self._peer = ""
        self._all = False

    def compose(self) -> ComposeResult:
        yield Static(id="wire-title", markup=False)
        yield Ladder(id="ladder")
        with VerticalScroll(id="opened", can_focus=False):
            yield Static(id="message", markup=False)

    def on_mount(self) -> None:
        self.set_interval(0.25, self._look)

    def turn(self, peer: str) -> None:
        """Another conversation is shown."""
        self._peer = peer
        if self.display:
            self.refresh_steps()

    def _look(self) -> None:
        if self.display and self._wire.waiting:
            self.refresh_steps()

    def refresh_steps(self) -> None:
        """Draws what has come."""
        everything = self._all or not self._peer
        steps = list(self._wire.steps()) if everything else self._wire.steps_with(self._peer)
        whose = "everything" if everything else "this conversation"
        title = Content.assemble(
            Content.styled("SIP and MSRP", "bold"),
            Content(f" of {whose}"),
            Content.styled(" · up, down open · a all or this · F2 closes", "$text-muted"),
        )
        self.query_one("#wire-title", Static).update(title, layout=False)
        self.query_one(Ladder).show(steps)

    def action_all(self) -> None:
        """Everything, or what belongs to the shown conversation."""
        self._all = not self._all
        self.refresh_steps()

    def on_ladder_opened(self, event: "Ladder.Opened") -> None:
        event.stop()
        opened = self.query_one("#opened", VerticalScroll)
        self.query_one("#message", Static).update(
            _opened(event.step) if event.step else Content("")
        )
        opened.scroll_home(animate=False)


def _opened(step: Step) -> Content:
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


class Ladder(ScrollView, can_focus=True):
    """One line for each message; the arrow keys mark one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "ladder--cursor",
        "ladder--sip",
        "ladder--msrp",
        "ladder--wrong",
        "ladder--head",
    }
    DEFAULT_CSS = """
    Ladder {
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        padding: 0 1;
        & > .ladder--cursor { background: $primary 25%; }
        & > .ladder--sip { color: $foreground; }
        & > .ladder--msrp { color: $text-accent; }
        & > .ladder--wrong { color: $text-error; }
        & > .ladder--head { color: $text-muted; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("home", "move(-100000)", "First", show=False),
        Binding("end", "move(100000)", "Last", show=False),
    ]

    class Opened(Message):
        """A message is to be shown whole."""

        def __init__(self, step: Step | None) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._steps: list[Step] = []
        self._columns: list[str] = []
        self._marked = -1

    def show(self, steps: list[Step]) -> None:
        """Takes the messages; the last is marked, unless another was."""
        before = self._steps[self._marked].number if 0 <= self._marked < len(self._steps) else -1
        last = before < 0 or self._marked == len(self._steps) - 1
        self._steps = steps
        self._columns = order_nodes([step.arrow for step in steps])
        self._marked = len(steps) - 1
        if not last:
            self._marked = next(
                (i for i, step in enumerate(steps) if step.number == before), len(steps) - 1
            )
        self.virtual_size = Size(self.scrollable_content_region.width, len(steps) + 1)
        self._open()

    def _open(self) -> None:
        step = self._steps[self._marked] if self._steps else None
        line = self._marked + 1
        height = max(1, self.scrollable_content_region.height)
        if line < self.scroll_offset.y + 1:
            self.scroll_to(y=max(0, line - 1), animate=False)
        elif line >= self.scroll_offset.y + height:
            self.scroll_to(y=line - height + 1, animate=False)
        self.post_message(self.Opened(step))
        self.refresh()

    def action_move(self, step: int) -> None:
        """Marks another message."""
        if self._steps:
            self._marked = max(0, min(len(self._steps) - 1, self._marked + step))
            self._open()

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        index = -1 if at is None else at.y + self.scroll_offset.y - 1
        if 0 <= index < len(self._steps):
            self._marked = index
            self._open()

    def render_line(self, y: int) -> Strip:
        """One line of what is in view; the names of the columns stay at the top."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        index = y + self.scroll_offset.y - 1
        if not self._steps or index >= len(self._steps):
            return Strip.blank(width, base)
        if y == 0:
            first = self._steps[0].arrow
            heads = draw_ladder([first], nodes=self._columns, width=width, numbers=[0])
            text, style = heads[-2].text, "head"
        else:
            step = self._steps[index]
            text = draw_ladder(
                [step.arrow], nodes=self._columns, width=width, numbers=[step.number], head=False
            )[0].text
            wrong = step.arrow.retransmission or (step.arrow.summary.status or 0) >= 400
            style = "wrong" if wrong else step.arrow.protocol
            if index == self._marked:
                base = base + background(self, "ladder--cursor")
        strip = Strip([Segment(visible(text), ink(self, f"ladder--{style}"))])
        return strip.crop_extend(0, width, base).apply_style(base)
