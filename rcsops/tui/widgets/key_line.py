"""The line of keys at the bottom: those that do something now, as many as there is room for."""

from collections.abc import Iterable

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from rcsops.tui.widgets.composer import Composer
from rcsops.tui.widgets.timeline import Timeline

__all__ = ["KeyLine"]

# Where not all have room the first of these stay longest, after the keys of what has the focus.
_RANKS = ("help", "quit", "command_palette", "protocol", "leave", "search", "next_unread")
_OF_A_MESSAGE = ("yank", "resend", "open")


class KeyLine(Footer):
    """A footer that leaves whole keys out where it is narrow, and cuts none in two."""

    DEFAULT_CSS = """
    KeyLine { background: $panel; padding: 0 1; }
    """

    def compose(self) -> ComposeResult:
        """The keys that have room."""
        keys = [each for each in super().compose() if isinstance(each, FooterKey)]
        if not isinstance(self.screen.focused, Timeline):
            keys = [key for key in keys if key.action not in _OF_A_MESSAGE]
        for key in keys:
            if key.action == "leave" and isinstance(self.screen.focused, Composer):
                key.description = "Messages"
        yield from self._fitting(keys)

    def _fitting(self, keys: list[FooterKey]) -> Iterable[FooterKey]:
        room = self.app.size.width - 1
        fit: set[FooterKey] = set()
        for key in sorted(keys, key=_rank):
            width = cell_len(f"{key.key_display} {key.description} ")
            if width <= room:
                fit.add(key)
                room -= width
        return (key for key in keys if key in fit)

    def bindings_changed(self, screen: Screen[object]) -> None:
        """The keys are others. Those that stand there stay while the terminal has not the focus;
        where it never had it, there are none yet."""
        if self.children or not self.is_attached or screen is not self.screen:
            super().bindings_changed(screen)
        else:
            self._bindings_ready = True
            self.call_after_refresh(self.recompose)

    def on_resize(self, _event: events.Resize) -> None:
        """Others have room."""
        self.call_after_refresh(self.recompose)


def _rank(key: FooterKey) -> int:
    return _RANKS.index(key.action) if key.action in _RANKS else -1
