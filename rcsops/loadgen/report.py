"""The outcome of a load, second by second and in all."""

from dataclasses import dataclass, field
from typing import Any

from rcsops.loadgen.plan import LoadPlan
from rcsops.loadgen.statistics import Operation, Statistics

__all__ = ["LoadReport", "Second", "operation_json"]

_LATE = 0.05
_BUSY = 0.9
_BUSY_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a load, over all workers; latencies in seconds, memory in octets.

    ``time`` counts from the beginning of the load and is negative before it. ``done`` and
    ``failed`` are by operation, ``p50`` and ``p99`` those of the second. ``busy`` is the share of
    a processor that the busiest worker used; ``server_busy`` that of the server, when it is known.
    """

    phase: str
    time: float
    started: dict[str, int]
    done: dict[str, int]
    failed: dict[str, int]
    p50: dict[str, float]
    p99: dict[str, float]
    open: int
    busy: float
    memory: int
    server_busy: float | None = None
    server_memory: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As an object of JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(slots=True)
class LoadReport:
    """What came of a plan.

    ``left`` is what the generator still held at the end (None when that was not counted), ``ended``
    why the load ended: "finished", "interrupted", or what went wrong.
    """

    plan: LoadPlan
    statistics: Statistics
    seconds: list[Second] = field(default_factory=list)
    left: dict[str, int] | None = None
    ended: str = "finished"
    took: float = 0.0

    @property
    def joined(self) -> int:
        """How many agents came to be registered."""
        return self.statistics["join"].succeeded

    @property
    def failures(self) -> int:
        """How many operations failed, registrations at the beginning included."""
        return sum(operation.failures for operation in self.statistics.operations.values())

    @property
    def error_share(self) -> float:
        """The share of operations that failed, 0 to 1."""
        started = sum(each.started for each in self.statistics.operations.values())
        return self.failures / started if started else 0.0

    @property
    def accounted(self) -> bool:
        """Whether every message that was said to have arrived has, once."""
        return not self.statistics.lost and not self.statistics.twice

    def limits(self) -> list[str]:
        """Why the figures say more of the generator than of the server; empty when they do not."""
        found = []
        late = self.statistics.lateness.percentile(0.99)
        if late > _LATE:
            found.append(f"one thing in a hundred began {late * 1000:.0f} ms after it was due")
        running = [second.busy for second in self.seconds if second.phase == "running"]
        busy = sum(share >= _BUSY for share in running)
        if running and busy / len(running) > _BUSY_SHARE:
            found.append(f"a worker used its whole processor in {busy} of {len(running)} seconds")
        if self.statistics.no_agent:
            found.append(
                f"{self.statistics.no_agent} things could not begin, as every agent was taken"
            )
        if self.statistics.no_socket:
            found.append(
                f"{self.statistics.no_socket} MSRP connections could not be made, as so many files "
                "were open (ulimit -n)"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """As an object of JSON; latencies in milliseconds."""
        statistics = self.statistics
        return {
            "scenario": self.plan.scenario,
            "agents": self.plan.agents,
            "joined": self.joined,
            "rate": self.plan.rate,
            "duration": self.plan.duration,
            "ramp": self.plan.ramp,
            "transport": self.plan.transport,
            "processes": self.plan.processes,
            "seed": self.plan.seed,
            "ended": self.ended,
            "took": round(self.took, 3),
            "operations": {
                name: operation_json(operation, self.plan.duration)
                for name, operation in statistics.operations.items()
            },
            "messages": {
                name: getattr(statistics, name) for name in ("sent", "received", "twice", "lost")
            },
            "error_share": self.error_share,
            "generator": {
                "limits": self.limits(),
                "late_p99_ms": round(statistics.lateness.percentile(0.99) * 1000, 3),
                "no_agent": statistics.no_agent,
                "no_socket": statistics.no_socket,
            },
            "left": self.left,
            "seconds": [second.to_json() for second in self.seconds],
        }


def operation_json(operation: Operation, duration: float) -> dict[str, Any]:
    """An operation for a result; latencies in milliseconds."""
    latency = operation.latency
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    return {
        "started": operation.started,
        "succeeded": operation.succeeded,
        "failed": operation.failures,
        "causes": dict(operation.failed.most_common()),
        "per_second": round(operation.succeeded / duration, 2),
        "latency_ms": {
            "mean": round(latency.mean * 1000, 3),
            **{name: round(latency.percentile(s) * 1000, 3) for name, s in shares.items()},
            "max": round(latency.maximum * 1000, 3),
        },
    }
