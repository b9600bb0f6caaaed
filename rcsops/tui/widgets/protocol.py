"""The protocol beside the chat: the ladder of SIP and MSRP, and each message opened."""

import time
from collections.abc import Callable
from typing import ClassVar, cast

from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from rcsops.errors import UsageError
from rcsops.text import visible
from rcsops.trace import BOTH_TIMES, Arrow, DrawnLine, draw_ladder, order_nodes, times_between
from rcsops.transport.turns import SLICE_SECONDS
from rcsops.tui.comparing import compared
from rcsops.tui.exporting import export_ladder
from rcsops.tui.opened import opened
from rcsops.tui.standing import standing
from rcsops.tui.styles import MUTED, background, ink
from rcsops.tui.terminal import TerminalApp
from rcsops.tui.wire import Step, Wire
from rcsops.ua import AgentSnapshot

__all__ = ["ProtocolPanel"]

_STATES_SECONDS = 0.5
# While somebody types, very much is drawn only so often.
_MANY = 100
_TYPING_SECONDS = 1.0
_TYPES_SECONDS = 1.0
# So many lines must what is opened have, or it gets all the room.
_READABLE = 12
# What the footer does not say.
_HINTS = ("Enter opens", "t times", "F2 closes")
_HINTS_WHOLE = ("Esc back", "PgDn more")
_HINTS_AWAY = ("F2 closes",)


