"""A history as a file: JSON for programs, text and HTML for people."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from rcsops.errors import UsageError
from rcsops.operations.history import HistoryMessage, HistorySession, local_time
from rcsops.operations.history_html import write_html
from rcsops.operations.history_sessions import Entry, session_record, with_sessions
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
    sessions: Iterable[HistorySession] | None = None,
    from_first: bool = False,
) -> int:
    """Writes the messages in one of `FORMATS`, one at a time; returns how many there were.

    Text has the times of all states with ``times``; JSON and HTML have them always. With
    ``sessions`` their begins and ends stand among the messages; see `with_sessions`.
    """
    if form == "json":
        return _write_json(messages, stream, user, sessions)
    entries: Iterable[Entry] = messages
    if sessions is not None:
        entries = with_sessions(messages, sessions, domain, from_first=from_first)
    if form == "html":
        return write_html(entries, stream, title=title, domain=domain)
    return write_text(entries, stream, title=title, domain=domain, times=times)


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


def _write_json(
    messages: Iterable[HistoryMessage],
    stream: TextIO,
    user: str,
    sessions: Iterable[HistorySession] | None,
) -> int:
    stream.write(f'{{"user": {json.dumps(user)}, "messages": [')
    count = 0
    for count, message in enumerate(messages, 1):
        stream.write(("," if count > 1 else "") + "\n" + json.dumps(record(message)))
    stream.write("\n]")
    if sessions is not None:
        told = ",\n".join(json.dumps(session_record(each)) for each in sessions)
        stream.write(f', "sessions": [\n{told}\n]')
    stream.write("}\n")
    return count


def _rfc3339(seconds: float) -> str:
    return local_time(seconds).isoformat(timespec="milliseconds")
