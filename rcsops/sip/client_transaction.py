"""The client transactions: figures 5 and 6 of RFC 3261, the first with Accepted of RFC 6026."""

from typing import Any, ClassVar

from rcsops.sip.events import ResponseReceived, TransportFailed
from rcsops.sip.message import Request, Response
from rcsops.sip.target import Flow, Target
from rcsops.sip.transaction import Arrow, Host, On, State, Transaction

CALLING, TRYING, PROCEEDING = State.CALLING, State.TRYING, State.PROCEEDING
COMPLETED, ACCEPTED, TERMINATED = State.COMPLETED, State.ACCEPTED, State.TERMINATED


class ClientTransaction(Transaction):
    """A request of ours and the wait for its responses.

    ``request`` is what was sent, with our Via on top; ``target`` where to; ``last_response`` the
    newest response that was passed up, None before.
    """

    __slots__ = ("_response_flow", "last_response", "request", "target")

    def __init__(self, host: Host, key: tuple[Any, ...], request: Request, target: Target) -> None:
        super().__init__(host, key, request.method, target.flow)
        self.request = request
        self.target = target
        self.last_response: Response | None = None
        self._response_flow = target.flow

    def start(self, now: float) -> None:
        """Send the request and start the timers: the arrow into the figure."""
        raise NotImplementedError

    def receive_response(self, response: Response, flow: Flow, now: float) -> None:
        """Take a response that matches (RFC 3261 §17.1.3)."""
        raise NotImplementedError

    def send_request(self, now: float, subject: object) -> None:
        """Send the request, the same bytes each time."""
        self._host.send(self._wire, self.flow)

    def response_to_tu(self, now: float, response: Response) -> None:
        """Pass the response to the TU."""
        self.last_response = response
        if not self.quiet:
            self._host.emit(ResponseReceived(response, self, self._response_flow))

    def inform_transport_error(self, now: float, error: str) -> None:
        """Inform the TU: the request could not be sent."""
        if not self.quiet:
            self._host.emit(TransportFailed(self, error))


class InviteClientTransaction(ClientTransaction):
    """INVITE client transaction (RFC 3261 §17.1.1, figure 5, as amended by RFC 6026 §7.2)."""

    __slots__ = ("_ack", "cancel_reason", "cancel_sent", "cancel_wanted")

    FIGURE = "INVITE client transaction"
    INITIAL = CALLING
    ARROWS: ClassVar = (
        Arrow(CALLING, On.TIMER_A, ("send_request", "double_a"), CALLING),
        Arrow(CALLING, On.TIMER_B, ("inform_timeout",), TERMINATED),
        Arrow(CALLING, On.TRANSPORT_ERROR, ("inform_transport_error",), TERMINATED),
        Arrow(CALLING, On.RESPONSE_1XX, ("stop_resending", "response_to_tu"), PROCEEDING),
        Arrow(CALLING, On.RESPONSE_2XX, ("response_to_tu", "start_m"), ACCEPTED),
        Arrow(CALLING, On.RESPONSE_300_699, ("send_ack", "response_to_tu", "start_d"), COMPLETED),
        Arrow(PROCEEDING, On.RESPONSE_1XX, ("response_to_tu",), PROCEEDING),
        Arrow(PROCEEDING, On.RESPONSE_2XX, ("response_to_tu", "start_m"), ACCEPTED),
        Arrow(
            PROCEEDING, On.RESPONSE_300_699, ("send_ack", "response_to_tu", "start_d"), COMPLETED
        ),
        # RFC 3261 §9.1: an INVITE that was cancelled is given up 64*T1 after its CANCEL.
        Arrow(PROCEEDING, On.CANCELLED, ("start_cancel_limit",), PROCEEDING),
        Arrow(PROCEEDING, On.TIMER_CANCEL, ("inform_timeout",), TERMINATED),
        # Not in the figure: the connection is gone, while the answer may still come by another
        # (§18.2.2). The TU is told, and may give the transaction up.
        Arrow(PROCEEDING, On.TRANSPORT_ERROR, ("inform_transport_error",), PROCEEDING),
        Arrow(PROCEEDING, On.GIVEN_UP, (), TERMINATED),
        Arrow(COMPLETED, On.RESPONSE_300_699, ("send_ack",), COMPLETED),
        Arrow(COMPLETED, On.TRANSPORT_ERROR, ("inform_transport_error",), TERMINATED),
        Arrow(COMPLETED, On.TIMER_D, (), TERMINATED),
        Arrow(ACCEPTED, On.RESPONSE_2XX, ("response_to_tu",), ACCEPTED),
        Arrow(ACCEPTED, On.TIMER_M, (), TERMINATED),
    )

    def __init__(self, host: Host, key: tuple[Any, ...], request: Request, target: Target) -> None:
        super().__init__(host, key, request, target)
        self._ack = b""
        self.cancel_wanted = False
        self.cancel_sent = False
        self.cancel_reason: str | None = None

    def start(self, now: float) -> None:
        self._wire = bytes(self.request)
        self._host.send(self._wire, self.flow)
        timers = self._host.timers
        if not self.reliable:
            self._start_again(On.TIMER_A, timers.a, now)
        self._start_limit(On.TIMER_B, timers.b, now)

    def receive_response(self, response: Response, flow: Flow, now: float) -> None:
        self._response_flow = flow
        if response.status < 200:
            self.step(On.RESPONSE_1XX, now, response)
        elif response.status < 300:
            self.step(On.RESPONSE_2XX, now, response)
        else:
            self.step(On.RESPONSE_300_699, now, response)

    def double_a(self, now: float, subject: object) -> None:
        """Reset timer A to twice its value; it has no cap."""
        self._start_again(On.TIMER_A, self._again_delay * 2, now)

    def stop_resending(self, now: float, subject: object) -> None:
        """The request has arrived: A and B have done their work."""
        self._stop(self._again)
        self._stop(self._limit)
        self._wire = b""

    def send_ack(self, now: float, response: Response) -> None:
        """Acknowledge a final response that is not 2xx: same branch, same hop (§17.1.1.3)."""
        if not self._ack:
            self._wire = b""
            self._ack = bytes(make_ack(self.request, response))
        self._host.send(self._ack, self.flow)

    def start_d(self, now: float, subject: object) -> None:
        """Stay to acknowledge retransmissions."""
        self._stop(self._again)
        self._start_limit(On.TIMER_D, self._host.timers.d(self.reliable), now)

    def start_m(self, now: float, subject: object) -> None:
        """Stay to pass up the 2xx of other forks and retransmissions (RFC 6026)."""
        self._stop(self._again)
        self._wire = b""
        self._start_limit(On.TIMER_M, self._host.timers.m, now)

    def start_cancel_limit(self, now: float, subject: object) -> None:
        """Give up 64*T1 after the CANCEL (RFC 3261 §9.1)."""
        self._start_limit(On.TIMER_CANCEL, self._host.timers.b, now)


