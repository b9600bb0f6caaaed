"""The stateful proxy: forwarding, forking, responses, CANCEL, timer C (RFC 3261 §16.6 to 16.10)."""

import asyncio
import heapq
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from weakref import ReferenceType, ref

from rcsops.errors import LocalProtocolError, RcsopsError, SipParseError
from rcsops.server.flow_token import FlowTokens
from rcsops.server.location import LocationService
from rcsops.server.options import ServerOptions
from rcsops.server.policy import strip_asserted
from rcsops.server.record_route import add_record_route, wants_flow
from rcsops.server.response_context import Branch, Destination, ResponseContext
from rcsops.server.routing import FlowFailed, Router, set_routes
from rcsops.server.statistics import Statistics
from rcsops.sip import (
    Event,
    InviteClientTransaction,
    NameAddr,
    Request,
    Response,
    ResponseReceived,
    ServerTransaction,
    State,
    Target,
    Terminated,
    TimedOut,
    Transaction,
    TransportFailed,
    Uri,
)
from rcsops.sip.registrar_answer import retry_after
from rcsops.transport import Alarm, SipEndpoint, TransactionUser
from rcsops.transport.requester import stream_instead

__all__ = ["Proxy"]

logger = logging.getLogger(__name__)

_AVOID_SECONDS = 300.0
_AVOID_NAMED = 30.0
_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
# Make a dialog, so that what follows has to come this way too (RFC 3261 §16.6 step 4).
_DIALOG_MAKING = frozenset({"INVITE", "SUBSCRIBE", "REFER"})
_CALLER_GONE = 'SIP;cause=487;text="Connection of the caller lost"'
Lookup = Callable[[Uri], list[list[Destination]]]
Keep = Callable[[ServerTransaction], None]


