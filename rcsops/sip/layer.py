"""The transaction layer: finds or makes the transaction of each message (RFC 3261 §17).

Messages and the time go in; bytes with their flow and events come out. The driver's round: feed it
(``receive_message``, ``handle_timer``, ``transport_failed``), drain ``next_event`` until None and
act on the events, send all of ``data_to_send``, and come back at ``next_timer``.
"""

from collections import deque
from collections.abc import Iterator

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.alarms import AlarmQueues
from rcsops.sip.client_transaction import (
    ClientTransaction,
    InviteClientTransaction,
    NonInviteClientTransaction,
    make_cancel,
)
from rcsops.sip.events import (
    AckReceived,
    Event,
    RequestReceived,
    StrayResponse,
    UnreadableRequest,
)
from rcsops.sip.headers import Via
from rcsops.sip.matching import (
    Key,
    ack_key_2543,
    client_key,
    complete_via,
    is_2543,
    merge_key,
    reconnect_flow,
    reply_flow,
    server_key,
    stateless_tag,
)
from rcsops.sip.message import Message, Request, Response
from rcsops.sip.server_transaction import (
    InviteServerTransaction,
    NonInviteServerTransaction,
    ServerTransaction,
)
from rcsops.sip.target import Flow, Target
from rcsops.sip.timers import Timers
from rcsops.sip.transaction import On, State, Transaction
from rcsops.tokens import Tokens

_VIA_START = {name: f"SIP/2.0/{name.upper()} " for name in ("udp", "tcp", "tls", "ws", "wss")}


