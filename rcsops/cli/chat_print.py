"""How ``rcsops chat`` shows its notices: as lines for people, or as JSON lines."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TextIO

import click

from rcsops.cli.output import plain
from rcsops.operations.chat_notices import Notice
from rcsops.text import visible
from rcsops.trace.text import cell_width

__all__ = ["JsonPrinter", "PlainPrinter", "wrapped"]

_INDENT = " " * len("00:00:00 * ")
_NARROWEST = 20


class PlainPrinter:
    """Notices as lines: the local time, ``*`` before what is no message and ``!`` before errors.

    A text of several lines goes on below, set in, so that no peer can make a message look like a
    notice; so does one that is longer than ``width`` columns. Without ``width`` nothing is broken.
    Without ``stream`` they go to standard output.
    """

    STYLES: ClassVar[dict[str, dict[str, Any]]] = {
        "message": {"bold": True},
        "status": {"fg": "bright_black"},
        "displayed": {"fg": "cyan"},
        "file-progress": {"fg": "bright_black"},
        "file-offering": {"fg": "bright_black"},
        "session": {"fg": "green"},
        "registered": {"fg": "green"},
        "file-received": {"fg": "green"},
        "file-sent": {"fg": "green"},
        "registration-lost": {"fg": "yellow"},
        "session-ended": {"fg": "yellow"},
        "invited": {"fg": "yellow"},
        "pager": {"fg": "yellow"},
        "file-offered": {"fg": "yellow"},
        "file-failed": {"fg": "red"},
        "file-paused": {"fg": "yellow"},
        "file-interrupted": {"fg": "yellow"},
        "error": {"fg": "red"},
    }

    def __init__(
        self,
        *,
        colour: bool,
        width: Callable[[], int] | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self._colour = colour
        self._width = width
        self._stream = stream

    def __call__(self, notice: Notice) -> None:
        if not notice.text:
            return
        status = notice.data.get("status")
        failed = status == "failed"
        kind = "error" if failed else "displayed" if status == "displayed" else notice.event
        style = self.STYLES.get(kind, {}) if self._colour else {}
        # sys.stdout is looked up each time: the terminal's input puts itself in front of it.
        stream = self._stream or sys.stdout
        for line in self._lines(notice, failed):
            stream.write((click.style(line, **style) if style else line) + "\n")
        stream.flush()

    def _lines(self, notice: Notice, failed: bool) -> Iterator[str]:
        wrong = failed or notice.event in ("error", "file-failed")
        mark = "! " if wrong else "" if notice.event == "message" else "* "
        head = f"{notice.time.astimezone():%H:%M:%S} {mark}"
        columns = max(self._width() - len(_INDENT), _NARROWEST) if self._width else 0
        for line in notice.text.replace("\r\n", "\n").split("\n"):
            shown = visible(line.expandtabs(4))
            for part in wrapped(shown, columns) if columns else (shown,):
                yield head + part
                head = _INDENT


def wrapped(text: str, columns: int) -> Iterator[str]:
    """``text`` in pieces of at most ``columns`` columns, broken at spaces where there are some."""
    start = width = 0
    space = -1
    for index, character in enumerate(text):
        if character == " ":
            space = index
        width += cell_width(character)
        if width > columns and index > start:
            if space > start:
                yield text[start:space]
                start = space + 1
            else:
                yield text[start:index]
                start = index
            space = -1
            width = cell_width(text[start : index + 1])
    yield text[start:]


class JsonPrinter:
    """Notices as JSON lines: ``event``, ``time`` (RFC 3339) and what belongs to the event.

    Without ``stream`` they go to standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def __call__(self, notice: Notice) -> None:
        time = notice.time.astimezone().isoformat(timespec="milliseconds")
        line = {"event": notice.event, "time": time, **plain(notice.data)}
        stream = self._stream or sys.stdout
        stream.write(json.dumps(line, ensure_ascii=True) + "\n")
        stream.flush()