class Proxy:
    """Forwards requests statefully and brings their responses back.

    ``lookup(uri)`` gives the destinations of the Contact of a redirection.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        location: LocationService,
        options: ServerOptions,
        statistics: Statistics,
        flow_tokens: FlowTokens,
        lookup: Lookup,
    ) -> None:
        self._endpoint = endpoint
        self._location = location
        self._options = options
        self._flow_tokens = flow_tokens
        self._lookup = lookup
        self._counts = statistics.counts
        self.router = Router(endpoint, location)
        self._by_branch: dict[object, ResponseContext] = {}
        # Weakly: timer C is long, and a call that was answered has no need of it.
        self._limits: list[tuple[float, int, ReferenceType[Branch]]] = []
        self._ticks = 0
        self._alarm = Alarm()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_progress(self) -> int:
        """How many requests wait for responses on how many branches."""
        return len(self._by_branch)

    def close(self) -> None:
        """Lets go of timers and look-ups."""
        self._alarm.cancel()
        for task in self._tasks:
            task.cancel()

    # --- requests ------------------------------------------------------------------------------

    def forward(
        self,
        server: ServerTransaction,
        base: Request,
        groups: Sequence[Sequence[Destination]],
        mark: str,
        token: str,
        keep: Keep | None = None,
    ) -> None:
        """Sends ``base``, made of the request for going on, to the destinations: each group in
        parallel, one group after the other. ``mark`` goes into the branches, ``token`` into the
        Record-Route. ``keep`` answers when nobody is there."""
        context = ResponseContext(server, base, groups, mark, token)
        context.keep = keep
        server.context = context
        self._next_group(context)

    def forward_ack(self, ack: Request, destination: Destination) -> None:
        """Sends on an ACK for a 2xx, which nobody answers."""
        try:
            target = self.router.target(destination)
            if target is None:
                self._later(self._resolve_ack(ack, destination))
                return
            self._send_ack(ack, destination, target)
        except RcsopsError as error:
            logger.info("an ACK could not be forwarded: %s", error)

    def cancel(self, server: ServerTransaction, reason: str | None) -> None:
        """A CANCEL came for the request of ``server`` (§16.10)."""
        context = server.context
        if not isinstance(context, ResponseContext) or context.cancelled or context.went:
            return
        context.cancelled = True
        self._cancel_pending(context, reason)
        self._proceed(context)

    def caller_gone(self, server: ServerTransaction) -> None:
        """The connection of the caller is lost, and no other could be made for the responses: what
        rings for it need not ring on."""
        if server.method == "INVITE" and server.state is State.PROCEEDING:
            self.cancel(server, _CALLER_GONE)

    def _next_group(self, context: ResponseContext) -> None:
        while not context.branches:
            branches = context.next_branches()
            if not branches:
                self._answer(context)
                return
            for branch in branches:
                self._start(branch)

    def _start(self, branch: Branch) -> None:
        try:
            target = self.router.target(branch.destination)
        except RcsopsError as error:
            self._unreachable(branch, error)
            return
        if target is not None:
            branch.targets = [target]
            self._try_target(branch)
            return
        self._later(self._resolve(branch))

    async def _resolve(self, branch: Branch) -> None:
        try:
            branch.targets = await self.router.resolve(branch.destination)
        except RcsopsError as error:
            self._unreachable(branch, error)
            self._proceed(branch.context)
            return
        if branch.done:
            return
        self._try_target(branch)
        self._proceed(branch.context)

    async def _resolve_ack(self, ack: Request, destination: Destination) -> None:
        try:
            targets = await self.router.resolve(destination)
            self._send_ack(ack, destination, targets[0])
        except (RcsopsError, IndexError) as error:
            logger.info("an ACK could not be forwarded: %s", error)

    def _send_ack(self, ack: Request, destination: Destination, target: Target) -> None:
        ack.uri = destination.uri
        set_routes(ack, ())
        branch = self._endpoint.tokens.branch()
        via = f"SIP/2.0/{target.flow.transport.upper()} {target.sent_by};branch={branch};rport"
        ack.prepend("Via", via)
        self._counts["core:fwd_requests"] += 1
        self._endpoint.send_message(ack, target.flow)

    def _try_target(self, branch: Branch) -> None:
        """Sends the branch's request to the first of its targets (§16.6)."""
        context = branch.context
        target = branch.targets.pop(0)
        request = context.base.copy()
        request.uri = branch.destination.uri
        try:
            if branch.destination.binding is not None:
                set_routes(request, branch.destination.routes)
            elif request.has("Route"):
                set_routes(request, ())
        except SipParseError as error:
            self._unreachable(branch, error)
            return
        target = self._large_by_stream(branch, request, target)
        request.set("Max-Breadth", str(branch.breadth))
        if context.token and request.method in _DIALOG_MAKING:
            self._record_route(request, branch, target)
        user = _BranchUser(self, branch)
        transaction = self._endpoint.send_request(
            request, target, context=user, branch_suffix=context.mark
        )
        branch.transaction = transaction
        self._by_branch[transaction.key[0]] = context
        self._counts["core:fwd_requests"] += 1
        self._counts["tm:UAC_transactions"] += 1
        if context.is_invite:
            self._set_limit(branch)

    def _large_by_stream(self, branch: Branch, request: Request, target: Target) -> Target:
        """TCP for what is too large for a datagram, and UDP after all where that is refused (RFC
        3261 §18.1.1)."""
        if branch.stream is not None:
            return target
        stream = stream_instead(self._endpoint, request, target)
        if stream is None or self.router.is_bound(branch.destination):
            return target
        branch.stream = stream
        branch.targets.insert(0, target)
        return stream

    def _record_route(self, request: Request, branch: Branch, target: Target) -> None:
        context = branch.context
        flow = context.server.flow
        make = self._flow_tokens.make
        binding = branch.destination.binding
        # RFC 5626 §5.3.1: whoever is behind a flow is reached over it within the dialog too.
        tokens = (
            make(flow) if wants_flow(request, flow) else "",
            make(target.flow) if binding is not None and binding.outbound else "",
        )
        add_record_route(request, self._endpoint.target_of(flow), target, context.token, tokens)

    def _unreachable(self, branch: Branch, error: RcsopsError) -> None:
        logger.info("%s cannot be reached: %s", branch.destination.uri, error)
        if isinstance(error, FlowFailed):
            self._flow_failed(branch)
        if not self._next_flow(branch):
            self._local_response(branch, self._failure_status(branch, error))

    def _failure_status(self, branch: Branch, error: RcsopsError | None = None) -> int:
        if branch.destination.binding is not None:
            # The user is not there, whatever the table says.
            return 480
        if isinstance(error, FlowFailed):
            return 430
        if isinstance(error, LocalProtocolError | SipParseError):
            return 416
        return 503

    def _flow_failed(self, branch: Branch) -> None:
        """RFC 5626 §5.3.1: a flow that failed is not tried again."""
        binding = branch.destination.binding
        if binding is not None and binding.by_flow:
            self._location.remove(binding)

    def _next_flow(self, branch: Branch) -> bool:
        """Tries the next address of the name, or the next flow of the device."""
        context = branch.context
        if context.cancelled or context.went or context.sixth or branch.cancelled:
            return False
        if branch.targets:
            self._try_target(branch)
            return True
        others = branch.destination.others
        if not others:
            return False
        branch.destination = others[0]._replace(others=others[1:])
        branch.provisional = False
        self._start(branch)
        return True

    # --- responses -----------------------------------------------------------------------------

    def response_received(self, branch: Branch, response: Response) -> None:
        """§16.7."""
        context = branch.context
        status = response.status
        self._counts["tm:received_replies"] += 1
        response.pop_first("Via")
        if not response.has("Via"):
            return
        strip_asserted(response)
        if status < 200:
            branch.provisional = True
            if status > 100:
                if context.is_invite:
                    self._set_limit(branch)
                if not context.went:
                    self._relay(context, response)
            return
        if status < 300:
            branch.finish()
            # Every 2xx to an INVITE goes on, retransmissions too: the caller may want each dialog.
            if context.is_invite or not context.went:
                first = not context.went
                context.answer()
                self._relay(context, response)
                if first:
                    self._count_class(status)
                    self._cancel_pending(context, _ELSEWHERE)
            return
        if branch.done:
            return
        if status == 430:
            self._flow_failed(branch)
        elif status == 503 and branch.destination.binding is None:
            self._avoid(branch, retry_after(response) or 0.0)
        if status in (408, 430, 503) and self._next_flow(branch):
            return
        branch.finish()
        if status >= 400 or not self._redirected(context, response):
            context.responses.append(response)
        if status >= 600 and not context.sixth:
            context.sixth = True
            self._cancel_pending(context, None)
        self._proceed(context)

    def _redirected(self, context: ResponseContext, response: Response) -> bool:
        """Follows a 3xx where the settings want that, and whether nothing of it is left to tell the
        caller (§16.7 step 4). Never from sips to sip (§16.5)."""
        if not self._options.follow_redirects or context.cancelled or context.sixth:
            return False
        secure = context.base.uri[:5].lower() == "sips:"
        left = []
        try:
            contacts = sorted(response.contacts, key=_q, reverse=True)
        except SipParseError:
            return False
        for contact in contacts:
            uri = contact.uri
            usable = uri.is_sip and (uri.scheme == "sips" or not secure)
            groups = self._lookup(uri) if usable else []
            if not context.try_also(groups, self._options.max_forks):
                left.append(contact)
        if len(left) == len(contacts):
            return False
        response.remove("Contact")
        for contact in left:
            response.add("Contact", str(contact))
        return not left

    def _avoid(self, branch: Branch, seconds: float) -> None:
        flow = branch.stream.flow if branch.stream is not None else None
        if flow is None and branch.transaction is not None and not branch.provisional:
            flow = branch.transaction.flow
        if flow is not None:
            self._endpoint.resolver.avoidance.avoid(flow.transport, flow.remote, seconds)

    def failed(self, branch: Branch, status: int) -> None:
        """A branch gave no final response: ``status`` stands for it (§16.8, §16.9)."""
        if branch.done:
            return
        if branch.stream is not None or branch.destination.binding is None:
            # The next one need not knock in vain.
            self._avoid(branch, _AVOID_SECONDS if branch.stream is not None else _AVOID_NAMED)
        if status == 503:
            self._flow_failed(branch)
        if self._next_flow(branch):
            return
        if status == 503:
            status = self._failure_status(branch)
        self._local_response(branch, status)
        self._proceed(branch.context)

    def connection_lost(self, branch: Branch, transaction: Transaction) -> None:
        """A request could not be sent, or the connection it went by is gone: no answer will come
        (§16.9). That of a phone which rings ends its branch at once; ICMP does not, since anybody
        can forge it."""
        if transaction is not branch.transaction:
            return
        if isinstance(transaction, InviteClientTransaction) and not transaction.terminated:
            if not transaction.reliable or transaction.state is not State.PROCEEDING:
                return
            self._endpoint.layer.give_up(transaction, self._endpoint.now)
        self.failed(branch, 503)

    def terminated(self, branch: Branch, key: object) -> None:
        """A client transaction is over."""
        self._by_branch.pop(key, None)

    def _local_response(self, branch: Branch, status: int) -> None:
        branch.finish()
        context = branch.context
        if not context.went:
            context.responses.append(self._response(context, status))

    def _response(self, context: ResponseContext, status: int) -> Response:
        tag = self._endpoint.tokens.tag()
        return Response.to_request(context.server.request, status, to_tag=tag)

    def _proceed(self, context: ResponseContext) -> None:
        if not context.went and not context.branches:
            self._next_group(context)

    def _answer(self, context: ResponseContext) -> None:
        """Every branch has spoken: the best response goes upstream (§16.7 step 6)."""
        if context.went:
            return
        context.answer()
        best = context.best()
        if context.cancelled and (best is None or best.status in (408, 480, 503)):
            best = self._response(context, 487)
        elif best is None or (best.status == 430 and context.is_forked):
            # RFC 5626 §5.3.1: it is for the proxy that knows other flows, and that is us.
            best = self._response(context, 480)
        elif best.status == 503:
            best = self._response(context, 500)
        if context.keep is not None and (best.status in (408, 480) or 500 <= best.status < 600):
            context.keep(context.server)
            return
        self._count_class(best.status)
        self._relay(context, best)

    def _relay(self, context: ResponseContext, response: Response) -> None:
        self._counts["tm:relayed_replies"] += 1
        self._counts["core:fwd_replies"] += 1
        self._endpoint.respond(context.server, response)

    def _count_class(self, status: int) -> None:
        self._counts[f"tm:{status // 100}xx_transactions"] += 1

    def _cancel_pending(self, context: ResponseContext, reason: str | None) -> None:
        """CANCEL for INVITEs; other requests simply end by themselves (§16.10)."""
        for branch in context.pending():
            branch.cancelled = True
            if branch.transaction is None:
                branch.finish()
            elif context.is_invite:
                self._endpoint.cancel(branch.transaction, reason)

    # --- timer C -------------------------------------------------------------------------------

    def _set_limit(self, branch: Branch) -> None:
        # RFC 3261 §16.6 step 11: more than three minutes, started anew by each 101 to 199.
        deadline = self._endpoint.now + self._endpoint.timers.c + 1.0
        known = branch.limit
        branch.limit = deadline
        if not known:
            self._ticks += 1
            heapq.heappush(self._limits, (deadline, self._ticks, ref(branch)))
            self._alarm.set(self._limits[0][0], self._limit_due)

    def _limit_due(self) -> None:
        now = self._endpoint.now
        limits = self._limits
        while limits and limits[0][0] <= now:
            _, tick, known = heapq.heappop(limits)
            branch = known()
            if branch is None or branch.done:
                continue
            if branch.limit > now:
                heapq.heappush(limits, (branch.limit, tick, known))
            elif branch.provisional and branch.transaction is not None:
                branch.cancelled = True
                self._endpoint.cancel(branch.transaction)
            else:
                self.failed(branch, 408)
        self._alarm.set(limits[0][0] if limits else None, self._limit_due)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _BranchUser(TransactionUser):
    """Takes the events of one client transaction of a branch."""

    __slots__ = ("_branch", "_proxy")

    def __init__(self, proxy: Proxy, branch: Branch) -> None:
        self._proxy = proxy
        self._branch = branch

    def transaction_event(self, event: Event) -> None:
        branch = self._branch
        if isinstance(event, Terminated):
            self._proxy.terminated(branch, event.transaction.key[0])
        elif isinstance(event, ResponseReceived):
            if event.transaction is branch.transaction or event.response.status < 300:
                self._proxy.response_received(branch, event.response)
        elif isinstance(event, TransportFailed):
            self._proxy.connection_lost(branch, event.transaction)
        elif isinstance(event, TimedOut) and event.transaction is branch.transaction:
            self._proxy.failed(branch, 408)


def _q(contact: NameAddr) -> float:
    try:
        return float(contact.params.get("q") or 1.0)
    except ValueError:
        return 0.0
