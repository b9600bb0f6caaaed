"""Traces of several processes, put together: each message once, from whom to whom."""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rcsops.trace.names import Names, forget_oldest
from rcsops.trace.record import Address, TraceEntry
from rcsops.trace.summary import Summary, summarize

# Clocks on one machine agree, but a receiver may write its line down before the sender does.
_SLACK = 0.05
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Arrow:
    """One message from ``source`` to ``target``, both names of nodes (or host:port of a stranger).

    ``time`` is seconds since the first message of the ladder, ``timestamp`` seconds since 1970,
    both when it was first seen. ``lost`` says that the receiver's trace is there and the message is
    not in it.
    """

    time: float
    timestamp: float
    source: str
    target: str
    source_address: Address
    target_address: Address
    protocol: str
    transport: str
    summary: Summary
    call_id: str
    retransmission: bool
    lost: bool
    data: bytes

    @property
    def label(self) -> str:
        """A few words: the method or status, and what is inside."""
        return self.summary.label

    @property
    def marks(self) -> str:
        """What is to stand behind the label: that it was sent before, that it did not arrive."""
        return " (again)" * self.retransmission + " (lost)" * self.lost

    @property
    def marked_label(self) -> str:
        """The label with its marks."""
        return self.label + self.marks

    @property
    def kind(self) -> Literal["again", "failed", "sip", "msrp"]:
        """How it is coloured: ``again`` is what was sent again or lost, ``failed`` a refusal."""
        if self.retransmission or self.lost:
            return "again"
        status = self.summary.status or 0
        # A challenge is an ordinary step, not a failure; and a BYE has what it is for when there is
        # no such call any more (RFC 3261 §15.1.1), as where both ends hang up at once.
        over = status == 481 and self.summary.cseq_method == "BYE"
        if status >= 400 and status not in (401, 407) and not over:
            return "failed"
        return "msrp" if self.protocol == "msrp" else "sip"


def times_between(arrows: Iterable[Arrow]) -> list[float | None]:
    """For each arrow the seconds since the one before it, None for the first."""
    found: list[float | None] = []
    before: float | None = None
    for arrow in arrows:
        found.append(None if before is None else max(arrow.time - before, 0.0))
        before = arrow.time
    return found


def merge(entries: Iterable[TraceEntry], *, server: str = "", guess: bool = False) -> list[Arrow]:
    """The arrows of a ladder, in order of time, from the entries of any number of traces.

    ``server`` names whoever else speaks SIP there: a server that writes no trace. With ``guess``
    who writes no trace is named by what it says (see :class:`~rcsops.trace.names.Names`).
    A message that both its sender and its receiver wrote down is one arrow. An MSRP frame gets the
    Call-ID of the session whose SDP named its path.
    """
    return Merger(server=server, guess=guess).add(entries)


class Merger:
    """:func:`merge` for what comes bit by bit: each ``add`` gives the arrows of its entries.

    The two sightings of one message must come in the same call. What it remembers is bounded.
    """

    def __init__(self, *, server: str = "", guess: bool = False) -> None:
        self._names = Names(server, guess=guess)
        self._traced: set[str] = set()
        self._calls: dict[str, str] = {}
        self._before: dict[tuple[str, str, bytes], None] = {}
        self._start: float | None = None

    def add(self, entries: Iterable[TraceEntry]) -> list[Arrow]:
        """The arrows of these entries, in order of time."""
        ordered = sorted(entries, key=lambda entry: entry.time)
        if not ordered:
            return []
        self._names.learn(ordered)
        self._traced |= {entry.node for entry in ordered if entry.direction != "seen"}
        sent, received = _pair(ordered)
        seen = sorted([*sent, *received], key=lambda sighting: sighting.time)
        if self._start is None:
            self._start = seen[0].time
        return [self._arrow(sighting, self._start) for sighting in seen]

    def _arrow(self, sighting: "_Sighting", start: float) -> Arrow:
        time, entry, arrived = sighting
        summary = summarize(entry.protocol, entry.data)
        if entry.protocol == "sip":
            for session in summary.session_ids:
                self._calls.setdefault(session, summary.call_id)
            forget_oldest(self._calls, _REMEMBERED)
        source, target = self._names.ends(entry)
        key = (source, target, hashlib.blake2b(entry.data, digest_size=16).digest())
        arrow = Arrow(
            time=time - start,
            timestamp=time,
            source=source,
            target=target,
            source_address=entry.source,
            target_address=entry.target,
            protocol=entry.protocol,
            transport=entry.transport,
            summary=summary,
            call_id=summary.call_id or _call_of(summary, self._calls),
            # A new request has a new branch and a new response answers one, so that equal bytes
            # are the same message sent again; MSRP never sends a frame twice.
            retransmission=entry.protocol == "sip" and key in self._before,
            lost=not arrived and target in self._traced,
            data=entry.data,
        )
        self._before[key] = None
        forget_oldest(self._before, _REMEMBERED)
        return arrow


