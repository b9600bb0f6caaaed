"""Where the lines of ``rcsops chat`` come from: a terminal or a pipe.

Both are async iterators that end at end-of-file (Ctrl-D) or on Ctrl-C.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from rcsops.errors import UsageError
from rcsops.operations.chat_notices import Line, Seen, Verbatim

__all__ = ["MAX_LINE", "JsonLines", "PipeLines", "TerminalLines"]

MAX_LINE = 1 << 20
"""Octets of a line on a pipe: more than a peer takes, and it must not fill the memory."""

_CHUNK = 65536
# prompt_toolkit waits so long for more before it moves the prompt out of the way.
_PRINT_SECONDS = 0.03


class PipeLines(AsyncIterator[Line]):
    """Lines of standard input when it is a pipe or a file.

    A thread reads, because a regular file cannot be watched by the event loop. It reads the
    descriptor and not ``sys.stdin``, whose lock a thread that is left waiting would hold when the
    interpreter ends. What is not UTF-8 becomes U+FFFD. A line longer than `MAX_LINE` is a
    UsageError.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[Line | None] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)
        self._ended = False
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    async def __anext__(self) -> Line:
        if self._ended:
            raise StopAsyncIteration
        self._wanted.release()
        line = await self._lines.get()
        if line is None:
            self._ended = True
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        rest = bytearray()
        dropping = False
        for piece in self._pieces():
            *ends, last = piece.split(b"\n")
            for end in ends:
                rest += end
                self._put(_too_long() if dropping or len(rest) > MAX_LINE else _decoded(rest))
                rest, dropping = bytearray(), False
            rest += last
            if len(rest) > MAX_LINE:
                rest, dropping = bytearray(), True
        if rest or dropping:
            self._put(_too_long() if dropping else _decoded(rest))
        self._put(None)

    def _pieces(self) -> Iterator[bytes]:
        while True:
            try:
                piece = os.read(self._descriptor, _CHUNK)
            except OSError:
                return
            if not piece:
                return
            yield piece

    def _put(self, line: Line | None) -> None:
        self._wanted.acquire()
        try:
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
        except RuntimeError:
            # The loop has ended: nobody reads any more.
            return


def _decoded(line: bytearray) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")


def _too_long() -> UsageError:
    return UsageError(
        f"not sent: a line of more than {MAX_LINE} bytes", hint="/send FILE for what is long"
    )


class JsonLines(AsyncIterator[Line]):
    """Lines among which one that begins with ``{`` is ``{"text": "..."}``: a message, which may
    hold line ends and begin with a slash, or ``{"displayed": "..."}``: the Message-ID of a message
    that was seen. The others are as they are on any pipe."""

    def __init__(self, lines: AsyncIterator[Line]) -> None:
        self._lines = lines

    async def __anext__(self) -> Line:
        line = await anext(self._lines)
        if isinstance(line, UsageError) or not line.lstrip().startswith("{"):
            return line
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            return _not_understood(str(error))
        if set(document) not in ({"text"}, {"displayed"}):
            return _not_understood("its one key must be text, or displayed")
        ((key, text),) = document.items()
        if not isinstance(text, str) or not text:
            return _not_understood(f"its {key} must be a string that is not empty")
        return Verbatim(text) if key == "text" else Seen(text)


def _not_understood(reason: str) -> UsageError:
    return UsageError(
        f"this JSON is not understood: {reason}", hint='a message is {"text": "hello"}'
    )


class TerminalLines(AsyncIterator[Line]):
    """Lines typed at a terminal, with editing, history and completion of ``/commands``.

    What is pasted in one go is one message, whatever lines it has. While it is used, `printing`
    keeps what is printed above the line that is being typed.
    """

    def __init__(self, prompt: Callable[[], str], commands: Iterable[str]) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output.defaults import create_output
        from prompt_toolkit.shortcuts import CompleteStyle

        from rcsops.cli.chat_complete import CommandCompleter

        output = create_output()
        # A terminal that cannot say where its cursor is would get a warning on the screen.
        if hasattr(output, "enable_cpr"):
            output.enable_cpr = False
        self._prompt = prompt
        self._session: PromptSession[str] = PromptSession(
            completer=CommandCompleter(commands),
            # With the Tab key, and without lines kept free for a menu.
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_while_typing=False,
            output=output,
        )

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """The context in which lines may be printed at any time."""
        from prompt_toolkit.patch_stdout import StdoutProxy

        with StdoutProxy(sleep_between_writes=_PRINT_SECONDS, raw=True) as proxy:
            before = sys.stdout
            sys.stdout = proxy
            try:
                yield
            finally:
                sys.stdout = before

    async def __anext__(self) -> Line:
        try:
            # Ctrl-C is a key here. A signal is for who called us, whose handler it would replace.
            line = await self._session.prompt_async(self._prompt, handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            raise StopAsyncIteration from None
        return line.rstrip("\n")