class ProtocolPanel(Vertical):
    """The ladder of ``wire``, with the peer of the shown conversation or of everything, and below
    it the message that is marked, or how it differs from the one that is held beside it, or how the
    machines that ``look`` shows stand now."""

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
        &.-opened #ladder { height: 2; }
        &.-opened.-compares #ladder { height: 5; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "states", "States"),
        Binding("e", "export", "Export"),
        Binding("m", "hold", "Compare"),
        Binding("c", "origin", "With its origin", show=False),
        Binding("a", "all", "All or this"),
        Binding("t", "times", "Times", show=False),
        Binding("y", "yank", "Copy", show=False),
        Binding("enter", "whole", "Open", show=False),
        Binding("escape", "back", "Back", show=False),
    ]

    class Whole(Message):
        """What is opened is to have all the room, or no more."""

        def __init__(self, wanted: bool) -> None:
            super().__init__()
            self.wanted = wanted

    class Left(Message):
        """The person wants to go on writing."""

    def __init__(
        self,
        wire: Wire,
        look: Callable[[], AgentSnapshot | None],
        short: Callable[[str], str],
        *,
        id: str,
    ) -> None:
        super().__init__(id=id)
        self._wire = wire
        self._snapshot = look
        self._short = short
        self._peer = ""
        self._all = False
        self._states = False
        self._taking = False
        self._many = False
        self._behind = False
        self._drawn_at = 0.0
        self._step: Step | None = None
        self._open_of: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(id="wire-title", markup=False)
        yield Ladder(id="ladder")
        with VerticalScroll(id="opened", can_focus=False):
            yield Static(id="message", markup=False)

    def on_mount(self) -> None:
        self.set_interval(0.25, self._look)
        self.set_interval(_STATES_SECONDS, self._look_at_states)

    def turn(self, peer: str) -> None:
        """Another conversation is shown."""
        if peer != self._peer:
            self._hold(None)
        self._peer = peer
        self._many = False
        if self.display:
            self.refresh_steps()

    def _look(self) -> None:
        """Takes what has come, a slice of time in a turn of the loop, and then draws it."""
        if not self.display:
            return
        app = cast(TerminalApp, self.app)
        if self._behind and not app.was_busy(_TYPES_SECONDS):
            self._open()
        if not self._wire.waiting or self._taking:
            return
        fresh = time.monotonic() - self._drawn_at < _TYPING_SECONDS
        self._many = self._wire.waiting > _MANY and app.was_busy(_TYPES_SECONDS)
        if fresh and self._many:
            return
        self._taking = True
        app.turns.call(self._take)

    def _take(self) -> None:
        self._taking = False
        if not self.is_attached or not self.display:
            return
        if self._wire.take(SLICE_SECONDS):
            self._taking = True
            cast(TerminalApp, self.app).turns.call(self._take)
        else:
            self._drawn_at = time.monotonic()
            self.refresh_steps()

    def _look_at_states(self) -> None:
        if self.display and self._states:
            self._open()

    def refresh_steps(self) -> None:
        """Draws what has come."""
        self._entitle()
        self.query_one(Ladder).show(self._shown())

    def on_resize(self) -> None:
        self._entitle()
        if self.display:
            # A message is laid out, and two stand side by side or below each other, as there is
            # room.
            self.call_after_refresh(self._open)

    def on_descendant_focus(self) -> None:
        self._entitle()

    def on_descendant_blur(self) -> None:
        self._entitle()

    def _entitle(self) -> None:
        whose = "everything" if self._everything else "this conversation"
        head = f"SIP and MSRP of {whose}"
        room = self.size.width - 2 - len(head)
        hints = ""
        offered: tuple[str, ...]
        if not self.has_focus_within:
            offered = _HINTS_AWAY
        else:
            offered = _HINTS_WHOLE if self.has_class("-opened") else _HINTS
        for hint in offered:
            if len(hints) + len(hint) + 3 <= room:
                hints += f" · {hint}"
        title = Content.assemble(
            Content.styled("SIP and MSRP", "bold"),
            Content(f" of {whose}"),
            Content.styled(hints, MUTED),
        )
        self.query_one("#wire-title", Static).update(title, layout=False)

    @property
    def _everything(self) -> bool:
        return self._all or not self._peer

    def _shown(self) -> list[Step]:
        if self._everything:
            return list(self._wire.steps())
        return self._wire.steps_with(self._peer)

    def export(self, words: str = "") -> None:
        """Writes the ladder into a file: ``words`` are a format and the file, or it asks."""
        peer = "" if self._everything else self._short(self._peer)
        arrows = [step.arrow for step in self._shown()]
        try:
            export_ladder(self.app, arrows, user=self._wire.node, peer=peer, words=words)
        except UsageError as error:
            self.app.notify(visible(error.one_line), severity="error", markup=False)

    def action_export(self) -> None:
        """Asks what the ladder is to be written as, and where to."""
        self.export()

    def action_hold(self) -> None:
        """Holds the marked message, so that what is opened next is compared with it; again: not."""
        held = self._step if self.query_one(Ladder).held is None else None
        self._hold(held)
        self._states = False
        self._open()
        if held is not None:
            self._make_room()

    def _hold(self, step: Step | None) -> None:
        """What is opened is compared with this one; with all the room for it the ladder has some
        lines, for another to be found."""
        self.query_one(Ladder).hold(step)
        self.set_class(step is not None, "-compares")
        self.call_after_refresh(self.refresh_steps)

    def action_origin(self) -> None:
        """Compares with the message that this one is a new form of: without credentials, or as it
        came in."""
        step = self._step
        before = None if step is None else step.told.repeats
        if step is not None and before is None:
            before = step.told.follows
        found = next((each for each in self._shown() if each.number - 1 == before), None)
        if found is None:
            self.app.notify(
                "it is no new form of an earlier message; m and the arrow keys compare any two",
                markup=False,
            )
            return
        self._hold(found)
        self._states = False
        self._open()
        self._make_room()

    def action_states(self) -> None:
        """How the state machines stand now, in place of the message; again: the message."""
        self._states = not self._states
        self._open()
        if self._states:
            self._make_room()

    def action_times(self) -> None:
        """The seconds since the first arrow alone, or the time since the one before."""
        ladder = self.query_one(Ladder)
        ladder.seconds_alone = not ladder.seconds_alone
        ladder.refresh()

    def action_yank(self) -> None:
        """Copies the message that is opened, its credentials masked."""
        if self._step is not None:
            text = self._step.arrow.data.decode("utf-8", "replace")
            self.app.copy_to_clipboard(visible(text.replace("\r\n", "\n"), keep="\n"))
            self.app.notify("copied", timeout=2, markup=False)

    def action_whole(self) -> None:
        """What is opened gets all the room; again: no more."""
        self.whole(not self.has_class("-opened"))

    def action_back(self) -> None:
        """From what has all the room to the ladder, and from there to what is written."""
        if self.has_class("-opened"):
            self.whole(False)
        else:
            self.post_message(self.Left())

    def page(self, pages: int) -> None:
        """Scrolls what is opened."""
        pane = self.query_one("#opened", VerticalScroll)
        pane.scroll_relative(y=pages * max(1, pane.size.height - 1), animate=False)

    def whole(self, wanted: bool) -> None:
        """Gives all the room to what is opened, or takes it back."""
        if wanted != self.has_class("-opened"):
            self.set_class(wanted, "-opened")
            self.post_message(self.Whole(wanted))
            self.call_after_refresh(self.refresh_steps)

    def _make_room(self) -> None:
        """Where a terminal is low, hardly anything could be read below the ladder."""
        if self.query_one("#opened").size.height < _READABLE:
            self.whole(True)

    def action_all(self) -> None:
        """Everything, or what belongs to the shown conversation."""
        self._all = not self._all
        self.refresh_steps()

    def on_ladder_opened(self, event: "Ladder.Opened") -> None:
        event.stop()
        self._step = event.step
        if event.chosen:
            self._states = False
        # Laying a message out takes as long as all of the ladder: a key would wait for it, and
        # nobody reads what is another one in a moment.
        self._behind = self._many and not event.chosen
        if not self._behind:
            self._open()

    def _open(self) -> None:
        self._behind = False
        step, held = self._step, self.query_one(Ladder).held
        width = self.query_one("#opened").scrollable_content_region.width
        of: tuple[object, ...]
        if self._states:
            of = ("states",)
            content = standing(
                self._snapshot(), "" if self._everything else self._peer, self._short
            )
        elif step is None:
            of, content = (), Content("")
        elif held is None:
            whole = self.has_class("-opened")
            of, content = (step.number, whole), opened(step, width, whole=whole)
        else:
            of, content = (held.number, step.number), compared(held, step, width)
        self.query_one("#message", Static).update(content)
        # What is read must not jump because something has come meanwhile.
        if of != self._open_of:
            self._open_of = of
            self.query_one("#opened", VerticalScroll).scroll_home(animate=False)


