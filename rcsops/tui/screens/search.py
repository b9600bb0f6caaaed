"""Search in the history."""

from collections.abc import Awaitable, Callable
from typing import ClassVar

from rich.cells import cell_len
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

__all__ = ["SearchScreen"]

_LIMIT = 200
# In less there is no room for the time of day as well.
_ROOMY = 60
_HINT = "the words of messages and the names of files, in capitals or not"


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
        OptionList > .option-list--option-highlighted {
            color: $foreground; background: $marked; text-style: none;
        }
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
            yield Static(_HINT, id="found", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._look(event.value.strip())

    @work(exclusive=True)
    async def _look(self, text: str) -> None:
        self._found = await self._search(text) if text else []
        self._list(0 if self._found else None)
        count = len(self._found)
        more = f"the last {count}" if count >= _LIMIT else str(count)
        self.query_one("#found", Static).update(Content(f"{more} found" if text else _HINT))

    def _list(self, highlighted: int | None) -> None:
        """Shows what was found, each in a line."""
        results = self.query_one(OptionList)
        results.clear_options()
        width = max(20, results.size.width - 4)
        results.add_options([Option(self._line(message, width)) for message in self._found])
        results.highlighted = highlighted

    def on_resize(self) -> None:
        """The lines are cut where there is room to."""
        results = self.query_one(OptionList)
        self.call_after_refresh(lambda: self._list(results.highlighted))

    def _line(self, message: HistoryMessage, width: int) -> Content:
        at = local_time(message.stored_at)
        way = "from" if message.direction == "in" else "to"
        when = f"{at:%Y-%m-%d %H:%M}" if width >= _ROOMY else f"{at:%Y-%m-%d}"
        head = f"{when} {way} {visible(self._short(message.peer))}: "
        text = message.text or (message.attachment.name if message.attachment else "")
        said = visible(" ".join(text.split()))
        low, sought = said.lower(), self.query_one(Input).value.strip().lower()
        at_index = low.find(sought)
        # What was found is to be seen, however far inside it is.
        room = width - cell_len(head)
        if cell_len(said[: at_index + len(sought)]) >= room:
            said = "…" + said[max(0, at_index - max(0, min(20, (room - len(sought)) // 2))) :]
        return Content.assemble(Content.styled(head, "$text-muted"), Content(clipped(said, room)))

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
