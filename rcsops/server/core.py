"""The server's transaction user: what happens to a request (RFC 3261 §8.2, §10.3, §16.3 to 16.5).

A request is answered in one go, without a task: from memory in all but the rare case that an
account has to be read. Challenges and refusals leave no state behind.
"""

import asyncio
import logging
from collections.abc import Hashable, Sequence

from rcsops.database.store import Store
from rcsops.errors import RcsopsError, SipParseError
from rcsops.server.accounts import Accounts, Known, NeedsDatabase
from rcsops.server.addresses import LocalNames
from rcsops.server.admission import Admission
from rcsops.server.arrival import Arrival, Arrivals, Refusal, check_options
from rcsops.server.auth import Authenticator
from rcsops.server.dialog_token import DialogTokens
from rcsops.server.flow_token import FlowTokens
from rcsops.server.gruu import Gruus, GruuTarget
from rcsops.server.guard import Guard
from rcsops.server.location import LocationService
from rcsops.server.loops import LoopMarks, breadth_of
from rcsops.server.options import ServerOptions
from rcsops.server.overload import OverloadControl
from rcsops.server.policy import assert_identity, strip_asserted
from rcsops.server.proxy import Keep, Proxy
from rcsops.server.record_route import service_route
from rcsops.server.registrar import SUPPORTED, Registrar
from rcsops.server.response_context import Destination, group_by_priority, request_uri
from rcsops.server.silo import Silo
from rcsops.server.statistics import Statistics
from rcsops.sip import (
    AckReceived,
    Event,
    Flow,
    Request,
    RequestReceived,
    Response,
    ServerTransaction,
    StrayResponse,
    TransportFailed,
    UnreadableRequest,
    Uri,
    answerable,
    check_request,
)
from rcsops.transport import SipEndpoint

__all__ = ["ServerCore"]

logger = logging.getLogger(__name__)

_SELF_METHODS = "OPTIONS, REGISTER"
_ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, UPDATE, INFO, NOTIFY, SUBSCRIBE, REFER"
_DIALOG_MAKING = frozenset({"INVITE", "SUBSCRIBE", "REFER"})


