"""What an agent knows of its peers' devices, and how it asks them: OPTIONS (RFC 3261 §11, RCC.07).

An answer is good for a minute: then who wants to know asks again. What is known beyond that, for a
day, helps to choose and to show. One OPTIONS at a time is under way to each peer, a few at all, and
no more than twenty leave in a second.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcsops.errors import AgentError, RcsopsError, SettingsError, SipParseError
from rcsops.rcs import CPM_SESSION, Capabilities, PeerState, Service, feature_text
from rcsops.rcs.capabilities import judge, read_services
from rcsops.settings.private_file import PrivateFile
from rcsops.sip import Flow, Message, Request, Uri
from rcsops.transport import wall_clock
from rcsops.transport.requester import send
from rcsops.ua.host import ALLOW

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["CapabilityBook"]

logger = logging.getLogger(__name__)

_MAX_PEERS = 1000
_LIFE = timedelta(days=1)
_FRESH = timedelta(seconds=60)
# Nobody is asked twice within this, whatever our user does.
_AGAIN = timedelta(seconds=1)
_AT_ONCE = 16
_GAP = 0.05
_BURST = 20
_NO_ANSWER = "no answer in time"
# States in which what was known of the devices no longer holds.
_CLEARING = (PeerState.NO_RCS, PeerState.NO_USER, PeerState.REFUSED)


class CapabilityBook:
    """The capabilities of an agent's peers; kept in ``path`` from one run to the next, if given."""

    def __init__(self, agent: "AgentCore", path: Path | None) -> None:
        self._agent = agent
        self._file = None if path is None else _file(path)
        self._known: OrderedDict[str, Capabilities] = OrderedDict()
        self._asking: dict[str, asyncio.Future[Capabilities]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._next = 0.0
        self._since = wall_clock()
        self._changed = False
        self._read()

    def known(self, peer: str) -> Capabilities | None:
        """What is known of ``peer``, an address of record; None for nothing of the last day."""
        known = self._known.get(peer)
        if known is None:
            return None
        now = wall_clock()
        services = known.services if _within(_LIFE, known.learned_at, now) else frozenset()
        if not services and not _within(_LIFE, known.asked_at, now):
            del self._known[peer]
            return None
        return known if services is known.services else replace(known, services=services)

    async def ask(self, uri: Uri, *, fresh: bool, seconds: float) -> Capabilities:
        """Asks a peer unless that has been done just now; see ``Agent.capabilities``."""
        peer = uri.aor
        known = self.known(peer)
        if known is not None and known.asked_at is not None:
            # What an earlier run has just heard is not fresh.
            limit = _FRESH if not fresh else _AGAIN if known.asked_at >= self._since else None
            if limit is not None and _within(limit, known.asked_at, wall_clock()):
                return known
        answer = self._asking.get(peer)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = self._asking[peer] = loop.create_future()
            task = loop.create_task(self._ask(uri, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(answer)
        except TimeoutError:
            # The answer may still come, and is then noted.
            return self._judged(peer, 408, frozenset(), PeerState.OFFLINE)

    def learn(self, request: Request, flow: Flow) -> None:
        """A peer's request that carries its feature tags: INVITE, OPTIONS, of some a MESSAGE.

        With a server, what does not come from there is believed by nobody.
        """
        agent = self._agent
        if agent.options.server is not None and not agent.is_from_server(flow):
            return
        try:
            self.learn_of(agent.identity_of(request, flow), request)
        except SipParseError:
            return

    def learn_of(self, peer: str, message: Message) -> None:
        """A message of ``peer`` with its feature tags; without any it teaches nothing.

        A session's Contact may name that service alone, so others that are known stay.
        """
        try:
            services, is_rcs = read_services(message.contacts)
        except SipParseError:
            return
        if not is_rcs:
            return
        now = wall_clock()
        method = message.method if isinstance(message, Request) else "INVITE"
        if method == "OPTIONS":
            self._note(Capabilities(peer, PeerState.ONLINE, services, 0, now, now))
            return
        known = self.known(peer) or Capabilities(peer, PeerState.UNKNOWN)
        # A server may have kept the MESSAGE for days: who wrote it need not be there any more.
        state = known.state if method == "MESSAGE" else PeerState.ONLINE
        found = replace(known, state=state, services=services | known.services, learned_at=now)
        self._note(found if method == "MESSAGE" else replace(found, status=0))

    async def close(self) -> None:
        """Gives up what is being asked, and keeps what is known."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._file is not None and self._changed:
            try:
                await asyncio.to_thread(self._write)
            except SettingsError as error:
                logger.warning("%s", error)

    # --- asking ------------------------------------------------------------------------------

    async def _ask(self, uri: Uri, answer: "asyncio.Future[Capabilities]") -> None:
        peer = uri.aor
        try:
            async with self._gate:
                await self._pace()
                answer.set_result(await self._exchange(uri))
        except RcsopsError as error:
            answer.set_exception(error)
        finally:
            del self._asking[peer]
            if not answer.done():
                answer.set_exception(AgentError("the agent was closed"))
            # Nobody may be waiting any more.
            answer.exception()

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        self._next = max(self._next, loop.time() - _GAP * _BURST) + _GAP
        await asyncio.sleep(max(0.0, self._next - loop.time()))

    async def _exchange(self, uri: Uri) -> Capabilities:
        agent, peer = self._agent, uri.aor
        targets = await agent.targets_for(uri)
        request = agent.create_request(
            "OPTIONS",
            uri,
            [
                ("Contact", agent.contact(targets[0])),
                ("Accept-Contact", f"*{feature_text([CPM_SESSION])}"),
                ("Accept", "application/sdp"),
                ("Allow", ALLOW),
            ],
        )
        try:
            response = await send(agent.host.endpoint, request, targets, digest=agent.digest)
        except AgentError as error:
            # RFC 4321: nobody says 408 to an OPTIONS; silence is what a device that has gone is
            # known by, while a server that cannot be reached says nothing of the peer.
            if agent.options.server is not None and not str(error).endswith(_NO_ANSWER):
                raise
            answered = self._judged(peer, 408, frozenset(), PeerState.OFFLINE)
        else:
            services, is_rcs = frozenset[Service](), False
            if response.status < 300:
                try:
                    services, is_rcs = read_services(response.contacts)
                except SipParseError:
                    logger.info("the answer of %s to OPTIONS cannot be read", peer)
            state = judge(response.status, is_rcs)
            answered = self._judged(peer, response.status, services, state)
        self._note(answered)
        return answered

    def _judged(
        self, peer: str, status: int, services: frozenset[Service], state: PeerState
    ) -> Capabilities:
        now = wall_clock()
        if state is PeerState.ONLINE:
            return Capabilities(peer, state, services, status, now, now)
        known = self.known(peer)
        if known is None or state in _CLEARING:
            return Capabilities(peer, state, frozenset(), status, now)
        return replace(known, state=state, status=status, asked_at=now)

    def _note(self, capabilities: Capabilities) -> None:
        shared = replace(capabilities, services=_shared(capabilities.services))
        self._known[capabilities.peer] = shared
        self._known.move_to_end(capabilities.peer)
        while len(self._known) > _MAX_PEERS:
            self._known.popitem(last=False)
        self._changed = True

    # --- from one run to the next ------------------------------------------------------------

    def _read(self) -> None:
        if self._file is None:
            return
        try:
            found = [_from_json(peer, entry) for peer, entry in self._file.read().items()]
        except SettingsError as error:
            logger.warning("%s", error)
            return
        found.sort(key=_last_heard)
        self._known.update((each.peer, each) for each in found[-_MAX_PEERS:])

    def _write(self) -> None:
        assert self._file is not None
        with self._file.changing() as entries:
            # Another device of the user's on this machine may know more.
            for peer, entry in entries.items():
                other = _from_json(peer, entry)
                mine = self._known.get(peer)
                if mine is None or _last_heard(mine) < _last_heard(other):
                    self._known[peer] = other
            kept = sorted(self._known.values(), key=_last_heard)[-_MAX_PEERS:]
            entries.clear()
            entries.update((each.peer, _to_json(each)) for each in kept)


@lru_cache(maxsize=64)
def _shared(services: frozenset[Service]) -> frozenset[Service]:
    """The same object for the same services: peers mostly do the same."""
    return services


def _within(span: timedelta, then: datetime | None, now: datetime) -> bool:
    # A clock that was set back must not make anything last for ever.
    return then is not None and timedelta(0) <= now - then < span


def _last_heard(each: Capabilities) -> float:
    return max(then.timestamp() if then else 0.0 for then in (each.asked_at, each.learned_at))


def _file(path: Path) -> PrivateFile:
    return PrivateFile(
        path,
        unusable=lambda reason: SettingsError(
            f"{path} cannot be used: {reason}", hint="remove it; peers are asked again"
        ),
        valid=_is_entry,
        holds="capabilities of peers",
    )


def _is_entry(value: object) -> bool:
    try:
        return isinstance(value, dict) and _last_heard(_from_json("", value)) > 0.0
    except (ValueError, TypeError, KeyError):
        return False


def _to_json(each: Capabilities) -> dict[str, Any]:
    return {
        "state": each.state.value,
        "services": sorted(each.services),
        "status": each.status,
        "asked_at": None if each.asked_at is None else each.asked_at.isoformat(),
        "learned_at": None if each.learned_at is None else each.learned_at.isoformat(),
    }


def _from_json(peer: str, entry: Mapping[str, Any]) -> Capabilities:
    asked, learned = entry["asked_at"], entry["learned_at"]
    return Capabilities(
        peer,
        PeerState(entry["state"]),
        frozenset(Service(name) for name in entry["services"]),
        int(entry["status"]),
        None if asked is None else datetime.fromisoformat(asked).astimezone(UTC),
        None if learned is None else datetime.fromisoformat(learned).astimezone(UTC),
    )
