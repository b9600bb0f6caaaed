"""Agents and the embedded server find each other by names (RFC 3263); the DNS is ours."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import RegistrationError
from rcsops.testing.embedded import EmbeddedServer
from rcsops.testing.nameserver import NameServer
from rcsops.ua import Chat

pytestmark = pytest.mark.timeout(60)

# Lifetimes of 0, also for what is not there, so that each test sees its own zone.
START = "@ 0 IN SOA ns. root. 1 60 60 60 0\n@ 0 IN NS ns.\n"


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    with NameServer("", origin="example") as server:
        yield server


@pytest.fixture(scope="module")
def server(names: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("server")
    users = {"alex": "secret-a", "bob": "secret-b"}
    with EmbeddedServer(directory, users, settings=f'dns = "{names.address}"') as running:
        yield running


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port on which nothing answers: the system refuses it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def agent(names: NameServer, name: str, **options: object) -> Agent:
    settings: dict[str, object] = {
        "server": "rcs.example",
        "transport": "auto",
        "password": f"secret-{name[0]}",
        "dns": [names.address],
    }
    return Agent(f"sip:{name}@rcs.example", **(settings | options))  # type: ignore[arg-type]


async def accept_one(agent: Agent) -> Chat:
    async for invitation in agent.incoming():
        return await invitation.accept()
    raise AssertionError("nobody called")


async def talk(ours: Agent, theirs: Agent, uri: str) -> None:
    async with asyncio.timeout(10):
        one, two = await asyncio.gather(ours.invite(uri), accept_one(theirs))
    await (await one.send("hi")).delivered(timeout=5)
    await (await two.send("hi yourself")).delivered(timeout=5)
    await two.close()


@pytest.mark.rfc("3261", "10.2.6")
@pytest.mark.rfc("3263", "4")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_naptr_and_srv_lead_to_the_server(
    server: EmbeddedServer, names: NameServer, transport: str
) -> None:
    service = {"udp": "SIP+D2U", "tcp": "SIP+D2T"}[transport]
    names.load(
        START
        + f"""
        rcs 0 IN NAPTR 10 10 "s" "{service}" "" _sip._{transport}.somewhere
        _sip._{transport}.somewhere 0 IN SRV 1 1 {server.port} lab
        lab 0 IN A 127.0.0.1
        """
    )
    async with agent(names, "alex") as alex, agent(names, "bob") as bob:
        await asyncio.gather(alex.register(), bob.register())
        contacts = server.json("contacts")
        assert (";transport=tcp" in str(contacts)) == (transport == "tcp")
        await talk(alex, bob, "bob")


@pytest.mark.rfc("3263", "4.3")
async def test_the_next_server_is_taken_where_the_first_is_not_there(
    server: EmbeddedServer, names: NameServer, nobody: int
) -> None:
    names.load(
        START
        + f"""
        _sip._tcp.rcs 0 IN SRV 1 1 {nobody} lab
        _sip._tcp.rcs 0 IN SRV 2 1 {server.port} lab
        lab 0 IN A 127.0.0.1
        """
    )
    async with agent(names, "alex") as alex, agent(names, "bob") as bob:
        await asyncio.gather(alex.register(), bob.register())
        await talk(alex, bob, "bob")
        avoided = alex.host.endpoint.resolver.avoidance
        assert avoided.is_avoided("tcp", ("127.0.0.1", nobody))


async def test_a_server_that_the_dns_does_not_know(names: NameServer) -> None:
    names.load(START)
    async with agent(names, "alex", server="elsewhere.example") as alex:
        with pytest.raises(RegistrationError, match=r"elsewhere\.example.*no address") as caught:
            await alex.register()
    assert "HOST:PORT" in caught.value.hint


@pytest.mark.rfc("3263", "4")
async def test_an_agent_without_a_server_finds_its_peer(names: NameServer) -> None:
    async with (
        Agent("sip:zoe@other.example") as zoe,
        Agent("sip:yan@third.example", dns=[names.address], transport="auto") as yan,
    ):
        port = zoe.host.addresses[0].port
        names.load(f"{START}_sip._udp.other 0 IN SRV 1 1 {port} lab\nlab 0 IN A 127.0.0.1")
        await talk(yan, zoe, "sip:zoe@other.example")


@pytest.mark.rfc("3263", "4")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_server_finds_another_domain(
    server: EmbeddedServer, names: NameServer, transport: str, nobody: int
) -> None:
    async with (
        Agent("sip:zoe@other.example") as zoe,
        agent(names, "alex", server=server.address, transport=transport) as alex,
    ):
        port = zoe.host.addresses[0].port
        # Its first server is not there: the proxy goes on to the second (RFC 3261 §16.6 step 7).
        names.load(
            START
            + f"""
            other 0 IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.other
            _sip._tcp.other 0 IN SRV 1 1 {nobody} lab
            _sip._tcp.other 0 IN SRV 2 1 {port} lab
            lab 0 IN A 127.0.0.1
            """
        )
        await alex.register()
        await talk(alex, zoe, "sip:zoe@other.example")
    assert names.asked("other.example", "NAPTR") > 0


def test_the_command_takes_the_setting(
    server: EmbeddedServer, names: NameServer, tmp_path: Path
) -> None:
    names.load(
        START
        + f"""
        rcs 0 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.rcs
        _sip._udp.rcs 0 IN SRV 1 1 {server.port} lab
        lab 0 IN A 127.0.0.1
        """
    )
    trace = tmp_path / "trace.jsonl"
    options = ["--server", "rcs.example", "--transport", "auto", "--trace", str(trace)]
    server.command("chat", "alex", *options, stdin="")
    said = trace.read_text()
    assert "REGISTER sip:rcs.example" in said
    assert '"udp"' in said
    assert '"tcp"' not in said
