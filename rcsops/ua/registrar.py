"""Keeping an agent registered: drives the registration machine over the transport."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rcsops.errors import AgentError, RegistrationError
from rcsops.sip import (
    NameAddr,
    Registered,
    Registration,
    RegistrationFailed,
    RegistrationState,
    Response,
    Target,
    Unregistered,
)
from rcsops.transport import Alarm
from rcsops.transport.requester import Walk
from rcsops.transport.tls_failures import advice
from rcsops.ua import events

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["Registrar"]

# Many agents of one process must not all come back in the same instant.
_REJOIN_RATE = 500.0


class Registrar:
    """One agent's registration: first time, refreshes, back after a loss, and its removal."""

    __slots__ = (
        "_agent",
        "_alarm",
        "_gone",
        "_held",
        "_lost",
        "_machine",
        "_rejoin",
        "_retry",
        "_targets",
        "_waiters",
        "_walk",
        "registered_at",
    )

    def __init__(
        self, agent: "AgentCore", machine: Registration, targets: Sequence[Target]
    ) -> None:
        self._agent = agent
        # When the last REGISTER succeeded, by the loop's clock.
        self.registered_at = 0.0
        self._machine = machine
        self._targets = tuple(targets)
        self._alarm = Alarm(self._timer_due)
        self._retry = False
        self._lost = False
        self._gone = False
        self._held: Target | None = None
        self._walk: Walk | None = None
        self._rejoin: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def registered(self) -> bool:
        """Whether the registrar holds our contact, as far as we know."""
        return self._machine.is_registered(self._agent.host.endpoint.now) and not self._lost

    @property
    def service_route(self) -> tuple[NameAddr, ...]:
        """The Route for initial requests (RFC 3608)."""
        return self._machine.service_route

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
        await waiter

    async def unregister(self, wait: float) -> None:
        """Removes our contact; waits for the answer at most ``wait`` seconds."""
        self._gone = True
        if self._rejoin is not None:
            self._rejoin.cancel()
            self._rejoin = None
        waiter = self._wait()
        self._machine.unregister(self._now())
        self._drain()
        try:
            async with asyncio.timeout(wait):
                await waiter
        except TimeoutError:
            # The binding runs out by itself.
            pass
        except RegistrationError:
            # So it does when the server does not want to hear of it.
            pass
        self.stop()

    def stop(self) -> None:
        """Does nothing any more."""
        self._gone = True
        self._alarm.cancel()
        if self._rejoin is not None:
            self._rejoin.cancel()
            self._rejoin = None
        if self._walk is not None:
            self._walk.abandon()
            self._walk = None
        self._release()
        for waiter in self._take_waiters():
            waiter.cancel()

    def flow_lost(self, error: str) -> None:
        """The way to the server is closed: registers again at once (RFC 5626 §4.4.1)."""
        if self._gone or self._rejoin is not None:
            return
        if self._machine.state is not RegistrationState.REGISTERED:
            # A REGISTER is under way, or the next one is waited for: that finds out by itself.
            return
        loop = asyncio.get_running_loop()
        spread = self._agent.host.agent_count / _REJOIN_RATE * self._agent.tokens.fraction()
        self._rejoin = loop.call_later(spread, self._register_again)

    def _register_again(self) -> None:
        self._rejoin = None
        self._machine.start(self._now())
        self._drain()

    def _drain(self) -> None:
        machine = self._machine
        request = machine.next_request()
        if request is not None:
            self._walk = Walk(
                self._agent.host.endpoint, request, self._targets, on_done=self._answered
            )
            self._walk.start()
        while (event := machine.next_event()) is not None:
            if isinstance(event, Registered):
                self._registered(event)
            elif isinstance(event, RegistrationFailed):
                self._failed(event)
            elif isinstance(event, Unregistered):
                self._unregistered()
        if not self._gone or machine.next_timer() is None:
            self._alarm.set(machine.next_timer())

    def _answered(self, response: Response | None, error: str) -> None:
        walk, self._walk = self._walk, None
        if response is not None:
            if walk is not None and walk.target is not None and response.status < 300:
                self._hold(walk.target)
            self._machine.receive_response(response, self._now())
        else:
            self._machine.request_failed(error, self._now())
        self._drain()

    def _registered(self, event: Registered) -> None:
        self.registered_at = self._now()
        first = bool(self._waiters)
        again, self._lost = self._lost, False
        if first or again:
            self._agent.publish(events.Registered(self._agent.aor, event.expires, again=again))
        for waiter in self._take_waiters():
            waiter.set_result(None)

    def _failed(self, event: RegistrationFailed) -> None:
        waiters = self._waiters
        if waiters and not (self._retry and event.retry_in is not None):
            self._take_waiters()
            error = refused(event, self._agent.server_text)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            if event.retry_in is not None and not self._gone:
                # Nobody asked for more attempts.
                self._machine.unregister(self._now())
                while self._machine.next_event() is not None:
                    pass
                self._alarm.cancel()
            return
        if not self._gone:
            self._lost = True
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

    def _hold(self, target: Target) -> None:
        if self._held == target:
            return
        self._release()
        self._held = target
        self._agent.host.hold_flow(target.flow)

    def _release(self) -> None:
        if self._held is not None:
            self._agent.host.drop_flow(self._held.flow)
            self._held = None

    def _timer_due(self) -> None:
        self._machine.handle_timer(self._now())
        self._drain()

    def _now(self) -> float:
        return self._agent.host.endpoint.now

    def _wait(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def _take_waiters(self) -> list[asyncio.Future[None]]:
        waiters, self._waiters = self._waiters, []
        return [waiter for waiter in waiters if not waiter.done()]


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
