"""The server transactions: figures 7 and 8 of RFC 3261, with RFC 6026 and RFC 4320."""

from collections.abc import Hashable
from typing import Any, ClassVar

from rcsops.errors import LocalProtocolError
from rcsops.sip.events import AckReceived, TransportFailed
from rcsops.sip.message import Request, Response
from rcsops.sip.target import Flow
from rcsops.sip.transaction import Arrow, Host, On, State, Transaction

TRYING, PROCEEDING, COMPLETED = State.TRYING, State.PROCEEDING, State.COMPLETED
CONFIRMED, ACCEPTED, TERMINATED = State.CONFIRMED, State.ACCEPTED, State.TERMINATED


class ServerTransaction(Transaction):
    """A request of a peer and our responses to it.

    ``flow`` is where the request came from, ``reply_flow`` where the responses go (RFC 3261
    §18.2.2), ``status`` that of the newest response, 0 before any.
    """

    __slots__ = (
        "_request",
        "ack_key",
        "last_response",
        "merge_key",
        "reply_flow",
        "sent_by_port",
        "status",
    )

    def __init__(
        self, host: Host, key: tuple[Any, ...], request: Request, flow: Flow, reply_flow: Flow
    ) -> None:
        super().__init__(host, key, request.method, flow)
        self._request: Request | None = request
        self.reply_flow = reply_flow
        self.sent_by_port: int | None = None
        self.last_response: Response | None = None
        self.status = 0
        # Where else the layer has filed it.
        self.merge_key: tuple[Hashable, ...] | None = None
        self.ack_key: tuple[Hashable, ...] | None = None

    @property
    def request(self) -> Request:
        """The request.

        A non-INVITE transaction lets go of it with its final response, as it outlives the answer by
        32 seconds on UDP; asking for it then raises :class:`LocalProtocolError`.
        """
        if self._request is None:
            raise LocalProtocolError("a completed transaction does not keep its request")
        return self._request

    def start(self, now: float) -> None:
        """Start the timer for 100: the arrow into the figure."""
        raise NotImplementedError

    def respond(self, response: Response, now: float) -> bool:
        """Send a response of the TU; False if it is too late, or not allowed, to send this one."""
        raise NotImplementedError

    def trying(self, now: float) -> bool:
        """Send 100 Trying now, rather than when its timer fires."""
        return self.status == 0 and self.respond(self.make_trying(), now)

    def make_trying(self) -> Response:
        """A 100 Trying; no To tag is added to it (RFC 3261 §17.2.1)."""
        return Response.to_request(self.request, 100)

    def send_100(self, now: float, subject: object) -> None:
        """The TU has said nothing yet: 100 Trying."""
        self.send_response(now, self.make_trying())

    def send_response(self, now: float, response: Response) -> None:
        """Send a response of the TU and keep it for retransmission."""
        self.last_response = response
        self.status = response.status
        self._wire = bytes(response)
        self._host.send(self._wire, self.reply_flow)

    def resend_response(self, now: float, subject: object) -> None:
        """Send the newest response once more, if there is one."""
        if self._wire:
            self._host.send(self._wire, self.reply_flow)

    def inform_transport_error(self, now: float, error: str) -> None:
        """Inform the TU: the response could not be sent."""
        if not self.quiet:
            self._host.emit(TransportFailed(self, error))

    def send_elsewhere(self, reply_flow: Flow) -> None:
        """Send the newest response over another flow (RFC 3261 §18.2.2), and what follows it."""
        self.reply_flow = reply_flow
        self.resend_response(0.0, None)


