"""Setting up a session: what a user agent does about an INVITE (RFC 3261 §13).

:class:`InviteClient` and :class:`InviteServer` hold what no transaction does: early dialogs and
forks, the ACK for the 2xx and its repetition, the 2xx and its retransmission. They talk in events;
the caller sends what these carry.
"""

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.dialog import Dialog, DialogId
from rcsops.sip.message import Request, Response
from rcsops.sip.timers import Timers
from rcsops.tokens import Tokens

MAX_FORKS = 32
"""More dialogs than that out of one INVITE are an attack, and ignored."""


class Progress(NamedTuple):
    """A provisional response; ``dialog`` is its early dialog, None if it makes none."""

    status: int
    dialog: Dialog | None
    response: Response


class Accepted(NamedTuple):
    """The first 2xx. Send ``ack`` with ``send_ack``; it may be given a body (an answer) before."""

    response: Response
    dialog: Dialog
    ack: Request


class Failed(NamedTuple):
    """The final response that is not 2xx, or one of our own making: 408 or 503."""

    response: Response


class ExtraFork(NamedTuple):
    """A 2xx of a further fork, or one that crossed our CANCEL: send ``ack``, then ``bye``."""

    response: Response
    dialog: Dialog
    ack: Request
    bye: Request


class AckAgain(NamedTuple):
    """A 2xx came again: send the same ACK again."""

    ack: Request
    dialog: Dialog


class CancelDue(NamedTuple):
    """The time limit is over: cancel the transaction."""


class Respond(NamedTuple):
    """A response for the INVITE server transaction to send."""

    response: Response


class Acknowledged(NamedTuple):
    """The ACK for our 2xx; it carries the answer if our 2xx carried the offer."""

    ack: Request
    dialog: Dialog


class AckTimeout(NamedTuple):
    """No ACK in 64*T1: send a BYE in the dialog (RFC 3261 §13.3.1.4)."""

    dialog: Dialog


class InviteCancelled(NamedTuple):
    """The caller gave up, or its Expires is over; the INVITE has been answered 487."""


ClientEvent = Progress | Accepted | Failed | ExtraFork | AckAgain | CancelDue
ServerEvent = Respond | Acknowledged | AckTimeout | InviteCancelled


