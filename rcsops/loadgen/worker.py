"""One process full of agents under load."""

import asyncio
import random
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil

from rcsops.loadgen.pacing import arrivals
from rcsops.loadgen.plan import MIX, Account, LoadPlan
from rcsops.loadgen.scenarios import NEEDS, Member, Scenarios
from rcsops.loadgen.statistics import Statistics
from rcsops.sip import Credential
from rcsops.transport import TlsOptions
from rcsops.transport.msrp import MsrpEndpoint, MsrpLimits
from rcsops.ua import Agent, AgentHost

__all__ = ["Worker"]

Tell = Callable[[dict[str, object]], None]

_JOINING_AT_ONCE = 64
_CLOSE_SECONDS = 20.0
_SETTLE_STEP = 1.0
# For connections to the server, listeners, pipes, modules that are read late.
_OTHER_FILES = 128


class Worker:
    """Has its share of the agents register, runs scenarios between them, and counts.

    ``tell`` is called once a second, and at every change of phase ("joining", "ready", "running",
    "draining", "settling", "done"), with the counts so far.
    """

    def __init__(
        self, plan: LoadPlan, number: int, accounts: Sequence[Account], *, tell: Tell
    ) -> None:
        self._plan = plan
        self._accounts = accounts
        self._tell = tell
        # Nothing of it is secret; the same seed gives the same load.
        self._random = random.Random(f"{plan.seed} {number}")  # noqa: S311
        self._phase = "joining"
        self._statistics = Statistics()
        self._go = asyncio.Event()
        self._stop = asyncio.Event()
        self._hosts: list[AgentHost] = []
        self._msrp: list[MsrpEndpoint] = []
        self._idle: deque[Member] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._loop = asyncio.get_running_loop()
        self._scenarios = Scenarios(plan, self._statistics)

    def go(self) -> None:
        """Every worker is ready: the load begins."""
        self._go.set()

    def stop(self) -> None:
        """Begins nothing more, and ends what is under way."""
        self._stop.set()
        self._go.set()

    async def run(self) -> None:
        """All of it, to the last message ("done")."""
        ticker = self._loop.create_task(self._tick())
        servers: list[asyncio.Task[None]] = []
        try:
            async with AsyncExitStack() as stack:
                for _ in range(min(self._plan.sockets, len(self._accounts))):
                    host = AgentHost(
                        bind=self._plan.bind, tls=_tls(self._plan), msrp_limits=self._msrp_limits()
                    )
                    self._hosts.append(await stack.enter_async_context(host))
                    self._msrp.append(await host.msrp())
                members = await self._join(servers)
                self._idle.extend(members)
                self._enter("ready")
                await self._go.wait()
                before = self._holdings() if self._plan.settle else None
                await self._load()
                await self._drain()
                left = None if before is None else await self._settle(before)
                await self._leave(members, servers)
            self._phase = "done"
            self._report(left=left)
        finally:
            ticker.cancel()

    # --- phases ------------------------------------------------------------------------------

    async def _join(self, servers: list[asyncio.Task[None]]) -> list[Member]:
        self._report()
        gate = asyncio.Semaphore(_JOINING_AT_ONCE)

        async def join(account: Account, host: AgentHost) -> Member | None:
            async with gate:
                if self._stop.is_set():
                    return None
                agent = self._agent(account, host)
                await agent.start()
                member = Member(agent)
                servers.append(self._loop.create_task(member.serve()))
                return member if await self._scenarios.join(member) else None

        joined = await asyncio.gather(
            *(
                join(account, self._hosts[index % len(self._hosts)])
                for index, account in enumerate(self._accounts)
            )
        )
        return [member for member in joined if member is not None]

    async def _load(self) -> None:
        self._enter("running")
        plan, chance = self._plan, self._random
        begun = self._loop.time()
        share = plan.rate / plan.processes
        gaps = None if plan.even else chance.random
        for offset in arrivals(share, plan.duration, ramp=plan.ramp, fraction=gaps):
            due = begun + offset
            await self._until(due)
            if self._stop.is_set():
                return
            self._begin(due)
        await self._until(begun + plan.duration)

    async def _until(self, due: float) -> None:
        """Waits for a time, or for the order to stop."""
        wait = due - self._loop.time()
        if wait <= 0:
            # What is late already must not keep the loop from reading its sockets.
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(wait):
                await self._stop.wait()
        except TimeoutError:
            pass

    def _begin(self, due: float) -> None:
        name = self._plan.scenario
        if name == "mixed":
            (name,) = self._random.choices(list(MIX), list(MIX.values()))
        need = NEEDS[name]
        self._statistics.lateness.add(self._loop.time() - due)
        if len(self._idle) < need:
            self._statistics.no_agent += 1
            return
        members = [self._idle.popleft() for _ in range(need)]
        task = self._loop.create_task(self._scenarios.run(name, due, members))
        self._running.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._running.discard(done)
            self._idle.extend(self._random.sample(members, need))
            if not done.cancelled() and (error := done.exception()) is not None:
                self._loop.call_exception_handler(
                    {"message": "a scenario failed", "exception": error}
                )

        task.add_done_callback(ended)

    async def _drain(self) -> None:
        self._enter("draining")
        if self._running:
            await asyncio.wait(self._running, timeout=self._plan.drain)
        left = tuple(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _settle(self, before: dict[str, int]) -> dict[str, int]:
        """What is still held when every timer had its time, beyond what idle agents hold."""
        self._enter("settling")
        deadline = self._loop.time() + self._plan.settle
        while True:
            now = self._holdings()
            left = {name: max(count - before[name], 0) for name, count in now.items()}
            if not any(left.values()) or self._loop.time() > deadline:
                return left
            await asyncio.sleep(_SETTLE_STEP)

    async def _leave(self, members: list[Member], servers: list[asyncio.Task[None]]) -> None:
        gate = asyncio.Semaphore(_JOINING_AT_ONCE)

        async def close(member: Member) -> None:
            async with gate, asyncio.timeout(_CLOSE_SECONDS):
                await member.agent.close()

        await asyncio.gather(*(close(member) for member in members), return_exceptions=True)
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)

    # --- parts -------------------------------------------------------------------------------

    def _agent(self, account: Account, host: AgentHost) -> Agent:
        plan = self._plan
        return Agent(
            f"sip:{account.username}@{plan.domain}",
            server=plan.server,
            transport=plan.transport,
            credential=Credential(account.username, plan.domain, dict(account.ha1)),
            host=host,
            # Nobody looks at what they get.
            display_notifications=False,
            # Sessions last as long as the scenario says.
            idle_timeout=0,
        )

    def _msrp_limits(self) -> MsrpLimits:
        """For the agents of one host: each may be in a session, and have just left another. Never
        more than there may be files, of which the registrations need some as well."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        hosts = min(self._plan.sockets, len(self._accounts))
        wanted = 2 * len(self._accounts) // hosts + 64
        return MsrpLimits(max_connections=max(2, min(wanted, (files - _OTHER_FILES) // hosts)))

    def _holdings(self) -> dict[str, int]:
        return {
            "transactions": sum(len(host.endpoint.layer) for host in self._hosts),
            "dialogs": sum(host.call_count for host in self._hosts),
            "tasks": len(asyncio.all_tasks()),
            "sockets": len(self._process.net_connections("inet")),
        }

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._report()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._report()

    def _report(self, left: dict[str, int] | None = None) -> None:
        with self._process.oneshot():
            memory, processor = self._process.memory_info().rss, self._process.cpu_times()
        self._statistics.no_socket = sum(each.turned_away for each in self._msrp)
        message: dict[str, Any] = {
            "phase": self._phase,
            "time": time.time(),
            "statistics": self._statistics.to_json(),
            "open": len(self._running),
            "memory": memory,
            "processor": processor.user + processor.system,
        }
        if left is not None:
            message["left"] = left
        self._tell(message)


def _tls(plan: LoadPlan) -> TlsOptions:
    return TlsOptions(ca=Path(plan.ca) if plan.ca else None, system_ca=plan.system_ca)
