"""A history as a file: JSON for programs, text and HTML for people."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from rcsops.errors import UsageError
from rcsops.operations.history import HistoryMessage, local_time
from rcsops.operations.history_html import write_html
from rcsops.operations.history_text import write_text

FORMATS = ("json", "txt", "html")
_SUFFIXES = {".json": "json", ".txt": "txt", ".html": "html", ".htm": "html"}


def format_of(path: Path) -> str:
    """The format that a file's name says. Raises UsageError."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise UsageError(
            f"{path} says no format: .json, .txt or .html", hint="add --format json, txt or html"
        )
    return found


def write_history(
    messages: Iterable[HistoryMessage],
    stream: TextIO,
    form: str,
    *,
    user: str,
    domain: str,
    title: str,
    times: bool = False,
) -> int:
    """Writes the messages in one of `FORMATS`, one at a time; returns how many there were.

    Text has the times of all states with ``times``; JSON and HTML have them always.
    """
    if form == "json":
        return _write_json(messages, stream, user)
    if form == "html":
        return write_html(messages, stream, title=title, domain=domain)
    return write_text(messages, stream, title=title, domain=domain, times=times)


def record(message: HistoryMessage) -> dict[str, Any]:
    """A message as JSON has it: times in RFC 3339, everything else as it is kept."""
    file = message.attachment
    return {
        "id": message.id,
        "time": _rfc3339(message.stored_at),
        "sent_at": _rfc3339(message.sent_at),
        "direction": message.direction,
        "peer": message.peer,
        "text": message.text,
        "status": message.status,
        "reason": message.reason,
        "times": {state: _rfc3339(at) for state, at in message.times.items()},
        "file": None if file is None else file._asdict(),
        "message_id": message.message_id,
        "conversation_id": message.conversation_id,
        "content_type": message.content_type,
    }


def _write_json(messages: Iterable[HistoryMessage], stream: TextIO, user: str) -> int:
    stream.write(f'{{"user": {json.dumps(user)}, "messages": [')
    count = 0
    for count, message in enumerate(messages, 1):
        stream.write(("," if count > 1 else "") + "\n" + json.dumps(record(message)))
    stream.write("\n]}\n")
    return count


def _rfc3339(seconds: float) -> str:
    return local_time(seconds).isoformat(timespec="milliseconds")
