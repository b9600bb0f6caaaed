"""The server's transaction user: what happens to a request (RFC 3261 §8.2, §10.3, §16.3 to 16.5).

A request is answered in one go, without a task: from memory in all but the rare case that an
account has to be read. Challenges and refusals leave no state behind.
"""

import asyncio
import logging
from collections.abc import Hashable, Sequence

from rcsops.errors import RcsopsError, SipParseError
from rcsops.server.accounts import Accounts, Known, NeedsDatabase
from rcsops.server.addresses import LocalNames
from rcsops.server.auth import Authenticator
from rcsops.server.dialog_token import PARAMETER, DialogTokens
from rcsops.server.location import LocationService
from rcsops.server.options import ServerOptions
from rcsops.server.policy import assert_identity, strip_asserted
from rcsops.server.proxy import Proxy
from rcsops.server.registrar import Registrar
from rcsops.server.response_context import Destination, group_by_priority
from rcsops.server.statistics import Statistics
from rcsops.sip import (
    AckReceived,
    Event,
    Flow,
    NameAddr,
    Request,
    RequestReceived,
    Response,
    ServerTransaction,
    StrayResponse,
    check_request,
)
from rcsops.transport import SipEndpoint

__all__ = ["ServerCore"]

logger = logging.getLogger(__name__)

_SELF_METHODS = "OPTIONS, REGISTER"
_ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, UPDATE, INFO, NOTIFY, SUBSCRIBE, REFER"
_DIALOG_MAKING = frozenset({"INVITE", "SUBSCRIBE", "REFER"})
_MAX_BODY = 256 * 1024


