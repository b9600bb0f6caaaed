"""One INVITE dialog of an agent: set up, kept, and ended (RFC 3261 §13 to §15)."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from rcsops.errors import InviteError, LocalProtocolError, RemoteProtocolError, SipParseError
from rcsops.sip import (
    Accepted,
    AckAgain,
    Acknowledged,
    AckTimeout,
    CancelDue,
    Dialog,
    DialogId,
    DigestClient,
    ExtraFork,
    Failed,
    Flow,
    InviteCancelled,
    InviteClient,
    InviteServer,
    InviteServerState,
    Progress,
    Request,
    Respond,
    Response,
    ResponseReceived,
    ServerTransaction,
    Target,
)
from rcsops.transport import Alarm
from rcsops.transport.requester import Walk
from rcsops.ua.host import ALLOW, AgentHost

__all__ = ["Call", "CallState", "CallUser"]

Headers = Iterable[tuple[str, str]]

_CANCEL_SECONDS = 2.0


class CallState(StrEnum):
    """Where a call stands."""

    SETTING_UP = "setting up"
    CONFIRMED = "confirmed"
    ENDED = "ended"


class CallUser:
    """What stands on a call and is told what the peer does. Each method has a harmless default."""

    __slots__ = ()

    def call_cancelled(self, reason: str) -> None:
        """The peer took its INVITE back, or nobody answered it in time."""

    def call_ended(self, reason: str, *, by_peer: bool) -> None:
        """The dialog is over, by a BYE of the peer or because it never acknowledged."""

    def call_acknowledged(self) -> None:
        """The ACK for our 200 is here."""

    def call_offer(self, request: Request) -> tuple[int, bytes]:
        """A re-INVITE or UPDATE with an offer: status and answer. 488 leaves all as it was."""
        return 488, b""


class Call:
    """The dialog, its INVITE transactions, BYE and CANCEL; sessions and files stand on it.

    Made by ``dial`` on one side and by ``received`` on the other.
    """

    __slots__ = (
        "_alarm",
        "_bye",
        "_client",
        "_contact",
        "_digest",
        "_headers",
        "_host",
        "_known",
        "_on_progress",
        "_outcome",
        "_parting",
        "_server",
        "_transaction",
        "_walk",
        "_ways",
        "call_id",
        "dialog",
        "final",
        "flow",
        "request",
        "state",
        "user",
    )

    def __init__(self, host: AgentHost, request: Request, contact: str) -> None:
        self.request = request
        self.call_id = request.call_id
        self.dialog: Dialog | None = None
        self.final: Response | None = None
        self.flow: Flow | None = None
        self.state = CallState.SETTING_UP
        self.user: CallUser = CallUser()
        self._host = host
        self._contact = contact
        self._headers: tuple[tuple[str, str], ...] = ()
        self._digest: DigestClient | None = None
        self._client: InviteClient | None = None
        self._server: InviteServer | None = None
        self._transaction: ServerTransaction | None = None
        self._walk: Walk | None = None
        # Where the INVITE went to or came from: our server, where we have one.
        self._ways: frozenset[tuple[str, int]] = frozenset()
        self._known: DialogId | None = None
        self._bye: asyncio.Future[None] | None = None
        self._parting: str | None = None
        self._outcome: asyncio.Future[Response] | None = None
        self._on_progress: Callable[[int, Response], None] | None = None
        self._alarm = Alarm(self._timer_due)

    # --- outgoing ----------------------------------------------------------------------------

    async def dial(
        self,
        targets: Sequence[Target],
        *,
        digest: DigestClient | None,
        time_limit: float,
        on_progress: Callable[[int, Response], None] | None = None,
    ) -> Response:
        """Sends the INVITE and waits for the 2xx, which it acknowledges.

        Raises InviteError with the status of any other outcome. When the caller is cancelled, so
        is the INVITE, which takes a moment: a 200 that crosses the CANCEL has to be ended with BYE.
        """
        endpoint = self._host.endpoint
        self._digest = digest
        self._ways = frozenset(target.flow.remote for target in targets)
        self._on_progress = on_progress
        self._outcome = asyncio.get_running_loop().create_future()
        deadline = endpoint.now + time_limit

        def attempt(request: Request) -> None:
            self.request = request
            self._client = InviteClient(
                request, endpoint.now, time_limit=max(0.0, deadline - endpoint.now)
            )
            self._alarm.set(self._client.next_timer())

        def response(event: ResponseReceived) -> None:
            if self._client is not None:
                self._client.receive_response(event.response, endpoint.now)
                self._drain_client()

        def done(final: Response | None, error: str) -> None:
            if final is None and self._client is not None:
                timed_out = error == "no answer in time"
                self._client.no_response(408 if timed_out else 503, error)
                self._drain_client()

        self._walk = Walk(
            endpoint,
            self.request,
            targets,
            digest=digest,
            on_response=response,
            on_done=done,
            on_attempt=attempt,
        )
        self._walk.start()
        try:
            return await asyncio.shield(self._outcome)
        except asyncio.CancelledError:
            self.cancel()
            # Its outcome matters to the peer even when nobody here waits for it any more.
            await asyncio.wait((self._outcome,), timeout=_CANCEL_SECONDS)
            await self.hang_up(wait=_CANCEL_SECONDS)
            raise

    def cancel(self, reason: str | None = None) -> None:
        """Takes the INVITE back; ``dial`` then ends with InviteError 487."""
        if self._client is None or self._walk is None or self._client.done:
            return
        self._client.cancel()
        self._walk.cancel(reason)

    def give_up(self, reason: str) -> None:
        """Ends a call that is not set up yet, without waiting for the peer."""
        self.cancel()
        self.reject(480)
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_exception(InviteError(reason or "given up", status=487))
            self._outcome.exception()

    def _drain_client(self) -> None:
        client, outcome = self._client, self._outcome
        while client is not None and (event := client.next_event()) is not None:
            if isinstance(event, Progress):
                if self._on_progress is not None:
                    self._on_progress(event.status, event.response)
            elif isinstance(event, Accepted):
                self._alarm.cancel()
                self.dialog = event.dialog
                self._confirm()
                self._send_ack(event.ack, event.dialog)
                if outcome is not None and not outcome.done():
                    outcome.set_result(event.response)
            elif isinstance(event, Failed):
                self._alarm.cancel()
                self.state = CallState.ENDED
                self.final = event.response
                if outcome is not None and not outcome.done():
                    outcome.set_exception(refusal(event.response))
                    # Nobody may be waiting any more; that is no mistake of anyone.
                    outcome.exception()
            elif isinstance(event, ExtraFork):
                self._send_ack(event.ack, event.dialog)
                self._send_in_dialog(event.bye, event.dialog)
            elif isinstance(event, AckAgain):
                self._send_ack(event.ack, event.dialog)
            elif isinstance(event, CancelDue) and self._walk is not None:
                self._walk.cancel()

    def _send_ack(self, ack: Request, dialog: Dialog) -> None:
        def send(targets: tuple[Target, ...]) -> None:
            if targets:
                self._host.endpoint.send_ack(ack, targets[0])

        self._host.with_targets(dialog.next_hop, send)

    def _send_in_dialog(
        self,
        request: Request,
        dialog: Dialog,
        on_done: Callable[[Response | None, str], None] | None = None,
    ) -> None:
        def send(targets: tuple[Target, ...]) -> None:
            digest = self._digest
            if not dialog.route_set and not self._ways.issuperset(t.flow.remote for t in targets):
                # Straight to the peer, whom a digest of ours would only help to guess the password.
                digest = None
            walk = Walk(self._host.endpoint, request, targets, digest=digest, on_done=on_done)
            walk.start()

        self._host.with_targets(dialog.next_hop, send)

    # --- incoming ----------------------------------------------------------------------------

    def received(
        self, flow: Flow, headers: Headers = (), digest: DigestClient | None = None
    ) -> None:
        """Takes the INVITE that this call was made with; ``headers`` go into our responses."""
        endpoint = self._host.endpoint
        self.flow = flow
        self._ways = frozenset((flow.remote,))
        self._headers = tuple(headers)
        self._digest = digest
        self._transaction = endpoint.accept(self.request, flow)
        self._transaction.context = self
        self._server = InviteServer(
            self.request,
            tokens=endpoint.tokens,
            contact=self._contact,
            now=endpoint.now,
            timers=endpoint.timers,
        )
        self._alarm.set(self._server.next_timer())

    def ring(self) -> None:
        """Sends 180. Raises RemoteProtocolError when the INVITE makes no dialog."""
        server = self._require_server()
        server.progress(180, self._host.endpoint.now, self._headers)
        self.dialog = server.dialog
        self._know_dialog()
        self._drain_server()

    def accept(self, body: bytes, content_type: str = "application/sdp") -> None:
        """Sends 200 and repeats it until the ACK comes. Raises InviteError when it is too late."""
        server = self._require_server()
        headers = [*self._headers, ("Content-Type", content_type)]
        try:
            self.dialog = server.accept(self._host.endpoint.now, headers, body)
        except LocalProtocolError as error:
            raise InviteError("the invitation is over", status=487) from error
        self._know_dialog()
        self._confirm()
        self._drain_server()

    def reject(self, status: int, reason: str = "", headers: Headers = ()) -> bool:
        """Refuses the INVITE; False when it has been answered before."""
        server = self._server
        if server is None or server.state is not InviteServerState.PROCEEDING:
            return False
        server.reject(status, self._host.endpoint.now, reason, headers)
        self._end()
        self._drain_server()
        return True

    def receive_cancel(self, request: Request) -> None:
        """The peer cancels."""
        if self._server is None or not self._server.receive_cancel(self._host.endpoint.now):
            return
        self._drain_server(reason_text(request))

    def receive_ack(self, request: Request) -> None:
        """An ACK in the dialog."""
        if self._server is not None:
            self._server.receive_ack(request, self._host.endpoint.now)
            self._drain_server()

    def _require_server(self) -> InviteServer:
        if self._server is None:
            raise LocalProtocolError("this call was not received")
        return self._server

    def _drain_server(self, cancel_reason: str = "") -> None:
        server, transaction = self._server, self._transaction
        endpoint = self._host.endpoint
        while server is not None and (event := server.next_event()) is not None:
            if isinstance(event, Respond):
                if transaction is not None:
                    endpoint.respond(transaction, event.response)
            elif isinstance(event, Acknowledged):
                self.user.call_acknowledged()
                if self._parting is not None:
                    self._hang_up(self._parting)
            elif isinstance(event, AckTimeout):
                self._hang_up('SIP;cause=408;text="No ACK"')
                self.user.call_ended("the peer never acknowledged our answer", by_peer=False)
            elif isinstance(event, InviteCancelled):
                self._end()
                self.user.call_cancelled(cancel_reason)
        if server is not None and self.state is not CallState.ENDED:
            self._alarm.set(server.next_timer())

    # --- both --------------------------------------------------------------------------------

    def receive_request(self, request: Request, flow: Flow) -> None:
        """A request in the dialog other than ACK and CANCEL."""
        dialog = self.dialog
        if dialog is None or self.state is CallState.ENDED:
            self._host.refuse(request, flow, 481)
            return
        try:
            dialog.receive_request(request)
        except RemoteProtocolError as error:
            self._host.refuse(request, flow, error.status, error.reason)
            return
        if request.method == "BYE":
            self._receive_bye(request, flow)
        elif request.method == "INVITE":
            self._receive_reinvite(request, flow)
        elif request.method == "UPDATE":
            self._receive_update(request, flow)
        elif request.method == "OPTIONS":
            self._host.refuse(request, flow, 200, headers=[("Allow", ALLOW)])
        else:
            self._host.refuse(request, flow, 405, headers=[("Allow", ALLOW)])

    async def hang_up(self, reason: str = "", *, wait: float) -> None:
        """Ends the dialog with a BYE and waits for its answer, at most ``wait`` seconds.

        ``reason`` is the value of a Reason header (RFC 3326).
        """
        self._hang_up(reason)
        if self._bye is not None:
            try:
                async with asyncio.timeout(wait):
                    await asyncio.shield(self._bye)
            except TimeoutError:
                # The layer goes on resending it; nothing depends on the answer.
                pass

    def _hang_up(self, reason: str) -> None:
        if self.state is not CallState.CONFIRMED or self.dialog is None:
            return
        if self._bye is None:
            self._bye = asyncio.get_running_loop().create_future()
        if self._server is not None and self._server.state is InviteServerState.ACCEPTED:
            # RFC 3261 §15: who was called sends no BYE before the ACK, or the end of its wait.
            self._parting = reason
            return
        headers = [("Reason", reason)] if reason else []
        bye = self.dialog.create_request("BYE", headers)
        done = self._bye
        dialog = self.dialog
        self._end()

        def finished(response: Response | None, error: str) -> None:
            if not done.done():
                done.set_result(None)

        self._send_in_dialog(bye, dialog, finished)

    def _receive_bye(self, request: Request, flow: Flow) -> None:
        self._host.refuse(request, flow, 200)
        server = self._server
        if server is not None and server.state is InviteServerState.PROCEEDING:
            server.reject(487, self._host.endpoint.now)
            self._drain_server()
        self._end()
        if self._bye is not None and not self._bye.done():
            self._bye.set_result(None)
        self.user.call_ended(reason_text(request), by_peer=True)

    def _receive_reinvite(self, request: Request, flow: Flow) -> None:
        unfinished = (InviteServerState.PROCEEDING, InviteServerState.ACCEPTED)
        if self._server is not None and self._server.state in unfinished:
            # RFC 3261 §14.2: a second INVITE before the first is done.
            self._host.refuse(request, flow, 500, headers=[("Retry-After", "1")])
            return
        endpoint = self._host.endpoint
        status, body = self.user.call_offer(request)
        self._transaction = endpoint.accept(request, flow)
        self._transaction.context = self
        self._server = InviteServer(
            request,
            tokens=endpoint.tokens,
            contact=self._contact,
            now=endpoint.now,
            timers=endpoint.timers,
            dialog=self.dialog,
        )
        if status < 300:
            headers = [*self._headers, ("Content-Type", "application/sdp")]
            self._server.accept(endpoint.now, headers, body)
        else:
            self._server.reject(status, endpoint.now)
        self._drain_server()

    def _receive_update(self, request: Request, flow: Flow) -> None:
        status, body = self.user.call_offer(request) if request.body else (200, b"")
        if status < 300 and self.dialog is not None:
            self.dialog.update_target(request)
        endpoint = self._host.endpoint
        response = Response.to_request(request, status, headers=[("Contact", self._contact)])
        if body:
            response.set_body(body, "application/sdp")
        endpoint.respond(endpoint.accept(request, flow), response)

    def _confirm(self) -> None:
        self.state = CallState.CONFIRMED
        self._know_dialog()

    def _know_dialog(self) -> None:
        if self.dialog is not None and self._known is None:
            self._known = self.dialog.id
            self._host.add_call(self, self._known)

    def _end(self) -> None:
        self.state = CallState.ENDED
        self._alarm.cancel()
        if self.dialog is not None:
            self.dialog.terminate()
        if self._known is not None:
            self._host.remove_call(self._known)
            self._known = None

    def _timer_due(self) -> None:
        now = self._host.endpoint.now
        if self._client is not None and not self._client.done:
            self._client.handle_timer(now)
            self._drain_client()
            self._alarm.set(self._client.next_timer())
        if self._server is not None:
            self._server.handle_timer(now)
            self._drain_server()


def refusal(response: Response) -> InviteError:
    """What to raise for a final response other than 2xx."""
    explained = {
        403: "the server does not allow it",
        404: "there is no such user",
        408: "no answer",
        415: "the peer cannot take this kind of session",
        480: "the user is not there",
        486: "the user is busy",
        487: "the invitation was taken back",
        488: "the peer cannot take this kind of session",
        503: "the server cannot be reached",
        603: "the user declined",
    }.get(response.status)
    text = f"{response.status} {response.reason}".strip()
    return InviteError(f"{explained} ({text})" if explained else text, status=response.status)


def reason_text(request: Request) -> str:
    """The text of a Reason header (RFC 3326), printable; empty without one."""
    try:
        values = request.values("Reason")
    except SipParseError:
        return ""
    for value in values:
        _, _, params = value.partition(";")
        for param in params.split(";"):
            name, _, text = param.partition("=")
            if name.strip().lower() == "text":
                return "".join(c for c in text.strip().strip('"') if c.isprintable())[:120]
    return ""
