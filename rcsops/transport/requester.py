"""One request on its way to one final response.

A walk goes over the targets that RFC 3263 gave, with a new transaction and a new branch for each;
it falls over to the next on a time-out, a transport error or a 503, sends what is too large for a
datagram by TCP, and answers digest challenges. It is driven by events alone, without a task, so
that agents and server can have thousands of them.
"""

import asyncio
from collections.abc import Callable, Sequence

from rcsops.errors import (
    AgentError,
    LocalProtocolError,
    RcsopsError,
    RemoteProtocolError,
    SipParseError,
)
from rcsops.sip import (
    ClientTransaction,
    DigestClient,
    Event,
    Flow,
    Request,
    Response,
    ResponseReceived,
    State,
    Target,
    Terminated,
    TimedOut,
    TransportFailed,
    Uri,
)
from rcsops.sip.registrar_answer import retry_after
from rcsops.transport.endpoint import SipEndpoint, TransactionUser
from rcsops.transport.resolver import Candidate

__all__ = ["Walk", "find_targets", "send", "stream_instead", "targets_of"]

_VIA_OVERHEAD = 80
# How long an address that did not answer is tried after all others.
_AVOID_SECONDS = 30.0
# What stands for the request in a transaction that has been answered.
_SPENT = Request("OPTIONS", "sip:invalid")
_MAX_ROUNDS = 2


def targets_of(
    endpoint: SipEndpoint, candidates: Sequence[Candidate], domain: str = ""
) -> tuple[Target, ...]:
    """Targets for addresses; those that nothing here can reach are left out.

    Over TLS the other end must prove ``domain``, or else the name that was looked up.
    """
    targets = []
    for candidate in candidates:
        try:
            address = (candidate.host, candidate.port)
            name = domain or candidate.name
            targets.append(endpoint.target(candidate.transport, address, name))
        except LocalProtocolError:
            continue
    return tuple(targets)


def stream_instead(endpoint: SipEndpoint, request: Request, target: Target) -> Target | None:
    """The stream for a request that is too large for the datagrams of ``target`` (RFC 3261
    §18.1.1); None when it is not, or when no stream is to be had there."""
    flow = target.flow
    if flow.transport != "udp" or endpoint.resolver.avoidance.is_avoided("tcp", flow.remote):
        return None
    size = len(bytes(request)) + _VIA_OVERHEAD + len(target.sent_by)
    if size <= endpoint.limits.max_datagram_request:
        return None
    try:
        return endpoint.target("tcp", flow.remote)
    except LocalProtocolError:
        return None


async def find_targets(
    endpoint: SipEndpoint,
    uri: Uri,
    *,
    transport: str | None = None,
    outbound: Uri | None = None,
    domain: str = "",
) -> tuple[Target, ...]:
    """Where to try a request for ``uri`` from this endpoint (RFC 3263).

    Over TLS the other end must prove ``domain``, which is the host that is looked up unless given.
    Raises AgentError when there is no address, or none that the endpoint has a socket for.
    """
    candidates = await endpoint.resolver.resolve(
        uri, transport=transport, outbound=outbound, supported=endpoint.transports
    )
    targets = targets_of(endpoint, candidates, domain)
    if not targets:
        raise AgentError(f"no way to {outbound or uri} from the addresses that this agent uses")
    return targets


def _is_for_us(response: Response) -> bool:
    """Whether it has our Via and no other (RFC 3261 §8.1.3.3)."""
    try:
        # Where it is one, it is ours: that is why it has come here.
        return response.has_one_via
    except SipParseError:
        return False


