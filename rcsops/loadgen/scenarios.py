"""What happens when something is due: one registration, one call, one chat."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from rcsops.errors import RcsopsError, SessionClosed
from rcsops.loadgen.ledger import Ledger
from rcsops.loadgen.plan import LoadPlan
from rcsops.loadgen.statistics import Statistics, cause_of
from rcsops.ua import Agent, Chat, Invitation
from rcsops.ua.events import TextReceived

__all__ = ["NEEDS", "Member", "Scenarios"]

NEEDS = {"register": 1, "call": 2, "chat": 2, "pager": 2}
"""How many agents each scenario takes for its time."""

_ACCEPT_SECONDS = 15.0
_DELIVERY_SECONDS = 30.0
_NOT_ENDED = "not ended in time"


class Member:
    """An agent under load, which accepts every invitation and reads every message."""

    __slots__ = ("_ledgers", "_waiting", "agent")

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._waiting: dict[str, asyncio.Future[Chat]] = {}
        self._ledgers: dict[str, Ledger] = {}

    async def serve(self) -> None:
        """Accepts invitations, and reads what comes by pager mode, until the agent is closed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            async for invitation in self.agent.incoming():
                group.create_task(self._accept(invitation))
                # While the next one is waited for, this one's chat shall be gone.
                del invitation

    async def _accept(self, invitation: Invitation) -> None:
        waiting = self._waiting.get(invitation.peer)
        try:
            chat = await invitation.accept()
        except RcsopsError as error:
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
            return
        if waiting is not None and not waiting.done():
            waiting.set_result(chat)

    async def _read(self) -> None:
        async for event in self.agent.events():
            if isinstance(event, TextReceived) and event.pager:
                ledger = self._ledgers.get(event.peer)
                if ledger is not None:
                    ledger.arrived(event.message_id)
                del ledger
            del event

    @contextlib.contextmanager
    def noting(self, peer: str, ledger: Ledger) -> Iterator[None]:
        """Within the block, what ``peer`` sends by pager mode is noted as arrived."""
        self._ledgers[peer] = ledger
        try:
            yield
        finally:
            self._ledgers.pop(peer, None)

    @contextlib.contextmanager
    def expecting(self, peer: str) -> Iterator["asyncio.Future[Chat]"]:
        """Within the block, the future of the chat that ``peer`` invites us to."""
        future: asyncio.Future[Chat] = asyncio.get_running_loop().create_future()
        self._waiting[peer] = future
        try:
            yield future
        finally:
            self._waiting.pop(peer, None)
            if future.done() and not future.cancelled():
                # Nobody may have come to look at it.
                future.exception()
            future.cancel()


class _Over(Exception):
    """A step has failed and is counted: the rest of the scenario has no sense."""


class Scenarios:
    """Runs scenarios between members and counts what comes of each step in ``statistics``."""

    def __init__(self, plan: LoadPlan, statistics: Statistics) -> None:
        self._plan = plan
        self._statistics = statistics
        self._text = "x" * plan.size
        self._loop = asyncio.get_running_loop()
        self._steps: dict[str, Callable[..., Awaitable[None]]] = {
            "register": self._register,
            "call": self._call,
            "chat": self._chat,
            "pager": self._pager,
        }

    async def run(self, name: str, due: float, members: list[Member]) -> None:
        """One run of the scenario ``name``, which was due at ``due`` (the loop's time)."""
        with contextlib.suppress(_Over):
            await self._steps[name](due, *members)

    async def join(self, member: Member) -> bool:
        """Registers for the first time; False when that fails."""
        try:
            with self._step("join"):
                await member.agent.register()
        except _Over:
            return False
        return True

    async def _register(self, due: float, member: Member) -> None:
        with self._step("register", due):
            await member.agent.register()

    async def _call(self, due: float, caller: Member, callee: Member) -> None:
        async with self._session(due, caller, callee):
            await asyncio.sleep(self._plan.think)

    async def _chat(self, due: float, caller: Member, callee: Member) -> None:
        ledger = Ledger(self._statistics)
        readers: list[asyncio.Task[None]] = []
        try:
            async with self._session(due, caller, callee) as chats:
                readers = [self._loop.create_task(_read(chat, ledger)) for chat in chats]
                for number in range(self._plan.messages):
                    if number:
                        await asyncio.sleep(self._plan.think)
                    await self._message(chats[number % 2], ledger)
        finally:
            if readers:
                # What is on its way when the session ends is still read: a chat's events end.
                _, late = await asyncio.wait(readers, timeout=_ACCEPT_SECONDS)
                for reader in late:
                    reader.cancel()
                ledger.settle()

    async def _pager(self, due: float, sender: Member, recipient: Member) -> None:
        ledger = Ledger(self._statistics)
        with recipient.noting(sender.agent.aor, ledger):
            for number in range(self._plan.messages):
                if number:
                    await asyncio.sleep(self._plan.think)
                with self._step("pager", None if number else due):
                    ledger.sent()
                    receipt = await sender.agent.send_message(recipient.agent.aor, self._text)
                    await receipt.delivered(timeout=_DELIVERY_SECONDS)
                    ledger.delivered(receipt.message_id)
            # The notification may be here before our own reader has had its turn.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ACCEPT_SECONDS):
                    await ledger.complete()
        ledger.settle()

    async def _message(self, chat: Chat, ledger: Ledger) -> None:
        with self._step("message"):
            ledger.sent()
            receipt = await chat.send(self._text)
            await receipt.delivered(timeout=_DELIVERY_SECONDS)
            ledger.delivered(receipt.message_id)

    @contextlib.asynccontextmanager
    async def _session(
        self, due: float, caller: Member, callee: Member
    ) -> AsyncIterator[tuple[Chat, Chat]]:
        """Both ends of a chat: INVITE before the block, BYE after it."""
        opened: list[Chat] = []
        try:
            with callee.expecting(caller.agent.aor) as answered, self._step("invite", due):
                opened.append(await caller.agent.invite(callee.agent.aor))
                async with asyncio.timeout(_ACCEPT_SECONDS):
                    opened.append(await answered)
            yield opened[0], opened[1]
        finally:
            if opened:
                with self._step("bye"):
                    await opened[0].close()

    @contextlib.contextmanager
    def _step(self, name: str, due: float | None = None) -> Iterator[None]:
        """Counts what is in the block; its time is from when it was due, so that a generator or a
        server that falls behind shows."""
        operation = self._statistics[name]
        operation.started += 1
        since = self._loop.time() if due is None else due
        try:
            yield
        except asyncio.CancelledError:
            operation.fail(_NOT_ENDED)
            raise
        except (RcsopsError, TimeoutError) as error:
            operation.fail(cause_of(error))
            raise _Over from error
        operation.succeed(self._loop.time() - since)


async def _read(chat: Chat, ledger: Ledger) -> None:
    with contextlib.suppress(SessionClosed):
        async for event in chat:
            if isinstance(event, TextReceived):
                ledger.arrived(event.message_id)