class _Refusal(Exception):
    """Ends the handling of a request with a stateless answer."""

    def __init__(
        self, status: int, reason: str = "", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


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
        location: LocationService,
        dialog_tokens: DialogTokens,
        options: ServerOptions,
        statistics: Statistics,
    ) -> None:
        self._endpoint = endpoint
        self._names = names
        self._domain = names.domain
        self._accounts = accounts
        self._auth = authenticator
        self._location = location
        self._tokens = dialog_tokens
        self._options = options
        self._counts = statistics.counts
        self._registrar = Registrar(location, options, statistics)
        self.proxy = Proxy(endpoint, location, authenticator, options, statistics)
        self._waiting: set[asyncio.Task[None]] = set()
        self._waiting_keys: set[Hashable] = set()

    def close(self) -> None:
        """Lets go of what waits for the database or a name."""
        for task in self._waiting:
            task.cancel()
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
            self._ack(event.request)
        elif isinstance(event, StrayResponse):
            self._counts["core:drop_replies"] += 1

    def bad_message(self, error: SipParseError, flow: Flow) -> None:
        """Takes what is not SIP; a request that says where it came from is told."""
        self._counts["core:bad_msg_hdr"] += 1
        request = getattr(error, "partial", None)
        if not isinstance(request, Request) or request.method == "ACK":
            return
        try:
            _ = request.top_via
            if request.has("From") and request.has("To") and request.has("CSeq"):
                self._reply(request, flow, error.status, _phrase(error))
        except RcsopsError:
            # Where an answer would have to go cannot be read.
            return

    # --- requests ------------------------------------------------------------------------------

    def _request(self, request: Request, flow: Flow, known: Known) -> None:
        if self._waiting_keys and _copy_key(request) in self._waiting_keys:
            # A retransmission of what waits for the database: its answer is on the way.
            return
        try:
            self._handle(request, flow, known)
        except _Refusal as refusal:
            self._reply(request, flow, refusal.status, refusal.reason, refusal.headers)
        except SipParseError as error:
            self._reply(request, flow, error.status, _phrase(error))
        except NeedsDatabase as need:
            self._wait(request, flow, known, need)
        except _Answered:
            return

    def _wait(self, request: Request, flow: Flow, known: Known, need: NeedsDatabase) -> None:
        if len(self._waiting) >= self._options.max_waiting:
            self._reply(request, flow, 503, "", [("Retry-After", "5")])
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
            raise _Refusal(wrong.status, wrong.reason or _short(str(wrong)))
        if len(request.body) > _MAX_BODY:
            raise _Refusal(513)
        uri = request.request_uri
        own_routes, token_ok = self._own_routes(request)
        is_local = self._names.is_local(uri)
        is_ours = is_local and not uri.user and len(request.routes) == own_routes
        if is_ours and request.method == "REGISTER":
            self._register(request, flow, known)
            return
        if is_ours and request.method == "OPTIONS":
            self._check_require(request, "Require")
            self._options_answer(request, flow)
            return
        if request.max_forwards == 0:
            raise _Refusal(483)
        if uri.scheme not in ("sip", "sips"):
            raise _Refusal(416)
        if len(request.vias) > 1 and self.proxy.is_loop(request):
            raise _Refusal(482)
        self._check_require(request, "Proxy-Require")
        user = ""
        if not token_ok:
            user = self._caller(request, flow, known)
        if is_ours and not token_ok:
            raise _Refusal(405, "", [("Allow", _SELF_METHODS)])
        groups = self._destinations(request, own_routes, known)
        self._forward(request, flow, own_routes, groups, user)

    def _own_routes(self, request: Request) -> tuple[int, bool]:
        """How many Routes on top are this server, and whether one of them proves that the dialog
        began here. Undoes what a strict router before us did (RFC 3261 §16.4)."""
        if not request.has("Route"):
            return 0, False
        routes = request.routes
        uri = request.request_uri
        if PARAMETER in uri.params and self._names.is_local(uri) and "lr" in uri.params:
            # The Request-URI is what we put into Record-Route: the real one is the last Route.
            last = routes[-1]
            rest = [str(route) for route in (NameAddr(request.uri), *routes[:-1])]
            request.uri = last.uri_text
            request.set("Route", ", ".join(rest))
            routes = request.routes
        count = 0
        valid = False
        for route in routes:
            if not self._names.is_local(route.uri):
                break
            count += 1
            valid = valid or self._tokens.valid(request, route)
        return count, valid

    def _check_require(self, request: Request, name: str) -> None:
        if request.has(name):
            supported = ("path", "outbound") if name == "Require" else ()
            unknown = [tag for tag in request.option_tags(name) if tag.lower() not in supported]
            if unknown:
                raise _Refusal(420, "", [("Unsupported", ", ".join(unknown))])

    def _authenticate(self, request: Request, flow: Flow, known: Known) -> str:
        now = self._endpoint.now
        judgement = self._auth.judge(request, now, known)
        if judgement.user:
            return judgement.user
        tag = self._endpoint.layer.stateless_tag(request)
        response = self._auth.refuse(request, judgement, tag, now, known, flow.remote)
        self._send(request, flow, response)
        return ""

    def _register(self, request: Request, flow: Flow, known: Known) -> None:
        user = self._authenticate(request, flow, known)
        if not user:
            return
        to = request.to.uri
        if not to.is_sip:
            raise _Refusal(416)
        if not self._names.is_local(to) or not to.user:
            raise _Refusal(404)
        # RFC 3261 §10.3 step 4: nobody registers for somebody else here.
        if to.username != user:
            raise _Refusal(403)
        transaction = self._endpoint.accept(request, flow)
        tag = self._endpoint.tokens.tag()
        address = f"{user}@{self._domain}"
        response = self._registrar.register(request, flow, address, tag, self._endpoint.now)
        self._endpoint.respond(transaction, response)

    def _caller(self, request: Request, flow: Flow, known: Known) -> str:
        """The authenticated user that a request is from; refuses everybody else."""
        sender = request.from_.uri
        if not sender.is_sip or not self._names.is_local(sender) or not sender.user:
            # Neither a relay for strangers nor a way in for identities that nobody vouches for.
            raise _Refusal(403)
        user = self._authenticate(request, flow, known)
        if not user:
            raise _Answered
        if sender.username != user:
            raise _Refusal(403)
        return user

    def _destinations(
        self, request: Request, own_routes: int, known: Known
    ) -> list[list[Destination]]:
        """Where a request is to go (RFC 3261 §16.5); refuses what goes nowhere."""
        routes = request.routes[own_routes:] if own_routes else request.routes
        if routes:
            return [[Destination(request.uri, (routes[0].uri_text,))]]
        uri = request.request_uri
        if not self._names.is_local(uri):
            return [[Destination(request.uri)]]
        user = uri.username
        address = f"{user}@{self._domain}"
        if not user or self._accounts.get(user, known) is None:
            # What an account that was removed had registered must not be found any more.
            self._location.remove_address(address)
            raise _Refusal(404)
        now = self._endpoint.now
        bindings = [each for each in self._location.lookup(address) if each.expires > now]
        if not bindings:
            raise _Refusal(480)
        return group_by_priority(bindings[: self._options.max_forks])

    def _forward(
        self,
        request: Request,
        flow: Flow,
        own_routes: int,
        groups: list[list[Destination]],
        user: str,
    ) -> None:
        if self.proxy.in_progress >= self._options.max_contexts:
            raise _Refusal(503, "", [("Retry-After", "5")])
        transaction: ServerTransaction = self._endpoint.accept(request, flow)
        self._counts["tm:UAS_transactions"] += 1
        if request.method == "INVITE":
            # RFC 3261 §16.2: a proxy that may take longer than 200 ms says so at once.
            transaction.trying(self._endpoint.now)
        base = self._base(request, own_routes)
        if user:
            assert_identity(base, user, self._domain)
        token = ""
        if request.method in _DIALOG_MAKING and request.to_tag is None:
            token = self._tokens.make(request)
        self.proxy.forward(transaction, request, base, groups, token)

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
        self._auth.remove_credentials(base)
        return base

    def _ack(self, request: Request) -> None:
        """An ACK for a 2xx: forwarded without state, or dropped, but never answered."""
        try:
            own_routes, token_ok = self._own_routes(request)
            if not token_ok:
                # Mostly for a challenge or refusal of ours that left no transaction.
                return
            if request.max_forwards == 0 or check_request(request) is not None:
                self._counts["core:drop_requests"] += 1
                return
            ack = self._base(request, own_routes)
            routes = ack.routes
            hop = (routes[0].uri_text,) if routes else ()
            self.proxy.forward_ack(ack, Destination(ack.uri, hop))
        except SipParseError:
            self._counts["core:drop_requests"] += 1

    def _cancel(self, event: RequestReceived) -> None:
        """RFC 3261 §9.2, §16.10."""
        request = event.request
        if event.invite is None:
            self._reply(request, event.flow, 481)
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
            ("Supported", "path, outbound"),
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
