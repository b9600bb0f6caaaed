"""Traces of several processes, put together: each message once, from whom to whom."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rcsops.trace.record import Address, TraceEntry
from rcsops.trace.summary import Summary, summarize

# Clocks on one machine agree, but a receiver may write its line down before the sender does.
_SLACK = 0.05
_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to


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


def merge(entries: Iterable[TraceEntry], *, server: str = "") -> list[Arrow]:
    """The arrows of a ladder, in order of time, from the entries of any number of traces.

    ``server`` names whoever else speaks SIP there: a server that writes no trace.
    A message that both its sender and its receiver wrote down is one arrow. An MSRP frame gets the
    Call-ID of the session whose SDP named its path.
    """
    ordered = sorted(entries, key=lambda entry: entry.time)
    if not ordered:
        return []
    names = _Names(ordered, server)
    traced = {entry.node for entry in ordered}
    sent, received = _pair(ordered)
    seen = sorted([*sent, *received], key=lambda sighting: sighting.time)
    start = seen[0].time
    calls: dict[str, str] = {}
    before: set[tuple[str, str, bytes]] = set()
    arrows: list[Arrow] = []
    for time, entry, arrived in seen:
        summary = summarize(entry.protocol, entry.data)
        if entry.protocol == "sip":
            for session in summary.session_ids:
                calls.setdefault(session, summary.call_id)
        source, target = names.ends(entry)
        key = (source, target, entry.data)
        arrows.append(
            Arrow(
                time=time - start,
                timestamp=time,
                source=source,
                target=target,
                source_address=entry.source,
                target_address=entry.target,
                protocol=entry.protocol,
                transport=entry.transport,
                summary=summary,
                call_id=summary.call_id or _call_of(summary, calls),
                # A new request has a new branch and a new response answers one, so that equal bytes
                # are the same message sent again; MSRP never sends a frame twice.
                retransmission=entry.protocol == "sip" and key in before,
                lost=not arrived and target in traced,
                data=entry.data,
            )
        )
        before.add(key)
    return arrows


def _call_of(summary: Summary, calls: dict[str, str]) -> str:
    return next((calls[session] for session in summary.session_ids if session in calls), "")


class _Names:
    """Which node is behind an address."""

    def __init__(self, entries: Sequence[TraceEntry], server: str) -> None:
        self._server = server
        self._nodes: dict[Address, str] = {}
        for entry in entries:
            self._nodes.setdefault(entry.local, entry.node)

    def ends(self, entry: TraceEntry) -> tuple[str, str]:
        """The names of the sender and the receiver of ``entry``."""
        other = self._find(entry.remote, self._server if entry.protocol == "sip" else "")
        return (entry.node, other) if entry.direction == "out" else (other, entry.node)

    def _find(self, address: Address, otherwise: str) -> str:
        found = self._nodes.get(address)
        if found is None:
            # A socket that listens on every address is known by its port.
            for wildcard in _WILDCARDS:
                found = found or self._nodes.get((wildcard, address[1]))
        if found is None and otherwise:
            return otherwise
        if found is None:
            host, port = address
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return found


def _key(entry: TraceEntry) -> tuple[str, bytes]:
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
    """What was sent, and what arrived but nobody here has sent."""
    open_: dict[tuple[str, bytes], list[TraceEntry]] = {}
    for entry in ordered:
        if entry.direction == "out":
            open_.setdefault(_key(entry), []).append(entry)
    arrivals: dict[int, float] = {}
    received: list[_Sighting] = []
    for entry in ordered:
        if entry.direction == "in":
            found = _sender(entry, open_.get(_key(entry), []))
            if found is None:
                received.append(_Sighting(entry.time, entry, True))
            else:
                arrivals[id(found)] = entry.time
                open_[_key(entry)].remove(found)
    sent = [
        _Sighting(
            min(entry.time, arrivals.get(id(entry), entry.time)), entry, id(entry) in arrivals
        )
        for entry in ordered
        if entry.direction == "out"
    ]
    return sent, received


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
    return sent.local[1] == received.remote[1] and sent.remote[1] == received.local[1]


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
