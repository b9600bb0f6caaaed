"""Where the lines of ``rcsops chat`` come from and go to: a terminal or a pipe.

Both inputs are async iterators of lines that end at end-of-file (Ctrl-D) or on Ctrl-C. Both
outputs take a `Notice`.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, ClassVar

import click

from rcsops.cli.output import plain, visible
from rcsops.operations.chat import Notice

__all__ = ["JsonPrinter", "PipeLines", "PlainPrinter", "TerminalLines"]

# A pasted novel is one message; a pipe without line ends must not fill the memory.
MAX_LINE = 1 << 20
_CHUNK = 65536


class PipeLines(AsyncIterator[str]):
    """Lines of standard input when it is a pipe or a file.

    A thread reads, because a regular file cannot be watched by the event loop. It reads the
    descriptor and not ``sys.stdin``, whose lock a thread that is left waiting would hold when the
    interpreter ends. A line longer than a mebibyte comes in pieces.
    """

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)
        self._ended = False
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    async def __anext__(self) -> str:
        if self._ended:
            raise StopAsyncIteration
        self._wanted.release()
        line = await self._lines.get()
        if line is None:
            self._ended = True
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        rest = b""
        for piece in self._pieces():
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) >= MAX_LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._put(line.rstrip(b"\r").decode("utf-8", "replace"))
        if rest:
            self._put(rest.decode("utf-8", "replace"))
        self._put(None)

    def _pieces(self) -> Iterable[bytes]:
        while True:
            try:
                piece = os.read(self._descriptor, _CHUNK)
            except OSError:
                return
            if not piece:
                return
            yield piece

    def _put(self, line: str | None) -> None:
        self._wanted.acquire()
        try:
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
        except RuntimeError:
            # The loop has ended: nobody reads any more.
            return


class TerminalLines(AsyncIterator[str]):
    """Lines typed at a terminal, with editing, history and completion of ``/commands``.

    While it is used, `printing` keeps what is printed above the line that is being typed.
    """

    def __init__(self, prompt: Callable[[], str], commands: Iterable[str]) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.output.defaults import create_output

        output = create_output()
        # A terminal that cannot say where its cursor is would get a warning on the screen.
        if hasattr(output, "enable_cpr"):
            output.enable_cpr = False
        self._prompt = prompt
        self._session: PromptSession[str] = PromptSession(
            completer=WordCompleter(list(commands), sentence=True), output=output
        )

    def printing(self) -> AbstractContextManager[None]:
        """The context in which lines may be printed at any time."""
        from prompt_toolkit.patch_stdout import patch_stdout

        return patch_stdout(raw=True)

    async def __anext__(self) -> str:
        try:
            return await self._session.prompt_async(self._prompt, handle_sigint=True)
        except (EOFError, KeyboardInterrupt):
            raise StopAsyncIteration from None


def no_context() -> AbstractContextManager[None]:
    """What stands in for `TerminalLines.printing` on a pipe."""
    return nullcontext()


class PlainPrinter:
    """Notices as lines for people; colours where they are wanted."""

    STYLES: ClassVar[dict[str, dict[str, Any]]] = {
        "message": {"fg": "bright_white", "bold": True},
        "status": {"fg": "bright_black"},
        "file-progress": {"fg": "bright_black"},
        "session": {"fg": "green"},
        "registered": {"fg": "green"},
        "file-received": {"fg": "green"},
        "file-sent": {"fg": "green"},
        "registration-lost": {"fg": "yellow"},
        "session-ended": {"fg": "yellow"},
        "invited": {"fg": "yellow"},
        "file-offered": {"fg": "yellow"},
        "error": {"fg": "red"},
    }

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, notice: Notice) -> None:
        if not notice.text:
            return
        mark = {"message": "", "error": "! "}.get(notice.event, "* ")
        for line in notice.text.split("\n"):
            shown = f"{notice.time:%H:%M:%S} {mark}{visible(line)}"
            style = self.STYLES.get(notice.event, {}) if self._colour else {}
            # sys.stdout is looked up each time: the terminal's input puts itself in front of it.
            sys.stdout.write((click.style(shown, **style) if style else shown) + "\n")
        sys.stdout.flush()


class JsonPrinter:
    """Notices as JSON lines: ``event``, ``time`` (RFC 3339) and what belongs to the event."""

    def __call__(self, notice: Notice) -> None:
        line = {"event": notice.event, "time": _stamp(notice.time), **plain(notice.data)}
        sys.stdout.write(json.dumps(line, ensure_ascii=True) + "\n")
        sys.stdout.flush()


def _stamp(time: datetime) -> str:
    return time.astimezone().isoformat(timespec="milliseconds")
