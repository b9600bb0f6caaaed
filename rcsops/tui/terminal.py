"""An app and its terminal: keys before all else, its size, its mouse, and when it is gone."""

import gc
import os
import shutil
import sys
import threading
import time
from functools import partial
from typing import Any

from textual import events
from textual.app import App
from textual.driver import Driver
from textual.geometry import Size
from textual.message import Message

from rcsops.transport.turns import Turns
from rcsops.tui.output import TerminalOutput

__all__ = ["TerminalApp"]

# What a person does and waits for.
_INPUT = (events.Key, events.Paste, events.Click, events.MouseScrollDown, events.MouseScrollUp)
_SIZE_SECONDS = 1.0
_GOODBYE_SECONDS = 15.0
# For the screen to be given back.
_LAST_SECONDS = 1.0
# A look at 50,000 new objects takes some 60 ms when most of them are in use.
_COLLECT_SECONDS = 2.0
_NEW_OBJECTS = 50_000
_MOST_NEW_OBJECTS = 2_000_000
_ALL_AFTER = 20


class TerminalApp(App[int], inherit_bindings=False):
    """An app whose person comes before what others send: that waits in ``turns``, of which who
    makes the app says which they are, before it runs."""

    turns: Turns

    def __init__(self) -> None:
        super().__init__()
        self._mouse_on = True
        self._input_at = float("-inf")
        self._collections = 0

    # --- keys come first -----------------------------------------------------------------------

    def get_driver_class(self) -> type[Driver]:
        """The terminal's driver, which has what others send wait as soon as a key is read, and
        does not wait itself for a terminal that takes nothing."""
        app, base = self, super().get_driver_class()

        class PromptDriver(base):  # type: ignore[misc,valid-type]
            def __init__(self, *args: Any, **settings: Any) -> None:
                super().__init__(*args, **settings)
                self._output: TerminalOutput | None = None
                file = getattr(self, "_file", None)
                if file is sys.__stderr__ and file is not None:
                    self._file = self._output = TerminalOutput(file.fileno(), app.draw_anew)

            def close(self) -> None:
                super().close()
                if self._output is not None:
                    self._output.drain(_LAST_SECONDS)

            def process_message(self, message: Message) -> None:
                # In the thread that reads the terminal.
                if isinstance(message, _INPUT):
                    app.turns.hold()
                super().process_message(message)

        return PromptDriver

    async def on_event(self, event: events.Event) -> None:
        """Has what others send wait until what a key changes is drawn."""
        if not isinstance(event, _INPUT) or event.is_forwarded:
            await super().on_event(event)
            return
        self._input_at = time.monotonic()
        self.turns.hold()
        await super().on_event(event)
        # Behind the key in the same queue, so after it; then behind what it made known there.
        widget = self.focused or self.screen
        widget.call_after_refresh(widget.call_after_refresh, self.turns.let_go)

    def was_busy(self, seconds: float) -> bool:
        """Whether the person has done something within so many seconds."""
        return time.monotonic() - self._input_at < seconds

    def collect_in_pauses(self) -> None:
        """Has Python's collector look for what is left in circles while nobody does anything, as
        long as the app runs: a key would wait for it."""
        gc.disable()
        self.set_interval(_COLLECT_SECONDS, self._collect)

    def _collect(self) -> None:
        fresh = gc.get_count()[0]
        pauses = not self.was_busy(_COLLECT_SECONDS)
        if fresh > _MOST_NEW_OBJECTS or (fresh > _NEW_OBJECTS and pauses):
            self._collections += 1
            gc.collect(1 if self._collections % _ALL_AFTER else 2)

    def on_unmount(self) -> None:
        gc.enable()

    # --- the terminal itself -------------------------------------------------------------------

    def on_ready(self) -> None:
        if not self.is_headless:
            self.set_interval(_SIZE_SECONDS, self._fit)

    def _fit(self) -> None:
        """Takes the size of a terminal whose change no signal told of, as in a container."""
        size = Size(*shutil.get_terminal_size((0, 0)))
        if size and size != self.size:
            self.post_message(events.Resize(size, size))

    def draw_anew(self) -> None:
        """Draws the whole screen: the terminal has not seen all; from any thread."""
        if self.is_running:
            self.call_later(partial(self.refresh, layout=True))

    def toggle_mouse(self, *, quiet: bool = False) -> None:
        """Gives the mouse to the terminal, whose own marking and copying then work, or back."""
        self._mouse_on = not self._mouse_on
        change = "_enable_mouse_support" if self._mouse_on else "_disable_mouse_support"
        act = getattr(self._driver, change, None)
        if act is not None:
            act()
        if not quiet:
            words = "the mouse is the chat's again" if self._mouse_on else "the mouse is free"
            self.notify(words, timeout=3, markup=False)

    def lose_terminal(self) -> None:
        """The terminal is gone: what would still be written to it goes nowhere, and the process
        ends within 15 s, whatever comes."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        os.close(nowhere)
        last = threading.Timer(_GOODBYE_SECONDS, os._exit, (1,))
        last.daemon = True
        last.start()