class ServerCore:
    """Decides about each request: answer, register, forward or refuse.

    ``endpoint`` must be listening already, and call `event` and `bad_message`.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        *,
        names: LocalNames,
        accounts: Accounts,
        authenticator: Authenticator,
        guard: Guard,
        location: LocationService,
        dialog_tokens: DialogTokens,
        flow_tokens: FlowTokens,
        gruus: Gruus,
        loop_marks: LoopMarks,
        options: ServerOptions,
        statistics: Statistics,
        overload: OverloadControl,
        store: Store,
    ) -> None:
        self._endpoint = endpoint
        self._names = names
        self._arrivals = Arrivals(names, dialog_tokens, flow_tokens)
        self._admission = Admission(endpoint, guard, overload, self._arrivals, options, statistics)
        self._gruus = gruus
        self._marks = loop_marks
        self._accounts = accounts
        self._auth = authenticator
        self._location = location
        self._tokens = dialog_tokens
        self._options = options
        self._counts = statistics.counts
        self._registrar = Registrar(
            location,
            options,
            statistics,
            gruus,
            lambda flow: service_route(endpoint.target_of(flow)),
        )
        self.proxy = Proxy(endpoint, location, options, statistics, flow_tokens, self._reach)
        self.silo = Silo(
            endpoint, store, self.proxy.router, names, options, statistics, self._reach
        )
        self._waiting: set[asyncio.Task[None]] = set()
        self._waiting_keys: set[Hashable] = set()

    def close(self) -> None:
        """Lets go of what waits for the database or a name."""
        for task in self._waiting:
            task.cancel()
        self.silo.close()
        self.proxy.close()

    # --- in ------------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Takes an event of the transaction layer."""
        if isinstance(event, RequestReceived):
            self._counts["core:rcv_requests"] += 1
            if event.request.method == "CANCEL":
                self._cancel(event)
            else:
                self._request(event.request, event.flow, Known())
        elif isinstance(event, AckReceived):
            self._counts["core:rcv_requests"] += 1
            self._ack(event.request, event.flow)
        elif isinstance(event, TransportFailed):
            if isinstance(event.transaction, ServerTransaction):
                self.proxy.caller_gone(event.transaction)
        elif isinstance(event, StrayResponse):
            self._counts["core:drop_replies"] += 1
        elif isinstance(event, UnreadableRequest):
            self._counts["core:bad_msg_hdr"] += 1
            self._refuse_unread(event.request, event.flow, 400, "Unreadable Via")

    def bad_message(self, error: SipParseError, flow: Flow) -> None:
        """Takes what is not SIP; a request that says where it came from is told."""
        self._counts["core:bad_msg_hdr"] += 1
        request = answerable(error)
        if request is not None:
            self._refuse_unread(request, flow, error.status, _phrase(error))

    def _refuse_unread(self, request: Request, flow: Flow, status: int, reason: str) -> None:
        if self._admission.may_answer(flow):
            self._reply(request, flow, status, reason)

    def flow_closed(self, flow: Flow) -> None:
        """A connection is gone, and with it the contacts that depend on it."""
        gone = self._location.remove_flow(flow) if flow.connection else 0
        if gone:
            logger.info("%d contacts went with the connection of %s", gone, flow.remote[0])

    # --- requests ------------------------------------------------------------------------------

    def _request(self, request: Request, flow: Flow, known: Known) -> None:
        if self._waiting_keys and _copy_key(request) in self._waiting_keys:
            # A retransmission of what waits for the database: its answer is on the way.
            return
        try:
            if self._admission.admits(request, flow, known):
                self._handle(request, flow, known)
        except Refusal as refusal:
            if not known.quiet or known.user:
                self._reply(request, flow, refusal.status, refusal.reason, refusal.headers)
        except SipParseError as error:
            if not known.quiet:
                self._reply(request, flow, error.status, _phrase(error))
        except NeedsDatabase as need:
            self._wait(request, flow, known, need)
        except _Answered:
            return

    def _wait(self, request: Request, flow: Flow, known: Known, need: NeedsDatabase) -> None:
        if len(self._waiting) >= self._options.max_waiting:
            self._reply(request, flow, 503, "", [("Retry-After", str(self._options.retry_after))])
            return
        key = _copy_key(request)
        self._waiting_keys.add(key)
        resume = self._resume(request, flow, known, need, key)
        task = asyncio.get_running_loop().create_task(resume)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _resume(
        self, request: Request, flow: Flow, known: Known, need: NeedsDatabase, key: Hashable
    ) -> None:
        try:
            try:
                await need.load(known)
            finally:
                self._waiting_keys.discard(key)
        except RcsopsError as error:
            logger.error("an account could not be read: %s", error)
            self._reply(request, flow, 500, "Database Failure")
            return
        try:
            self._request(request, flow, known)
        except Exception:
            logger.exception("a request could not be handled")
        self._endpoint.pump()

    def _handle(self, request: Request, flow: Flow, known: Known) -> None:
        wrong = check_request(request)
        if wrong is not None:
            raise Refusal(wrong.status, wrong.reason or _short(str(wrong)))
        if len(request.body) > self._options.max_body:
            raise Refusal(513)
        arrival = self._arrivals.prepare(request, flow)
        uri = request.request_uri
        is_local = self._names.is_local(uri)
        is_ours = is_local and not uri.user and len(request.routes) == arrival.own_routes
        if is_ours and request.method == "REGISTER":
            self._register(request, flow, known)
            return
        if request.method == "OPTIONS" and (is_ours or request.max_forwards == 0):
            check_options(request, "Require")
            self._options_answer(request, flow)
            return
        if request.max_forwards == 0:
            raise Refusal(483)
        if uri.scheme not in ("sip", "sips"):
            raise Refusal(416)
        mark = ""
        if len(request.vias) > 1:
            mark = self._marks.make(request)
            if self._marks.found(mark, request.vias):
                raise Refusal(482)
        check_options(request, "Proxy-Require")
        if not breadth_of(request):
            raise Refusal(440)
        user = domain = ""
        if not arrival.admitted:
            user, domain = self._caller(request, flow, known)
        if is_ours and not arrival.admitted:
            raise Refusal(405, "", [("Allow", _SELF_METHODS)])
        # Only for whom we know: within a dialog nobody proved who they are.
        keep = self.silo.keeper(request, user, domain) if user else None
        groups = self._destinations(request, arrival, known, may_be_away=keep is not None)
        if keep is not None and (not groups or self.silo.is_delivering(uri)):
            keep(self._endpoint.accept(request, flow))
            return
        base = self._base(request, arrival.own_routes)
        if user:
            assert_identity(base, user, domain)
        self._forward(request, flow, base, groups, mark or self._marks.make(request), keep)

    def _authenticate(self, request: Request, flow: Flow, domain: str, known: Known) -> str:
        now = self._endpoint.now
        judgement = self._auth.judge(request, domain, now, known, flow.remote[0])
        if judgement.user:
            return judgement.user
        tag = self._endpoint.layer.stateless_tag(request)
        response = self._auth.refuse(request, domain, judgement, tag, now, known, flow.remote)
        if known.quiet:
            self._counts["limits:dropped"] += 1
        else:
            self._send(request, flow, response)
        return ""

    def _register(self, request: Request, flow: Flow, known: Known) -> None:
        to = request.to.uri
        domain = (self._names.domain_of(to) if to.is_sip else "") or self._names.domain
        user = self._authenticate(request, flow, domain, known)
        if not user:
            return
        if not to.is_sip:
            raise Refusal(416)
        # RFC 3261 §10.3 step 5. Our addresses and aliases are no domain of their own.
        asked = request.request_uri.host
        other = asked in self._names.domains and asked != domain
        if not self._names.is_local(to) or not to.user or other:
            raise Refusal(404)
        # RFC 3261 §10.3 step 4: nobody registers for somebody else here.
        if to.username != user:
            raise Refusal(403)
        transaction = self._endpoint.accept(request, flow)
        tag = self._endpoint.tokens.tag()
        address = f"{user}@{domain}"
        response = self._registrar.register(request, flow, address, tag, self._endpoint.now)
        if response.has("Flow-Timer"):
            timer = self._options.flow_timer
            self._endpoint.limit_idle(flow, timer + min(max(timer / 4, 5.0), 30.0))
        self._endpoint.respond(transaction, response)
        if response.status < 300 and self._location.lookup(address):
            self.silo.registered(user, domain)

    def _caller(self, request: Request, flow: Flow, known: Known) -> tuple[str, str]:
        """The authenticated user that a request is from, and the domain; refuses everybody else."""
        sender = request.from_.uri
        domain = self._names.domain_of(sender) if sender.is_sip else ""
        if not domain or not sender.user:
            # Neither a relay for strangers nor a way in for identities that nobody vouches for.
            raise Refusal(403)
        user = self._authenticate(request, flow, domain, known)
        if not user:
            raise _Answered
        if sender.username != user:
            raise Refusal(403)
        return user, domain

    def _destinations(
        self, request: Request, arrival: Arrival, known: Known, *, may_be_away: bool
    ) -> list[list[Destination]]:
        """Where a request is to go (RFC 3261 §16.5); refuses what goes nowhere."""
        own_routes = arrival.own_routes
        routes = request.routes[own_routes:] if own_routes else request.routes
        if routes:
            return [[Destination(request.uri, (routes[0].uri_text,))]]
        uri = request.request_uri
        if arrival.flow is not None and not self._names.domain_of(uri):
            return [[Destination(request_uri(request.uri), flow=arrival.flow)]]
        groups = self._targets(uri, known)
        if not groups and not may_be_away:
            raise Refusal(480)
        return groups

    def _targets(self, uri: Uri, known: Known) -> list[list[Destination]]:
        """The target set of a Request-URI (§16.5)."""
        domain = self._names.domain_of(uri)
        if domain and "maddr" not in uri.params:
            gruu = self._gruu(uri)
            if gruu is None and "gr" in uri.params:
                raise Refusal(404)
            user = uri.username if gruu is None else gruu.user
            if not user or self._accounts.get(user, domain, known) is None:
                # What an account that was removed had registered must not be found any more.
                self._location.remove_address(f"{user}@{domain}")
                raise Refusal(404)
            if gruu is not None and gruu.seal and not self._reach(uri):
                # RFC 5627 §5.4: a temporary GRUU that is void is as one that never was.
                raise Refusal(404)
        return self._reach(uri)

    def _gruu(self, uri: Uri) -> GruuTarget | None:
        return self._gruus.read(uri) if "gr" in uri.params else None

    def _reach(self, uri: Uri) -> list[list[Destination]]:
        """Where a URI leads by what is in memory; this is all that the Contact of a 3xx gets."""
        domain = self._names.domain_of(uri)
        if not domain or "maddr" in uri.params:
            return [[Destination(request_uri(str(uri)))]]
        now = self._endpoint.now
        gruu = self._gruu(uri)
        held = self._location.lookup(f"{uri.username if gruu is None else gruu.user}@{domain}")
        bindings = [
            each for each in held if each.expires > now and (gruu is None or gruu.chooses(each))
        ]
        return group_by_priority(bindings[: self._options.max_forks], secure=uri.scheme == "sips")

    def _forward(
        self,
        request: Request,
        flow: Flow,
        base: Request,
        groups: list[list[Destination]],
        mark: str,
        keep: Keep | None,
    ) -> None:
        if self.proxy.in_progress >= self._options.max_contexts:
            raise Refusal(503, "", [("Retry-After", str(self._options.retry_after))])
        transaction: ServerTransaction = self._endpoint.accept(request, flow)
        self._counts["tm:UAS_transactions"] += 1
        if request.method == "INVITE":
            # RFC 3261 §16.2: a proxy that may take longer than 200 ms says so at once.
            transaction.trying(self._endpoint.now)
        token = ""
        if request.method in _DIALOG_MAKING and request.to_tag is None:
            token = self._tokens.make(request)
        self.proxy.forward(transaction, base, groups, mark, token, keep)
        if keep is not None:
            self.silo.watch(transaction)

    def _base(self, request: Request, own_routes: int) -> Request:
        """The copy that goes on (RFC 3261 §16.6 steps 1 and 3)."""
        base = request.copy()
        for _ in range(own_routes):
            base.pop_first("Route")
        hops = request.max_forwards
        base.set("Max-Forwards", "70" if hops is None else str(hops - 1))
        strip_asserted(base)
        # Inside a dialog nobody asked for them, but an agent copies them into the ACK (RFC 3261
        # §13.2.2.4) and may send them with a BYE: the peer could guess the password by them.
        self._auth.remove_credentials(base, self._names.domains)
        return base

    def _ack(self, request: Request, flow: Flow) -> None:
        """An ACK for a 2xx: forwarded without state, or dropped, but never answered."""
        try:
            arrival = self._arrivals.prepare(request, flow)
            if not arrival.admitted:
                # Mostly for a challenge or refusal of ours that left no transaction.
                return
            if request.max_forwards == 0 or check_request(request) is not None:
                self._counts["core:drop_requests"] += 1
                return
            ack = self._base(request, arrival.own_routes)
            routes = ack.routes
            if routes:
                self.proxy.forward_ack(ack, Destination(ack.uri, (routes[0].uri_text,)))
                return
            uri = ack.request_uri
            if "gr" in uri.params and self._names.domain_of(uri):
                groups = self._reach(uri)
                if groups:
                    self.proxy.forward_ack(ack, groups[0][0])
                return
            self.proxy.forward_ack(ack, Destination(ack.uri, flow=arrival.flow))
        except SipParseError:
            self._counts["core:drop_requests"] += 1

    def _cancel(self, event: RequestReceived) -> None:
        """RFC 3261 §9.2, §16.10."""
        request = event.request
        if event.invite is None:
            self._refuse_unread(request, event.flow, 481, "")
            return
        transaction = self._endpoint.accept(request, event.flow)
        tag = event.invite.last_response.to_tag if event.invite.last_response else None
        tag = tag or self._endpoint.tokens.tag()
        self._endpoint.respond(transaction, Response.to_request(request, 200, to_tag=tag))
        self.proxy.cancel(event.invite, request.get("Reason"))

    def _options_answer(self, request: Request, flow: Flow) -> None:
        headers = [
            ("Allow", _ALLOWED),
            ("Accept", "*/*"),
            ("Supported", ", ".join(SUPPORTED)),
        ]
        self._reply(request, flow, 200, "", headers)

    # --- answers without state -----------------------------------------------------------------

    def _reply(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str = "",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        tag = self._endpoint.layer.stateless_tag(request)
        self._send(request, flow, Response.to_request(request, status, reason, tag, headers))

    def _send(self, request: Request, flow: Flow, response: Response) -> None:
        self._counts["sl:sent_replies"] += 1
        if response.status >= 300:
            self._counts["sl:sent_err_replies"] += 1
        self._endpoint.reply_stateless(request, flow, response)


class _Answered(Exception):
    """The request has its answer already."""


def _copy_key(request: Request) -> Hashable:
    """The same for each copy of a request that comes by the same way."""
    return (request.get("Via"), request.method, request.get("CSeq"), request.get("Call-ID"))


def _phrase(error: RcsopsError) -> str:
    return _short(getattr(error, "reason", "") or str(error))


def _short(text: str) -> str:
    """A reason phrase: one printable line that nobody can break a log or a parser with."""
    clean = "".join(each if " " <= each <= "~" else "?" for each in text)
    return clean[:80]
