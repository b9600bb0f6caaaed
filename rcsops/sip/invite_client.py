"""The caller's part of setting up a session (RFC 3261 §13.2).

What no transaction does: early dialogs and forks, the ACK for the 2xx and its repetition, a 2xx
that crosses a CANCEL. It talks in events; the caller sends what these carry.
"""

from collections import deque
from typing import NamedTuple

from rcsops.errors import SipParseError
from rcsops.sip.dialog import Dialog, DialogId
from rcsops.sip.message import Request, Response

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


ClientEvent = Progress | Accepted | Failed | ExtraFork | AckAgain | CancelDue


class InviteClient:
    """The UAC's part (RFC 3261 §13.2): one for each INVITE sent, so a new one after a 401.

    Feed it every response of the transaction with :meth:`receive_response`, and
    :meth:`no_response` when the transaction timed out or could not send. It ends with exactly one
    :class:`Accepted` or :class:`Failed`; after Accepted keep it while the transaction lives, as it
    repeats ACKs and refuses further forks. ``deadline`` is until when to let it ring; ``dialog`` is
    given for a re-INVITE, whose failure leaves the dialog as it was (§14.1).
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
        *,
        deadline: float | None = None,
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
        self._deadline = deadline

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
            dialog = self._dialog_of(DialogId.of_received(response), response)
        self._events.append(Progress(response.status, dialog, response))

    def _receive_2xx(self, response: Response) -> None:
        known = DialogId.of_received(response)
        ack = self._forks.get(known)
        if ack is not None:
            self._events.append(AckAgain(ack, self.dialogs[known]))
            return
        dialog = self._dialog_of(known, response)
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

    def _dialog_of(self, known: DialogId, response: Response) -> Dialog | None:
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
