"""The way to an agent is kept open through other people's registrars (RFC 5626, RFC 5627)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.sip import Request, Response, parse_message
from rcsops.testing import KamailioServer
from rcsops.testing.opensips import OpenSipsServer
from rcsops.testing.relay import TcpRelay
from rcsops.transport import EndpointLimits, TapRecord
from rcsops.ua import AgentHost, Registered, RegistrationLost
from tests.live.conftest import INSTALLATIONS, NO_OPENSIPS
from tests.live.talking import PATIENCE, next_of, session

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.feature("registrations that come back, flows of RFC 5626, GRUUs"),
]

DOMAIN = "rcs.example"
NO_KAMAILIO = KamailioServer.missing()
NO_OUTBOUND = KamailioServer.missing(outbound=True)


@pytest.fixture
def kamailio(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KamailioServer]:
    outbound = getattr(request, "param", False)
    with KamailioServer(tmp_path / "kamailio", domain=DOMAIN, outbound=outbound) as server:
        for name in ("alex", "bob"):
            server.add_user(name, f"of {name}")
        yield server


def agent(address: str, name: str, **options: object) -> Agent:
    settings: dict[str, object] = {
        "server": address,
        "password": f"of {name}",
        "retry_base": 0.2,
        "retry_max": 1.0,
    }
    return Agent(f"sip:{name}@{DOMAIN}", **(settings | options))  # type: ignore[arg-type]


async def call(caller: Agent, callee: Agent) -> None:
    """A session that the callee ends."""

    ours, theirs = await session(caller, callee)
    await (await ours.send("are you there?")).delivered(PATIENCE)
    await theirs.close()


def messages(seen: list[TapRecord]) -> list[tuple[str, Request | Response]]:
    return [
        (record.direction, parse_message(record.data))
        for record in seen
        if record.protocol == "sip"
    ]


def all_is_answered(seen: list[TapRecord]) -> None:
    """Every ACK came, and each BYE was answered 200."""
    sip = messages(seen)
    methods = [(way, message.method) for way, message in sip if isinstance(message, Request)]
    assert ("in", "ACK") in methods or ("out", "ACK") in methods
    answers = [
        message.status
        for _, message in sip
        if isinstance(message, Response) and message.cseq.method == "BYE"
    ]
    assert answers
    assert 200 in answers
    assert not [status for status in answers if status not in (200, 401, 407, 100)]


@pytest.mark.server("Kamailio")
@pytest.mark.skipif(bool(NO_KAMAILIO), reason=NO_KAMAILIO)
@pytest.mark.rfc(5627, "4.4")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_session_by_the_gruus_of_kamailio(kamailio: KamailioServer, transport: str) -> None:
    seen: list[TapRecord] = []
    options = {"transport": transport}
    async with (
        agent(kamailio.address, "alex", **options) as alex,
        agent(kamailio.address, "bob", tap=seen.append, **options) as bob,
    ):
        await asyncio.gather(alex.register(), bob.register())
        await call(alex, bob)
        await call(bob, alex)
    contacts = {
        message.contacts[0].uri_text
        for _, message in messages(seen)
        if message.cseq.method == "INVITE" and message.has("Contact")
    }
    assert contacts
    assert all(";gr=urn:uuid:" in contact for contact in contacts), contacts
    all_is_answered(seen)


@pytest.mark.server("Kamailio")
@pytest.mark.skipif(bool(NO_OUTBOUND), reason=NO_OUTBOUND)
@pytest.mark.rfc(5626, "4.3")
@pytest.mark.parametrize("kamailio", [True], indirect=True)
async def test_a_session_over_the_flows_of_kamailio(kamailio: KamailioServer) -> None:
    seen: list[TapRecord] = []
    async with (
        TcpRelay(kamailio.address) as relay,
        agent(kamailio.address, "alex") as alex,
        agent(relay.address, "bob", tap=seen.append) as bob,
    ):
        await asyncio.gather(alex.register(), bob.register())
        (granted,) = [
            message
            for _, message in messages(seen)
            if isinstance(message, Response) and message.status == 200
        ]
        assert "outbound" in granted.option_tags("Require")
        assert granted.get("Flow-Timer") == "2"
        await call(alex, bob)
        await call(bob, alex)
        assert relay.accepted == 1
    contacts = {
        message.contacts[0].uri_text
        for way, message in messages(seen)
        if message.cseq.method == "INVITE" and way == "out" and message.has("Contact")
    }
    assert contacts
    assert all(contact.endswith(";ob") for contact in contacts), contacts
    all_is_answered(seen)


@pytest.mark.server("Kamailio")
@pytest.mark.skipif(bool(NO_OUTBOUND), reason=NO_OUTBOUND)
@pytest.mark.rfc(5626, "4.4.1")
@pytest.mark.parametrize("kamailio", [True], indirect=True)
async def test_a_silent_connection_to_kamailio(kamailio: KamailioServer) -> None:
    async with (
        TcpRelay(kamailio.address) as relay,
        AgentHost(limits=EndpointLimits(pong_seconds=1.0)) as host,
        agent(relay.address, "bob", host=host) as bob,
        agent(kamailio.address, "alex") as alex,
    ):
        feed = bob.events()
        await bob.register()
        await next_of(feed, Registered)
        # Kamailio answers the pings: nothing is lost while all is well.
        await asyncio.sleep(5)
        assert relay.accepted == 1
        relay.freeze()
        lost = await next_of(feed, RegistrationLost)
        assert isinstance(lost, RegistrationLost)
        assert "keep-alive" in lost.reason
        await next_of(feed, Registered)
        await alex.register()
        await call(alex, bob)


@pytest.mark.server("Kamailio")
@pytest.mark.skipif(bool(NO_KAMAILIO), reason=NO_KAMAILIO)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_kamailio_begins_anew(kamailio: KamailioServer, transport: str) -> None:
    options = {"transport": transport, "check_seconds": 1.0}
    async with (
        agent(kamailio.address, "alex", **options) as alex,
        agent(kamailio.address, "bob", **options) as bob,
    ):
        feed = bob.events()
        await bob.register()
        await next_of(feed, Registered)
        # Its location service is in memory alone: afterwards it knows nobody.
        await asyncio.to_thread(kamailio.stop)
        await next_of(feed, RegistrationLost)
        await asyncio.to_thread(kamailio.start)
        await next_of(feed, Registered)
        await alex.register()
        await call(alex, bob)


@pytest.fixture
def own_opensips(request: pytest.FixtureRequest, short_path: Path) -> Iterator[OpenSipsServer]:
    """One that a test may stop and start."""
    server = OpenSipsServer(request.param, short_path)
    for name in ("alex", "bob"):
        server.add_user(name, f"of {name}")
    try:
        with server:
            yield server
    finally:
        server.stop()


@pytest.mark.server("OpenSIPS")
@pytest.mark.parametrize(
    "own_opensips",
    [pytest.param(each, id=each.version) for each in INSTALLATIONS]
    or [pytest.param(None, id="none", marks=pytest.mark.skip(reason=NO_OPENSIPS))],
    indirect=True,
)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_opensips_forgets(own_opensips: OpenSipsServer, transport: str) -> None:
    server = own_opensips
    options = {"transport": transport, "check_seconds": 1.0}
    async with (
        agent(server.address, "alex", **options) as alex,
        agent(server.address, "bob", **options) as bob,
    ):
        feed = bob.events()
        await bob.register()
        await next_of(feed, Registered)
        await asyncio.to_thread(server.stop)
        with server._writing() as connection:
            connection.exec_driver_sql("DELETE FROM location")
        await next_of(feed, RegistrationLost)
        await asyncio.to_thread(server.start)
        await next_of(feed, Registered)
        await alex.register()
        await call(alex, bob)
