"""Where a person writes: several lines, with a memory of what was sent, and completion."""

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from rcsops.text import shown

__all__ = ["Composer", "dropped_file"]

_MAX_REMEMBERED = 500
_MAX_LINES = 8


class Composer(TextArea):
    """Enter sends, what is pasted never does. Up and Down at the first and last line fetch what was
    sent before. Tab completes commands, names and files; ``names`` gives those."""

    DEFAULT_CSS = """
    Composer {
        height: auto;
        min-height: 1;
        max-height: 8;
        border: none;
        padding: 0 1;
        background: $surface;
        scrollbar-size-vertical: 1;
        &:focus { border: none; background-tint: $foreground 3%; }
        & .text-area--placeholder { color: $text-muted; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", show=False, priority=True),
    ]

    @dataclass
    class Sent(Message):
        """A line or message is to be obeyed or sent."""

        text: str

    class Empty(Message):
        """Enter, with nothing written."""

    @dataclass
    class Dropped(Message):
        """The name of a file was dropped on the terminal; ``pasted`` is the text of it."""

        path: Path
        pasted: str

    @dataclass
    class Offers(Message):
        """What the word at the cursor may become; nothing when that is over."""

        choices: Sequence[str]

    def __init__(
        self,
        *,
        id: str,
        commands: Iterable[str],
        names: Callable[[str], Sequence[str]],
        newline_keys: Iterable[str],
    ) -> None:
        super().__init__(
            id=id,
            soft_wrap=True,
            tab_behavior="focus",
            compact=True,
            placeholder="Write a message, or / for commands",
        )
        # What takes an argument gets the space that stands before it.
        self._commands = [
            f"{name} " if argument else name
            for name, _, argument in (command.partition(" ") for command in commands)
        ]
        self._names = names
        # No binding: what is typed after it must come after it.
        self._newline_keys = frozenset(newline_keys)
        self._sent: list[str] = []
        self._at = 0
        self._draft = ""

    # --- sending -----------------------------------------------------------------------------

    async def _on_key(self, event: events.Key) -> None:
        if event.key in self._newline_keys:
            event.stop()
            event.prevent_default()
            self.paste("\n")
            return
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self._send()
            return
        if event.key == "up" and self.cursor_at_first_line and self._recall(-1):
            event.stop()
            event.prevent_default()
            return
        if event.key == "down" and self.cursor_at_last_line and self._recall(1):
            event.stop()
            event.prevent_default()
            return
        character = event.character or ""
        if character and not character.isprintable() and shown(character):
            # What joins the parts of an emoji comes as a key of its own.
            event.stop()
            event.prevent_default()
            self.paste(character)
            return
        await super()._on_key(event)

    def _send(self) -> None:
        text = self.text
        if not text.strip():
            self.post_message(self.Empty())
            return
        if not self._sent or self._sent[-1] != text:
            self._sent.append(text)
            del self._sent[:-_MAX_REMEMBERED]
        self._at, self._draft = len(self._sent), ""
        self.text = ""
        self.post_message(self.Offers(()))
        self.post_message(self.Sent(text))

    def _recall(self, step: int) -> bool:
        at = self._at + step
        if not 0 <= at <= len(self._sent):
            return False
        if self._at == len(self._sent):
            self._draft = self.text
        self._at = at
        self.text = self._draft if at == len(self._sent) else self._sent[at]
        self.move_cursor(self.document.end)
        return True

    def put_aside(self) -> str:
        """Takes what is written away, and returns it."""
        text, self.text = self.text, ""
        self._at = len(self._sent)
        return text

    def put_back(self, text: str) -> None:
        """Writes what was put aside."""
        self.text = text
        self.move_cursor(self.document.end)

    # --- pasting -----------------------------------------------------------------------------

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        path = dropped_file(text) if not self.text.strip() else None
        if path is not None:
            self.post_message(self.Dropped(path, text))
        else:
            self.paste(text)

    def paste(self, text: str) -> None:
        """Writes something at the cursor, whatever it holds."""
        clean = shown(text, keep="\n\t")
        if result := self._replace_via_keyboard(clean, *self.selection):
            self.move_cursor(result.end_location)

    # --- completion --------------------------------------------------------------------------

    def choices(self) -> list[str]:
        """What the whole text may become."""
        typed = self.text
        if "\n" in typed or not typed.startswith("/") or typed.startswith("//"):
            return []
        word, space, rest = typed.partition(" ")
        if not space:
            return [command for command in self._commands if command.startswith(typed)]
        if word == "/send":
            return [f"/send {path}" for path in _paths(rest)]
        if word in ("/invite", "/message"):
            return [f"{word} {name}" for name in self._names(rest)]
        return []

    def action_complete(self) -> None:
        """Completes as far as there is no doubt."""
        choices = self.choices()
        if not choices:
            if not self.text:
                self.screen.focus_next()
            return
        common = _common(choices)
        if len(common) > len(self.text):
            self.put_back(common)
        self.post_message(self.Offers(() if len(choices) == 1 else choices))

    def on_text_area_changed(self) -> None:
        choices = self.choices()
        self.post_message(self.Offers(() if choices == [self.text] else choices))


def dropped_file(text: str) -> Path | None:
    """The file whose name a terminal writes when it is dropped on it; None for any other text."""
    text = text.strip()
    if not text or "\n" in text or len(text) > 4096:
        return None
    if text.startswith("file://"):
        candidates = [unquote(urlsplit(text).path)]
    else:
        candidates = [text]
        try:
            words = shlex.split(text)
        except ValueError:
            words = []
        if len(words) == 1:
            candidates.append(words[0])
    for each in candidates:
        if os.path.isabs(each) and os.path.isfile(each):
            return Path(each)
    return None


def _paths(typed: str) -> list[str]:
    """Files and directories whose names begin so."""
    path = Path(os.path.expanduser(typed))
    directory = path if typed.endswith("/") or not typed else path.parent
    begin = "" if typed.endswith("/") or not typed else path.name
    head = typed[: len(typed) - len(begin)]
    try:
        found = sorted(each for each in directory.iterdir() if each.name.startswith(begin))
    except OSError:
        return []
    if not begin.startswith("."):
        found = [each for each in found if not each.name.startswith(".")]
    return [f"{head}{each.name}{'/' if os.path.isdir(each) else ''}" for each in found[:100]]


def _common(choices: Sequence[str]) -> str:
    first, last = min(choices), max(choices)
    end = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    return first[:end]
