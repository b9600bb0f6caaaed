"""What came of the load: how often, how fast, and why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rcsops.errors import AgentError, RcsopsError
from rcsops.loadgen.histogram import Histogram

__all__ = ["Operation", "Statistics", "cause_of"]

_MAX_CAUSES = 50
_OTHER = "other causes"


class Operation:
    """One kind of thing: ``started``, ``succeeded`` with their ``latency``, ``failed`` by cause."""

    __slots__ = ("failed", "latency", "started", "succeeded")

    def __init__(self) -> None:
        self.started = 0
        self.succeeded = 0
        self.failed: Counter[str] = Counter()
        self.latency = Histogram()

    @property
    def failures(self) -> int:
        """How many failed, for whatever cause."""
        return self.failed.total()

    @property
    def open(self) -> int:
        """How many have not ended."""
        return self.started - self.succeeded - self.failures

    def succeed(self, seconds: float) -> None:
        """One has come to its end after ``seconds``."""
        self.succeeded += 1
        self.latency.add(seconds)

    def fail(self, cause: str, count: int = 1) -> None:
        """One has failed (or ``count`` have)."""
        if cause not in self.failed and len(self.failed) >= _MAX_CAUSES:
            cause = _OTHER
        self.failed[cause] += count

    def merge(self, other: Operation) -> None:
        """Adds the counts of another."""
        self.started += other.started
        self.succeeded += other.succeeded
        for cause, count in other.failed.items():
            self.fail(cause, count)
        self.latency.merge(other.latency)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            "started": self.started,
            "succeeded": self.succeeded,
            "failed": dict(self.failed),
            "latency": self.latency.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Operation:
        """What `to_json` wrote."""
        operation = cls()
        operation.started = value["started"]
        operation.succeeded = value["succeeded"]
        operation.failed = Counter(value["failed"])
        operation.latency = Histogram.from_json(value["latency"])
        return operation


class Statistics:
    """The operations by name, and how the generator itself keeps up.

    ``lateness`` is how long after it was due each thing began, ``no_agent`` how many never began
    because every agent was taken, ``no_socket`` how many MSRP connections there was no room for.
    ``sent``, ``received`` and ``twice`` count messages on both
    sides; ``lost`` those of which the sender was told that they had arrived and that did not.
    """

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self.lateness = Histogram()
        self.no_agent = 0
        self.no_socket = 0
        self.sent = 0
        self.received = 0
        self.twice = 0
        self.lost = 0

    def __getitem__(self, name: str) -> Operation:
        return self.operations.setdefault(name, Operation())

    def merge(self, other: Statistics) -> None:
        """Adds what another worker has seen."""
        for name, operation in other.operations.items():
            self[name].merge(operation)
        self.lateness.merge(other.lateness)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            "operations": {name: each.to_json() for name, each in self.operations.items()},
            "lateness": self.lateness.to_json(),
            **{name: getattr(self, name) for name in _COUNTS},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Statistics:
        """What `to_json` wrote."""
        statistics = cls()
        for name, operation in value["operations"].items():
            statistics.operations[name] = Operation.from_json(operation)
        statistics.lateness = Histogram.from_json(value["lateness"])
        for name in _COUNTS:
            setattr(statistics, name, value[name])
        return statistics


_COUNTS = ("no_agent", "no_socket", "sent", "received", "twice", "lost")


def cause_of(error: BaseException) -> str:
    """A failure in few words that do not name who it happened to, so that alike ones add up."""
    if isinstance(error, AgentError) and error.status:
        return f"{type(error).__name__.removesuffix('Error')} {error.status}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, RcsopsError):
        return f"{type(error).__name__}: {error}"[:120]
    return type(error).__name__
