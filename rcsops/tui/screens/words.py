"""Screens of words over the chat: help, and what is encrypted."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

__all__ = ["WordsScreen"]


class WordsScreen(ModalScreen[None]):
    """Some words under a title; any of Esc, Enter, q takes it away."""

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

    def __init__(self, title: str, words: Content) -> None:
        super().__init__()
        self._title = title
        self._words = words

    def compose(self) -> ComposeResult:
        box = VerticalScroll(Static(self._words, id="words"), id="box")
        box.border_title = self._title
        box.border_subtitle = "Esc closes"
        yield box
