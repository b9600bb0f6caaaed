"""Search in the history."""

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from rcsops.operations.history import HistoryMessage, local_time
from rcsops.text import visible
from rcsops.tui.paint import clipped
from rcsops.tui.styles import MUTED

__all__ = ["SearchScreen"]

_LIMIT = 200


class SearchScreen(ModalScreen["tuple[HistoryMessage, str] | None"]):
    """Gives the message that was chosen, and what was searched for."""

    DEFAULT_CSS = """
    SearchScreen {
        align: center middle;
        background: $background 60%;
        #box {
            width: 90%; max-width: 110; height: 80%;
            background: $surface; border: round $primary; padding: 0 1;
            border-title-color: $primary; border-title-style: bold;
            border-subtitle-color: $text-muted;
        }
        Input { border: none; height: 1; margin: 1 0; background: $panel; }
        Input:focus { border: none; }
        OptionList { height: 1fr; border: none; background: $surface; padding: 0; }
        OptionList:focus { border: none; }
        #found { height: 1; color: $text-muted; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", show=False),
        Binding("down", "results", "Results", show=False),
    ]

    def __init__(
        self,
        search: Callable[[str], Awaitable[list[HistoryMessage]]],
        short: Callable[[str], str],
        *,
        where: str,
    ) -> None:
        super().__init__()
        self._search = search
        self._short = short
        self._where = where
        self._found: list[HistoryMessage] = []

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = f"Search {self._where}"
            box.border_subtitle = "Enter goes to a message, Esc closes"
            yield Input(placeholder="what to look for", id="sought")
            yield OptionList(id="results", markup=False)
            yield Static("", id="found", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._look(event.value.strip())

    @work(exclusive=True)
    async def _look(self, text: str) -> None:
        self._found = await self._search(text) if text else []
        results = self.query_one(OptionList)
        results.clear_options()
        width = max(20, results.size.width - 4)
        results.add_options([Option(self._line(message, width)) for message in self._found])
        if self._found:
            results.highlighted = 0
        count = len(self._found)
        more = f"the last {count}" if count >= _LIMIT else str(count)
        self.query_one("#found", Static).update(Content(f"{more} found" if text else ""))

    def _line(self, message: HistoryMessage, width: int) -> Content:
        at = local_time(message.stored_at)
        way = "from" if message.direction == "in" else "to"
        head = f"{at:%Y-%m-%d %H:%M} {way} {visible(self._short(message.peer))}: "
        text = message.text or (message.attachment.name if message.attachment else "")
        said = visible(" ".join(text.split()))
        low, sought = said.lower(), self.query_one(Input).value.strip().lower()
        at_index = low.find(sought)
        # What was found is to be seen, however far inside it is.
        if at_index > width - len(head) - len(sought) - 10:
            said = "…" + said[max(0, at_index - 20) :]
        return Content.assemble(
            Content.styled(head, MUTED), Content(clipped(said, width - len(head)))
        )

    def action_results(self) -> None:
        """From the words to what was found."""
        self.query_one(OptionList).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self._choose(highlighted)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._choose(event.option_index)

    def _choose(self, index: int) -> None:
        if index < len(self._found):
            self.dismiss((self._found[index], self.query_one(Input).value.strip()))
