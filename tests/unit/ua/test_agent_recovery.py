"""The way to an agent breaks, and is there again (RFC 5626 §4.4, §4.5); the server is a process."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.sip import Request, parse_message
from rcsops.testing.embedded import EmbeddedServer
from rcsops.testing.nameserver import NameServer
from rcsops.testing.relay import TcpRelay
from rcsops.testing.waiting import eventually
from rcsops.transport import EndpointLimits, TapRecord
from rcsops.ua import AgentHost, Chat, Event, Registered, RegistrationLost

pytestmark = pytest.mark.timeout(90)

USERS = {"alex": "secret-a", "bob": "secret-b"}
START = "@ 0 IN SOA ns. root. 1 60 60 60 0\n@ 0 IN NS ns.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("one")
    with EmbeddedServer(directory, USERS, settings="registrar.flow_timer = 2") as running:
        yield running


def kill(server: EmbeddedServer) -> None:
    """Ends the server as a power cut does: nothing is written, nothing is said."""
    pid = server.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)


def agent(address: str, name: str, **options: object) -> Agent:
    settings: dict[str, object] = {
        "server": address,
        "password": USERS[name],
        "retry_base": 0.2,
        "retry_max": 1.0,
    }
    return Agent(f"sip:{name}@rcs.example", **(settings | options))  # type: ignore[arg-type]


async def take(stream: AsyncIterator[Event], kind: type[Event], seconds: float = 30) -> Event:
    async with asyncio.timeout(seconds):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


async def accept_one(agent: Agent) -> Chat:
    async for invitation in agent.incoming():
        return await invitation.accept()
    raise AssertionError("nobody called")


async def call(caller: Agent, callee: Agent) -> None:
    """A whole session, ended by who was called."""
    async with asyncio.timeout(20):
        ours, theirs = await asyncio.gather(caller.invite(callee.uri.username), accept_one(callee))
        await (await ours.send("are you there?")).delivered(timeout=10)
        await theirs.close()


@asynccontextmanager
async def watched(agent: Agent) -> AsyncIterator[AsyncIterator[Event]]:
    async with agent:
        feed = agent.events()
        await agent.register()
        assert isinstance(await take(feed, Registered), Registered)
        yield feed


async def is_back(feed: AsyncIterator[Event], why: str) -> None:
    lost = await take(feed, RegistrationLost)
    assert isinstance(lost, RegistrationLost)
    assert re.search(why, lost.reason), lost.reason
    assert lost.retry_in is not None
    back = await take(feed, Registered)
    assert isinstance(back, Registered)
    assert back.again


@pytest.mark.rfc(5626, "4.5")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_the_server_is_killed_and_started_anew(
    server: EmbeddedServer, transport: str
) -> None:
    bob = agent(server.address, "bob", transport=transport, check_seconds=1.0)
    async with watched(bob) as feed, agent(server.address, "alex") as alex:
        await asyncio.to_thread(kill, server)
        lost = await take(feed, RegistrationLost)
        assert isinstance(lost, RegistrationLost)
        assert not bob.registered
        await asyncio.to_thread(server.command, "start")
        assert isinstance(await take(feed, Registered), Registered)
        await alex.register()
        await call(alex, bob)


@pytest.mark.rfc(5626, "4.4")
async def test_a_connection_that_is_cut(server: EmbeddedServer) -> None:
    async with (
        TcpRelay(server.address) as relay,
        watched(agent(relay.address, "bob")) as feed,
        agent(server.address, "alex") as alex,
    ):
        relay.cut()
        await is_back(feed, "connection to .* is lost")
        assert relay.accepted == 2
        await alex.register()


@pytest.mark.rfc(5626, "4.4.1")
async def test_a_connection_that_goes_silent(server: EmbeddedServer) -> None:
    # The server says "Flow-Timer: 2", so a keep-alive goes out every 1.6 to 2 s.
    limits = EndpointLimits(pong_seconds=1.0)
    async with (
        TcpRelay(server.address) as relay,
        AgentHost(limits=limits) as host,
        watched(agent(relay.address, "bob", host=host)) as feed,
        agent(server.address, "alex") as alex,
    ):
        relay.freeze()
        await is_back(feed, "no answer to the keep-alive")
        await alex.register()
        await call(alex, host_agent(host, "bob"))
        # The server gives up the old one by itself, and has one contact, over the new flow.
        contacts = await asyncio.to_thread(server.json, "contacts")
        assert len(contacts) == 2, contacts
        await eventually(lambda: relay.open == 1, 20, what="the old connection being closed")


def host_agent(host: AgentHost, name: str) -> Agent:
    found = host._agents[name]
    assert isinstance(found, Agent)
    return found


@pytest.mark.rfc(5626, "4.5")
async def test_the_waits_grow_while_nobody_answers(server: EmbeddedServer) -> None:
    async with (
        TcpRelay(server.address) as relay,
        watched(agent(relay.address, "bob", retry_base=0.1, retry_max=0.8)) as feed,
    ):
        relay.shut = True
        relay.cut()
        waits = []
        for _ in range(5):
            lost = await take(feed, RegistrationLost)
            assert isinstance(lost, RegistrationLost)
            assert lost.retry_in is not None
            waits.append(lost.retry_in)
        # It was there for less than two minutes: the first wait counts as the second.
        for wait, longest in zip(waits, (0.2, 0.2, 0.4, 0.8, 0.8), strict=True):
            assert longest / 2 <= wait <= longest
        relay.shut = False
        assert isinstance(await take(feed, Registered), Registered)


async def test_a_server_that_forgets_a_udp_contact(server: EmbeddedServer) -> None:
    bob = agent(server.address, "bob", transport="udp", check_seconds=1.0)
    async with watched(bob), agent(server.address, "alex") as alex:

        def contacts() -> str:
            return str(server.json("contacts"))

        assert "bob" in await asyncio.to_thread(contacts)
        await asyncio.to_thread(server.command, "mi", "ul_rm", "location", "bob@rcs.example")
        for _ in range(50):
            if "bob" in await asyncio.to_thread(contacts):
                break
        else:
            raise AssertionError("bob was not registered again")
        await alex.register()
        await call(alex, bob)


@pytest.mark.rfc(3263, "4.3")
async def test_the_next_server_of_the_name_takes_over(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with (
        EmbeddedServer(tmp_path / "two", USERS) as second,
        NameServer(
            f"""{START}
            _sip._tcp.rcs 0 IN SRV 1 1 {server.port} lab
            _sip._tcp.rcs 0 IN SRV 2 1 {second.port} lab
            lab 0 IN A 127.0.0.1
            """,
            origin="example",
        ) as names,
    ):
        options = {"dns": [names.address], "transport": "auto"}
        async with (
            watched(agent("rcs.example", "bob", **options)) as feed,
            agent("rcs.example", "alex", **options) as alex,
        ):
            assert "bob" in str(await asyncio.to_thread(server.json, "contacts"))
            await asyncio.to_thread(kill, server)
            await is_back(feed, "connection to rcs.example is lost")
            assert "bob" in str(await asyncio.to_thread(second.json, "contacts"))
            await alex.register()
            assert "alex" in str(await asyncio.to_thread(second.json, "contacts"))
    server.command("start")


@pytest.mark.rfc(5627, "4.4")
@pytest.mark.parametrize("gruu", [True, False])
async def test_a_session_goes_over_the_flows(server: EmbeddedServer, gruu: bool) -> None:
    seen: list[TapRecord] = []
    async with (
        TcpRelay(server.address) as relay,
        agent(relay.address, "bob", tap=seen.append, gruu=gruu) as bob,
        agent(server.address, "alex", gruu=gruu) as alex,
    ):
        await asyncio.gather(alex.register(), bob.register())
        await call(alex, bob)
        await call(bob, alex)
        assert relay.accepted == 1
        host, _, port = relay.address.rpartition(":")
        sip = [record for record in seen if record.protocol == "sip"]
        came_by = {
            record.remote
            for record in sip
            if record.direction == "in" and isinstance(parse_message(record.data), Request)
        }
        # What others send comes by the one connection that bob opened.
        assert came_by == {(host, int(port))}
        contacts = {
            str(message.contacts[0].uri)
            for message in (parse_message(record.data) for record in sip)
            if message.has("Contact") and message.cseq.method == "INVITE"
        }
        mark = r"sip:(alex|bob)@rcs\.example;gr=urn:uuid:[0-9a-f-]{36}" if gruu else ";ob$"
        assert all(re.search(mark, contact) for contact in contacts), contacts
        assert len(contacts) == 2
        requests = {
            message.method
            for message in (parse_message(record.data) for record in sip)
            if isinstance(message, Request)
        }
        assert requests == {"REGISTER", "INVITE", "ACK", "BYE"}


@pytest.mark.rfc("5626", "4.1")
async def test_the_device_keeps_its_name_over_restarts(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    traces = []
    for number in range(2):
        trace = tmp_path / f"trace{number}.jsonl"
        await asyncio.to_thread(server.command, "chat", "alex", "--trace", str(trace))
        traces.append(set(re.findall(r"urn:uuid:[0-9a-f-]{36}", trace.read_text())))
    assert traces[0] == traces[1]
    assert len(traces[0]) == 1
