"""Keeping a session alive: UPDATE or re-INVITE when its timer says so, or when somebody asks.

RFC 4028 (session timers), RFC 3311 (UPDATE), RFC 3261 §14 (re-INVITE, and what happens when both
sides send one at once).
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import ref

from rcsops.errors import SessionClosed, SipParseError
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
        "_asked",
        "_call",
        "_offered",
        "_offering",
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
        # The call holds this; they must not hold each other.
        self._call = ref(call)
        self._alarm = Alarm()
        self._pause: asyncio.TimerHandle | None = None
        self._tries = 0
        self._under_way = False
        self._offering = False
        self._update_known = False
        self._offered = False
        # Who waits for the request that is under way, and for the next one.
        self._asked: list[asyncio.Future[Response | None]] = []
        self._waiters: list[asyncio.Future[Response | None]] = []

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
        self._settle(None)

    async def ask(self, *, offer: bool = False) -> None:
        """Refreshes now and waits for the peer's answer; with ``offer`` the peer is told our side
        of the session again, which has changed.

        Raises InviteError with its status when it refuses, SessionClosed when the dialog is over.
        """
        waiter: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._offering = self._offering or offer
        self._begin()
        response = await waiter
        if response is None:
            raise SessionClosed("the session is over")
        if response.status >= 300:
            raise refusal(response)

    def _timer_due(self) -> None:
        call = self._call()
        if call is None:
            return
        self.timer.handle_timer(call.now)
        while (event := self.timer.next_event()) is not None:
            if isinstance(event, RefreshDue):
                self._begin()
            else:
                call.lose("the session was not refreshed", 'SIP;cause=408;text="Session expired"')
        self._alarm.set(self.timer.next_timer(), self._timer_due)

    def _begin(self) -> None:
        if not self._under_way and self._pause is None:
            self._tries = 0
            self._send()

    def _send(self) -> None:
        self._pause = None
        call = self._call()
        dialog = None if call is None else call.dialog
        if call is None or dialog is None or not call.confirmed:
            self._settle(None)
            return
        self._under_way = True
        self._tries += 1
        self._asked += self._waiters
        self._waiters.clear()
        self._offered = self._offering
        headers = [("Contact", call.contact), *call.headers, *self.timer.offer()]
        if self._update_known and not self._offering:
            request = dialog.create_request("UPDATE", headers)
            call.send_in_dialog(request, dialog, self._done(call, request))
            return
        request = dialog.create_request("INVITE", headers)
        self._offering = False
        request.set_body(call.user.call_description(), "application/sdp")
        self.inviting = True
        client: InviteClient | None = None

        def attempt(sent: Request) -> None:
            nonlocal client
            client = InviteClient(sent, dialog=dialog)

        def response(event: ResponseReceived) -> None:
            assert client is not None
            client.receive_response(event.response, call.now)
            while (outcome := client.next_event()) is not None:
                if isinstance(outcome, Accepted | AckAgain):
                    call.send_ack(outcome.ack, outcome.dialog)

        call.send_in_dialog(
            request, dialog, self._done(call, request), on_response=response, on_attempt=attempt
        )

    def _done(self, call: "Call", request: Request) -> Callable[[Response | None, str], None]:
        def done(response: Response | None, error: str) -> None:
            self._under_way = self.inviting = False
            if response is None:
                response = Response(408 if error == "no answer in time" else 503, error)
            self._outcome(call, request.method, response)

        return done

    def _outcome(self, call: "Call", method: str, response: Response) -> None:
        status = response.status
        if not call.confirmed:
            self._settle(None)
        elif status < 300:
            self._refreshed(call, response)
        elif method == "UPDATE" and status in _NOT_KNOWN:
            self._update_known = False
            self._send()
        elif status == 422 and self._tries < _MAX_TRIES and self.timer.receive_422(response):
            self._offering |= self._offered
            self._send()
        elif status in (491, 500, 503) and self._tries < _MAX_TRIES:
            self._offering |= self._offered
            self._send_later(call, status, response)
        elif status in _GONE:
            self._offering = False
            self._settle(response)
            call.lose(
                f"the peer has no such session any more ({status})",
                f'SIP;cause={status};text="Session lost"',
            )
        else:
            self.timer.refresh_failed(call.now)
            self.schedule()
            self._settle(response)

    def _refreshed(self, call: "Call", response: Response) -> None:
        self.timer.receive_2xx(response, call.now)
        self.note_allowed(response)
        if call.dialog is not None:
            try:
                call.dialog.update_target(response)
            except SipParseError:
                # It stays where it was.
                pass
        self.schedule()
        self._settle(response)

    def _send_later(self, call: "Call", status: int, response: Response) -> None:
        """Both sides asked at once (491), or the other wants time (500, 503).

        RFC 3261 §14.1: who made the Call-ID waits the longer, so that the other comes first.
        """
        fraction = call.fraction()
        delay = (2.1 + 1.9 * fraction) if call.outgoing else 2.0 * fraction
        if status != 491:
            delay = min(retry_after(response) or delay, 32.0)
        self._pause = asyncio.get_running_loop().call_later(delay, self._send)

    def _settle(self, response: Response | None) -> None:
        """Tells who waits the peer's answer; None: the session is over. What changed while the
        request was under way has yet to be said, in one of its own."""
        waiters, self._asked = self._asked, []
        if response is None or not self._offering:
            waiters += self._waiters
            self._waiters.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(response)
        if self._waiters:
            self._begin()
