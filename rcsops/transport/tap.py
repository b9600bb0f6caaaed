"""The tap: every SIP message and every MSRP frame passes it, as the bytes on the wire.

A tap is a callable handed in from above; with none there is no cost. Keep-alives are not messages
and do not show.
"""

import logging
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from rcsops.transport.addresses import Address

__all__ = ["Tap", "TapRecord", "guarded", "record_now"]

logger = logging.getLogger(__name__)


class TapRecord(NamedTuple):
    """One message as it went over the wire; ``time`` in seconds since the epoch.

    ``omitted`` octets of the body of a long MSRP frame are not in ``data``.
    """

    time: float
    protocol: Literal["sip", "msrp"]
    direction: Literal["in", "out"]
    transport: str
    local: Address
    remote: Address
    data: bytes
    omitted: int = 0


Tap = Callable[[TapRecord], None]


class _Guard:
    """Calls a tap; one that fails is reported once and then left alone."""

    __slots__ = ("_tap",)

    def __init__(self, tap: Tap) -> None:
        self._tap: Tap | None = tap

    def __call__(self, record: TapRecord) -> None:
        if self._tap is None:
            return
        try:
            self._tap(record)
        except Exception:
            self._tap = None
            logger.exception("the tap failed and is off from here on")


def guarded(tap: Tap | None) -> Tap | None:
    """The same tap, which can no longer raise into the transport."""
    return None if tap is None else _Guard(tap)


def record_now(
    protocol: Literal["sip", "msrp"],
    direction: Literal["in", "out"],
    transport: str,
    local: Address,
    remote: Address,
    data: bytes,
) -> TapRecord:
    """A record with the present time."""
    return TapRecord(time.time(), protocol, direction, transport, local, remote, data)
