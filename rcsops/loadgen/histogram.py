"""Latencies by the million in little memory: counts in buckets that grow with the value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

__all__ = ["Histogram"]

_SUBDIVISIONS = 32
_UNIT = 1e-6


class Histogram:
    """Counts of durations in seconds; a value is known to about 2 per cent.

    Each power of two from a microsecond on is cut into 32 buckets, so that histograms of several
    processes add up exactly.
    """

    __slots__ = ("_counts", "count", "maximum", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0

    def add(self, seconds: float) -> None:
        """Counts one duration; a negative one counts as none."""
        seconds = max(seconds, 0.0)
        index = _index(seconds)
        self._counts[index] = self._counts.get(index, 0) + 1
        self.count += 1
        self.total += seconds
        self.maximum = max(self.maximum, seconds)

    def merge(self, other: Histogram) -> None:
        """Adds the counts of another."""
        for index, count in other._counts.items():
            self._counts[index] = self._counts.get(index, 0) + count
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    def since(self, earlier: Histogram) -> Histogram:
        """What has been added since ``earlier``, a copy of this one as it was. Its ``maximum`` is
        that of the highest bucket."""
        grown = Histogram()
        for index, count in self._counts.items():
            more = count - earlier._counts.get(index, 0)
            if more > 0:
                grown._counts[index] = more
                grown.count += more
                grown.maximum = max(grown.maximum, _value(index))
        grown.total = max(self.total - earlier.total, 0.0)
        return grown

    def percentile(self, share: float) -> float:
        """The duration that ``share`` (0 to 1) of all do not exceed; 0 when there are none."""
        if not self.count:
            return 0.0
        wanted = math.ceil(share * self.count)
        seen = 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= wanted:
                return min(_value(index), self.maximum)
        return self.maximum

    @property
    def mean(self) -> float:
        """The mean in seconds; 0 when there are none."""
        return self.total / self.count if self.count else 0.0

    def to_json(self) -> dict[str, object]:
        """As `from_json` reads it."""
        counts = {str(index): count for index, count in self._counts.items()}
        return {"counts": counts, "total": self.total, "maximum": self.maximum}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Histogram:
        """What `to_json` wrote."""
        histogram = cls()
        for index, count in _items(value["counts"]):
            histogram._counts[int(index)] = count
            histogram.count += count
        histogram.total = float(str(value["total"]))
        histogram.maximum = float(str(value["maximum"]))
        return histogram


def _items(value: object) -> Iterator[tuple[str, int]]:
    assert isinstance(value, dict)
    return iter(value.items())


def _index(seconds: float) -> int:
    if seconds <= _UNIT:
        return 0
    mantissa, exponent = math.frexp(seconds / _UNIT)
    # frexp's mantissa is from 0.5 to 1: the upper half of the bits that matter.
    return (exponent - 1) * _SUBDIVISIONS + int((mantissa - 0.5) * 2 * _SUBDIVISIONS) + 1


def _value(index: int) -> float:
    """The middle of a bucket, in seconds."""
    if index == 0:
        return _UNIT
    exponent, part = divmod(index - 1, _SUBDIVISIONS)
    return math.ldexp(1 + (part + 0.5) / _SUBDIVISIONS, exponent) * _UNIT