class TransactionLayer:
    """All transactions of one SIP element.

    ``max_transactions`` bounds the server transactions: above it a new request is answered 503
    without one. ``detect_merged`` keeps what :meth:`is_merged` needs; a proxy does without.

    ``dropped``, ``strays`` and ``refused`` count the messages that nothing could be done with, the
    responses without a transaction, and the requests answered 503 for want of room.
    """

    def __init__(
        self,
        *,
        timers: Timers | None = None,
        tokens: Tokens,
        max_transactions: int = 250_000,
        detect_merged: bool = True,
    ) -> None:
        self.timers = timers or Timers()
        self.alarms = AlarmQueues()
        self.max_transactions = max_transactions
        self.dropped = 0
        self.strays = 0
        self.refused = 0
        self._tokens = tokens
        self._secret = tokens.nonce().encode()
        self._clients: dict[Key, ClientTransaction] = {}
        self._servers: dict[Key, ServerTransaction] = {}
        self._invites_2543: dict[Key, ServerTransaction] = {}
        self._by_flow: dict[Flow, set[ClientTransaction | ServerTransaction]] = {}
        self._merge_keys: dict[Key, Key] | None = {} if detect_merged else None
        # The newest request, for its accept(): neither Via nor key need be worked out again.
        self._arrived: tuple[Request, Via, Key] | None = None
        # The request that `is_merged` was asked of last, with its merge key, for the same purpose.
        self._merging: tuple[Request, Key | None] | None = None
        self._out: list[tuple[bytes, Flow]] = []
        self._events: deque[Event] = deque()

    def __len__(self) -> int:
        """How many transactions there are."""
        return len(self._clients) + len(self._servers)

    def __iter__(self) -> Iterator[ClientTransaction | ServerTransaction]:
        """The transactions there are, the older first on each side."""
        yield from tuple(self._clients.values())
        yield from tuple(self._servers.values())

    # --- in -----------------------------------------------------------------------------------

    def receive_message(self, message: Message, flow: Flow, now: float) -> None:
        """Take a message that came over ``flow``.

        Never raises for what a peer sent: what has no readable Via (or, a response, no CSeq) cannot
        be matched and is dropped, but that a request has come is told.
        """
        try:
            if isinstance(message, Request):
                self._receive_request(message, flow, now)
            elif isinstance(message, Response):
                self._receive_response(message, flow, now)
        except SipParseError:
            self.dropped += 1
            if isinstance(message, Request) and message.method != "ACK" and message.has("Via"):
                self._events.append(UnreadableRequest(message, flow))

    def transport_failed(self, flow: Flow, error: str, now: float) -> None:
        """A message could not be sent over ``flow``, or its connection is lost.

        Client transactions end (RFC 3261 §17.1.4). Server transactions whose connection is gone try
        a new one to the sent-by port first (§18.2.2), then tell the TU (§17.2.4).
        """
        for transaction in list(self._by_flow.get(flow, ())):
            if isinstance(transaction, ServerTransaction) and flow.connection:
                elsewhere = reconnect_flow(transaction.sent_by_port, flow)
                self._unindex(transaction, flow)
                self._index(transaction, elsewhere)
                transaction.send_elsewhere(elsewhere)
            else:
                transaction.step(On.TRANSPORT_ERROR, now, error)

    def handle_timer(self, now: float) -> None:
        """Fire every timer that is due."""
        while (alarm := self.alarms.pop_due(now)) is not None:
            alarm.owner.step(alarm.on, now)

    # --- out ----------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When :meth:`handle_timer` is to be called next; None while no timer runs."""
        return self.alarms.next_due()

    def data_to_send(self) -> list[tuple[bytes, Flow]]:
        """Take the messages to send, in order."""
        out = self._out
        if out:
            self._out = []
            return out
        return []

    def next_event(self) -> Event | None:
        """Take the next event; None when there is none."""
        return self._events.popleft() if self._events else None

    # --- the TU as a server -------------------------------------------------------------------

    def accept(self, request: Request, flow: Flow, now: float) -> ServerTransaction:
        """Make the server transaction of a request that :class:`RequestReceived` brought.

        An INVITE is answered 100 after 200 ms unless the TU has answered by then. Raises
        :class:`LocalProtocolError` for an ACK and for a request that has a transaction.
        """
        if request.method == "ACK":
            raise LocalProtocolError("an ACK has no server transaction")
        arrived = self._arrived
        if arrived is not None and arrived[0] is request:
            _, via, key = arrived
            self._arrived = None
        else:
            via = request.top_via
            key = server_key(request, via, request.method)
        if key in self._servers:
            raise LocalProtocolError(f"this {request.method} has a transaction already")
        back = reply_flow(via, flow)
        made = InviteServerTransaction if request.method == "INVITE" else NonInviteServerTransaction
        transaction: ServerTransaction = made(self, key, request, flow, back)
        transaction.sent_by_port = via.port
        if request.method == "INVITE" and is_2543(key):
            transaction.ack_key = ack_key_2543(request, via)
            self._invites_2543[transaction.ack_key] = transaction
        self._servers[key] = transaction
        self._index(transaction, back)
        if self._merge_keys is not None:
            before = self._merging
            known = before is not None and before[0] is request
            merged = before[1] if before is not None and known else merge_key(request)
            transaction.merge_key = merged
            self._merging = None
            if merged is not None:
                self._merge_keys.setdefault(merged, key)
        transaction.start(now)
        return transaction

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> bool:
        """Send a response of the TU.

        False if it was not sent, because a final response went out before, or because RFC 4320
        does not allow it: to other than INVITE, no provisional response but 100 (and that when
        due), and no 408.
        """
        return transaction.respond(response, now)

    def reply_stateless(self, request: Request, flow: Flow, response: Response) -> None:
        """Answer a request that came over ``flow`` without a transaction (RFC 3261 §8.2.7).

        The To tag of the response should be :meth:`stateless_tag`. Where the Via cannot be read,
        it goes to where the request came from.
        """
        try:
            back = reply_flow(request.top_via, flow)
        except SipParseError:
            back = flow
        self.send(bytes(response), back)

    def stateless_tag(self, request: Request) -> str:
        """The To tag for stateless responses to this request: the same each time it comes."""
        return stateless_tag(request, self._secret)

    def is_merged(self, request: Request) -> bool:
        """Whether this new request came before by another way: the UAS answers 482 (§8.2.2.2)."""
        if self._merge_keys is None:
            return False
        merged = merge_key(request)
        self._merging = (request, merged)
        if merged is None:
            return False
        known = self._merge_keys.get(merged)
        return known is not None and known != server_key(request, request.top_via, request.method)

    def has_server(self, branch: str, host: str, port: int, method: str) -> bool:
        """Whether there is a server transaction for what a Via says (RFC 3261 §17.2.3); all in
        lower case but the method."""
        return (branch, host, port, method) in self._servers

    # --- the TU as a client -------------------------------------------------------------------

    def send_request(
        self,
        request: Request,
        target: Target,
        now: float,
        *,
        context: object = None,
        branch_suffix: str = "",
    ) -> ClientTransaction:
        """Put our Via on top of the request, send it and wait for its responses.

        The request now belongs to the transaction: what is sent again elsewhere is a copy without
        this Via. ``branch_suffix`` is put behind the random part of the branch (RFC 5393 §4.2).
        Raises :class:`LocalProtocolError` for an ACK, see :meth:`send_ack`.
        """
        if request.method == "ACK":
            raise LocalProtocolError("an ACK has no client transaction")
        branch = self._put_via(request, target, branch_suffix)
        return self._open(request, target, branch, now, context)

    def send_ack(self, ack: Request, target: Target) -> None:
        """Send an ACK for a 2xx (RFC 3261 §13.2.2.4), with our Via on top.

        An ACK that has a Via, because it is sent again, keeps it.
        """
        if not ack.has("Via"):
            self._put_via(ack, target)
        self.send(bytes(ack), target.flow)

    def send_message(self, message: Message, flow: Flow) -> None:
        """Send a message as it is, with no transaction: a forwarded ACK, a stray response."""
        self.send(bytes(message), flow)

    def cancel(self, transaction: ClientTransaction, now: float, reason: str | None = None) -> bool:
        """Cancel an INVITE: now, or when its first provisional response comes (RFC 3261 §9.1).

        ``reason`` is the value of a Reason header (RFC 3326). False if there is nothing to cancel
        any more. The responses to the CANCEL are not passed up; the INVITE's are, normally a 487,
        and :class:`TimedOut` after 64*T1 without one.
        """
        if not isinstance(transaction, InviteClientTransaction):
            raise LocalProtocolError("only an INVITE can be cancelled")
        if transaction.state not in (State.CALLING, State.PROCEEDING):
            return False
        if not transaction.cancel_wanted:
            transaction.cancel_wanted = True
            transaction.cancel_reason = reason
            self._cancel_when_due(transaction, now)
        return True

    def give_up(self, transaction: ClientTransaction, now: float) -> None:
        """End a transaction whose answer nobody waits for any more; what still comes is a stray."""
        transaction.step(On.GIVEN_UP, now)

    # --- for the transactions -----------------------------------------------------------------

    def send(self, data: bytes, flow: Flow) -> None:
        """Queue bytes for a flow."""
        self._out.append((data, flow))

    def emit(self, event: Event) -> None:
        """Queue an event for the TU."""
        self._events.append(event)

    def forget(self, transaction: Transaction) -> None:
        """Drop a transaction that has terminated."""
        if isinstance(transaction, ServerTransaction):
            self._servers.pop(transaction.key, None)
            self._unindex(transaction, transaction.reply_flow)
            merged, ack_key = transaction.merge_key, transaction.ack_key
            if (
                merged is not None
                and self._merge_keys is not None
                and self._merge_keys.get(merged) == transaction.key
            ):
                del self._merge_keys[merged]
            if ack_key is not None and self._invites_2543.get(ack_key) is transaction:
                del self._invites_2543[ack_key]
        elif isinstance(transaction, ClientTransaction):
            self._clients.pop(transaction.key, None)
            self._unindex(transaction, transaction.flow)

    # --- inside -------------------------------------------------------------------------------

    def _receive_request(self, request: Request, flow: Flow, now: float) -> None:
        via = request.top_via
        method = request.method
        if method == "ACK":
            self._receive_ack(request, flow, now)
            return
        key = server_key(request, via, method)
        known = self._servers.get(key)
        if known is not None:
            known.step(On.REQUEST, now, request)
            return
        complete_via(request, via, flow)
        invite = None
        if method == "CANCEL":
            found = self._servers.get(server_key(request, via, "INVITE"))
            invite = found if isinstance(found, InviteServerTransaction) else None
        if invite is None and len(self._servers) >= self.max_transactions:
            self._refuse(request, flow)
            return
        self._arrived = (request, via, key)
        self._events.append(RequestReceived(request, flow, invite))

    def _receive_ack(self, ack: Request, flow: Flow, now: float) -> None:
        via = ack.top_via
        key = server_key(ack, via, "INVITE")
        invite = self._servers.get(key)
        if invite is None and is_2543(key):
            invite = self._invites_2543.get(ack_key_2543(ack, via))
            if invite is not None and not _acknowledges(ack, invite):
                invite = None
        if invite is None:
            complete_via(ack, via, flow)
            self._events.append(AckReceived(ack, flow))
            return
        invite.step(On.ACK, now, ack)

    def _receive_response(self, response: Response, flow: Flow, now: float) -> None:
        key = client_key(response.top_via.branch, response.cseq.method)
        transaction = self._clients.get(key)
        if transaction is None:
            self.strays += 1
            self._events.append(StrayResponse(response, flow))
            return
        transaction.receive_response(response, flow, now)
        if isinstance(transaction, InviteClientTransaction):
            self._cancel_when_due(transaction, now)

    def _refuse(self, request: Request, flow: Flow) -> None:
        self.refused += 1
        tag = self.stateless_tag(request)
        response = Response.to_request(request, 503, to_tag=tag, headers=[("Retry-After", "10")])
        self.reply_stateless(request, flow, response)

    def _cancel_when_due(self, invite: InviteClientTransaction, now: float) -> None:
        if not invite.cancel_wanted or invite.cancel_sent or invite.state is not State.PROCEEDING:
            return
        invite.cancel_sent = True
        cancel = make_cancel(invite.request, invite.cancel_reason)
        branch = cancel.top_via.branch or ""
        self._open(cancel, invite.target, branch, now, None, quiet=True)
        invite.step(On.CANCELLED, now)

    def _open(
        self,
        request: Request,
        target: Target,
        branch: str,
        now: float,
        context: object,
        *,
        quiet: bool = False,
    ) -> ClientTransaction:
        method = request.method
        key = client_key(branch, method)
        made = InviteClientTransaction if method == "INVITE" else NonInviteClientTransaction
        transaction: ClientTransaction = made(self, key, request, target)
        transaction.context = context
        transaction.quiet = quiet
        self._clients[key] = transaction
        self._index(transaction, target.flow)
        transaction.start(now)
        return transaction

    def _put_via(self, request: Request, target: Target, suffix: str = "") -> str:
        branch = self._tokens.branch() + suffix
        start = _VIA_START[target.flow.transport]
        alias = ";alias" if target.alias else ""
        request.prepend("Via", f"{start}{target.sent_by};branch={branch};rport{alias}")
        return branch

    def _index(self, transaction: ClientTransaction | ServerTransaction, flow: Flow) -> None:
        held = self._by_flow.get(flow)
        if held is None:
            self._by_flow[flow] = {transaction}
        else:
            held.add(transaction)

    def _unindex(self, transaction: ClientTransaction | ServerTransaction, flow: Flow) -> None:
        held = self._by_flow.get(flow)
        if held is not None:
            held.discard(transaction)
            if not held:
                del self._by_flow[flow]


def _acknowledges(ack: Request, invite: ServerTransaction) -> bool:
    """RFC 2543 matching of an ACK: its To tag is the one of our response (§17.2.3)."""
    response = invite.last_response
    return response is not None and ack.to_tag == response.to_tag
