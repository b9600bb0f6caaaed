"""The sessions of a history among its messages: when each began, with whom, and how it ended."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rcsops.database.history import HistoryMessage
from rcsops.database.history_sessions import RINGING, HistorySession
from rcsops.operations.history import local_time
from rcsops.operations.wording import short_name
from rcsops.text import visible

__all__ = ["Entry", "Mark", "session_record", "with_sessions"]


# Why no session came of an invitation, by whether it was ours.
_NO_SESSION = {
    (True, "declined"): "{peer} declined",
    (True, "busy"): "{peer} was busy",
    (True, "no answer"): "{peer} did not answer",
    (True, "cancelled"): "you took it back",
    (True, "not reached"): "{reason}",
    (False, "declined"): "you declined",
    (False, "busy"): "you were busy",
    (False, "missed"): "you did not answer",
    (False, "elsewhere"): "another device of yours answered",
    (False, "not reached"): "{reason}",
    (True, RINGING): "no answer yet, or rcsops was killed while it rang",
    (False, RINGING): "no answer yet, or rcsops was killed while it rang",
}


class Mark(NamedTuple):
    """The begin or end of a session in words, ``at`` a Unix time."""

    at: float
    words: str

    @property
    def line(self) -> str:
        """The whole line of it; what the peer said is made safe to show."""
        return f"{local_time(self.at):%Y-%m-%d %H:%M:%S} -- {visible(self.words)}"


Entry = HistoryMessage | Mark


def with_sessions(
    messages: Iterable[HistoryMessage],
    sessions: Iterable[HistorySession],
    domain: str,
    *,
    from_first: bool,
) -> Iterator[Entry]:
    """The messages in their order, and between them the marks of the sessions, for a user of
    ``domain``. ``from_first``: what was before the first message is left out."""
    marks = sorted(
        (mark for each in sessions for mark in _marks(each, domain)), key=lambda mark: mark.at
    )
    place, first = 0, True
    for message in messages:
        while place < len(marks) and marks[place].at <= message.stored_at:
            if not (first and from_first):
                yield marks[place]
            place += 1
        first = False
        yield message
    yield from marks[place:]


def session_record(session: HistorySession) -> dict[str, Any]:
    """A session as JSON has it: times in RFC 3339, null for an end that is not known."""
    return {
        "peer": session.peer,
        "direction": session.direction,
        "began_at": _rfc3339(session.began_at),
        "ended_at": None if session.ended_at is None else _rfc3339(session.ended_at),
        "ended": session.ended,
        "reason": session.reason,
        "chat_id": session.chat_id,
        "conversation_id": session.conversation_id,
    }


def _marks(session: HistorySession, domain: str) -> Iterator[Mark]:
    peer = short_name(session.peer, domain)
    ours = session.direction == "out"
    why = _NO_SESSION.get((ours, session.ended))
    if why is not None:
        invited = "" if ours else f", {peer} invited"
        reason = why.format(peer=peer, reason=session.reason)
        yield Mark(session.began_at, f"no session with {peer}{invited}: {reason}")
        return
    who = "you" if ours else peer
    yield Mark(session.began_at, f"session with {peer}, {who} invited")
    if session.ended_at is not None:
        how = {
            "us": "by you",
            "peer": f"by {peer}",
            "idle": "nobody used it",
            "replaced": "another one took its place",
            "broken": f"broken: {session.reason}",
        }.get(session.ended, session.ended)
        yield Mark(session.ended_at, f"the session with {peer} ended: {how}")


def _rfc3339(seconds: float) -> str:
    return local_time(seconds).isoformat(timespec="milliseconds")
