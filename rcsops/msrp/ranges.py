"""Which octets of a message are here, and the octets themselves (RFC 4975 §7.3)."""

from bisect import bisect_right

from rcsops.errors import RemoteProtocolError

MAX_PIECES = 1024


class RangeSet:
    """The half-open ranges ``[start, end)`` that are covered, merged, at most ``max_ranges``."""

    __slots__ = ("_max", "_ranges", "held")

    def __init__(self, max_ranges: int = MAX_PIECES) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._max = max_ranges
        self.held = 0

    @property
    def end(self) -> int:
        """One past the last octet that is covered."""
        return self._ranges[-1][1] if self._ranges else 0

    @property
    def missing_from(self) -> int:
        """The first octet that is not covered."""
        first = self._ranges[0] if self._ranges else (0, 0)
        return first[1] if first[0] == 0 else 0

    def add(self, start: int, end: int) -> None:
        """Cover a range; raise RemoteProtocolError (413) when that makes too many holes."""
        if start >= end:
            return
        ranges = self._ranges
        if ranges and ranges[-1][0] <= start <= ranges[-1][1]:
            first, last = len(ranges) - 1, len(ranges)
        else:
            first = bisect_right(ranges, start, key=lambda item: item[0])
            if first and ranges[first - 1][1] >= start:
                first -= 1
            last = bisect_right(ranges, end, key=lambda item: item[0])
        if first < last:
            start = min(start, ranges[first][0])
            end = max(end, ranges[last - 1][1])
            self.held -= sum(e - s for s, e in ranges[first:last])
        elif len(ranges) >= self._max:
            raise RemoteProtocolError("a message in too many pieces", status=413)
        ranges[first:last] = [(start, end)]
        self.held += end - start


class Assembler:
    """A message put together by offset; what comes later overwrites the same octets.

    Holds no more than has really arrived, in at most ``max_pieces`` pieces with holes between
    them, so an offset that a peer invents costs nothing.
    """

    __slots__ = ("_data", "_max", "_starts", "held")

    def __init__(self, max_pieces: int = MAX_PIECES) -> None:
        self._starts: list[int] = []
        self._data: list[bytearray] = []
        self._max = max_pieces
        self.held = 0

    @property
    def end(self) -> int:
        """One past the last octet that is here."""
        return self._starts[-1] + len(self._data[-1]) if self._starts else 0

    def put(self, offset: int, data: bytes) -> None:
        """Add octets; raise RemoteProtocolError (413) when that makes too many pieces."""
        starts, pieces = self._starts, self._data
        if not starts or offset == self.end:
            self._append(offset, data)
            return
        view, end = memoryview(data), offset + len(data)
        index = bisect_right(starts, offset)
        if index and starts[index - 1] + len(pieces[index - 1]) > offset:
            index -= 1
        while offset < end:
            if index < len(starts) and starts[index] <= offset:
                within = offset - starts[index]
                size = min(len(pieces[index]) - within, end - offset)
                pieces[index][within : within + size] = view[:size]
                index += 1
            else:
                size = (min(end, starts[index]) if index < len(starts) else end) - offset
                if index and starts[index - 1] + len(pieces[index - 1]) == offset:
                    pieces[index - 1] += view[:size]
                else:
                    self._insert(index, offset, view[:size])
                    index += 1
                self.held += size
            view, offset = view[size:], offset + size

    def _append(self, offset: int, data: bytes) -> None:
        if not data:
            return
        if self._starts and offset == self.end:
            self._data[-1] += data
        else:
            self._insert(len(self._starts), offset, data)
        self.held += len(data)

    def _insert(self, index: int, offset: int, data: bytes | memoryview) -> None:
        if len(self._starts) >= self._max:
            raise RemoteProtocolError("a message in too many pieces", status=413)
        self._starts.insert(index, offset)
        self._data.insert(index, bytearray(data))

    def body(self) -> bytes:
        """Everything that is here, in order."""
        return b"".join(self._data)