class InviteClient:
    """The UAC's part (RFC 3261 §13.2): one for each INVITE sent, so a new one after a 401.

    Feed it every response of the transaction with :meth:`receive_response`, and
    :meth:`no_response` when the transaction timed out or could not send. It ends with exactly one
    :class:`Accepted` or :class:`Failed`; after Accepted keep it while the transaction lives, as it
    repeats ACKs and refuses further forks. ``time_limit`` is how many seconds to let it ring;
    ``dialog`` is given for a re-INVITE, whose failure leaves the dialog as it was (§14.1).
    """

    __slots__ = (
        "_cancelled",
        "_deadline",
        "_done",
        "_events",
        "_forks",
        "_inside",
        "dialogs",
        "request",
    )

    def __init__(
        self,
        request: Request,
        now: float = 0.0,
        *,
        time_limit: float | None = None,
        dialog: Dialog | None = None,
    ) -> None:
        self.request = request
        self.dialogs: dict[DialogId, Dialog] = {}
        self._inside = dialog
        if dialog is not None:
            self.dialogs[dialog.id] = dialog
        self._forks: dict[DialogId, Request] = {}
        self._events: deque[ClientEvent] = deque()
        self._done = False
        self._cancelled = False
        self._deadline = None if time_limit is None else now + time_limit

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._done

    def next_event(self) -> ClientEvent | None:
        """Take the next event; None when there is none."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When the time limit is over; None without one."""
        return self._deadline

    def handle_timer(self, now: float) -> None:
        """Let the time limit pass."""
        if self._deadline is not None and now >= self._deadline:
            self.cancel()
            self._events.append(CancelDue())

    def cancel(self) -> None:
        """We give up: a 2xx that crosses the CANCEL is acknowledged and ended with a BYE.

        The caller cancels the transaction. The outcome is Failed: with the final response, or a 487
        of our own making after a 2xx that came too late.
        """
        self._cancelled = True
        self._deadline = None

    def receive_response(self, response: Response, now: float) -> None:
        """Take a response to the INVITE."""
        try:
            if response.status < 200:
                self._receive_provisional(response)
            elif response.status < 300:
                self._receive_2xx(response)
            else:
                self._finish(response)
        except SipParseError as error:
            # A dialog cannot be made of it; a provisional response can be done without.
            if response.status >= 200:
                self._finish(Response(500, f"Unusable {response.status}: {error}"[:80]))

    def no_response(self, status: int = 408, reason: str = "") -> None:
        """No final response will come: 408 for a time-out, 503 for a transport error (§8.1.3.1)."""
        self._finish(Response(status, reason))

    def _receive_provisional(self, response: Response) -> None:
        if self._done:
            return
        dialog = None
        if response.status > 100 and response.to_tag:
            dialog = self._dialog_of(response)
        self._events.append(Progress(response.status, dialog, response))

    def _receive_2xx(self, response: Response) -> None:
        known = DialogId.of_received(response)
        ack = self._forks.get(known)
        if ack is not None:
            self._events.append(AckAgain(ack, self.dialogs[known]))
            return
        dialog = self._dialog_of(response)
        if dialog is None:
            return
        if dialog is self._inside:
            dialog.update_target(response)
        dialog.confirm(response)
        ack = self._forks[known] = dialog.create_ack(self.request)
        if not self._done and (dialog is self._inside or not self._cancelled):
            self._done = True
            self._deadline = None
            self._events.append(Accepted(response, dialog, ack))
            return
        bye = dialog.create_request("BYE")
        dialog.terminate()
        self._events.append(ExtraFork(response, dialog, ack, bye))
        self._finish(Response(487))

    def _dialog_of(self, response: Response) -> Dialog | None:
        known = DialogId.of_received(response)
        dialog = self.dialogs.get(known)
        if dialog is None and len(self.dialogs) < MAX_FORKS:
            dialog = self.dialogs[known] = Dialog.from_uac(self.request, response)
        return dialog

    def _finish(self, response: Response) -> None:
        if self._done:
            return
        self._done = True
        self._deadline = None
        for known, dialog in self.dialogs.items():
            if known not in self._forks and dialog is not self._inside:
                dialog.terminate()
        self._events.append(Failed(response))


class InviteServerState(StrEnum):
    """Where an INVITE that we received stands."""

    PROCEEDING = "proceeding"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    TIMED_OUT = "timed out"


