"""Agents ask each other what they can do, by OPTIONS, and learn it from what they hear."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import AgentError
from rcsops.rcs import REGISTERED, Capabilities, PeerState, Service, feature_text
from rcsops.rcs.capabilities import read_services
from rcsops.sip import (
    Event,
    NameAddr,
    Request,
    RequestReceived,
    Response,
    ServerTransaction,
    Timers,
    Uri,
)
from rcsops.testing.embedded import EmbeddedServer
from rcsops.transport import SipEndpoint, TapRecord, wall_clock
from rcsops.transport.requester import send
from rcsops.ua import AgentHost, capabilities

from .lab import lab
from .test_agent_embedded import agent
from .test_agent_pager import address, deliver, plain

pytestmark = pytest.mark.timeout(60)

OURS = read_services([NameAddr.parse(f"<sip:a@b>{feature_text(REGISTERED)}")])[0]
ICSI = "urn%3Aurn-7%3A3gpp-service.ims.icsi."
IARI = "urn%3Aurn-7%3A3gpp-application.ims.iari."
CHAT_ONLY = f';+g.3gpp.icsi-ref="{ICSI}oma.cpm.session"'


class Phone:
    """A SIP endpoint that answers OPTIONS as it is told; with None not at all."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.tags = ""
        self.held: list[tuple[ServerTransaction, Request]] = []
        self.holding = False
        self.asked: list[Request] = []
        self.endpoint = SipEndpoint(on_event=self._event)

    @property
    def uri(self) -> str:
        where = self.endpoint.addresses[0]
        return f"sip:phone@{where.host}:{where.port}"

    @property
    def peer(self) -> str:
        return Uri.parse(self.uri).aor

    def _event(self, event: Event) -> None:
        if not isinstance(event, RequestReceived) or event.request.method != "OPTIONS":
            return
        self.asked.append(event.request)
        transaction = self.endpoint.accept(event.request, event.flow)
        self.held.append((transaction, event.request))
        if not self.holding:
            self.release()

    def release(self) -> None:
        held, self.held = self.held, []
        for transaction, request in held:
            if self.status is not None:
                headers = [("Contact", f"<{self.uri}>{self.tags}")] if self.status < 300 else []
                answer = Response.to_request(request, self.status, to_tag="p", headers=headers)
                self.endpoint.respond(transaction, answer)