def _call_of(summary: Summary, calls: dict[str, str]) -> str:
    return next((calls[session] for session in summary.session_ids if session in calls), "")


def pair_key(entry: TraceEntry) -> tuple[str, bytes]:
    """What the sightings of one message have in common."""
    if entry.protocol == "msrp":
        # The body of a large frame is summed up in a trace, by each side in its own portions; the
        # start line has the transaction-id, which is new for each frame.
        return "msrp", entry.data.split(b"\r\n", 1)[0]
    return entry.protocol, entry.data


class _Sighting(NamedTuple):
    """``time`` is the earlier of the two: a sender that writes its line down late must not make an
    answer stand above the question."""

    time: float
    entry: TraceEntry
    arrived: bool


def _pair(ordered: Sequence[TraceEntry]) -> tuple[list[_Sighting], list[_Sighting]]:
    """What was sent, and what arrived (or was seen on the way) but nobody here has sent."""
    open_: dict[tuple[str, bytes], list[TraceEntry]] = {}
    for entry in ordered:
        if entry.direction == "out":
            open_.setdefault(pair_key(entry), []).append(entry)
    known = {key: list(entries) for key, entries in open_.items()}
    arrivals: dict[int, float] = {}
    received: list[_Sighting] = []
    witnessed: set[tuple[int, str]] = set()
    observed: dict[tuple[str, bytes], deque[TraceEntry]] = {}
    for entry in ordered:
        if entry.direction == "out":
            continue
        key = pair_key(entry)
        if entry.direction == "seen":
            for candidate in known.get(key, []):
                mark = (id(candidate), entry.node)
                if mark not in witnessed and _beside(candidate, entry):
                    witnessed.add(mark)
                    break
            else:
                if not _observed(entry, observed.setdefault(key, deque())):
                    received.append(_Sighting(entry.time, entry, True))
            continue
        found = _sender(entry, open_.get(key, []))
        if found is not None:
            arrivals[id(found)] = entry.time
            open_[key].remove(found)
        elif not _observed(entry, observed.setdefault(key, deque())):
            received.append(_Sighting(entry.time, entry, True))
    sent = [
        _Sighting(
            min(entry.time, arrivals.get(id(entry), entry.time)), entry, id(entry) in arrivals
        )
        for entry in ordered
        if entry.direction == "out"
    ]
    return sent, received


def _observed(entry: TraceEntry, before: deque[TraceEntry]) -> bool:
    """Whether another observer, or the receiver, has just seen the same message pass."""
    # In order of time: who asks later need not look at them again.
    while before and before[0].time < entry.time - _SLACK:
        before.popleft()
    for other in before:
        observers = "seen" in (other.direction, entry.direction)
        if observers and other.node != entry.node and _beside(other, entry):
            before.remove(other)
            return True
    before.append(entry)
    return False


def _beside(one: TraceEntry, other: TraceEntry) -> bool:
    ends = (one.source, one.target) == (other.source, other.target)
    return ends and abs(one.time - other.time) <= _SLACK


def _sender(entry: TraceEntry, candidates: Sequence[TraceEntry]) -> TraceEntry | None:
    """The entry of the sender: of the same bytes sent several times, the last before they came."""
    best: TraceEntry | None = None
    for candidate in candidates:
        if candidate.time > entry.time + _SLACK:
            break
        # The port of the sender may be another one behind NAT; between equals it decides.
        if best is None or _same_way(candidate, entry) >= _same_way(best, entry):
            best = candidate
    return best


def _same_way(sent: TraceEntry, received: TraceEntry) -> bool:
    return sent.source[1] == received.source[1] and sent.target[1] == received.target[1]


def ladder_json(arrows: Iterable[Arrow]) -> list[dict[str, Any]]:
    """The ladder for machines: ``method`` or ``status`` is there, whichever the message has."""
    entries: list[dict[str, Any]] = []
    for arrow in arrows:
        summary = arrow.summary
        entry: dict[str, Any] = {
            "time": round(arrow.time, 6),
            "timestamp": round(arrow.timestamp, 6),
            "from": arrow.source,
            "to": arrow.target,
            "protocol": arrow.protocol,
            "transport": arrow.transport,
        }
        if summary.status is not None:
            entry["status"] = summary.status
            entry["reason"] = summary.reason
        else:
            entry["method"] = summary.method or ""
        entry["call_id"] = arrow.call_id
        if arrow.protocol == "sip":
            entry["cseq"] = summary.cseq
            entry["cseq_method"] = summary.cseq_method
        else:
            entry["transaction_id"] = summary.transaction_id
            if summary.message_id:
                entry["message_id"] = summary.message_id
        entry["label"] = summary.label
        entry["retransmission"] = arrow.retransmission
        entry["lost"] = arrow.lost
        entries.append(entry)
    return entries