class InviteServer:
    """The UAS's part (RFC 3261 §13.3): answers one INVITE and gets its 2xx acknowledged.

    ``contact`` is the value of our Contact header. ``dialog`` is given for a re-INVITE; otherwise
    one is made with the first response of 101 to 299. Every response comes out as
    :class:`Respond`, for ``layer.respond``. Raises SipParseError if To cannot be read.
    """

    __slots__ = (
        "_again_at",
        "_contact",
        "_events",
        "_expires_at",
        "_interval",
        "_limit_at",
        "_response",
        "_timers",
        "_to_tag",
        "dialog",
        "request",
        "state",
    )

    REFRESH = 60.0
    """A provisional response is repeated each minute, so that no proxy gives up (§13.3.1.1)."""

    def __init__(
        self,
        request: Request,
        *,
        tokens: Tokens,
        contact: str,
        now: float,
        timers: Timers | None = None,
        dialog: Dialog | None = None,
    ) -> None:
        self.request = request
        self.dialog = dialog
        self.state = InviteServerState.PROCEEDING
        self._contact = contact
        self._timers = timers or Timers()
        self._to_tag = request.to_tag or (dialog.local_tag if dialog else tokens.tag())
        self._events: deque[ServerEvent] = deque()
        self._response: Response | None = None
        self._again_at: float | None = None
        self._interval = 0.0
        self._limit_at: float | None = None
        expires = _expires(request)
        self._expires_at = None if not expires else now + expires

    def next_event(self) -> ServerEvent | None:
        """Take the next event; None when there is none."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When :meth:`handle_timer` is to be called next."""
        times = (self._again_at, self._limit_at, self._expires_at)
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Repeat the 2xx, or give up waiting for its ACK; let the caller's Expires pass."""
        if self._expires_at is not None and now >= self._expires_at:
            self.receive_cancel(now)
        elif self._limit_at is not None and now >= self._limit_at:
            self._end(InviteServerState.TIMED_OUT)
            assert self.dialog is not None
            self._events.append(AckTimeout(self.dialog))
        elif self._again_at is not None and now >= self._again_at:
            assert self._response is not None
            self._events.append(Respond(self._response))
            if self.state is InviteServerState.ACCEPTED:
                self._interval = min(self._interval * 2, self._timers.t2)
            self._again_at = now + self._interval

    def progress(
        self,
        status: int,
        now: float,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Send a provisional response, 101 to 199. Raises :class:`LocalProtocolError` if too late.

        RemoteProtocolError: the INVITE has no usable Contact; reject it with the error's status.
        """
        if not 100 < status < 200:
            raise LocalProtocolError(f"{status} is not provisional")
        self._answer(status, headers, body)
        self._again_at = now + self.REFRESH
        self._interval = self.REFRESH

    def accept(
        self, now: float, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Dialog:
        """Send 200 and repeat it from T1 to T2, also over TCP, until the ACK comes (§13.3.1.4).

        Returns the dialog. Raises as :meth:`progress` does.
        """
        dialog = self._answer(200, headers, body)
        self.state = InviteServerState.ACCEPTED
        self._expires_at = None
        self._interval = self._timers.t1
        self._again_at = now + self._timers.t1
        self._limit_at = now + 64 * self._timers.t1
        return dialog

    def reject(
        self,
        status: int,
        now: float,
        reason: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Send a final response of 300 to 699. Raises :class:`LocalProtocolError` if too late."""
        self._check_open()
        if status < 300:
            raise LocalProtocolError(f"{status} is not a refusal")
        response = self._make(status, reason, headers, body)
        if self.dialog is not None and self.request.to_tag is None:
            self.dialog.terminate()
        self._end(InviteServerState.REJECTED)
        self._events.append(Respond(response))

    def receive_cancel(self, now: float) -> bool:
        """The caller cancels: 487 unless we have answered; the CANCEL itself gets 200 either way.

        False if the final response was out already, which then stands (RFC 3261 §9.2).
        """
        if self.state is not InviteServerState.PROCEEDING:
            return False
        self.reject(487, now)
        self._events.append(InviteCancelled())
        return True

    def receive_ack(self, ack: Request, now: float) -> None:
        """Take an ACK in the dialog; the first one for this INVITE ends the retransmission."""
        if self.state is not InviteServerState.ACCEPTED or self.dialog is None:
            return
        try:
            if ack.cseq.number != self.request.cseq.number:
                return
        except SipParseError:
            return
        self._end(InviteServerState.CONFIRMED)
        self._events.append(Acknowledged(ack, self.dialog))

    def _answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Dialog:
        self._check_open()
        response = self._make(status, "", [("Contact", self._contact), *headers], body)
        if self.dialog is None:
            self.dialog = Dialog.from_uas(self.request, response)
        elif status >= 200:
            self.dialog.confirm(response)
            self.dialog.update_target(self.request)
        self._response = response
        self._events.append(Respond(response))
        return self.dialog

    def _make(
        self, status: int, reason: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Response:
        response = Response.to_request(
            self.request, status, reason, to_tag=self._to_tag, headers=headers
        )
        if body:
            response.body = body
        return response

    def _check_open(self) -> None:
        if self.state is not InviteServerState.PROCEEDING:
            raise LocalProtocolError(f"this INVITE is {self.state}")

    def _end(self, state: InviteServerState) -> None:
        self.state = state
        self._again_at = self._limit_at = self._expires_at = None
        self._response = None


def _expires(request: Request) -> int | None:
    try:
        return request.expires
    except SipParseError:
        # It only limits how long to ring.
        return None
