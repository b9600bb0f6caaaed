"""Keeping an agent registered: drives the registration machine over the transport."""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from rcsops.errors import AgentError, LocalProtocolError, RegistrationError
from rcsops.sip import (
    Flow,
    NameAddr,
    Registered,
    Registration,
    RegistrationFailed,
    RegistrationState,
    Request,
    Response,
    Target,
    Unregistered,
    Uri,
)
from rcsops.sip.registrar_answer import flow_timer
from rcsops.transport import Alarm
from rcsops.transport.addresses import WILDCARDS
from rcsops.transport.requester import Walk
from rcsops.transport.tls_failures import advice
from rcsops.ua import events

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["Registrar"]

# Many agents of one process must not all come back in the same instant.
_REJOIN_RATE = 500.0
# How often we look whether our own address has changed: so many agents a second in one process.
_NETWORK_SECONDS = 5.0
_LOOK_RATE = 100.0


class Registrar:
    """One agent's registration: first time, refreshes, back after a loss, and its removal.

    It is renewed over the flow that it was made by. When that is lost, when the server answers no
    more, or when our own address has changed, it is made anew after the wait of RFC 5626 §4.5.
    """

    __slots__ = (
        "_agent",
        "_alarm",
        "_broken",
        "_check_at",
        "_gone",
        "_held",
        "_lost",
        "_machine",
        "_network",
        "_retry",
        "_spread",
        "_waiters",
        "_walk",
        "behind_nat",
        "registered_at",
    )

    def __init__(self, agent: "AgentCore", machine: Registration) -> None:
        self._agent = agent
        # When the last REGISTER succeeded, by the loop's clock.
        self.registered_at = 0.0
        self.behind_nat = False
        """Whether the server sees us under another address than we do."""
        self._machine = machine
        self._alarm = Alarm()
        self._network = Alarm()
        self._check_at: float | None = None
        self._spread = 0.0
        self._retry = False
        self._lost = False
        self._broken = False
        self._gone = False
        self._held: _Held | None = None
        self._walk: Walk | None = None
        # What failed, or None. No exception: what is raised holds the frames of who waited.
        self._waiters: list[asyncio.Future[RegistrationFailed | None]] = []

    @property
    def registered(self) -> bool:
        """Whether the registrar holds our contact, as far as we know."""
        return self._machine.is_registered(self._agent.host.endpoint.now) and not self._lost

    @property
    def state(self) -> RegistrationState:
        """Where it stands."""
        return self._machine.state

    @property
    def expires_at(self) -> float:
        """Until when the registrar holds our contact, by the loop's clock; 0 while it does not."""
        return self._machine.expires_at

    @property
    def renews_at(self) -> float | None:
        """When the next REGISTER goes out; None while one is under way, or none is to."""
        due = self._machine.next_timer()
        if due is None:
            return None
        due += self._spread
        return due if self._check_at is None else min(due, self._check_at)

    @property
    def held(self) -> Target | None:
        """The way that we are registered by; None while there is none."""
        return None if self._held is None else self._held.target

    @property
    def service_route(self) -> tuple[NameAddr, ...]:
        """The Route for initial requests (RFC 3608)."""
        return self._machine.service_route

    @property
    def dialog_mark(self) -> str:
        """What `dialog_contact` makes of a contact: our GRUU, "ob", or "" for nothing."""
        machine = self._machine
        if machine.public_gruu is not None and self._agent.options.gruu:
            return machine.public_gruu
        return "ob" if machine.outbound else ""

    def dialog_contact(self, contact: NameAddr) -> NameAddr:
        """``contact`` as a session through the server is to have it: as our GRUU, or with the mark
        that the way to it is the flow (RFC 5627 §4.4, RFC 5626 §4.3)."""
        mark = self.dialog_mark
        if not mark:
            return contact
        uri = contact.uri.with_param("ob") if mark == "ob" else Uri.parse(mark)
        made = NameAddr(uri)
        for name, value in contact.params.items():
            made.params[name] = value
        return made

    async def register(self, *, retry: bool) -> None:
        """Registers and waits for the outcome.

        Without ``retry`` the first failure is raised as RegistrationError and ends the attempt;
        with it only a refusal is raised, and a server that is not there is asked again and again.
        """
        self._retry = retry
        self._gone = False
        waiter = self._wait()
        self._machine.start(self._now())
        self._drain()
        failed = await waiter
        if failed is not None:
            raise refused(failed, self._agent.server_text)

    async def unregister(self, wait: float) -> None:
        """Removes our contact; waits for the answer at most ``wait`` seconds."""
        self._gone = True
        self._network.cancel()
        waiter = self._wait()
        self._machine.unregister(self._now())
        self._drain()
        try:
            async with asyncio.timeout(wait):
                await waiter
        except TimeoutError:
            # The binding runs out by itself, as it does when the server refuses.
            pass
        self.stop()

    def stop(self) -> None:
        """Does nothing any more."""
        self._gone = True
        self._alarm.cancel()
        self._network.cancel()
        if self._walk is not None:
            self._walk.abandon()
            self._walk = None
        self._release()
        for waiter in self._take_waiters():
            waiter.cancel()

    def flow_closed(self, flow: Flow, error: str) -> None:
        """A connection is closed, or an address is said to be unreachable."""
        held = self._held
        if held is None or (flow.transport, flow.remote) != held.way:
            return
        if held.connection and flow.connection and flow.connection != held.connection:
            # One that had been given up before.
            return
        self._flow_lost(error or "it was closed")

    def _flow_lost(self, reason: str) -> None:
        if self._gone:
            return
        self._release()
        host = self._agent.host
        self._spread = host.agent_count / _REJOIN_RATE * self._agent.tokens.fraction()
        self._broken = True
        self._machine.flow_lost(reason, self._now())
        self._drain()
        self._broken = False

    def _drain(self) -> None:
        machine = self._machine
        request = machine.next_request()
        if request is not None:
            self._check_at = None
            self._agent.with_server(lambda found, error: self._send(request, found, error))
        while (event := machine.next_event()) is not None:
            if isinstance(event, Registered):
                self._registered(event)
            elif isinstance(event, RegistrationFailed):
                self._failed(event)
            elif isinstance(event, Unregistered):
                self._unregistered()
        self._set_alarm()

    def _set_alarm(self) -> None:
        due = self._machine.next_timer()
        if due is not None and self._spread:
            due += self._spread
        if self._check_at is not None:
            due = self._check_at if due is None else min(due, self._check_at)
        if not self._gone or due is None:
            self._alarm.set(due, self._timer_due)

    def _send(self, request: Request, targets: tuple[Target, ...], error: str) -> None:
        if self._gone and self._machine.state is not RegistrationState.UNREGISTERING:
            return
        if not targets:
            self._answered(None, error or "no address to try")
            return
        self._walk = Walk(
            self._agent.host.endpoint,
            request,
            targets,
            on_done=self._answered,
            on_attempt=self._attempt,
        )
        self._walk.start()

    def _attempt(self, request: Request) -> None:
        """Puts in the address under which the target at hand sees us."""
        machine = self._machine
        assert self._walk is not None
        assert self._walk.target is not None
        if machine.state is RegistrationState.UNREGISTERING:
            return
        contact = self._agent.contact_address(self._walk.target)
        before, machine.contact = machine.contact, contact
        request.set("Contact", machine.contact_value())
        moved = before.uri != contact.uri and machine.is_registered(self._now())
        if moved and not machine.outbound:
            # A registrar that goes by addresses would keep the one that leads nowhere.
            request.add("Contact", f"<{before.uri}>;expires=0")

    def _answered(self, response: Response | None, error: str) -> None:
        walk, self._walk = self._walk, None
        self._spread = 0.0
        if response is not None:
            if walk is not None and walk.target is not None and response.status < 300:
                self._hold(walk.target, flow_timer(response))
                self.behind_nat = self._is_translated(response, walk.target.flow)
            self._machine.receive_response(response, self._now())
        else:
            if self._held is not None:
                # What did not answer is no way to be reached by.
                self._release()
            self._machine.request_failed(error, self._now())
        self._drain()

    def _is_translated(self, response: Response, flow: Flow) -> bool:
        """Whether our packets came from another address than ours (RFC 3261 §18.2.1)."""
        seen = response.top_via.received
        return seen is not None and seen != self._agent.visible_host(flow)

    def _registered(self, event: Registered) -> None:
        self.registered_at = self._now()
        first = bool(self._waiters)
        again, self._lost = self._lost, False
        if first or again:
            self._agent.publish(events.Registered(self._agent.aor, event.expires, again=again))
        for waiter in self._take_waiters():
            waiter.set_result(None)

    def _failed(self, event: RegistrationFailed) -> None:
        if self._waiters and not (self._retry and event.retry_in is not None):
            for waiter in self._take_waiters():
                waiter.set_result(event)
            if event.retry_in is not None and not self._gone:
                # Nobody asked for more attempts.
                self._machine.unregister(self._now())
                while self._machine.next_event() is not None:
                    pass
                self._alarm.cancel()
            return
        if not self._gone:
            self._lost = True
            if self._broken:
                reason = f"the connection to {self._agent.server_text} is lost: {event.reason}"
            else:
                reason = str(refused(event, self._agent.server_text))
            hint = advice(event.reason)
            self._agent.publish(
                events.RegistrationLost(self._agent.aor, event.status, reason, event.retry_in, hint)
            )

    def _unregistered(self) -> None:
        self._release()
        self._agent.publish(events.Unregistered(self._agent.aor))
        for waiter in self._take_waiters():
            waiter.set_result(None)

    def _hold(self, target: Target, seconds: int | None) -> None:
        endpoint = self._agent.host.endpoint
        held = _Held(target, endpoint.connection_of(target.flow))
        self._release()
        self._held = held
        self._agent.host.keep_alive.hold(target.flow, seconds)
        wait = self._agent.options.check_seconds
        if wait and target.flow.transport == "udp":
            self._check_at = self._now() + wait * (0.8 + 0.2 * self._agent.tokens.fraction())
        if not self._gone and self._agent.host.bind in WILDCARDS:
            self._watch_network()

    def _watch_network(self) -> None:
        wait = _NETWORK_SECONDS + self._agent.host.agent_count / _LOOK_RATE
        self._network.set(self._now() + wait, self._look_at_network)

    def _release(self) -> None:
        held, self._held = self._held, None
        self._check_at = None
        if held is not None:
            self._agent.host.keep_alive.drop(held.target.flow)

    def _look_at_network(self) -> None:
        """Whether we are still seen under the address that we have registered."""
        held = self._held
        if held is None or self._gone:
            return
        flow = held.target.flow
        endpoint = self._agent.host.endpoint
        endpoint.forget_own_addresses()
        try:
            now_by = endpoint.target(flow.transport, flow.remote, flow.domain)
        except LocalProtocolError:
            now_by = held.target
        if now_by.sent_by == held.target.sent_by:
            self._watch_network()
            return
        endpoint.close_flow(flow)
        self._flow_lost(f"our address is {now_by.sent_by} now, not {held.target.sent_by}")

    def _timer_due(self) -> None:
        now = self._now()
        self._machine.handle_timer(now - self._spread)
        if self._check_at is not None and now >= self._check_at:
            # UDP tells nobody that a server has gone, or begun anew without us.
            self._check_at = None
            if self._machine.state is RegistrationState.REGISTERED:
                self._machine.start(now)
        self._drain()

    def _now(self) -> float:
        return self._agent.host.endpoint.now

    def _wait(self) -> "asyncio.Future[RegistrationFailed | None]":
        waiter: asyncio.Future[RegistrationFailed | None]
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def _take_waiters(self) -> "list[asyncio.Future[RegistrationFailed | None]]":
        waiters, self._waiters = self._waiters, []
        return [waiter for waiter in waiters if not waiter.done()]


class _Held(NamedTuple):
    """The flow in use, and the connection that it stands for; 0 for a datagram."""

    target: Target
    connection: int

    @property
    def way(self) -> tuple[str, tuple[str, int]]:
        return self.target.flow.transport, self.target.flow.remote


def refused(event: RegistrationFailed, server: str) -> AgentError:
    """What to raise for a registration that failed."""
    status, reason = event.status, event.reason
    if status in (401, 403, 407):
        return RegistrationError(
            f"the server {server} refused the user name or the password ({status} {reason})",
            status=status,
            hint="set the password anew with `rcsops user passwd`, or check the user's name",
        )
    if status == 404:
        return RegistrationError(
            f"the server {server} does not know this user ({status} {reason})",
            status=status,
            hint="add the user with `rcsops user add`",
        )
    if status == 0 and (hint := advice(reason)):
        return RegistrationError(
            f"no secure connection to the server {server}: {reason}", hint=hint
        )
    if status == 0:
        return RegistrationError(
            f"the server {server} does not answer: {reason}",
            hint="is it running? `rcsops status` tells, `rcsops start` starts it",
        )
    return RegistrationError(f"the server {server} answered {status} {reason}", status=status)
