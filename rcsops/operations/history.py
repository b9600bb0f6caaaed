"""``rcsops history``: what an agent has kept of its user's conversations, read beside the agent."""

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import Connection

from rcsops.database import check_history, open_engine, reading
from rcsops.database.history import HistoryMessage
from rcsops.database.history_search import (
    Conversation,
    Place,
    Wanted,
    conversations,
    count,
    incoming_number,
    last_of_each,
    newer_incoming,
    number_of,
    page,
    read,
)
from rcsops.database.history_sessions import FIRST_VERSION, HistorySession, read_sessions
from rcsops.errors import DatabaseError, SipParseError, UsageError
from rcsops.operations.names import UserName
from rcsops.settings import Project
from rcsops.sip import Uri

__all__ = [
    "Conversation",
    "HistoryMessage",
    "HistoryReader",
    "HistorySession",
    "Place",
    "Wanted",
    "kept_histories",
    "local_time",
    "moment",
    "peer_address",
    "reading_history",
]

_FILE = "history.db"
_BEGIN_ANEW = "put a copy from before in its place, or move it away: the next chat begins a new one"
_MOMENTS = "2026-11-26, 2026-11-26T14:30, today, yesterday, or 30m, 2h, 7d, 4w ago"
_AGO = re.compile(r"(\d{1,9})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# What a peer writes as its time may be any; a local time is not made of the last of them.
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


class HistoryReader:
    """One user's history as it was at one moment; given by `reading_history`."""

    def __init__(self, connection: Connection | None, version: int = 0) -> None:
        self._connection = connection
        self._version = version

    @property
    def exists(self) -> bool:
        """Whether anything was ever kept."""
        return self._connection is not None

    def count(self, wanted: Wanted) -> int:
        """How many messages are wanted."""
        return 0 if self._connection is None else count(self._connection, wanted)

    def messages(self, wanted: Wanted, *, limit: int | None = None) -> Iterator[HistoryMessage]:
        """The last ``limit`` of them, or all, in the order in which they were stored."""
        if self._connection is not None:
            yield from read(self._connection, wanted, version=self._version, limit=limit)

    def sessions(self, wanted: Wanted) -> Iterator[HistorySession]:
        """The sessions with that peer that began in that time, in their order."""
        if self._connection is not None and self._version >= FIRST_VERSION:
            yield from read_sessions(self._connection, wanted.peer, wanted.since, wanted.until)

    def conversations(self) -> list[Conversation]:
        """Everybody whom there are messages with, the one of the last message first."""
        return [] if self._connection is None else conversations(self._connection)

    def page(self, peer: str, place: Place, *, limit: int) -> list[HistoryMessage]:
        """At most ``limit`` messages with ``peer`` next to a place, in the order of storing."""
        if self._connection is None:
            return []
        return page(self._connection, peer, place, limit=limit)

    def number_of(self, peer: str, direction: str, message_id: str) -> int | None:
        """The number of a message; None when it is not kept."""
        if self._connection is None:
            return None
        return number_of(self._connection, peer, direction, message_id)

    def last_of_each(self, *, limit: int) -> list[HistoryMessage]:
        """The last message with each of the ``limit`` latest peers, newest first."""
        return [] if self._connection is None else last_of_each(self._connection, limit=limit)

    def incoming_number(self, peer: str, *, from_last: int) -> int | None:
        """The number of the ``from_last``-th last message of ``peer``, if there is one."""
        if self._connection is None:
            return None
        return incoming_number(self._connection, peer, from_last=from_last)

    def newer_incoming(self, peer: str, after: int) -> int:
        """How many messages of ``peer`` came after number ``after``."""
        return 0 if self._connection is None else newer_incoming(self._connection, peer, after)


@contextlib.contextmanager
def reading_history(project: Project, user: UserName) -> Iterator[HistoryReader]:
    """The history of ``user``, which an agent may be writing to meanwhile.

    Raises DatabaseError when the file cannot be read, is damaged, or is of another rcsops.
    """
    path = project.agent_dir(str(user)) / _FILE
    if not _exists(path):
        yield HistoryReader(None)
        return
    url = f"sqlite:///{path.absolute()}"
    try:
        with reading(open_engine(url, read_only=True), url) as connection:
            version = check_history(connection)
            yield HistoryReader(connection if version else None, version)
    except DatabaseError as error:
        # What mends a server's database does not mend this file.
        unfit = not error.hint or "db " in error.hint or "database.url" in error.hint
        raise DatabaseError(str(error), hint=_BEGIN_ANEW if unfit else error.hint) from error


def kept_histories(project: Project) -> list[str]:
    """The users of whom there is a history here, as ``user@domain``."""
    with contextlib.suppress(OSError):
        return sorted(
            unquote(each.parent.name) for each in (project.state_dir / "agents").glob(f"*/{_FILE}")
        )
    return []


def peer_address(text: str, domain: str) -> str:
    """``bob``, ``bob@rcs.example`` or an address as the history has it. Raises UsageError."""
    given = text if ":" in text else f"sip:{text}" if "@" in text else f"sip:{text}@{domain}"
    try:
        return Uri.parse(given).aor
    except SipParseError as error:
        raise UsageError(
            f"{text!r} is not a SIP address: {error}", hint="type bob or bob@rcs.example"
        ) from error


def moment(text: str, *, now: datetime, end: bool = False) -> float:
    """A time as a person types it, in Unix seconds; ``end``: of a day alone, the end.

    Without an offset it is local. ``now`` is aware. Raises UsageError.
    """
    given = text.strip().lower()
    today = now.astimezone().date()
    try:
        if ago := _AGO.fullmatch(given):
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
        days = {"today": today, "yesterday": today - timedelta(days=1)}
        if given in days or re.fullmatch(r"\d{4}-\d\d-\d\d", given):
            day = days.get(given) or datetime.fromisoformat(given).date()
            day += timedelta(days=1 if end else 0)
            return datetime(day.year, day.month, day.day).astimezone().timestamp()
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time", hint=f"type one as {_MOMENTS}") from None


def local_time(seconds: float) -> datetime:
    """Unix seconds in the zone of this machine; the nearest that there is for an absurd one."""
    return datetime.fromtimestamp(min(max(seconds, _EARLIEST), _LATEST), UTC).astimezone()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise DatabaseError(
            f"{path} cannot be read: {error.strerror}", hint="read it as the user who chats"
        ) from error