@asynccontextmanager
async def phone(**options: object) -> AsyncIterator[tuple[Agent, Phone]]:
    made = Phone()
    await made.endpoint.listen_pair("127.0.0.1", 0)
    host = AgentHost(timers=Timers(t1=0.01, t2=0.04, t4=0.05))
    try:
        async with host, Agent("sip:alex@rcs.example", host=host, **options) as alex:  # type: ignore[arg-type]
            yield alex, made
    finally:
        await made.endpoint.close()


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        monkeypatch.setattr(capabilities, "wall_clock", lambda: wall_clock() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- one asks, the other answers --------------------------------------------------------------


@pytest.mark.rfc("3261", "11.1", "11.2")
async def test_both_sides_learn() -> None:
    records: list[TapRecord] = []
    async with (
        Agent("sip:alex@rcs.example", tap=records.append) as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        found = await alex.capabilities(address(bob))
        assert found.online
        assert found.services == OURS
        assert found.status == 200
        assert isinstance(found.asked_at, datetime)
        assert found.asked_at == found.learned_at
        known = bob.known_capabilities("sip:alex@rcs.example")
        assert known is not None
        assert (known.online, known.services, known.status) == (True, OURS, 0)
        asked, answered = (record.data.decode() for record in records)
        assert asked.startswith("OPTIONS ")
        for line in ("Accept-Contact: *;+g.3gpp.icsi-ref=", "Accept: application/sdp", "Contact: "):
            assert line in asked
        for line in ("Allow: INVITE", "Accept: application/sdp", "Supported: ", "Contact: "):
            assert line in answered
        # Neither asked again.
        assert len(records) == 2


@pytest.mark.parametrize(
    ("status", "tags", "state", "services"),
    [
        (200, CHAT_ONLY, PeerState.ONLINE, {Service.CHAT}),
        (200, "", PeerState.NO_RCS, set()),
        (404, "", PeerState.NO_USER, set()),
        (604, "", PeerState.NO_USER, set()),
        (403, "", PeerState.REFUSED, set()),
        (480, "", PeerState.OFFLINE, {Service.PAGER}),
        (405, "", PeerState.UNKNOWN, {Service.PAGER}),
        (501, "", PeerState.UNKNOWN, {Service.PAGER}),
        (None, "", PeerState.OFFLINE, {Service.PAGER}),
    ],
)
async def test_what_was_known_stays_or_goes(
    status: int | None, tags: str, state: PeerState, services: set[Service], clock: Clock
) -> None:
    async with phone() as (alex, made):
        made.tags = f';+g.3gpp.icsi-ref="{ICSI}oma.cpm.msg"'
        first = await alex.capabilities(made.uri)
        assert first.services == {Service.PAGER}
        clock.ahead += timedelta(seconds=61)
        made.status, made.tags = status, tags
        found = await alex.capabilities(made.uri)
        assert (found.state, found.services) == (state, frozenset(services))
        assert found.status == (status or 408)
        assert alex.known_capabilities(made.uri) == found


async def test_a_peer_that_is_not_there_at_all() -> None:
    async with phone() as (alex, made):
        uri = made.uri
        await made.endpoint.close()
        found = await alex.capabilities(uri)
        assert (found.state, found.status) == (PeerState.OFFLINE, 408)


async def test_an_answer_that_cannot_be_read_says_nothing_of_rcs() -> None:
    async with phone() as (alex, made):
        made.tags = ';x="'
        assert (await alex.capabilities(made.uri)).state is PeerState.NO_RCS


async def test_a_device_that_takes_nothing_says_so() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        bob.intake = 0
        assert (await alex.capabilities(address(bob))).state is PeerState.OFFLINE


# --- how often, how long ----------------------------------------------------------------------


async def test_an_answer_is_good_for_a_minute_and_known_for_a_day(clock: Clock) -> None:
    async with phone() as (alex, made):
        made.tags = CHAT_ONLY
        first = await alex.capabilities(made.uri)
        clock.ahead = timedelta(seconds=59)
        assert await alex.capabilities(made.uri) == first
        assert len(made.asked) == 1
        clock.ahead = timedelta(seconds=61)
        assert await alex.capabilities(made.uri) != first
        assert len(made.asked) == 2
        await alex.capabilities(made.uri, fresh=True)
        assert len(made.asked) == 2, "asked within the same second"
        clock.ahead += timedelta(seconds=2)
        await alex.capabilities(made.uri, fresh=True)
        assert len(made.asked) == 3
        clock.ahead += timedelta(hours=23)
        known = alex.known_capabilities(made.uri)
        assert known is not None
        assert known.chat
        clock.ahead += timedelta(hours=2)
        assert alex.known_capabilities(made.uri) is None
        # A clock that is set back keeps nothing for ever.
        await alex.capabilities(made.uri)
        clock.ahead -= timedelta(days=400)
        assert alex.known_capabilities(made.uri) is None


async def test_one_question_at_a_time_to_a_peer() -> None:
    async with phone() as (alex, made):
        made.tags, made.holding = CHAT_ONLY, True
        asking = [asyncio.create_task(alex.capabilities(made.uri, fresh=True)) for _ in range(50)]
        async with asyncio.timeout(5):
            while not made.held:
                await asyncio.sleep(0.005)
        made.release()
        answers = await asyncio.gather(*asking)
        assert len(made.asked) == 1
        assert all(answer.chat for answer in answers)


async def test_no_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    async with phone() as (alex, made):
        monkeypatch.setattr("rcsops.ua.capabilities.asyncio.sleep", sleep)
        peers = [made.uri.replace("phone", f"phone{number}") for number in range(60)]
        await asyncio.gather(*(alex.capabilities(peer) for peer in peers))
    assert len(made.asked) == 60
    waits = [each for each in slept if each > 0]
    # A burst, and then one after the other at twenty in a second.
    assert 35 <= len(waits) <= 41
    assert max(waits) > 1.5


async def test_a_peer_that_is_slow_to_answer_is_not_waited_for() -> None:
    async with phone() as (alex, made):
        made.tags, made.holding = CHAT_ONLY, True
        found = await alex.capabilities(made.uri, timeout=0.05)
        assert (found.state, found.status) == (PeerState.OFFLINE, 408)
        assert alex.known_capabilities(made.uri) is None
        made.release()
        assert (await alex.capabilities(made.uri)).chat
        assert len(made.asked) == 1


async def test_closing_ends_a_question() -> None:
    async with phone() as (alex, made):
        made.holding = True
        asking = asyncio.create_task(alex.capabilities(made.uri))
        async with asyncio.timeout(5):
            while not made.held:
                await asyncio.sleep(0.005)
        await alex.close()
        with pytest.raises(AgentError, match="closed"):
            await asking


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_MAX_PEERS", 3)
    async with Agent("sip:bob@rcs.example") as bob:
        for number in range(5):
            async with Agent(f"sip:alex{number}@rcs.example") as alex:
                await alex.capabilities(address(bob))
        known = [bob.known_capabilities(f"alex{number}") is not None for number in range(5)]
        assert known == [False, False, True, True, True]


# --- what is heard ----------------------------------------------------------------------------


async def test_an_invite_and_its_answer_teach_both(clock: Clock) -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:

        async def accept() -> None:
            async for invitation in bob.incoming():
                await invitation.accept()
                return

        accepting = asyncio.create_task(accept())
        chat = await alex.invite(address(bob))
        await accepting
        for known in (
            alex.known_capabilities(address(bob)),
            bob.known_capabilities("sip:alex@rcs.example"),
        ):
            assert known is not None
            assert (known.online, known.services, known.asked_at) == (True, OURS, None)
        await chat.close()


async def test_the_tags_of_a_session_take_nothing_away() -> None:
    async with Agent("sip:bob@rcs.example") as bob:
        peer = "sip:alex@rcs.example"
        invite = Request("INVITE", address(bob), [("Contact", f"<sip:alex@h>{CHAT_ONLY}")])
        options = invite.copy()
        options.method = "OPTIONS"
        options.set("Contact", f'<sip:alex@h>;+g.3gpp.iari-ref="{IARI}rcs.fthttp"')
        bob.peers.learn_of(peer, options)
        bob.peers.learn_of(peer, invite)
        known = bob.known_capabilities(peer)
        assert known is not None
        assert known.services == {Service.CHAT, Service.FILE_TRANSFER_HTTP}
        assert known.file_transfer_http
        bob.peers.learn_of(peer, options)
        known = bob.known_capabilities(peer)
        assert known is not None
        assert known.services == {Service.FILE_TRANSFER_HTTP}
        invite.set("Contact", "<sip:alex@h>")
        bob.peers.learn_of(peer, invite)
        assert bob.known_capabilities(peer) == known


async def test_a_message_with_tags_teaches_services_and_no_more() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        message = plain("hello")
        await deliver(alex, bob, message)
        assert bob.known_capabilities(alex.aor) is None
        await deliver(alex, bob, message, Contact=f"<sip:alex@h>{CHAT_ONLY}")
        known = bob.known_capabilities(alex.aor)
        assert known is not None
        assert known.chat
        # A server may have kept it.
        assert (known.state, known.asked_at) == (PeerState.UNKNOWN, None)


async def test_strangers_beside_the_server_teach_nothing() -> None:
    async with (
        lab() as server,
        Agent("sip:bob@rcs.example", server=f"{server.address}", password="secret-b") as bob,
        Agent("sip:alex@rcs.example", bind="127.0.0.2") as stranger,
    ):
        await bob.register()
        assert (await stranger.capabilities(address(bob))).online
        assert bob.known_capabilities("alex") is None


# --- from one run to the next -----------------------------------------------------------------


async def test_they_are_kept(tmp_path: Path, clock: Clock) -> None:
    kept = tmp_path / "capabilities.json"
    async with phone(capabilities=kept) as (alex, made):
        made.tags = CHAT_ONLY
        uri = made.uri
        found = await alex.capabilities(uri)
        async with Agent("sip:alex@rcs.example", capabilities=kept) as other:
            await other.capabilities(uri.replace("phone", "second"))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    async with Agent("sip:alex@rcs.example", capabilities=kept) as again:
        assert again.known_capabilities(uri) == found
        # What another device found is there as well.
        assert again.known_capabilities(uri.replace("phone", "second")) is not None
        assert await again.capabilities(uri) == found
        # What an earlier run heard is not fresh, though it be less than a second ago.
        assert (await again.capabilities(uri, fresh=True)).state is PeerState.OFFLINE
        clock.ahead = timedelta(days=2)
        assert again.known_capabilities(uri) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"sip:a@b": 1}',
        b'{"sip:a@b": {"state": "x"}}',
        json.dumps(
            {"sip:a@b": {"state": "online", "services": [], "status": 200,
                         "asked_at": "2026-01-01T00:00:00", "learned_at": 5}}
        ).encode(),
        bytes(range(156, 256)),
    ],
)  # fmt: skip
async def test_a_broken_file_stops_nobody(tmp_path: Path, content: bytes) -> None:
    kept = tmp_path / "capabilities.json"
    kept.write_bytes(content)
    async with phone(capabilities=kept) as (alex, made):
        made.tags = CHAT_ONLY
        assert (await alex.capabilities(made.uri)).chat


