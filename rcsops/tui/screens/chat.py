"""The chat: the conversations, one of them, what is written, and how things stand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen

from rcsops.errors import AgentError
from rcsops.operations.wording import amount
from rcsops.text import visible
from rcsops.tui.keys import bindings, bound_keys, keys_of
from rcsops.tui.previews import Previews
from rcsops.tui.security import Security
from rcsops.tui.state import Changes, ChatState, Conversation
from rcsops.tui.widgets.bars import HintLine, QuestionBar, StatusLine, TitleBar
from rcsops.tui.widgets.composer import Composer
from rcsops.tui.widgets.conversations import ConversationList
from rcsops.tui.widgets.key_line import KeyLine
from rcsops.tui.widgets.protocol import ProtocolPanel
from rcsops.tui.widgets.timeline import Timeline
from rcsops.tui.wire import Wire
from rcsops.ua import AgentSnapshot, take_snapshot

if TYPE_CHECKING:
    from rcsops.tui.app import ChatApp

__all__ = ["ChatScreen"]


class ChatScreen(Screen[None]):
    """What the person sees all the time. What it wants done it asks of the app."""

    DEFAULT_CSS = """
    ChatScreen {
        layout: vertical;
        background: $background;
        #body { height: 1fr; }
        #main { width: 1fr; }
        #timeline { height: 1fr; }
        #list { height: 1fr; }
        &.-narrow #list { display: none; }
        &.-narrow.-list #list { display: block; width: 1fr; }
        &.-narrow.-list #main { display: none; }
        &.-medium #list { width: 24; }
        &.-wide #list { width: 34; }
        &.-nolist #list { display: none; }
        &.-protocol #list { display: none; }
        &.-protocol #body { layout: vertical; }
        &.-protocol #main { height: 1fr; }
        &.-protocol #protocol { display: block; height: 1fr; }
        &.-low #opened { display: none; }
        &.-wide.-protocol #list { display: block; }
        &.-wide.-protocol #body { layout: horizontal; }
        &.-wide.-protocol #main { height: 1fr; }
        &.-wide.-protocol #protocol { width: 50%; height: 1fr; }
        &.-whole #opened { display: block; }
        &.-whole #main, &.-whole #list { display: none; }
        &.-wide.-whole #list { display: none; }
        &.-wide.-whole #protocol { width: 100%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(),
        *(Binding(f"alt+{(at + 1) % 10}", f"nth({at})", show=False) for at in range(10)),
    ]

    def __init__(
        self,
        state: ChatState,
        security: Security,
        *,
        wire: Wire,
        commands: Mapping[str, str],
        keymap: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._wire = wire
        self.HORIZONTAL_BREAKPOINTS = [
            (0, "-narrow"),
            (76, "-medium"),
            (100, "-normal"),
            (150, "-wide"),
        ]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (26, "-high")]
        self._state = state
        self._security = security
        self._commands = commands
        self._keymap = keymap
        self._drafts: dict[str, str] = {}
        self._dropped: tuple[Path, str] | None = None
        self._offers: Sequence[str] = ()

    @property
    def chat(self) -> "ChatApp":
        """The app, which does what is asked."""
        return cast("ChatApp", self.app)

    def compose(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield ConversationList(id="list")
            with Vertical(id="main"):
                yield TitleBar(id="title", markup=False)
                yield Timeline(id="timeline")
                yield QuestionBar(
                    id="asks",
                    accept_key=keys_of("accept", self._keymap),
                    decline_key=keys_of("decline", self._keymap),
                )
                yield HintLine(id="hint", markup=False)
                yield Composer(
                    id="composer",
                    commands=self._commands,
                    names=self._names,
                    newline_keys=bound_keys("newline", self._keymap),
                )
            yield ProtocolPanel(self._wire, self._snapshot, self._state.short, id="protocol")
        yield StatusLine(id="status", markup=False)
        yield KeyLine(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.timeline = self.query_one(Timeline)
        self.composer = self.query_one(Composer)
        self.list = self.query_one(ConversationList)
        self.protocol = self.query_one(ProtocolPanel)
        self.timeline.resend_key = keys_of("resend", self._keymap)
        self.timeline.previews = Previews(lambda row: self.timeline.changed([row]))
        self.composer.focus()
        self.tell()

    def _snapshot(self) -> AgentSnapshot | None:
        try:
            return take_snapshot(self.chat.room.agent)
        except AgentError:
            # It has not begun.
            return None

    def _names(self, begin: str) -> list[str]:
        names = (each.name for each in self._state.conversations.values())
        return sorted(name for name in names if name.startswith(begin))[:100]

    # --- what is shown -----------------------------------------------------------------------

    def apply(self, changes: Changes) -> None:
        """Draws what has changed."""
        shown = self._state.shown
        if shown is not None and shown.rows is not None:
            self.timeline.older, self.timeline.newer = shown.older, shown.newer
            if changes.removed:
                self.timeline.show(shown.rows, first_unread=shown.first_unread)
            elif changes.appended:
                self.timeline.first_unread = shown.first_unread
                self.timeline.appended(pruned=changes.pruned)
            if changes.changed:
                self.timeline.changed(changes.changed)
        if changes.conversations or changes.lines:
            self.tell()

    def tell(self) -> None:
        """Draws everything but the conversation itself."""
        state, shown = self._state, self._state.shown
        self.list.show(state.ordered(), state.current)
        elsewhere = state.unread - (shown.unread if shown is not None else 0)
        self.query_one(TitleBar).tell(shown, unread_elsewhere=elsewhere)
        self.query_one(StatusLine).tell(state, self._security)
        self.timeline.instead(self._instead(shown))
        self.query_one(QuestionBar).ask(shown.asks if shown is not None else "")
        self._hint()

    def _instead(self, shown: Conversation | None) -> tuple[str, ...]:
        """What stands in the middle of a conversation without rows."""
        helps = f"{keys_of('help', self._keymap)}: all keys and commands"
        if shown is None:
            how = "shows your contacts" if self.has_class("-narrow") else "goes to your contacts"
            return (
                "Nobody is chosen yet",
                "",
                f"{keys_of('list', self._keymap)} {how}",
                "/invite PEER opens a session with somebody else",
                helps,
            )
        if shown.rows is None:
            # They are being read.
            return ()
        name = visible(shown.name)
        how = {
            "open": f"What you write goes to {name} directly",
            "calling": f"What you write waits until {name} answers",
            "letters": f"What you write reaches {name} through the server",
        }.get(shown.session, f"What you write invites {name} to a session")
        return (f"Nothing was said with {name} yet", "", how, helps)

    def show(self, conversation: Conversation, *, place: str = "") -> None:
        """Shows another conversation, or another part of it, whose rows are loaded."""
        self.timeline.older, self.timeline.newer = conversation.older, conversation.newer
        rows = conversation.rows if conversation.rows is not None else []
        self.timeline.show(rows, first_unread=conversation.first_unread, place=place)
        self.tell()

    def turn(self, before: str, to: str) -> None:
        """What is written goes to another peer from now on; each has a draft of its own."""
        if before:
            self._drafts[before] = self.composer.put_aside()
        self.composer.put_back(self._drafts.pop(to, self.composer.text if not before else ""))
        self._dropped = None
        self.protocol.turn(to)
        self.remove_class("-list")
        if self.list.has_focus:
            self.composer.focus()

    def _hint(self) -> None:
        shown = self._state.shown
        types = ""
        if shown is not None and shown.composing:
            types = f"{visible(shown.name)} is typing …"
        if self._dropped is not None:
            path, _ = self._dropped
            try:
                size = f" ({amount(path.stat().st_size)})"
            except OSError:
                size = ""
            words = f"Enter sends the file {path.name}{size}, Esc pastes its name"
            text = Content.styled(visible(words), "$text-warning")
        elif self._offers:
            self.query_one(HintLine).offer(self._offers, types)
            return
        elif types:
            text = Content.styled(types, "$text-success")
        elif self.timeline.marked is not None and self.timeline.has_focus:
            text = Content(self._about_marked())
        else:
            text = Content("")
        self.query_one(HintLine).say(text)

    def _about_marked(self) -> str:
        row = self.timeline.marked
        if row is None:
            return ""
        told = [f"{state} {at:%H:%M:%S}" for state, at in row.times.items()]
        where = f"{row.file.path}" if row.file is not None and row.file.path else ""
        return visible(" · ".join([*told, *([where] if where else [])]))

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self.tell)

    # --- what happens in the parts -----------------------------------------------------------

    @on(Composer.Sent)
    def _sent(self, event: Composer.Sent) -> None:
        event.stop()
        self.timeline.action_last()
        self.chat.obey(event.text)

    @on(Composer.Offers)
    def _offered(self, event: Composer.Offers) -> None:
        event.stop()
        self._offers = event.choices
        if self.composer.text.strip():
            self._dropped = None
        if not self.composer.text.startswith("/"):
            self.chat.typing(bool(self.composer.text.strip()))
        self._hint()

    @on(Composer.Dropped)
    def _file_dropped(self, event: Composer.Dropped) -> None:
        event.stop()
        self._dropped = (event.path, event.pasted)
        self._hint()

    @on(Composer.Empty)
    def _sent_nothing(self, event: Composer.Empty) -> None:
        event.stop()
        if self._dropped is not None:
            path, _ = self._dropped
            self._dropped = None
            self.chat.send_file(path)
            self._hint()

    @on(ConversationList.Chosen)
    def _chosen(self, event: ConversationList.Chosen) -> None:
        event.stop()
        self.chat.open(event.peer)

    @on(Timeline.More)
    def _more(self, event: Timeline.More) -> None:
        event.stop()
        self.chat.load_more(older=event.older)

    @on(Timeline.Ends)
    def _ends(self, event: Timeline.Ends) -> None:
        event.stop()
        self.chat.load_end(first=event.first)

    @on(Timeline.AtEnd)
    def _at_end(self, event: Timeline.AtEnd) -> None:
        event.stop()
        self.chat.looked()

    @on(Timeline.Marked)
    def _marked(self, event: Timeline.Marked) -> None:
        event.stop()
        self._hint()

    @on(QuestionBar.Answered)
    def _answered(self, event: QuestionBar.Answered) -> None:
        event.stop()
        self._answer("/accept" if event.yes else "/decline")
        self.composer.focus()

    @on(ProtocolPanel.Whole)
    def _whole(self, event: ProtocolPanel.Whole) -> None:
        event.stop()
        self.set_class(event.wanted, "-whole")

    @on(ProtocolPanel.Left)
    def _left_protocol(self, event: ProtocolPanel.Left) -> None:
        event.stop()
        self.action_leave()

    def on_descendant_focus(self) -> None:
        self._hint()

    # --- keys --------------------------------------------------------------------------------

    def action_quit(self) -> None:
        """Leaves."""
        self.chat.leave()

    def action_help(self) -> None:
        """Shows the keys."""
        self.chat.show_help()

    def action_security(self) -> None:
        """Shows what is encrypted."""
        self.chat.show_security()

    def action_protocol(self) -> None:
        """Shows or hides the protocol."""
        panel = self.protocol
        if self.has_class("-protocol"):
            self.remove_class("-protocol")
            panel.whole(False)
            self.remove_class("-whole")
            self.composer.focus()
        else:
            self.add_class("-protocol")
            panel.turn(self._state.current)
            self.call_after_refresh(panel.refresh_steps)
            panel.query_one("#ladder").focus()

    def action_theme(self) -> None:
        """Takes the next theme."""
        self.chat.next_theme()

    def action_mouse(self) -> None:
        """Gives the mouse to the terminal, or takes it back."""
        self.chat.toggle_mouse()

    def action_search(self) -> None:
        """Searches the history."""
        self.chat.search()

    def action_list(self) -> None:
        """Shows or hides the conversations."""
        if self.has_class("-narrow"):
            self.toggle_class("-list")
            (self.list if self.has_class("-list") else self.composer).focus()
        elif self.has_class("-nolist"):
            self.remove_class("-nolist")
        elif self.list.has_focus:
            self.add_class("-nolist")
            self.composer.focus()
        else:
            self.list.focus()

    def action_next_unread(self) -> None:
        """Goes to the next conversation with something unread, or that asks something."""
        waiting = [each.peer for each in self._state.ordered() if each.asks or each.unread]
        here = self._state.current
        others = [peer for peer in waiting if peer != here]
        if others:
            self.chat.open(others[0])

    def action_next(self) -> None:
        """Goes to the conversation below."""
        self._step(1)

    def action_previous(self) -> None:
        """Goes to the conversation above."""
        self._step(-1)

    def action_nth(self, at: int) -> None:
        """Goes to one of the first conversations of the list."""
        peers = [each.peer for each in self.list.items]
        if at < len(peers):
            self.chat.open(peers[at])

    def _step(self, step: int) -> None:
        peers = [each.peer for each in self._state.ordered()]
        if peers:
            at = peers.index(self._state.current) if self._state.current in peers else -step
            self.chat.open(peers[(at + step) % len(peers)])

    def action_accept(self) -> None:
        """Accepts what waits."""
        self._answer("/accept")

    def action_decline(self) -> None:
        """Declines it."""
        self._answer("/decline")

    def _answer(self, command: str) -> None:
        """Answers the offer that is marked, or the question that is shown."""
        shown = self._state.shown
        marked = self.timeline.marked if self.timeline.has_focus else None
        if marked is not None and marked.file is not None and marked.file.waits_as:
            self.chat.obey(f"{command} {marked.file.waits_as}")
        else:
            self.chat.obey(f"{command} {shown.asks_number}" if shown and shown.asks else command)

    def action_page_up(self) -> None:
        """Scrolls back; in the protocol, what is opened."""
        if self.protocol.has_focus_within:
            self.protocol.page(-1)
            return
        self.timeline.scroll_page_up(animate=False)

    def action_page_down(self) -> None:
        """Scrolls forward."""
        if self.protocol.has_focus_within:
            self.protocol.page(1)
            return
        self.timeline.scroll_page_down(animate=False)

    def action_leave(self) -> None:
        """From what is written to the conversation, and back."""
        if self._dropped is not None:
            _, pasted = self._dropped
            self._dropped = None
            self.composer.paste(pasted)
        elif self.has_class("-list"):
            self.action_list()
        elif self.composer.has_focus:
            self.timeline.focus()
            self.timeline.action_mark(-1)
        else:
            self.timeline.unmark()
            self.composer.focus()
        self._hint()

    def action_yank(self) -> None:
        """Copies the marked message."""
        self.chat.yank(self.timeline.marked)

    def action_resend(self) -> None:
        """Sends the marked message again."""
        self.chat.resend(self.timeline.marked)
        self.timeline.action_last()

    def action_open(self) -> None:
        """Opens the link or file of the marked message."""
        self.chat.open_link(self.timeline.marked)