class NonInviteClientTransaction(ClientTransaction):
    """Non-INVITE client transaction (RFC 3261 §17.1.2, figure 6)."""

    __slots__ = ()

    FIGURE = "non-INVITE client transaction"
    INITIAL = TRYING
    ARROWS: ClassVar = (
        Arrow(TRYING, On.TIMER_E, ("send_request", "double_e"), TRYING),
        Arrow(TRYING, On.TIMER_F, ("inform_timeout",), TERMINATED),
        Arrow(TRYING, On.TRANSPORT_ERROR, ("inform_transport_error",), TERMINATED),
        Arrow(TRYING, On.RESPONSE_1XX, ("response_to_tu",), PROCEEDING),
        Arrow(TRYING, On.RESPONSE_200_699, ("response_to_tu", "start_k"), COMPLETED),
        Arrow(PROCEEDING, On.TIMER_E, ("send_request", "reset_e_to_t2"), PROCEEDING),
        Arrow(PROCEEDING, On.TIMER_F, ("inform_timeout",), TERMINATED),
        Arrow(PROCEEDING, On.TRANSPORT_ERROR, ("inform_transport_error",), TERMINATED),
        Arrow(PROCEEDING, On.RESPONSE_1XX, ("response_to_tu",), PROCEEDING),
        Arrow(PROCEEDING, On.RESPONSE_200_699, ("response_to_tu", "start_k"), COMPLETED),
        Arrow(COMPLETED, On.TIMER_K, (), TERMINATED),
    )

    def start(self, now: float) -> None:
        self._wire = bytes(self.request)
        self._host.send(self._wire, self.flow)
        timers = self._host.timers
        if self.reliable:
            self._wire = b""
        else:
            self._start_again(On.TIMER_E, timers.e, now)
        self._start_limit(On.TIMER_F, timers.f, now)

    def receive_response(self, response: Response, flow: Flow, now: float) -> None:
        self._response_flow = flow
        on = On.RESPONSE_1XX if response.status < 200 else On.RESPONSE_200_699
        self.step(on, now, response)

    def double_e(self, now: float, subject: object) -> None:
        """Reset timer E to twice its value, at most T2."""
        self._start_again(On.TIMER_E, min(self._again_delay * 2, self._host.timers.t2), now)

    def reset_e_to_t2(self, now: float, subject: object) -> None:
        """After a provisional response, timer E is T2."""
        self._start_again(On.TIMER_E, self._host.timers.t2, now)

    def start_k(self, now: float, subject: object) -> None:
        """Stay to absorb retransmissions of the response."""
        self._stop(self._again)
        self._wire = b""
        self._start_limit(On.TIMER_K, self._host.timers.k(self.reliable), now)


def make_ack(invite: Request, response: Response) -> Request:
    """The ACK for a final response other than 2xx (RFC 3261 §17.1.1.3).

    Only its To comes from the response; the rest repeats the INVITE, with its branch.
    """
    return _same_hop("ACK", invite, response.get("To") or invite.get("To") or "")


def make_cancel(invite: Request, reason: str | None = None) -> Request:
    """The CANCEL for an INVITE (RFC 3261 §9.1), with a Reason header (RFC 3326) if one is given."""
    cancel = _same_hop("CANCEL", invite, invite.get("To") or "")
    if reason is not None:
        cancel.add("Reason", reason)
    return cancel


def _same_hop(method: str, invite: Request, to: str) -> Request:
    headers = [("Via", invite.values("Via")[0]), ("Max-Forwards", "70")]
    headers += [("Route", route) for route in invite.get_all("Route")]
    headers += [
        ("From", invite.get("From") or ""),
        ("To", to),
        ("Call-ID", invite.get("Call-ID") or ""),
        ("CSeq", f"{invite.cseq.number} {method}"),
    ]
    return Request(method, invite.uri, headers)
