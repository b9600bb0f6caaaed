"""Writing the ladder into a file: as what, where to, and whether credentials stay readable."""

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Checkbox, Input, OptionList, Static
from textual.widgets.option_list import Option

from rcsops.errors import RcsopsError
from rcsops.text import visible

__all__ = ["EXPORTS", "Export", "ExportScreen", "suggested"]

EXPORTS = {
    "text": ("txt", "the ladder as plain text"),
    "mermaid": ("mmd", "a sequence diagram for Markdown pages"),
    "svg": ("svg", "a picture"),
    "html": ("html", "a page: each message opens at a click"),
    "pcap": ("pcap", "a capture for Wireshark and sngrep"),
    "trace": ("jsonl", "for rcsops trace"),
}
"""The formats of a ladder: the ending of their files, and what they are for."""

_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Export:
    """What to write: one of `EXPORTS`, the new file, and whether nonces and keys are to be
    readable in it."""

    form: str
    path: Path
    show_credentials: bool = False


def suggested(directory: Path, user: str, peer: str, form: str, now: datetime) -> Path:
    """A file that is not there yet, "alex-bob-20261126-1245.svg"."""
    names = "-".join(_UNSAFE.sub("_", each).strip("._") for each in (user, peer or "all"))
    stem, ending = f"{names[:80]}-{now:%Y%m%d-%H%M}", EXPORTS[form][0]
    path = directory / f"{stem}.{ending}"
    number = 2
    while path.exists():
        path = directory / f"{stem}-{number}.{ending}"
        number += 1
    return path


class Tick(Checkbox):
    """A box that is empty unless it is ticked: the cross of Textual's own differs by its colour
    alone."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        """Draws the cross, or none."""
        self.BUTTON_INNER = "X" if self.value else " "
        super().watch_value()


def _path(name: str) -> Path:
    return Path(os.path.expanduser(name))


class ExportScreen(ModalScreen[Path | None]):
    """Asks for a format and a file; ``write`` writes it, and raises what is then shown here.

    The result is the file that was written, None when nothing was.
    """

    DEFAULT_CSS = """
    ExportScreen {
        align: center middle;
        background: $background 60%;
        #box {
            width: 90%; max-width: 76; height: auto; max-height: 95%;
            background: $surface; border: round $primary; padding: 0 1;
            border-title-color: $primary; border-title-style: bold;
            border-subtitle-color: $text-muted;
        }
        OptionList {
            height: auto; max-height: 8; border: none; padding: 0; background: $surface;
            &:focus { border: none; }
        }
        #where { height: 1; margin-top: 1; color: $text-muted; }
        Input { border: none; height: 1; padding: 0; background: $panel; }
        Checkbox { border: none; padding: 0; background: $surface; }
        Checkbox > .toggle--button { color: $background; background: $foreground-muted; }
        Checkbox:focus > .toggle--button { color: $background; background: $primary; }
        #wrong { height: auto; color: $text-error; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", show=False),
    ]

    def __init__(
        self,
        suggest: Callable[[str], Path],
        write: Callable[[Export], Awaitable[None]],
        *,
        form: str,
        count: int,
    ) -> None:
        super().__init__()
        self._suggest = suggest
        self._write = write
        self._form = form
        self._count = count
        self._busy = False

    def compose(self) -> ComposeResult:
        options = [
            Option(
                Content.assemble(Content.styled(f"{form:<9}", "bold"), Content(what)),
                id=form,
            )
            for form, (_, what) in EXPORTS.items()
        ]
        with Vertical(id="box") as box:
            yield OptionList(*options, id="form", markup=False)
            yield Static("", id="where", markup=False)
            yield Input(id="file")
            yield Tick("leave nonces and keys readable", id="open")
            yield Static("", id="wrong", markup=False)
        box.border_title = f"Export {self._count} message{'s' * (self._count != 1)}"
        box.border_subtitle = "Enter writes · Tab goes on · Esc closes"

    def on_mount(self) -> None:
        forms = self.query_one(OptionList)
        forms.highlighted = list(EXPORTS).index(self._form)
        forms.focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Another format: its file is suggested, in the directory that stands there."""
        event.stop()
        self._form = event.option.id or "text"
        path = self._suggest(self._form)
        file = self.query_one(Input)
        if file.value:
            path = _path(file.value).parent / path.name
        file.value = str(path)
        file.cursor_position = len(file.value)
        self.query_one("#where", Static).update("a new file, for you alone (0600):")
        self.query_one("#wrong", Static).update("")

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter in the list."""
        event.stop()
        await self._go()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the name of the file."""
        event.stop()
        await self._go()

    async def _go(self) -> None:
        name = self.query_one(Input).value.strip()
        if self._busy:
            return
        if not name:
            self._complain("name a file")
            return
        readable = self.query_one(Checkbox).value
        export = Export(self._form, _path(name), readable)
        self._busy = True
        try:
            await self._write(export)
        except RcsopsError as error:
            self._complain(error.one_line)
        else:
            self.dismiss(export.path)
        finally:
            self._busy = False

    def _complain(self, words: str) -> None:
        self.query_one("#wrong", Static).update(visible(words))
        self.query_one(Input).focus()
