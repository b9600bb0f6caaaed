"""What a load is to be: who does what, how often, for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rcsops.errors import UsageError

__all__ = ["MIX", "SCENARIOS", "Account", "LoadPlan"]

SCENARIOS = ("register", "call", "chat", "pager", "mixed")
MIX = {"register": 2, "call": 2, "chat": 4, "pager": 2}
"""How often each scenario comes in the mixed one."""


class Account(NamedTuple):
    """A user of ``domain`` and the hashes (HA1 by algorithm) that it logs in with."""

    username: str
    ha1: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A load. Times are in seconds.

    ``rate`` things of ``scenario`` begin each second for ``duration``, after a ``ramp`` in which
    the rate grows from nothing, whether or not those before have ended. ``messages`` of ``size``
    octets are sent in each chat, in turns, or by pager mode, with ``think`` between one and the
    next; a call is held for ``think``. ``processes`` share the agents and the rate; each spreads
    its agents over ``sockets`` (one UDP socket, one TCP connection to the server for each). What
    has not ended ``drain`` after the last beginning counts as failed. ``settle`` is how long may be
    waited at the end for timers to run out, before what is left of transactions, dialogs, tasks and
    sockets is counted; 0 does not count. ``ca`` is a file of authorities that are believed over
    TLS, with those of the system when ``system_ca``.
    """

    server: str
    domain: str
    transport: str = "tcp"
    bind: str = "127.0.0.1"
    scenario: str = "mixed"
    agents: int = 100
    rate: float = 10.0
    duration: float = 30.0
    ramp: float = 5.0
    think: float = 0.5
    messages: int = 4
    size: int = 80
    even: bool = False
    processes: int = 1
    sockets: int = 1
    seed: int = 0
    drain: float = 40.0
    settle: float = 0.0
    ca: str = ""
    system_ca: bool = True

    def __post_init__(self) -> None:
        """Raises `UsageError` for what cannot be meant."""
        if self.scenario not in SCENARIOS:
            raise UsageError(f"scenario {self.scenario!r} is not one of {', '.join(SCENARIOS)}")
        if self.agents < 2 * self.processes:
            raise UsageError(
                f"{self.agents} agents are too few for {self.processes} processes",
                hint="a process needs two agents at least",
            )
        if min(self.rate, self.duration, self.messages, self.size, self.sockets) <= 0:
            raise UsageError("rate, duration, messages, size and sockets must be above nothing")
        if min(self.ramp, self.think, self.drain, self.settle) < 0:
            raise UsageError("a time cannot be below nothing")

    def share(self, number: int, accounts: Sequence[Account]) -> dict[str, Any]:
        """What worker ``number`` (from 0) is told: its part, ready for JSON."""
        mine = accounts[number :: self.processes]
        return {
            "plan": asdict(self),
            "number": number,
            "accounts": [[each.username, dict(each.ha1)] for each in mine],
        }

    @classmethod
    def from_share(cls, value: Mapping[str, Any]) -> tuple[LoadPlan, int, list[Account]]:
        """What `share` made: the plan, the worker's number, and its accounts."""
        accounts = [Account(name, ha1) for name, ha1 in value["accounts"]]
        return cls(**value["plan"]), value["number"], accounts
