"""An INVITE of ours, from its first sending to its final response (RFC 3261 §13.2, §9.1)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rcsops.errors import InviteError
from rcsops.sip import (
    Accepted,
    AckAgain,
    CancelDue,
    Dialog,
    DigestClient,
    ExtraFork,
    Failed,
    Flow,
    InviteClient,
    Progress,
    Request,
    Response,
    ResponseReceived,
    Target,
)
from rcsops.transport import Alarm
from rcsops.transport.requester import Walk
from rcsops.ua.host import AgentHost
from rcsops.ua.refusals import refusal

if TYPE_CHECKING:
    from rcsops.ua.call import Call

__all__ = ["OutgoingInvite"]

_CANCEL_SECONDS = 2.0
_WAY_BACK_SECONDS = 10.0


class OutgoingInvite:
    """The walk of a call's INVITE, and what comes of it: ``Call.accepted`` or ``Call.refused``.

    It rings until ``deadline`` at most. ``on_progress(status, response)`` is called for
    provisional responses. It goes on for a while after the outcome, for the 2xx of other forks.
    """

    __slots__ = (
        "_alarm",
        "_call",
        "_client",
        "_deadline",
        "_host",
        "_on_progress",
        "_outcome",
        "_walk",
        "_way_lost",
    )

    def __init__(
        self,
        call: "Call",
        host: AgentHost,
        deadline: float,
        on_progress: Callable[[int, Response], None] | None,
    ) -> None:
        self._call = call
        self._host = host
        self._deadline = deadline
        self._on_progress = on_progress
        self._client: InviteClient | None = None
        self._walk: Walk | None = None
        # The final response, or why it was given up. No exception: what is raised holds the frames
        # that it came through, and they hold this.
        self._outcome: asyncio.Future[Response | str] = asyncio.get_running_loop().create_future()
        self._alarm = Alarm()
        self._way_lost: asyncio.TimerHandle | None = None

    @property
    def dialogs(self) -> tuple[Dialog, ...]:
        """The dialogs that its responses have made so far: of each fork one."""
        return () if self._client is None else tuple(self._client.dialogs.values())

    async def run(
        self,
        targets: Sequence[Target],
        digest: DigestClient | None,
        on_sent: Callable[[], None] | None = None,
    ) -> Response:
        """Sends it and waits for the 2xx; see ``Call.dial``."""
        self._walk = Walk(
            self._host.endpoint,
            self._call.request,
            targets,
            digest=digest,
            on_response=self._response,
            on_done=self._done,
            on_attempt=self._attempt,
        )
        self._host.dialling.add(self)
        self._walk.start()
        # Each attempt has the same end, so one alarm does; it need not delay the first.
        if self._client is not None and not self._client.done:
            self._alarm.set(self._client.next_timer(), self._timer_due)
        try:
            if on_sent is not None:
                on_sent()
            outcome = await asyncio.shield(self._outcome)
        except asyncio.CancelledError:
            self.cancel()
            # Its outcome matters to the peer even when nobody here waits for it any more.
            await asyncio.wait((self._outcome,), timeout=_CANCEL_SECONDS)
            await self._call.hang_up(wait=_CANCEL_SECONDS)
            raise
        finally:
            self._host.dialling.discard(self)
            if self._way_lost is not None:
                self._way_lost.cancel()
        if isinstance(outcome, str):
            raise InviteError(outcome or "given up", status=487)
        if outcome.status >= 300:
            raise refusal(outcome)
        return outcome

    def cancel(self, reason: str | None = None) -> None:
        """Takes it back; ``run`` then ends with InviteError 487."""
        if self._client is None or self._walk is None or self._client.done:
            return
        self._client.cancel()
        self._walk.cancel(reason)

    def give_up(self, reason: str) -> None:
        """Ends ``run`` without waiting for the peer."""
        if not self._outcome.done():
            self._outcome.set_result(reason)

    def flow_closed(self, flow: Flow) -> None:
        """A connection is gone. If the INVITE went by it, a server that still knows of it finds us
        by our Via (RFC 3261 §18.2.2), but one that has been restarted never will."""
        walk = self._walk
        if walk is None or walk.target is None or self._way_lost is not None:
            return
        ours = walk.target.flow
        if (ours.transport, ours.remote) == (flow.transport, flow.remote):
            loop = asyncio.get_running_loop()
            self._way_lost = loop.call_later(_WAY_BACK_SECONDS, self._no_way_back)

    def _no_way_back(self) -> None:
        if self._client is None or self._walk is None or self._client.done:
            return
        self._client.no_response(503, "the connection to the server was lost")
        self._drain()
        self._walk.cancel()

    def _attempt(self, request: Request) -> None:
        self._call.request = request
        self._client = InviteClient(request, deadline=self._deadline)

    def _response(self, event: ResponseReceived) -> None:
        if self._client is not None:
            self._client.receive_response(event.response, self._call.now)
            self._drain()

    def _done(self, final: Response | None, error: str) -> None:
        if final is None and self._client is not None:
            self._client.no_response(408 if error == "no answer in time" else 503, error)
            self._drain()

    def _timer_due(self) -> None:
        if self._client is not None and not self._client.done:
            self._client.handle_timer(self._call.now)
            self._drain()
            self._alarm.set(self._client.next_timer(), self._timer_due)

    def _drain(self) -> None:
        call, client, outcome = self._call, self._client, self._outcome
        while client is not None and (event := client.next_event()) is not None:
            if isinstance(event, Progress):
                if self._on_progress is not None:
                    self._on_progress(event.status, event.response)
            elif isinstance(event, Accepted):
                self._alarm.cancel()
                call.accepted(event)
                if not outcome.done():
                    outcome.set_result(event.response)
            elif isinstance(event, Failed):
                self._alarm.cancel()
                call.refused(event.response)
                if not outcome.done():
                    outcome.set_result(event.response)
            elif isinstance(event, ExtraFork):
                call.send_ack(event.ack, event.dialog)
                call.send_in_dialog(event.bye, event.dialog)
            elif isinstance(event, AckAgain):
                call.send_ack(event.ack, event.dialog)
            elif isinstance(event, CancelDue) and self._walk is not None:
                self._walk.cancel()
