"""Screens of words over the chat: help, and what is encrypted."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

__all__ = ["WordsScreen"]

_WIDEST = 92


class WordsScreen(ModalScreen[None]):
    """Words under a title, as ``lay_out`` makes them for so many columns; Esc, Enter or q takes
    them away."""

    DEFAULT_CSS = """
    WordsScreen {
        align: center middle;
        background: $background 60%;
        #box {
            width: 90%; max-width: 92; height: auto; max-height: 90%;
            background: $surface; border: round $primary; padding: 0 1;
            scrollbar-size-vertical: 1;
            border-title-color: $primary; border-title-style: bold;
            border-subtitle-color: $text-muted;
        }
        #words { height: auto; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,f1,f3,question_mark", "dismiss", "Close", show=False),
    ]

    def __init__(self, title: str, lay_out: Callable[[int], Content]) -> None:
        super().__init__()
        self._title = title
        self._lay_out = lay_out

    def compose(self) -> ComposeResult:
        box = VerticalScroll(Static(id="words", markup=False), id="box")
        box.border_title = self._title
        box.border_subtitle = "PgDn more · Esc closes"
        yield box

    def on_resize(self) -> None:
        """They are laid out in the columns within the box, beside its scrollbar."""
        columns = min(self.size.width * 9 // 10, _WIDEST) - len("│ ┃ │")
        self.query_one("#words", Static).update(self._lay_out(columns))
