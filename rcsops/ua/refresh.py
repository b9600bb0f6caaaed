"""Keeping a session alive: UPDATE or re-INVITE when its timer says so, or when somebody asks.

RFC 4028 (session timers), RFC 3311 (UPDATE), RFC 3261 §14 (re-INVITE, and what happens when both
sides send one at once).
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rcsops.errors import InviteError, SessionClosed, SipParseError
from rcsops.sip import (
    Accepted,
    AckAgain,
    InviteClient,
    Message,
    RefreshDue,
    Request,
    Response,
    ResponseReceived,
    SessionTimer,
)
from rcsops.sip.registrar_answer import retry_after
from rcsops.transport import Alarm
from rcsops.ua.refusals import refusal

if TYPE_CHECKING:
    from rcsops.ua.call import Call

__all__ = ["SessionRefresh"]

_MAX_TRIES = 5
_NOT_KNOWN = (405, 501)
# RFC 3261 §12.2.1.2, RFC 4028 §10: the peer has no such dialog any more.
_GONE = (404, 408, 410, 481)


class SessionRefresh:
    """The session timer of one call, and the requests that refresh it."""

    __slots__ = (
        "_alarm",
        "_call",
        "_pause",
        "_tries",
        "_under_way",
        "_update_known",
        "_waiters",
        "inviting",
        "timer",
    )

    def __init__(self, call: "Call", timer: SessionTimer) -> None:
        self.timer = timer
        self.inviting = False
        """Whether a re-INVITE of ours has no final answer: one of the peer then gets 491."""
        self._call = call
        self._alarm = Alarm()
        self._pause: asyncio.TimerHandle | None = None
        self._tries = 0
        self._under_way = False
        self._update_known = False
        self._waiters: list[asyncio.Future[None]] = []

    def note_allowed(self, message: Message) -> None:
        """Learns from an Allow header of the peer whether it knows UPDATE."""
        allowed = message.option_tags("Allow")
        if allowed:
            self._update_known = "UPDATE" in allowed

    def refusal_headers(self, status: int) -> list[tuple[str, str]]:
        """What a refusal by the timer says beside its status (RFC 4028 §6)."""
        return [("Min-SE", str(self.timer.min_se))] if status == 422 else []

    def schedule(self) -> None:
        """The session is there, or has just been refreshed: waits for what comes next."""
        self._alarm.set(self.timer.next_timer(), self._timer_due)

    def stop(self) -> None:
        """The dialog is over."""
        self.timer.stop()
        self._alarm.cancel()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._settle(SessionClosed("the session is over"))

    async def ask(self) -> None:
        """Refreshes now and waits for the peer's answer.

        Raises InviteError with its status when it refuses, SessionClosed when the dialog is over.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._begin()
        await waiter

    def _timer_due(self) -> None:
        self.timer.handle_timer(self._call.now)
        while (event := self.timer.next_event()) is not None:
            if isinstance(event, RefreshDue):
                self._begin()
            else:
                self._call.lose(
                    "the session was not refreshed", 'SIP;cause=408;text="Session expired"'
                )
        self._alarm.set(self.timer.next_timer(), self._timer_due)

    def _begin(self) -> None:
        if not self._under_way and self._pause is None:
            self._tries = 0
            self._send()

    def _send(self) -> None:
        self._pause = None
        dialog = self._call.dialog
        if dialog is None or not self._call.confirmed:
            self._settle(SessionClosed("the session is over"))
            return
        self._under_way = True
        self._tries += 1
        headers = [("Contact", self._call.contact), *self._call.headers, *self.timer.offer()]
        if self._update_known:
            request = dialog.create_request("UPDATE", headers)
            self._call.send_in_dialog(request, dialog, self._done(request))
            return
        request = dialog.create_request("INVITE", headers)
        request.set_body(self._call.user.call_description(), "application/sdp")
        self.inviting = True
        client: InviteClient | None = None

        def attempt(sent: Request) -> None:
            nonlocal client
            client = InviteClient(sent, dialog=dialog)

        def response(event: ResponseReceived) -> None:
            assert client is not None
            client.receive_response(event.response, self._call.now)
            while (outcome := client.next_event()) is not None:
                if isinstance(outcome, Accepted | AckAgain):
                    self._call.send_ack(outcome.ack, outcome.dialog)

        self._call.send_in_dialog(
            request, dialog, self._done(request), on_response=response, on_attempt=attempt
        )

    def _done(self, request: Request) -> Callable[[Response | None, str], None]:
        def done(response: Response | None, error: str) -> None:
            self._under_way = self.inviting = False
            if response is None:
                response = Response(408 if error == "no answer in time" else 503, error)
            self._outcome(request.method, response)

        return done

    def _outcome(self, method: str, response: Response) -> None:
        call, status = self._call, response.status
        if not call.confirmed:
            self._settle(SessionClosed("the session is over"))
        elif status < 300:
            self._refreshed(response)
        elif method == "UPDATE" and status in _NOT_KNOWN:
            self._update_known = False
            self._send()
        elif status == 422 and self._tries < _MAX_TRIES and self.timer.receive_422(response):
            self._send()
        elif status in (491, 500, 503) and self._tries < _MAX_TRIES:
            self._send_later(status, response)
        elif status in _GONE:
            self._settle(refusal(response))
            call.lose(
                f"the peer has no such session any more ({status})",
                f'SIP;cause={status};text="Session lost"',
            )
        else:
            self.timer.refresh_failed(call.now)
            self.schedule()
            self._settle(refusal(response))

    def _refreshed(self, response: Response) -> None:
        call = self._call
        self.timer.receive_2xx(response, call.now)
        self.note_allowed(response)
        if call.dialog is not None:
            try:
                call.dialog.update_target(response)
            except SipParseError:
                # It stays where it was.
                pass
        self.schedule()
        self._settle(None)

    def _send_later(self, status: int, response: Response) -> None:
        """Both sides asked at once (491), or the other wants time (500, 503).

        RFC 3261 §14.1: who made the Call-ID waits the longer, so that the other comes first.
        """
        fraction = self._call.fraction()
        delay = (2.1 + 1.9 * fraction) if self._call.outgoing else 2.0 * fraction
        if status != 491:
            delay = min(retry_after(response) or delay, 32.0)
        self._pause = asyncio.get_running_loop().call_later(delay, self._send)

    def _settle(self, error: InviteError | SessionClosed | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
