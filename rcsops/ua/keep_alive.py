"""Keeping the ways to servers open (RFC 5626 §4.4, §5.4)."""

import asyncio
from collections.abc import Callable

from rcsops.sip import Flow
from rcsops.transport import SipEndpoint

__all__ = ["KeepAlive"]

# RFC 5626 §4.4.1 and §4.4.2: between these, where the server says nothing.
_STREAM = (95.0, 120.0)
_DATAGRAM = (24.0, 29.0)


class KeepAlive:
    """Sends keep-alives on the flows that somebody holds.

    On a stream it is a double CRLF, and the endpoint closes the connection when no answer comes.
    On UDP it only holds the way through a NAT open; whether the server still knows us, the
    registration asks for itself. ``fraction`` draws random numbers in [0, 1).
    """

    __slots__ = ("_endpoint", "_fraction", "_held")

    def __init__(self, endpoint: SipEndpoint, fraction: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._fraction = fraction
        self._held: dict[Flow, _Held] = {}

    @property
    def flows(self) -> tuple[Flow, ...]:
        """What is held."""
        return tuple(self._held)

    def hold(self, flow: Flow, flow_timer: int | None = None) -> None:
        """Keeps a flow open, once more than before; ``flow_timer`` is how many seconds of silence
        the server allows (RFC 5626 §5.4)."""
        held = self._held.setdefault(flow, _Held())
        held.count += 1
        held.span = _span(flow, flow_timer)
        if held.count == 1:
            self._schedule(flow, held)

    def drop(self, flow: Flow) -> None:
        """One holder less."""
        held = self._held.get(flow)
        if held is None:
            return
        held.count -= 1
        if not held.count:
            held.cancel()
            del self._held[flow]

    def send_now(self) -> None:
        """Sends a keep-alive on each flow, such as after the machine has slept."""
        for flow in tuple(self._held):
            self._endpoint.keep_alive(flow)

    def close(self) -> None:
        """Holds nothing any more."""
        for held in self._held.values():
            held.cancel()
        self._held.clear()

    def _schedule(self, flow: Flow, held: "_Held") -> None:
        low, high = held.span
        delay = low + (high - low) * self._fraction()
        held.handle = asyncio.get_running_loop().call_later(delay, self._due, flow, held)

    def _due(self, flow: Flow, held: "_Held") -> None:
        self._endpoint.keep_alive(flow)
        self._schedule(flow, held)


class _Held:
    __slots__ = ("count", "handle", "span")

    def __init__(self) -> None:
        self.count = 0
        self.span = _STREAM
        self.handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()


def _span(flow: Flow, flow_timer: int | None) -> tuple[float, float]:
    usual = _DATAGRAM if flow.transport == "udp" else _STREAM
    if not flow_timer or (flow_timer >= usual[1] and flow.transport == "udp"):
        return usual
    # RFC 5626 §4.4: 80 to 100 % of what the server says.
    return 0.8 * flow_timer, float(flow_timer)