# --- through a server -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("server")
    with EmbeddedServer(directory, {"alex": "secret-a", "bob": "secret-b"}) as running:
        yield running


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_users_of_the_embedded_server(
    server: EmbeddedServer, transport: str, clock: Clock
) -> None:
    async with agent(server, "alex", transport=transport) as alex:
        # Not registered: who asks need not be reachable.
        assert (await alex.capabilities("bob")).state is PeerState.OFFLINE
        assert (await alex.capabilities("nobody")).state is PeerState.NO_USER
        async with agent(server, "bob", transport=transport) as bob:
            await bob.register()
            clock.ahead = timedelta(seconds=2)
            found = await alex.capabilities("bob", fresh=True)
            assert (found.online, found.services) == (True, OURS)
            known = bob.known_capabilities("alex")
            assert known is not None
            assert known.services == OURS
    async with agent(server, "alex", password="wrong") as alex:
        assert (await alex.capabilities("bob")).state is PeerState.UNKNOWN


@pytest.mark.rfc("3261", "16.7")
async def test_of_several_devices_one_that_is_there_answers(server: EmbeddedServer) -> None:
    async with (
        agent(server, "alex") as alex,
        agent(server, "bob") as bob,
        agent(server, "bob") as sending,
    ):
        await asyncio.gather(bob.register(), sending.register())
        # As `rcsops send` has it: it takes nothing, and says 480.
        sending.intake = 0
        assert (await alex.capabilities("bob")).online


async def test_the_server_itself_answers_for_itself(server: EmbeddedServer) -> None:
    async with agent(server, "alex") as alex:
        uri = Uri.parse("sip:rcs.example")
        request = alex.create_request("OPTIONS", uri)
        response = await send(
            alex.host.endpoint, request, await alex.targets_for(uri), digest=alex.digest
        )
        assert response.status == 200
        assert "MESSAGE" in (response.get("Allow") or "")


async def test_a_server_that_cannot_be_reached_says_nothing_of_a_peer() -> None:
    async with phone() as (_, made):
        where = made.endpoint.addresses[0]
        await made.endpoint.close()
        async with Agent(
            "sip:alex@rcs.example", server=f"{where.host}:{where.port}", password="secret-a"
        ) as alex:
            with pytest.raises(AgentError, match="no answer to OPTIONS"):
                await alex.capabilities("bob")
            assert alex.known_capabilities("bob") is None


def test_capabilities_are_a_value() -> None:
    one = Capabilities("sip:bob@rcs.example", PeerState.ONLINE)
    assert one == Capabilities("sip:bob@rcs.example", PeerState.ONLINE)
    assert hash(one)