class InviteServerTransaction(ServerTransaction):
    """INVITE server transaction (RFC 3261 §17.2.1, figure 7, as amended by RFC 6026 §7.1)."""

    __slots__ = ()

    FIGURE = "INVITE server transaction"
    INITIAL = PROCEEDING
    ARROWS: ClassVar = (
        Arrow(PROCEEDING, On.TIMER_100, ("send_100",), PROCEEDING),
        Arrow(PROCEEDING, On.REQUEST, ("resend_response",), PROCEEDING),
        Arrow(PROCEEDING, On.RESPONSE_1XX, ("stop_100", "send_response"), PROCEEDING),
        Arrow(PROCEEDING, On.RESPONSE_2XX, ("send_response", "start_l"), ACCEPTED),
        Arrow(PROCEEDING, On.RESPONSE_300_699, ("send_response", "start_g", "start_h"), COMPLETED),
        Arrow(PROCEEDING, On.TRANSPORT_ERROR, ("inform_transport_error",), PROCEEDING),
        Arrow(COMPLETED, On.REQUEST, ("resend_response",), COMPLETED),
        Arrow(COMPLETED, On.TIMER_G, ("resend_response", "double_g"), COMPLETED),
        Arrow(COMPLETED, On.TRANSPORT_ERROR, ("inform_transport_error",), COMPLETED),
        Arrow(COMPLETED, On.TIMER_H, ("inform_timeout",), TERMINATED),
        Arrow(COMPLETED, On.ACK, ("start_i",), CONFIRMED),
        Arrow(CONFIRMED, On.TIMER_I, (), TERMINATED),
        Arrow(ACCEPTED, On.REQUEST, (), ACCEPTED),
        Arrow(ACCEPTED, On.ACK, ("ack_to_tu",), ACCEPTED),
        Arrow(ACCEPTED, On.RESPONSE_2XX, ("send_response",), ACCEPTED),
        Arrow(ACCEPTED, On.TRANSPORT_ERROR, ("inform_transport_error",), ACCEPTED),
        Arrow(ACCEPTED, On.TIMER_L, (), TERMINATED),
    )

    def start(self, now: float) -> None:
        self._start_again(On.TIMER_100, self._host.timers.trying, now)

    def respond(self, response: Response, now: float) -> bool:
        if response.status < 200:
            return self.step(On.RESPONSE_1XX, now, response)
        if response.status < 300:
            return self.step(On.RESPONSE_2XX, now, response)
        return self.step(On.RESPONSE_300_699, now, response)

    def stop_100(self, now: float, subject: object) -> None:
        """The TU has answered by itself."""
        self._stop(self._again)

    def start_g(self, now: float, subject: object) -> None:
        """Start to resend the final response, on an unreliable transport."""
        if self.reliable:
            self._stop(self._again)
        else:
            self._start_again(On.TIMER_G, self._host.timers.g, now)

    def double_g(self, now: float, subject: object) -> None:
        """Reset timer G to twice its value, at most T2."""
        self._start_again(On.TIMER_G, min(self._again_delay * 2, self._host.timers.t2), now)

    def start_h(self, now: float, subject: object) -> None:
        """Wait for the ACK."""
        self._start_limit(On.TIMER_H, self._host.timers.h, now)

    def start_i(self, now: float, subject: object) -> None:
        """Stay to absorb further ACKs."""
        self._stop(self._again)
        self._start_limit(On.TIMER_I, self._host.timers.i(self.reliable), now)

    def start_l(self, now: float, subject: object) -> None:
        """Stay to absorb retransmissions of the INVITE; the TU resends the 2xx (RFC 6026)."""
        self._stop(self._again)
        self._start_limit(On.TIMER_L, self._host.timers.l, now)

    def ack_to_tu(self, now: float, ack: Request) -> None:
        """An ACK with the branch of the INVITE, though ours was a 2xx: it is for the TU."""
        self._host.emit(AckReceived(ack, self.flow))


class NonInviteServerTransaction(ServerTransaction):
    """Non-INVITE server transaction (RFC 3261 §17.2.2, figure 8, as amended by RFC 4320)."""

    __slots__ = ()

    FIGURE = "non-INVITE server transaction"
    INITIAL = TRYING
    ARROWS: ClassVar = (
        Arrow(TRYING, On.TIMER_100, ("send_100",), PROCEEDING),
        Arrow(TRYING, On.RESPONSE_1XX, ("send_response",), PROCEEDING),
        Arrow(TRYING, On.RESPONSE_200_699, ("send_response", "start_j"), COMPLETED),
        Arrow(TRYING, On.RESPONSE_408, ("stay_silent", "start_j"), COMPLETED),
        Arrow(PROCEEDING, On.REQUEST, ("resend_response",), PROCEEDING),
        Arrow(PROCEEDING, On.RESPONSE_1XX, ("send_response",), PROCEEDING),
        Arrow(PROCEEDING, On.RESPONSE_200_699, ("send_response", "start_j"), COMPLETED),
        Arrow(PROCEEDING, On.RESPONSE_408, ("stay_silent", "start_j"), COMPLETED),
        Arrow(PROCEEDING, On.TRANSPORT_ERROR, ("inform_transport_error",), TERMINATED),
        Arrow(COMPLETED, On.REQUEST, ("resend_response",), COMPLETED),
        Arrow(COMPLETED, On.TRANSPORT_ERROR, ("inform_transport_error",), TERMINATED),
        Arrow(COMPLETED, On.TIMER_J, (), TERMINATED),
    )

    def start(self, now: float) -> None:
        self._start_again(On.TIMER_100, self._host.timers.non_invite_trying, now)

    def respond(self, response: Response, now: float) -> bool:
        status = response.status
        if status >= 200:
            # RFC 4320 §4.2: a 408 would come too late to be of use; its receiver has timed out.
            return self.step(
                On.RESPONSE_408 if status == 408 else On.RESPONSE_200_699, now, response
            )
        # RFC 4320 §4.1: no provisional response but 100, and over an unreliable transport not
        # before the sender's timer E has reached T2, when timer 100 sends it by itself.
        if status != 100 or (self.state is TRYING and not self.reliable):
            return False
        return self.step(On.RESPONSE_1XX, now, response)

    def stay_silent(self, now: float, subject: object) -> None:
        """Answer neither this request nor its retransmissions."""
        self.status = 408
        self._wire = b""

    def start_j(self, now: float, subject: object) -> None:
        """Stay to answer retransmissions, with nothing kept but the bytes of the response."""
        self._request = None
        self.last_response = None
        self._stop(self._again)
        self._again = None
        self._start_limit(On.TIMER_J, self._host.timers.j(self.reliable), now)
