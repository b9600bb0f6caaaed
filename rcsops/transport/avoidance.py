"""Addresses that are tried last for a while, because they have just failed (RFC 3263 §4.3)."""

from collections import OrderedDict
from collections.abc import Callable

from rcsops.transport.addresses import Address

__all__ = ["Avoidance"]

_MAX_ENTRIES = 1024
_LONGEST = 3600.0


class Avoidance:
    """Remembers which address does not answer, or asked to be left alone with a 503 and Retry-After
    (RFC 3261 §21.5.4), so that the next request does not wait for it again.

    It only changes an order: what is avoided is still tried when there is nothing better. ``now``
    is a monotonic clock in seconds.
    """

    __slots__ = ("_now", "_until")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: OrderedDict[tuple[str, Address], float] = OrderedDict()

    def avoid(self, transport: str, address: Address, seconds: float) -> None:
        """Leaves an address alone for so long."""
        key = (transport, address)
        until = self._now() + min(seconds, _LONGEST)
        self._until[key] = max(until, self._until.pop(key, 0.0))
        while len(self._until) > _MAX_ENTRIES:
            self._until.popitem(last=False)

    def answered(self, transport: str, address: Address) -> None:
        """It is there: forgets what was held against it."""
        self._until.pop((transport, address), None)

    def is_avoided(self, transport: str, address: Address) -> bool:
        """Whether an address is to be tried after the others."""
        until = self._until.get((transport, address))
        if until is None:
            return False
        if until > self._now():
            return True
        del self._until[(transport, address)]
        return False
