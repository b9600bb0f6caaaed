"""The callee's part of setting up a session (RFC 3261 §13.3).

What no transaction does: the To tag and the dialog, the 2xx and its retransmission until the ACK.
It talks in events; the caller sends what these carry.
"""

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.dialog import Dialog
from rcsops.sip.message import Request, Response
from rcsops.sip.timers import Timers
from rcsops.tokens import Tokens


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


ServerEvent = Respond | Acknowledged | AckTimeout | InviteCancelled


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
        try:
            expires = request.expires
        except SipParseError:
            # It only limits how long to ring.
            expires = None
        self._expires_at = None if not expires else now + expires

    def next_event(self) -> ServerEvent | None:
        """Take the next event; None when there is none."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When :meth:`handle_timer` is to be called next."""
        due = self._again_at
        for other in (self._limit_at, self._expires_at):
            if other is not None and (due is None or other < due):
                due = other
        return due

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
            self.dialog = Dialog.from_uas(self.request, response, local_tag=self._to_tag)
        elif status >= 200:
            self.dialog.confirm(response)
            self.dialog.update_target(self.request)
        self._response = response
        self._events.append(Respond(response))
        return self.dialog

    def _make(
        self, status: int, reason: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Response:
        before = self._response if status < 300 else None
        return Response.to_request(
            self.request, status, reason, self._to_tag, headers, body, before=before
        )

    def _check_open(self) -> None:
        if self.state is not InviteServerState.PROCEEDING:
            raise LocalProtocolError(f"this INVITE is {self.state}")

    def _end(self, state: InviteServerState) -> None:
        self.state = state
        self._again_at = self._limit_at = self._expires_at = None
        self._response = None
