"""The sockets that agents share, and the way of each request to the agent or call it is for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from rcsops.errors import AgentError, RemoteProtocolError, SettingsError, SipParseError
from rcsops.rcs import PAGER_ACCEPT
from rcsops.sip import (
    AckReceived,
    DialogId,
    Event,
    Flow,
    Request,
    RequestReceived,
    Response,
    Target,
    Timers,
    UnreadableRequest,
    Uri,
    answerable,
    check_request,
)
from rcsops.tokens import Tokens
from rcsops.transport import EndpointLimits, SipEndpoint, Tap, Tls, TlsOptions
from rcsops.transport.addresses import ListenAddress
from rcsops.transport.datagrams import UdpSocket
from rcsops.transport.msrp import MsrpEndpoint, MsrpLimits
from rcsops.transport.requester import find_targets, targets_of
from rcsops.transport.resolver import resolve_numeric
from rcsops.transport.turns import Turns
from rcsops.ua.keep_alive import KeepAlive

if TYPE_CHECKING:
    from rcsops.ua.call import Call
    from rcsops.ua.core import AgentCore
    from rcsops.ua.outgoing_invite import OutgoingInvite

__all__ = ["ACCEPT", "ALLOW", "SUPPORTED", "AgentHost"]

logger = logging.getLogger(__name__)

ALLOW = "INVITE, ACK, CANCEL, BYE, MESSAGE, OPTIONS, UPDATE"
SUPPORTED = "gruu, outbound, path, timer"
ACCEPT = f"application/sdp, {PAGER_ACCEPT}"
"""What the answers to OPTIONS say of every agent (RFC 3261 §11.2)."""


class AgentHost:
    """One SIP endpoint (UDP and TCP on one port) and one MSRP endpoint for any number of agents.

    It connects by TLS and WebSocket too; ``tls`` says whom to believe, and with a certificate of
    its own, which it shows to servers that ask, it also listens by TLS.

    An agent makes its own unless it is given one. ``bind`` is a numeric address; port 0 takes a
    free one; ``tap`` gets a record of every SIP message and MSRP frame; ``dns`` are the DNS servers
    to ask instead of the system's; ``open_udp`` opens UDP sockets (`rcsops.testing.LossyLink` puts
    a bad network before them). The MSRP port opens with the first session. Use it as an async
    context manager, or call ``start`` and ``close``.
    """

    def __init__(
        self,
        *,
        bind: str = "127.0.0.1",
        port: int = 0,
        msrp_port: int = 0,
        tap: Tap | None = None,
        dns: Sequence[str] = (),
        tokens: Tokens | None = None,
        timers: Timers | None = None,
        limits: EndpointLimits | None = None,
        msrp_limits: MsrpLimits | None = None,
        tls: TlsOptions | None = None,
        open_udp: Callable[..., UdpSocket] = UdpSocket,
    ) -> None:
        self._bind = bind
        self._port = port
        self._msrp_port = msrp_port
        self._tap = tap
        self._dns = tuple(dns)
        self._tokens = tokens
        self._timers = timers
        self._limits = limits
        self._msrp_limits = msrp_limits
        self._tls = Tls(tls)
        self._open_udp = open_udp
        self._msrp: MsrpEndpoint | None = None
        self._agents: dict[str, AgentCore] = {}
        self._calls: dict[DialogId, Call] = {}
        self.turns = Turns()
        """Where what comes waits; who holds them has the loop to himself for a moment."""
        self.dialling: set[OutgoingInvite] = set()
        """The INVITEs that have no final answer."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keep_alive: KeepAlive | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    endpoint: SipEndpoint
    """The SIP endpoint; raises AgentError before ``start``."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only while there is none; what asks for it at every turn pays for no check.
            if name == "endpoint":
                raise AgentError("the agent has not been started: use it with `async with`")
            raise AttributeError(name)

    @property
    def _is_started(self) -> bool:
        return "endpoint" in self.__dict__

    @property
    def addresses(self) -> tuple[ListenAddress, ...]:
        """Where it listens for SIP."""
        return self.endpoint.addresses

    @property
    def agent_count(self) -> int:
        """How many agents share these sockets."""
        return len(self._agents)

    @property
    def call_count(self) -> int:
        """How many dialogs there are, those that are being set up included."""
        return len(self._calls)

    @property
    def bind(self) -> str:
        """The address that it was told to listen on."""
        return self._bind

    async def start(self) -> None:
        """Opens the SIP sockets. Raises AgentError when the address cannot be had."""
        if self._is_started:
            return
        endpoint = SipEndpoint(
            on_event=self._event,
            on_bad_message=self._bad_message,
            on_flow_closed=self._flow_closed,
            tokens=self._tokens,
            timers=self._timers,
            tap=self._tap,
            limits=self._limits,
            nameservers=self._dns,
            tls=self._tls,
            dials=("tls", "ws", "wss"),
            open_udp=self._open_udp,
        )
        try:
            await endpoint.listen_pair(self._bind, self._port)
            if self._tls.has_certificate:
                # Only with a certificate can anybody come to us by TLS.
                await endpoint.listen("tls", self._bind, 0)
        except (OSError, ValueError) as error:
            await endpoint.close()
            raise AgentError(
                f"cannot listen on {self._bind}:{self._port}: "
                f"{getattr(error, 'strerror', None) or error}",
                hint="give an address of this machine, and a port that is free",
            ) from error
        except SettingsError:
            await endpoint.close()
            raise
        self.endpoint = endpoint

    async def close(self) -> None:
        """Closes every socket; agents that are still open are closed first."""
        for agent in tuple(self._agents.values()):
            await agent.close()
        if self._keep_alive is not None:
            self._keep_alive.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._msrp is not None:
            await self._msrp.close()
        if self._is_started:
            await self.endpoint.close()

    @property
    def tls_options(self) -> TlsOptions:
        """Whom its connections believe."""
        return self._tls.options

    async def msrp(self, *, secure: bool = False) -> MsrpEndpoint:
        """The MSRP endpoint, listening, with ``secure`` by TLS.

        Raises AgentError when its port cannot be had.
        """
        if self._msrp is None:
            endpoint = self.endpoint
            self._msrp = MsrpEndpoint(
                self._bind,
                self._msrp_port,
                tokens=endpoint.tokens,
                tap=endpoint.tap,
                limits=self._msrp_limits,
                turns=self.turns,
            )
        await self._msrp.start(secure=secure)
        return self._msrp

    def spawn(self, work: Coroutine[Any, Any, object]) -> "asyncio.Task[None]":
        """Runs something in the background; its failure is logged, and ``close`` ends it."""
        task = asyncio.get_running_loop().create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that was cancelled before it began would warn that nobody awaited it.
        task.add_done_callback(lambda _: work.close())
        return task

    # --- agents and calls --------------------------------------------------------------------

    def add_agent(self, agent: "AgentCore", user: str) -> str:
        """Takes an agent in and returns the user part of its Contact, which is unique here."""
        name = user.lower()
        if name in self._agents:
            name = f"{name}-{self.endpoint.tokens.tag()[:8]}"
        self._agents[name] = agent
        return name if name != user.lower() else user

    def remove_agent(self, user: str) -> None:
        """Forgets an agent."""
        self._agents.pop(user.lower(), None)

    def add_call(self, call: "Call", dialog: DialogId) -> None:
        """Sends the requests of a dialog to its call from now on."""
        self._calls[dialog] = call

    def remove_call(self, dialog: DialogId) -> None:
        """A dialog is over."""
        self._calls.pop(dialog, None)

    # --- where to ----------------------------------------------------------------------------

    def targets_now(
        self, uri: Uri, *, transport: str | None = None, domain: str = ""
    ) -> tuple[Target, ...] | None:
        """The targets of a URI with a numeric host; None when it needs a look-up."""
        candidate = resolve_numeric(uri, transport=transport)
        return None if candidate is None else targets_of(self.endpoint, (candidate,), domain)

    def with_targets(self, uri: Uri, use: Callable[[tuple[Target, ...]], None]) -> None:
        """Calls ``use`` with the targets of a URI, at once when no look-up is needed."""
        targets = self.targets_now(uri)
        if targets is not None:
            use(targets)
            return

        async def look_up() -> None:
            try:
                found = await find_targets(self.endpoint, uri)
            except AgentError:
                found = ()
            use(found)

        self.spawn(look_up())

    # --- flows -------------------------------------------------------------------------------

    @property
    def keep_alive(self) -> KeepAlive:
        """Keeps the ways to servers open; raises AgentError before ``start``."""
        if self._keep_alive is None:
            endpoint = self.endpoint
            self._keep_alive = KeepAlive(endpoint, endpoint.tokens.fraction)
        return self._keep_alive

    def _flow_closed(self, flow: Flow, error: str) -> None:
        closed = flow._replace(connection=0)
        for invite in tuple(self.dialling):
            invite.flow_closed(closed)
        for agent in tuple(self._agents.values()):
            agent.flow_closed(flow, error)

    # --- requests ----------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            try:
                self._request(event)
            except SipParseError as error:
                self.refuse(event.request, event.flow, 400, str(error))
        elif isinstance(event, AckReceived):
            try:
                call = self._calls.get(DialogId.of_received(event.request))
            except SipParseError:
                return
            if call is not None:
                call.receive_ack(event.request)

        elif isinstance(event, UnreadableRequest):
            self._refuse_unread(event.request, event.flow, 400)

    def _bad_message(self, error: SipParseError, flow: Flow) -> None:
        request = answerable(error)
        if request is not None:
            self._refuse_unread(request, flow, error.status)

    def _refuse_unread(self, request: Request, flow: Flow, status: int) -> None:
        tag = self.endpoint.layer.stateless_tag(request)
        response = Response.to_request(request, status, to_tag=tag)
        self.endpoint.reply_stateless(request, flow, response)

    def _request(self, event: RequestReceived) -> None:
        request, flow = event.request, event.flow
        wrong = check_request(request)
        if wrong is not None:
            self.refuse(request, flow, wrong.status, wrong.reason)
            return
        if request.method == "CANCEL":
            self._cancel(event)
            return
        required = request.option_tags("Require")
        if required:
            unsupported = ", ".join(required)
            self.refuse(request, flow, 420, headers=[("Unsupported", unsupported)])
            return
        if request.to_tag:
            call = self._calls.get(DialogId.of_received(request))
            if call is None:
                self.refuse(request, flow, 481)
            else:
                call.receive_request(request, flow)
            return
        if self.endpoint.layer.is_merged(request):
            self.refuse(request, flow, 482)
            return
        user = request.request_uri.username.lower()
        agent = self._agents.get(user)
        if agent is None:
            self.refuse(request, flow, 404)
        elif request.method == "INVITE":
            agent.receive_invite(request, flow)
        elif request.method == "MESSAGE":
            agent.receive_message(request, flow)
        elif request.method == "OPTIONS":
            agent.receive_options(request, flow)
        else:
            self.refuse(request, flow, 405, headers=[("Allow", ALLOW)])

    def _cancel(self, event: RequestReceived) -> None:
        invite = event.invite
        self.refuse(event.request, event.flow, 481 if invite is None else 200)
        if invite is not None and invite.context is not None:
            cast("Call", invite.context).receive_cancel(event.request)

    def refuse(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str = "",
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        """Answers a request finally and at once, in a transaction of its own."""
        endpoint = self.endpoint
        try:
            response = Response.to_request(
                request,
                status,
                _printable(reason),
                to_tag=endpoint.tokens.tag(),
                headers=headers or (),
            )
            endpoint.respond(endpoint.accept(request, flow), response)
        except RemoteProtocolError:
            # Not even its Via, From, To, Call-ID and CSeq can be read: there is no answer to it.
            logger.debug("a request from %s cannot be answered", flow.remote)


def _printable(reason: str) -> str:
    return "".join(c if c.isprintable() else " " for c in reason)[:120]


async def _logged(work: Awaitable[object]) -> None:
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception:
        logger.exception("background work of an agent failed")
