"""Whether a request is looked at at all: overload, rates, bans.

A datagram may come from a forged address, so nothing is sent to a source that is over its rate, and
a single small answer otherwise; on a connection the sender is told, and then the way is closed.
"""

import asyncio

from rcsops.server.accounts import Known
from rcsops.server.arrival import Arrivals, Refusal
from rcsops.server.guard import Guard, Standing
from rcsops.server.options import ServerOptions
from rcsops.server.overload import OverloadControl
from rcsops.server.statistics import Statistics
from rcsops.sip import Flow, Request
from rcsops.transport import SipEndpoint

__all__ = ["Admission"]

# What ends something, or goes on with it, whatever its To says.
_FINISHING = frozenset({"CANCEL", "BYE", "PRACK"})


class Admission:
    """Asks ``guard`` and ``overload`` about requests that have no transaction yet."""

    def __init__(
        self,
        endpoint: SipEndpoint,
        guard: Guard,
        overload: OverloadControl,
        arrivals: Arrivals,
        options: ServerOptions,
        statistics: Statistics,
    ) -> None:
        self._endpoint = endpoint
        self._guard = guard
        self._overload = overload
        self._arrivals = arrivals
        self._retry_after = [("Retry-After", str(options.retry_after))]
        self._counts = statistics.counts

    def may_answer(self, flow: Flow) -> bool:
        """Charges the source of what cannot be served; whether it may be told so."""
        if self._guard.take(flow.remote[0], self._endpoint.now) is Standing.GOOD:
            return True
        self._counts["limits:dropped"] += 1
        return False

    def admits(self, request: Request, flow: Flow, known: Known) -> bool:
        """Charges the source of a request; whether it is to be looked at. Raises `Refusal`.

        What belongs to a dialog that began here always is. A datagram with credentials is, however
        much comes from its address, so that nobody keeps a user out by sending in the name of the
        user's address; nothing but success is then answered (``known.quiet``).
        """
        if known.counted:
            return True
        known.counted = True
        # The datagrams have been looked at before they were read.
        if self._overload.active and flow.transport != "udp" and self._is_too_much(request):
            raise Refusal(503, "", self._retry_after)
        standing = self._guard.take(flow.remote[0], self._endpoint.now)
        if standing is Standing.GOOD:
            return True
        if request.has("Route") and self._arrivals.prepare(request.copy(), flow)[1]:
            return True
        if flow.transport == "udp":
            return self._admits_datagram(request, standing, known)
        self._counts["limits:refused"] += 1
        if standing is not Standing.OVER:
            # Once its answer has gone out.
            asyncio.get_running_loop().call_soon(self._endpoint.close_flow, flow)
        if standing is Standing.BANNED:
            raise Refusal(403, "Too Many Wrong Passwords")
        raise Refusal(503, "Too Many Requests", self._retry_after)

    def _admits_datagram(self, request: Request, standing: Standing, known: Known) -> bool:
        given = request.has("Authorization") or request.has("Proxy-Authorization")
        if given and standing is not Standing.BANNED:
            known.quiet = True
            return True
        self._counts["limits:dropped"] += 1
        return False

    def _is_too_much(self, request: Request) -> bool:
        """Whether overload leaves no room for a request, if it begins something new."""
        if request.method in _FINISHING or request.to_tag is not None:
            return False
        given = request.has("Authorization") or request.has("Proxy-Authorization")
        return self._overload.refuses(credentials=given)
