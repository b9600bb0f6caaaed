"""Two MSRP endpoints back to back, without sockets, with a clock that the test turns."""

from collections.abc import Callable, Iterator
from typing import Any

from rcsops.msrp import (
    FrameSeen,
    MsrpConnection,
    MsrpSession,
    MsrpUri,
    SessionEvent,
    SessionTable,
)
from rcsops.tokens import Tokens
from tests.unit.msrp.grammar import Checked, check_stream

ALICE = MsrpUri.parse("msrp://192.0.2.10:28550/kQ3vN8s1Zt0aW5xY7bR2;tcp")
BOB = MsrpUri.parse("msrp://198.51.100.20:28550/mT9eH4u6Pd2cJ8gL1fVo;tcp")

Split = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    """No split at all."""
    yield data


def by(size: int) -> Split:
    """Reads of so many octets."""
    return lambda data: (data[i : i + size] for i in range(0, len(data), size))


class Side:
    """One endpoint: its session, its connection, all it sent, its events so far."""

    def __init__(self, session: MsrpSession) -> None:
        self.session = session
        self.table = SessionTable()
        self.table.add(session)
        self.connection = MsrpConnection(self.table, tap=True)
        self.sent = b""
        self.events: list[SessionEvent] = []
        self.seen: list[FrameSeen] = []

    def frames(self) -> list[Checked]:
        """Everything that was sent, taken apart by the strict grammar."""
        return check_stream(self.sent)

    def of(self, kind: type) -> list[Any]:
        """The events of one type so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def drain(self) -> None:
        """Collect events and what the tap has seen."""
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
        self.seen += self.connection.frames_seen()


class Pair:
    """Alice is active, Bob is passive; options for either session by keyword dictionaries."""

    def __init__(
        self,
        alice: dict[str, Any] | None = None,
        bob: dict[str, Any] | None = None,
        split: Split = whole,
        connect: bool = True,
    ) -> None:
        self.now = 1000.0
        self.split = split
        a: dict[str, Any] = {"tokens": Tokens.deterministic(1), "active": True, **(alice or {})}
        b: dict[str, Any] = {"tokens": Tokens.deterministic(2), "active": False, **(bob or {})}
        self.alice = Side(MsrpSession((ALICE,), (BOB,), **a))
        self.bob = Side(MsrpSession((BOB,), (ALICE,), **b))
        if connect:
            assert self.alice.connection.attach(self.alice.session, self.now)

    def move(self, source: Side, target: Side, max_bytes: int = 65536) -> int:
        """Carry what one side has to say once; the number of octets."""
        data = source.connection.data_to_send(self.now, max_bytes)
        source.sent += data
        for part in self.split(data):
            target.connection.receive_data(part, self.now)
        source.drain()
        target.drain()
        return len(data)

    def run(self) -> None:
        """Carry octets both ways until both are silent."""
        while self.move(self.alice, self.bob) + self.move(self.bob, self.alice):
            pass