class Walk(TransactionUser):
    """The walk of one request over its targets.

    ``on_response(event)`` gets every response that counts as progress or as the end: provisional
    ones, the final one, and for an INVITE each 2xx that comes after it (forks, retransmissions).
    Responses that only led to another attempt are not shown. ``on_done(response, error)`` is called
    once: with the final response, or with None and the reason when no target gave one.
    ``on_attempt(request)`` sees each request as it is about to leave, with its final CSeq.

    The request is changed on the way: Via, CSeq and credentials are those of the last attempt.
    """

    __slots__ = (
        "_attempt",
        "_cancelled",
        "_digest",
        "_done",
        "_endpoint",
        "_on_attempt",
        "_on_done",
        "_on_response",
        "_pending",
        "_progressed",
        "_reason",
        "_rounds",
        "_saved",
        "error",
        "request",
        "target",
        "transaction",
    )

    def __init__(
        self,
        endpoint: SipEndpoint,
        request: Request,
        targets: Sequence[Target],
        *,
        digest: DigestClient | None = None,
        on_response: Callable[[ResponseReceived], None] | None = None,
        on_done: Callable[[Response | None, str], None] | None = None,
        on_attempt: Callable[[Request], None] | None = None,
    ) -> None:
        self.request = request
        self.transaction: ClientTransaction | None = None
        self.target: Target | None = None
        self.error = ""
        self._endpoint = endpoint
        self._pending = list(targets)
        self._digest = digest
        self._rounds = 0
        self._attempt = 0
        self._progressed = False
        self._done = False
        self._cancelled = False
        self._reason: str | None = None
        self._saved: Response | None = None
        self._on_response = on_response
        self._on_done = on_done
        self._on_attempt = on_attempt

    def start(self) -> None:
        """Sends the request to the first target."""
        if self._digest is not None:
            self._digest.preempt(self.request)
        self._next_target()

    def cancel(self, reason: str | None = None) -> None:
        """Cancels an INVITE; the walk ends with its final response, normally a 487."""
        self._cancelled = True
        self._reason = reason
        self._pending.clear()
        if self.transaction is not None and not self._done:
            self._endpoint.cancel(self.transaction, reason)

    def abandon(self) -> None:
        """Reports nothing any more; what is under way ends by itself."""
        self._done = True
        self._pending.clear()
        self._release()

    def transaction_event(self, event: Event) -> None:
        """Takes the events of the walk's transactions."""
        if isinstance(event, ResponseReceived):
            if event.transaction is not self.transaction:
                return
            if _is_for_us(event.response):
                self._response(event)
            elif event.response.status >= 200 and not self._done:
                self.error = "the answer was meant for somebody else"
                if self._progressed:
                    self._pending.clear()
                self._next_target()
        elif isinstance(event, TimedOut):
            if event.transaction is self.transaction and not self._done:
                self.error = "no answer in time"
                if self._progressed:
                    # RFC 3263 §4.3: what has answered at all has not failed.
                    self._pending.clear()
                else:
                    self._avoid(_AVOID_SECONDS)
                self._next_target()
        elif isinstance(event, TransportFailed) and (
            event.transaction is self.transaction
            and not self._done
            # Once it rings the answer may come by another connection (RFC 3261 §18.2.2).
            and event.transaction.state is not State.PROCEEDING
        ):
            self.error = event.error
            self._avoid(_AVOID_SECONDS)
            self._next_target()
        elif isinstance(event, Terminated) and event.transaction is self.transaction:
            self._release()

    def _avoid(self, seconds: float) -> None:
        if self.target is not None:
            flow = self.target.flow
            self._endpoint.resolver.avoidance.avoid(flow.transport, flow.remote, seconds)

    def _response(self, event: ResponseReceived) -> None:
        response = event.response
        status = response.status
        if self._done:
            # A retransmitted 2xx or one of another fork: whoever made the call must ACK it.
            if 200 <= status < 300 and self._on_response is not None:
                self._on_response(event)
            return
        self._progressed = True
        if status in (401, 407) and self._answer_challenge(response):
            return
        if status == 503:
            # RFC 3261 §21.5.4: it wants to be left alone for so long.
            wait = retry_after(response)
            if wait is not None:
                self._avoid(wait)
        elif self.target is not None:
            flow = self.target.flow
            self._endpoint.resolver.avoidance.answered(flow.transport, flow.remote)
        if status == 503 and self._pending and not self._cancelled:
            self.error = "the server is not available (503)"
            self._saved = response
            self._next_target()
            return
        if status >= 200:
            self._done = True
            self._forget(event.transaction)
            if self._digest is not None and status < 300:
                try:
                    self._digest.receive_info(response)
                except RemoteProtocolError as error:
                    # Forged. A 2xx to an INVITE comes again, and is then seen as one of a fork.
                    if self._on_done is not None:
                        self._on_done(None, str(error))
                    return
        if self._on_response is not None:
            self._on_response(event)
        if status >= 200:
            if self._on_done is not None:
                self._on_done(response, "")
            if status >= 300 or event.transaction.method != "INVITE":
                self._release()

    def _release(self) -> None:
        """Nothing follows. Who is told mostly holds the walk: they must not hold each other."""
        self._on_response = self._on_done = self._on_attempt = None

    def _forget(self, transaction: ClientTransaction) -> None:
        """Leaves a transaction that is only there for retransmissions as light as it can be."""
        if transaction.method != "INVITE":
            transaction.context = None
            transaction.last_response = None
            transaction.request = _SPENT

    def _answer_challenge(self, response: Response) -> bool:
        if self._digest is None or self._cancelled or self._rounds >= _MAX_ROUNDS:
            return False
        retry = self._without_via()
        if not self._digest.authorize(retry, response):
            return False
        self._rounds += 1
        # RFC 3261 §22.2: a new request in all but Call-ID, From tag and To. A fall-over to another
        # target keeps the number, for it is the same request tried elsewhere.
        cseq = retry.cseq
        retry.set("CSeq", f"{cseq.number + 1} {cseq.method}")
        self.request = retry
        if self.transaction is not None:
            self._forget(self.transaction)
        if self.target is not None:
            self._send(self.target)
        return True

    def _next_target(self) -> None:
        while True:
            if self._cancelled or not self._pending:
                self._finish()
                return
            target = self._pending.pop(0)
            stream = self._stream_instead(target)
            if stream is not None:
                self._pending.insert(0, target)
                target = stream
            if self._attempt:
                self.request = self._without_via()
            self._send(target)
            return

    def _stream_instead(self, target: Target) -> Target | None:
        """The stream to take for a request that no datagram should carry."""
        flow = target.flow
        if flow.transport != "udp":
            return None
        if (
            self.target is not None
            and self.target.flow.transport == "tcp"
            and (self.target.flow.remote == flow.remote)
        ):
            # TCP has just been refused there: RFC 3261 §18.1.1 sends it by UDP after all.
            return None
        return stream_instead(self._endpoint, self.request, target)

    def _send(self, target: Target) -> None:
        self._attempt += 1
        self._progressed = False
        self.target = target
        if self._on_attempt is not None:
            self._on_attempt(self.request)
        # The layer may deliver an event before send_request returns, when a send fails at once;
        # the endpoint's pump holds such events back while another one is being handled.
        self.transaction = self._endpoint.layer.send_request(
            self.request, target, self._endpoint.now, context=self
        )
        if self._cancelled:
            self._endpoint.cancel(self.transaction, self._reason)
        self._endpoint.pump()

    def _without_via(self) -> Request:
        retry = self.request.copy()
        retry.pop_first("Via")
        return retry

    def _finish(self) -> None:
        if self._done:
            return
        self._done = True
        if self._on_done is not None:
            self._on_done(self._saved, self.error or "no address to try")
        self._release()


