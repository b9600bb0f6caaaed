"""The timers of RFC 3261 §17 (table 4 in its appendix A), RFC 6026 and RFC 4320, as values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timers:
    """Durations in seconds; every other timer follows from T1, T2 and T4.

    A test that wants another clock makes another instance; nothing here is global.
    """

    t1: float = 0.5
    """Estimate of the round trip."""
    t2: float = 4.0
    """Longest interval between retransmissions of a non-INVITE request or an INVITE response."""
    t4: float = 5.0
    """Longest time that a message stays in the network."""
    trying: float = 0.2
    """After this long without a response, an INVITE is answered 100 (RFC 3261 §17.2.1)."""
    c: float = 180.0
    """How long a proxy waits for a final response; reset by 101 to 199 (RFC 3261 §16.6)."""

    @property
    def a(self) -> float:
        """First retransmission of an INVITE; doubles without a cap. Unreliable only."""
        return self.t1

    @property
    def b(self) -> float:
        """Time limit of an INVITE client transaction."""
        return 64 * self.t1

    def d(self, reliable: bool) -> float:
        """Stay of an INVITE client transaction in Completed: timer H of the other side."""
        return 0.0 if reliable else 64 * self.t1

    @property
    def e(self) -> float:
        """First retransmission of a non-INVITE request; doubles up to T2. Unreliable only."""
        return self.t1

    @property
    def f(self) -> float:
        """Time limit of a non-INVITE client transaction."""
        return 64 * self.t1

    @property
    def g(self) -> float:
        """First retransmission of an INVITE response; doubles up to T2. Unreliable only."""
        return self.t1

    @property
    def h(self) -> float:
        """How long an INVITE server transaction waits for the ACK of a final response."""
        return 64 * self.t1

    def i(self, reliable: bool) -> float:
        """Stay of an INVITE server transaction in Confirmed, to absorb ACKs."""
        return 0.0 if reliable else self.t4

    def j(self, reliable: bool) -> float:
        """Stay of a non-INVITE server transaction in Completed, to absorb requests."""
        return 0.0 if reliable else 64 * self.t1

    def k(self, reliable: bool) -> float:
        """Stay of a non-INVITE client transaction in Completed, to absorb responses."""
        return 0.0 if reliable else self.t4

    @property
    def l(self) -> float:  # noqa: E743 - the RFC's name
        """Stay of an INVITE server transaction in Accepted (RFC 6026 §7.1)."""
        return 64 * self.t1

    @property
    def m(self) -> float:
        """Stay of an INVITE client transaction in Accepted (RFC 6026 §7.2)."""
        return 64 * self.t1

    @property
    def non_invite_trying(self) -> float:
        """When timer E of the sender has reached T2: the 100 of RFC 4320 §4.1 is due.

        With the default timers 0.5 + 1 + 2 = 3.5 s after the request came.
        """
        elapsed = 0.0
        interval = self.t1
        while interval < self.t2:
            elapsed += interval
            interval *= 2
        return elapsed
