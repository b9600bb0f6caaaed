"""The lines around a conversation: who it is with, what waits for an answer, how things stand."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Static

from rcsops.text import visible
from rcsops.tui.paint import clipped
from rcsops.tui.security import Security
from rcsops.tui.state import ChatState, Conversation
from rcsops.tui.styles import MUTED

__all__ = ["HintLine", "QuestionBar", "StatusLine", "TitleBar"]
# Less than this is no name.
_SHORTEST = 8


class _Line(Static):
    """A line of words, drawn only when they are others than before; cut with an ellipsis where
    there is no room for them."""

    DEFAULT_CSS = """
    _Line { text-wrap: nowrap; text-overflow: ellipsis; }
    """

    _said: Content | None = None

    def say(self, words: Content) -> None:
        """Takes the words."""
        if self._said is None or not words.is_same(self._said):
            self._said = words
            self.update(words, layout=False)


class TitleBar(_Line):
    """Who the conversation is with, and whether a session is open."""

    DEFAULT_CSS = """
    TitleBar { height: 1; padding: 0 1; background: $panel; color: $foreground; }
    """

    def tell(self, conversation: Conversation | None, *, unread_elsewhere: int) -> None:
        """Says how things stand with a peer."""
        if conversation is None:
            self.say(Content.styled("no conversation is open", MUTED))
            return
        session = conversation.session
        mark, words, style = {
            "open": ("●", "session open", "$text-success"),
            "calling": ("◌", "inviting …", "$text-warning"),
            "letters": ("✉", "without a session", "$text-warning"),
        }.get(session, ("○", "no session: what you write opens one", MUTED))
        if conversation.asks and not session:
            words, style = "waits for your answer", "$text-warning"
        room = self.content_size.width - len("  ")
        unread = f"  {unread_elsewhere} unread elsewhere" if unread_elsewhere else ""
        name = visible(conversation.name)
        taken = cell_len(f"{mark} {name}  {words}{unread}")
        if taken > room and unread:
            unread = f"  {unread_elsewhere} unread"
        ends = f"  direct, {conversation.ends}" if session == "open" else ""
        if taken + len(ends) > room:
            ends = ""
        head = cell_len(f"{mark}   {words}{unread}")
        self.say(
            Content.assemble(
                Content.styled(f"{mark} ", style),
                Content.styled(clipped(name, max(room - head, _SHORTEST)), "bold"),
                Content("  "),
                Content.styled(words, style),
                Content.styled(ends, MUTED),
                Content.styled(unread, "$text-error"),
            )
        )


class QuestionBar(Horizontal):
    """An invitation or file that waits for an answer, with its two answers."""

    DEFAULT_CSS = """
    QuestionBar {
        height: 1; display: none; background: $warning 30%; padding: 0 1;
        &.-asks { display: block; }
        #question { width: 1fr; height: 1; text-style: bold; }
        Button { margin-left: 2; min-width: 12; height: 1; }
    }
    """

    @dataclass
    class Answered(Message):
        """The person says yes or no."""

        yes: bool

    def __init__(self, *, id: str, accept_key: str, decline_key: str) -> None:
        super().__init__(id=id)
        self._keys = (accept_key, decline_key)

    def compose(self) -> ComposeResult:
        yield _Line(id="question", markup=False)
        accept, decline = self._keys
        yield Button(Content(f"Accept {accept}"), id="yes", compact=True, variant="success")
        yield Button(Content(f"Decline {decline}"), id="no", compact=True, variant="error")

    def ask(self, words: str) -> None:
        """Asks a question; empty: there is none."""
        self.set_class(bool(words), "-asks")
        self.query_one("#question", _Line).say(Content(visible(words)))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.Answered(event.button.id == "yes"))


class HintLine(_Line):
    """One line above what is written: who types, what can be completed, what is asked."""

    DEFAULT_CSS = """
    HintLine { height: 1; padding: 0 1; color: $text-muted; background: $background; }
    """

    def offer(self, choices: Sequence[str], also: str = "") -> None:
        """Says what can be completed: as many as there is room for, and whether there are more;
        and behind it something else."""
        words = ""
        room = self.content_size.width - (len("   ") + cell_len(also) if also else 0)
        for choice in choices:
            longer = f"{words}   {visible(choice.strip())}" if words else visible(choice.strip())
            if words and cell_len(longer) > room - len("   …"):
                words += "   …"
                break
            words = longer
        behind = Content.styled(f"   {also}" if also else "", "$text-success")
        self.say(Content.assemble(words, behind))


class StatusLine(_Line):
    """Registration, transport, what is encrypted, and how long the last message took."""

    DEFAULT_CSS = """
    StatusLine { height: 1; padding: 0 1; background: $panel; color: $text-muted; }
    """

    def tell(self, state: ChatState, security: Security) -> None:
        """Says how things stand."""
        mark, words, style = {
            "registered": ("●", f"{state.me} at {state.server}", "$text-success"),
            "registering": ("◌", f"{state.me}, registering at {state.server} …", "$text-warning"),
            "lost": ("✗", f"{state.me}, {state.registration_words}", "$text-error"),
            "refused": ("✗", f"{state.me}, not registered: /register tries again", "$text-error"),
            "gone": ("○", f"{state.me}, not registered", "$text-warning"),
        }[state.registration]
        if state.leaving:
            mark, style = "◌", "$text-warning"
            words = "saying good-bye … the same key does not wait for it"
        wide = self.size.width >= 70
        secure = Content.styled(
            f"{security.transport.upper()} to the server"
            if security.encrypted and wide
            else security.transport.upper(),
            "$text-success" if security.encrypted else "",
        )
        parts = [
            Content.styled(f"{mark} ", style),
            Content(visible(words))
            if state.registration == "registered"
            else Content.styled(visible(words), style),
            Content(" · "),
            secure,
            Content(" · "),
            _messages(state.shown, wide=wide),
        ]
        if state.latency is not None:
            words = "round trip " if self.size.width >= 90 else ""
            parts += [Content(" · "), Content(f"{words}{_milliseconds(state.latency)}")]
        self.say(Content.assemble(*parts))


def _messages(shown: Conversation | None, *, wide: bool) -> Content:
    """How what is written goes: never end-to-end encrypted, so without a padlock."""
    what = "messages " if wide else ""
    if shown is not None and shown.session == "open":
        if shown.security:
            return Content.styled(f"{what}{shown.security} to the peer", "$text-success")
        return Content.styled(f"{what}in clear", "$text-warning")
    return Content(f"{what}not end-to-end encrypted" if wide else "no end-to-end")


def _milliseconds(seconds: float) -> str:
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