class Ladder(ScrollView, can_focus=True, inherit_bindings=False):
    """One line for each message; the arrow keys mark one."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "ladder--cursor",
        "ladder--held",
        "ladder--sip",
        "ladder--msrp",
        "ladder--again",
        "ladder--failed",
        "ladder--head",
    }
    DEFAULT_CSS = """
    Ladder {
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        padding: 0 1;
        & > .ladder--cursor { background: $marked; }
        & > .ladder--held { background: $warning 25%; }
        & > .ladder--sip { color: $foreground; }
        & > .ladder--msrp { color: $text-accent; }
        & > .ladder--again { color: $text-warning; }
        & > .ladder--failed { color: $text-error; }
        & > .ladder--head { color: $text-muted; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("home", "move(-100000)", "First", show=False),
        Binding("end", "move(100000)", "Last", show=False),
    ]

    # Messages that come change how much there is to scroll, and not the place of any widget.
    virtual_size = Reactive(Size(0, 0), layout=False)

    class Opened(Message):
        """A message is to be shown whole; ``chosen``: by the person."""

        def __init__(self, step: Step | None, chosen: bool) -> None:
            super().__init__()
            self.step = step
            self.chosen = chosen

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._steps: list[Step] = []
        self._columns: list[str] = []
        self._marked = -1
        self.held: Step | None = None
        """The message that others are compared with."""
        self.seconds_alone = False
        """Whether the times are those since the first arrow; otherwise they are those since the one
        before, and where there is room both."""

    def hold(self, step: Step | None) -> None:
        """Takes the message that others are compared with, or none."""
        self.held = step
        self.refresh()

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
        self._scroll_update(self.virtual_size)
        self._open()

    def _open(self, *, chosen: bool = False) -> None:
        step = self._steps[self._marked] if self._steps else None
        line = self._marked + 1
        height = max(1, self.scrollable_content_region.height)
        # With the one below and above, where there are so many.
        beside = 1 if height > 3 else 0
        if line < self.scroll_offset.y + 1 + beside:
            self.scroll_to(y=max(0, line - 1 - beside), animate=False)
        elif line + beside >= self.scroll_offset.y + height:
            self.scroll_to(y=line + beside - height + 1, animate=False)
        self.post_message(self.Opened(step, chosen))
        self.refresh()

    def action_move(self, step: int) -> None:
        """Marks another message."""
        if self._steps:
            self._marked = max(0, min(len(self._steps) - 1, self._marked + step))
            self._open(chosen=True)

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        index = -1 if at is None else at.y + self.scroll_offset.y - 1
        if 0 <= index < len(self._steps):
            self._marked = index
            self._open(chosen=True)

    def render_line(self, y: int) -> Strip:
        """One line of what is in view; the names of the columns stay at the top."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        index = y + self.scroll_offset.y - 1
        if not self._steps or index >= len(self._steps):
            return Strip.blank(width, base)
        if y == 0:
            first = self._steps[0].arrow
            text, style = self._drawn(first, 0, None, width)[-2].text, "head"
        else:
            step = self._steps[index]
            last_two = [each.arrow for each in self._steps[max(0, index - 1) : index + 1]]
            gap = times_between(last_two)[-1]
            text = self._drawn(step.arrow, step.number, gap, width)[-1].text
            style = step.arrow.kind
            if self.held is not None and step.number == self.held.number:
                base = base + background(self, "ladder--held")
            elif index == self._marked:
                base = base + background(self, "ladder--cursor")
        strip = Strip([Segment(visible(text), ink(self, f"ladder--{style}"))])
        return strip.crop_extend(0, width, base).apply_style(base)

    def _drawn(self, arrow: Arrow, number: int, gap: float | None, width: int) -> list[DrawnLine]:
        both = width >= BOTH_TIMES
        return draw_ladder(
            [arrow],
            nodes=self._columns,
            width=width,
            numbers=[number],
            gaps=() if self.seconds_alone else [gap],
            seconds=both or self.seconds_alone,
        )
