"""What the users of an endpoint hand in."""

from collections.abc import Callable

from rcsops.sip.events import Event
from rcsops.sip.target import Flow

__all__ = ["Screen", "TransactionUser"]

Screen = Callable[[bytes, Flow], tuple[bytes, Flow] | None]
"""Sees a datagram before anything of it is read: what it gives back is sent as the answer, and the
datagram is done with."""


class TransactionUser:
    """The context of a client transaction that wants its events itself."""

    __slots__ = ()

    def transaction_event(self, event: Event) -> None:
        """Takes ResponseReceived, TimedOut, TransportFailed or Terminated of its transaction."""
        raise NotImplementedError
