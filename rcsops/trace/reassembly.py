"""The octets of TCP connections out of their segments: sent again, out of order, overlapping."""

from collections.abc import Iterator
from typing import NamedTuple

from rcsops.trace.packets import Payload
from rcsops.trace.record import Address

_MOST_CONNECTIONS = 4096
# A capture that has lost a segment never gets it: after so much behind the gap it is passed over.
_MOST_PENDING = 512
_MOST_OCTETS = 1 << 20
_WRAP = 1 << 32

Way = tuple[Address, Address]


class Part(NamedTuple):
    """The next octets of one direction. ``gap`` says that octets before them are missing;
    ``fresh`` that they are the first of a new connection."""

    way: Way
    time: float
    data: bytes
    gap: bool
    fresh: bool


class _Direction:
    def __init__(self, sequence: int) -> None:
        self.initial = self.next = sequence
        self.fresh = True
        self.pending: dict[int, tuple[float, bytes]] = {}
        self.octets = 0


class TcpReassembler:
    """Segments in, octets of each direction in order out; memory is bounded."""

    def __init__(self) -> None:
        self._ways: dict[Way, _Direction] = {}

    def receive(self, segment: Payload) -> Iterator[Part]:
        """The octets that this segment makes available."""
        way = (segment.source, segment.target)
        direction = self._ways.get(way)
        if segment.syn:
            # The SYN takes a number of its own. One that is seen again begins nothing new.
            if direction is None or direction.initial != (segment.sequence + 1) % _WRAP:
                if direction is not None:
                    yield from self._flush(way, direction)
                direction = self._begin(way, segment.sequence + 1)
        elif direction is None:
            if not segment.data:
                return
            direction = self._begin(way, segment.sequence)
        if segment.data:
            sequence = segment.sequence + segment.syn
            yield from self._take(way, direction, sequence, segment)
        if segment.end:
            # What is behind a gap when the connection ends will not be completed.
            yield from self._flush(way, direction)

    def close(self) -> Iterator[Part]:
        """What is still waiting behind gaps at the end of the capture."""
        for way, direction in self._ways.items():
            yield from self._flush(way, direction)

    def _begin(self, way: Way, sequence: int) -> _Direction:
        self._ways.pop(way, None)
        while len(self._ways) >= _MOST_CONNECTIONS:
            del self._ways[next(iter(self._ways))]
        direction = self._ways[way] = _Direction(sequence % _WRAP)
        return direction

    def _take(
        self, way: Way, direction: _Direction, sequence: int, segment: Payload
    ) -> Iterator[Part]:
        ahead = _distance(sequence, direction.next)
        if ahead <= 0:
            new = segment.data[-ahead:] if ahead else segment.data
            if new:
                yield self._part(way, direction, segment.time, new, gap=False)
                yield from self._continue(way, direction, segment.time)
            return
        known = direction.pending.get(sequence % _WRAP)
        if known is None or len(known[1]) < len(segment.data):
            direction.octets += len(segment.data) - (len(known[1]) if known else 0)
            direction.pending[sequence % _WRAP] = segment.time, segment.data
        if len(direction.pending) > _MOST_PENDING or direction.octets > _MOST_OCTETS:
            yield from self._skip(way, direction)

    def _continue(self, way: Way, direction: _Direction, time: float) -> Iterator[Part]:
        """What was waiting for the octets that have just come."""
        while direction.pending:
            start = min(direction.pending, key=lambda sequence: _distance(sequence, direction.next))
            ahead = _distance(start, direction.next)
            if ahead > 0:
                return
            _, data = direction.pending.pop(start)
            direction.octets -= len(data)
            if len(data) > -ahead:
                yield self._part(way, direction, time, data[-ahead:] if ahead else data, gap=False)

    def _skip(self, way: Way, direction: _Direction) -> Iterator[Part]:
        """Goes on behind the first gap."""
        start = min(direction.pending, key=lambda sequence: _distance(sequence, direction.next))
        time, data = direction.pending.pop(start)
        direction.octets -= len(data)
        direction.next = start
        yield self._part(way, direction, time, data, gap=True)
        yield from self._continue(way, direction, time)

    def _flush(self, way: Way, direction: _Direction) -> Iterator[Part]:
        while direction.pending:
            yield from self._skip(way, direction)

    def _part(
        self, way: Way, direction: _Direction, time: float, data: bytes, *, gap: bool
    ) -> Part:
        fresh, direction.fresh = direction.fresh, False
        direction.next = (direction.next + len(data)) % _WRAP
        return Part(way, time, data, gap, fresh)


def _distance(sequence: int, base: int) -> int:
    """How far ``sequence`` is ahead of ``base``, negative when it is behind (RFC 9293 §3.4)."""
    return (sequence - base + _WRAP // 2) % _WRAP - _WRAP // 2