async def send(
    endpoint: SipEndpoint,
    request: Request,
    targets: Sequence[Target],
    *,
    digest: DigestClient | None = None,
    on_provisional: Callable[[Response], None] | None = None,
) -> Response:
    """Sends a request over the targets and waits for its final response.

    Raises AgentError (status 0) when no target answered. Cancelling the caller abandons the walk.
    """
    # Or why there is no response. No exception: one that is raised holds this frame, and it that.
    future: asyncio.Future[Response | str] = asyncio.get_running_loop().create_future()

    def done(response: Response | None, error: str) -> None:
        if not future.done():
            future.set_result(error if response is None else response)

    def progress(event: ResponseReceived) -> None:
        if event.response.status < 200 and on_provisional is not None:
            on_provisional(event.response)

    walk = Walk(endpoint, request, targets, digest=digest, on_response=progress, on_done=done)
    walk.start()
    try:
        outcome = await future
    except asyncio.CancelledError:
        walk.abandon()
        raise
    if isinstance(outcome, str):
        raise unanswered(request, targets, outcome)
    return outcome


def unanswered(request: Request, targets: Sequence[Target], error: str) -> RcsopsError:
    """What to raise when no target answered."""
    tried = ", ".join(dict.fromkeys(_where(target.flow) for target in targets)) or request.uri
    return AgentError(f"no answer to {request.method} from {tried}: {error}")


def _where(flow: Flow) -> str:
    host = f"[{flow.remote[0]}]" if ":" in flow.remote[0] else flow.remote[0]
    return f"{flow.transport}:{host}:{flow.remote[1]}"
