"""Messages of a history as text: as one line says them, and as a file of lines."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple, TextIO

from rcsops.database.history import Attachment, HistoryMessage
from rcsops.operations.history import local_time
from rcsops.operations.history_sessions import Entry, Mark
from rcsops.operations.wording import amount, short_name
from rcsops.text import visible

# So long after it was written a message is shown with both times.
_LATE = 5.0


class Shown(NamedTuple):
    """A message in words, with nothing in them that a terminal would obey.

    ``state`` is empty for what simply came, ``times`` says when it came to each state; ``lines``
    are those of its text and its file.
    """

    time: datetime
    incoming: bool
    peer: str
    written: str
    state: str
    times: str
    lines: tuple[str, ...]

    def head(self, *, times: bool = False) -> str:
        """What stands before the text: all that is ours, so that no text can pass for it. With
        ``times`` every state is in it."""
        way = "from" if self.incoming else "to"
        written = f" (written {self.written})" if self.written else ""
        said = self.times if times else self.state
        state = f" [{said}]" if said else ""
        return f"{self.time:%Y-%m-%d %H:%M:%S} {way} {self.peer}{written}{state}: "


def shown(message: HistoryMessage, domain: str) -> Shown:
    """``message`` in words, for a user of ``domain``."""
    time = local_time(message.stored_at)
    written = ""
    if message.stored_at - message.sent_at >= _LATE:
        at = local_time(message.sent_at)
        written = f"{at:%H:%M:%S}" if at.date() == time.date() else f"{at:%Y-%m-%d %H:%M:%S}"
    # Whether our user has seen what came is shown among the times.
    came = message.direction == "in" and message.status in ("received", "displayed")
    state = "" if came else message.status
    if message.reason:
        state = f"{state}: {message.reason}" if state else message.reason
    return Shown(
        time,
        message.direction == "in",
        visible(short_name(message.peer, domain)),
        written,
        visible(state),
        visible(_times(message)),
        tuple(_lines(message)),
    )


def _times(message: HistoryMessage) -> str:
    told = []
    day = local_time(message.stored_at).date()
    for state, seconds in sorted(message.times.items(), key=lambda each: each[1]):
        at = local_time(seconds)
        told.append(f"{state} {at:%H:%M:%S}" if at.date() == day else f"{state} {at:%F %H:%M:%S}")
    if message.reason:
        told[-1] += f": {message.reason}"
    return ", ".join(told)


def write_text(
    messages: Iterable[Entry],
    stream: TextIO,
    *,
    title: str,
    domain: str,
    times: bool = False,
) -> int:
    """Writes a heading and the messages, further lines of a text set in, with the marks between
    them; returns how many messages."""
    stream.write(f"{visible(title)}\n\n")
    count = 0
    for message in messages:
        if isinstance(message, Mark):
            stream.write(f"{message.line}\n")
            continue
        count += 1
        words = shown(message, domain)
        stream.write(words.head(times=times) + "\n    ".join(words.lines) + "\n")
    return count


def _lines(message: HistoryMessage) -> Iterator[str]:
    if message.text or message.attachment is None:
        for line in message.text.replace("\r\n", "\n").split("\n"):
            yield visible(line.expandtabs(4))
    if message.attachment is not None:
        yield visible(file_words(message.attachment))


def file_words(file: Attachment) -> str:
    """A file with its size, its hash and where it is."""
    sha1 = f", SHA-1 {file.sha1}" if file.sha1 else ""
    path = f", {file.path}" if file.path else ""
    return f"file {file.name} ({amount(file.size)}{sha1}{path})"
