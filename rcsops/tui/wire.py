"""What the agent of a screen says on the wire, kept for who wants to look at it."""

import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rcsops.trace import Arrow, Explained, Merger, Story, TraceEntry, mask_secrets
from rcsops.transport.tap import Tap, TapRecord

__all__ = ["Step", "Wire"]

# Bounds of what is kept, in messages and octets; the oldest go first.
_MOST = 3000
_OCTETS = 8 << 20
_HEAD = 4096
_USERS = 8
# Messages between two looks at the clock.
_FEW = 16
_ADDRESS = re.compile(r"^(?:From|To|f|t)\s*:.*?sips?:([^@<>;\s]{1,128}@[\w.-]{1,128})", re.I | re.M)


class Step(NamedTuple):
    """One message: where it went, and what it does there; ``number`` counts them from 1."""

    number: int
    arrow: Arrow
    told: Explained


class Wire:
    """A tap that keeps the last messages; ``and_to`` gets each as well.

    Nothing is made of them before somebody looks: `steps` does it then. ``node`` is whose agent it
    is.
    """

    def __init__(self, node: str, and_to: Tap | None = None) -> None:
        self.node = node
        self._next = and_to
        self._waiting: deque[TapRecord] = deque()
        self._octets = 0
        self._merger = Merger(server="server", guess=True)
        self._story = Story()
        self._steps: deque[Step] = deque(maxlen=_MOST)
        self._number = 0
        self._calls: dict[str, set[str]] = {}

    def __call__(self, record: TapRecord) -> None:
        if self._next is not None:
            self._next(record)
        self._waiting.append(record)
        self._octets += len(record.data)
        while len(self._waiting) > _MOST or self._octets > _OCTETS:
            self._octets -= len(self._waiting.popleft().data)

    @property
    def waiting(self) -> int:
        """How many messages `steps` has not seen."""
        return len(self._waiting)

    def steps(self) -> "deque[Step]":
        """The messages that are kept, the oldest first; credentials are masked."""
        self.take()
        return self._steps

    def take(self, seconds: float = float("inf")) -> bool:
        """Makes steps of what waits, for so long; whether some still waits."""
        end = time.monotonic() + seconds
        while self._waiting:
            few = min(len(self._waiting), _FEW)
            self._add([self._waiting.popleft() for _ in range(few)])
            if time.monotonic() >= end:
                break
        return bool(self._waiting)

    def _add(self, records: Sequence[TapRecord]) -> None:
        entries = [
            TraceEntry(
                time=record.time,
                protocol=record.protocol,
                direction=record.direction,
                transport=record.transport,
                local=record.local,
                remote=record.remote,
                node=self.node,
                data=mask_secrets(record.data),
            )
            for record in records
        ]
        self._octets -= sum(len(record.data) for record in records)
        for arrow in self._merger.add(entries):
            if arrow.protocol == "sip":
                self._note_call(arrow)
            shown = self._named(arrow)
            self._number += 1
            self._steps.append(Step(self._number, shown, self._story.tell(shown)))

    def _named(self, arrow: Arrow) -> Arrow:
        """The other end of an MSRP connection is who the call is with."""
        if arrow.protocol != "msrp":
            return arrow
        users = (user.partition("@")[0] for user in sorted(self._calls.get(arrow.call_id, ())))
        peer = next((user for user in users if user != self.node), "")
        if not peer:
            return arrow
        if arrow.source == self.node:
            return replace(arrow, target=peer)
        return replace(arrow, source=peer)

    def steps_with(self, peer: str) -> list[Step]:
        """Those of the calls and messages with a peer, by its address."""
        user = peer.removeprefix("sip:").lower()
        return [step for step in self.steps() if user in self._calls.get(step.arrow.call_id, ())]

    def _note_call(self, arrow: Arrow) -> None:
        head = arrow.data.partition(b"\r\n\r\n")[0][:_HEAD].decode("utf-8", "replace")
        users = self._calls.setdefault(arrow.call_id, set())
        if len(users) < _USERS:
            users.update(found.lower() for found in _ADDRESS.findall(head)[:_USERS])
        while len(self._calls) > _MOST:
            del self._calls[next(iter(self._calls))]
