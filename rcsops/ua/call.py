"""One INVITE dialog of an agent: set up, kept, and ended (RFC 3261 §13 to §15)."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from rcsops.errors import InviteError, LocalProtocolError, RemoteProtocolError
from rcsops.sip import (
    Accepted,
    Acknowledged,
    AckTimeout,
    Dialog,
    DialogId,
    DigestClient,
    Flow,
    InviteCancelled,
    InviteServer,
    InviteServerState,
    Request,
    Respond,
    Response,
    ResponseReceived,
    ServerTransaction,
    SessionTimer,
    Target,
    Uri,
)
from rcsops.transport import Alarm
from rcsops.transport.requester import Walk
from rcsops.ua.call_user import CallState, CallUser
from rcsops.ua.host import AgentHost
from rcsops.ua.in_dialog import receive_in_dialog
from rcsops.ua.outgoing_invite import OutgoingInvite
from rcsops.ua.refresh import SessionRefresh
from rcsops.ua.refusals import cancel_reason, reason_text

__all__ = ["Call", "CallState", "CallUser"]

Headers = Iterable[tuple[str, str]]


class Call:
    """The dialog, its INVITE transactions, BYE and CANCEL; sessions and files stand on it.

    Made by ``dial`` on one side and by ``received`` on the other.
    """

    __slots__ = (
        "__weakref__",
        "_alarm",
        "_bye",
        "_digest",
        "_host",
        "_invite",
        "_known",
        "_parting",
        "_server",
        "_transaction",
        "_ways",
        "call_id",
        "contact",
        "dialog",
        "final",
        "flow",
        "headers",
        "outgoing",
        "refresh",
        "request",
        "state",
        "user",
    )

    def __init__(
        self, host: AgentHost, request: Request, contact: str, *, session_expires: int = 0
    ) -> None:
        """``session_expires`` is how often, in seconds, the session is to be refreshed (RFC 4028);
        0 asks for no timer."""
        self.request = request
        self.call_id = request.call_id
        self.dialog: Dialog | None = None
        self.final: Response | None = None
        self.flow: Flow | None = None
        self.state = CallState.SETTING_UP
        self.user: CallUser = CallUser()
        self.contact = contact
        self.headers: tuple[tuple[str, str], ...] = ()
        self.outgoing = False
        self.refresh = SessionRefresh(self, SessionTimer(session_expires))
        self._host = host
        self._digest: DigestClient | None = None
        self._invite: OutgoingInvite | None = None
        self._server: InviteServer | None = None
        self._transaction: ServerTransaction | None = None
        # Where the INVITE went to or came from: our server, where we have one.
        self._ways: frozenset[tuple[str, int]] = frozenset()
        self._known: DialogId | None = None
        self._bye: asyncio.Future[None] | None = None
        self._parting: str | None = None
        self._alarm = Alarm()

    # --- outgoing ----------------------------------------------------------------------------

    async def dial(
        self,
        targets: Sequence[Target],
        *,
        digest: DigestClient | None,
        deadline: float,
        on_progress: Callable[[int, Response], None] | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> Response:
        """Sends the INVITE and waits for the 2xx, until ``deadline`` at most, and acknowledges it.

        ``on_sent()`` is called when the INVITE has left, before anything can come back. Raises
        InviteError with the status of any other outcome. When the caller is cancelled, so is the
        INVITE, which takes a moment: a 200 that crosses the CANCEL has to be ended with BYE.
        """
        self.outgoing = True
        self._digest = digest
        self._ways = frozenset(target.flow.remote for target in targets)
        for name, value in self.refresh.timer.offer():
            self.request.add(name, value)
        self._invite = OutgoingInvite(self, self._host, deadline, on_progress)
        try:
            return await self._invite.run(targets, digest, on_sent)
        finally:
            self._invite = None

    def accepted(self, event: Accepted) -> None:
        """Our INVITE has its 2xx."""
        self.dialog = event.dialog
        # Both media and the other side wait for the ACK.
        self.send_ack(event.ack, event.dialog)
        self.refresh.timer.receive_2xx(event.response, self.now)
        self.refresh.note_allowed(event.response)
        self._confirm()

    def refused(self, response: Response) -> None:
        """Our INVITE has another final response."""
        self.state = CallState.ENDED
        self.final = response

    def try_again(self, uri: Uri | None = None) -> None:
        """After a refusal: makes the INVITE ready to be dialled anew, at another ``uri`` perhaps.

        It keeps its Call-ID, From and To, and has the next number (RFC 3261 §8.1.3.4, §8.1.3.5).
        """
        request = self.request.copy()
        for name in (
            *("Via", "Supported", "Session-Expires", "Min-SE"),
            *("Authorization", "Proxy-Authorization"),
        ):
            request.remove(name)
        if uri is not None:
            request.uri = str(uri)
        request.set("CSeq", f"{self.request.cseq.number + 1} INVITE")
        self.request = request
        self.state = CallState.SETTING_UP
        self.final = self.dialog = self._invite = None

    def cancel(self, reason: str | None = None) -> None:
        """Takes the INVITE back; ``dial`` then ends with InviteError 487."""
        if self._invite is not None:
            self._invite.cancel(reason)

    def give_up(self, reason: str) -> None:
        """Ends a call that is not set up yet, without waiting for the peer."""
        self.cancel()
        self.reject(480)
        if self._invite is not None:
            self._invite.give_up(reason)

    def send_ack(self, ack: Request, dialog: Dialog) -> None:
        """Sends the ACK for a 2xx, which no transaction does."""

        def send(targets: tuple[Target, ...]) -> None:
            if targets:
                self._host.endpoint.send_ack(ack, targets[0])

        self._host.with_targets(dialog.next_hop, send)

    def send_in_dialog(
        self,
        request: Request,
        dialog: Dialog,
        on_done: Callable[[Response | None, str], None] | None = None,
        *,
        on_response: Callable[[ResponseReceived], None] | None = None,
        on_attempt: Callable[[Request], None] | None = None,
    ) -> None:
        """Sends a request of the dialog where it goes; the hooks are those of `Walk`."""

        def attempt(sent: Request) -> None:
            # With credentials it has another number, which the next request must go beyond.
            dialog.local_cseq = max(dialog.local_cseq or 0, sent.cseq.number)
            if on_attempt is not None:
                on_attempt(sent)

        def send(targets: tuple[Target, ...]) -> None:
            digest = self._digest
            if not dialog.route_set and not self._ways.issuperset(t.flow.remote for t in targets):
                # Straight to the peer, whom a digest of ours would only help to guess the password.
                digest = None
            Walk(
                self._host.endpoint,
                request,
                targets,
                digest=digest,
                on_done=on_done,
                on_response=on_response,
                on_attempt=attempt,
            ).start()

        self._host.with_targets(dialog.next_hop, send)

    # --- incoming ----------------------------------------------------------------------------

    def received(
        self, flow: Flow, headers: Headers = (), digest: DigestClient | None = None
    ) -> None:
        """Takes the INVITE that this call was made with; ``headers`` go into our responses."""
        endpoint = self._host.endpoint
        self.flow = flow
        self._ways = frozenset((flow.remote,))
        self.headers = tuple(headers)
        self._digest = digest
        self._transaction = endpoint.accept(self.request, flow)
        self._transaction.context = self
        self._server = InviteServer(
            self.request,
            tokens=endpoint.tokens,
            contact=self.contact,
            now=endpoint.now,
            timers=endpoint.timers,
        )

    def ring(self) -> None:
        """Sends 180. Raises RemoteProtocolError for an INVITE that makes no dialog, or whose
        session timer will not do."""
        server = self._require_server()
        self.refresh.timer.check(self.request)
        server.progress(180, self._host.endpoint.now, self.headers)
        self.dialog = server.dialog
        self._drain_server()
        self._know_dialog()

    def accept(self, body: bytes, content_type: str = "application/sdp") -> None:
        """Sends 200 and repeats it until the ACK comes. Raises InviteError when it is too late."""
        server = self._require_server()
        now = self._host.endpoint.now
        headers = [*self.headers, *self.refresh.timer.answer(self.request, now)]
        try:
            self.dialog = server.accept(now, [*headers, ("Content-Type", content_type)], body)
        except LocalProtocolError as error:
            raise InviteError("the invitation is over", status=487) from error
        self._drain_server()
        self.refresh.note_allowed(self.request)
        self._confirm()

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
        self._drain_server(cancel_reason(request))

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
                    if event.response.status >= 200:
                        # No CANCEL counts any more; it stays for half a minute, the call need not.
                        transaction.context = None
            elif isinstance(event, Acknowledged):
                self.user.call_acknowledged(event.ack)
                if self._parting is not None:
                    self._hang_up(self._parting)
            elif isinstance(event, AckTimeout):
                self.lose("the peer never acknowledged our answer", 'SIP;cause=408;text="No ACK"')
            elif isinstance(event, InviteCancelled):
                self._end().call_cancelled(cancel_reason)
        if server is not None and self.state is not CallState.ENDED:
            self._alarm.set(server.next_timer(), self._timer_due)

    # --- both --------------------------------------------------------------------------------

    @property
    def confirmed(self) -> bool:
        """Whether the dialog is there and has not ended."""
        return self.state is CallState.CONFIRMED

    @property
    def dialogs(self) -> tuple[Dialog, ...]:
        """Its dialog; while our INVITE has no final answer, the early ones of all forks."""
        if self.dialog is not None:
            return (self.dialog,)
        return () if self._invite is None else self._invite.dialogs

    @property
    def now(self) -> float:
        """The clock of its timers, in seconds."""
        return self._host.endpoint.now

    def fraction(self) -> float:
        """A random number in [0, 1)."""
        return self._host.endpoint.tokens.fraction()

    def lose(self, text: str, reason: str) -> None:
        """The peer is gone: a BYE with that Reason, and the user is told."""
        user = self.user
        self._hang_up(reason)
        user.call_ended(text, by_peer=False)

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
        else:
            receive_in_dialog(self, self._host, request, flow)

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

        self.send_in_dialog(bye, dialog, finished)

    def _receive_bye(self, request: Request, flow: Flow) -> None:
        self._host.refuse(request, flow, 200)
        server = self._server
        if server is not None and server.state is InviteServerState.PROCEEDING:
            server.reject(487, self._host.endpoint.now)
            self._drain_server()
        user = self._end()
        if self._bye is not None and not self._bye.done():
            self._bye.set_result(None)
        user.call_ended(reason_text(request), by_peer=True)

    def serve(self, request: Request, flow: Flow) -> InviteServer | None:
        """Begins to answer an INVITE within the dialog; None, and a 500, while another one is not
        done (RFC 3261 §14.2)."""
        unfinished = (InviteServerState.PROCEEDING, InviteServerState.ACCEPTED)
        if self._server is not None and self._server.state in unfinished:
            self._host.refuse(request, flow, 500, headers=[("Retry-After", "1")])
            return None
        endpoint = self._host.endpoint
        self._transaction = endpoint.accept(request, flow)
        self._transaction.context = self
        self._server = InviteServer(
            request,
            tokens=endpoint.tokens,
            contact=self.contact,
            now=endpoint.now,
            timers=endpoint.timers,
            dialog=self.dialog,
        )
        return self._server

    def answered(self) -> None:
        """What ``serve`` gave has been told what to answer."""
        self._drain_server()

    def _confirm(self) -> None:
        self.state = CallState.CONFIRMED
        self._know_dialog()
        self.refresh.schedule()

    def _know_dialog(self) -> None:
        if self.dialog is not None and self._known is None:
            self._known = self.dialog.id
            self._host.add_call(self, self._known)

    def _end(self) -> CallUser:
        """Ends it. Returns who stood on it, to be told if need be: they let go of each other."""
        self.state = CallState.ENDED
        self._alarm.cancel()
        self.refresh.stop()
        if self.dialog is not None:
            self.dialog.terminate()
        if self._known is not None:
            self._host.remove_call(self._known)
            self._known = None
        user, self.user = self.user, CallUser()
        return user

    def _timer_due(self) -> None:
        now = self._host.endpoint.now
        if self._server is not None:
            self._server.handle_timer(now)
            self._drain_server()
