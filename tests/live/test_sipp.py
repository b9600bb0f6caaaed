"""Debian's sipp registers at the embedded server, calls through it, and talks to our agents."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import InviteError
from rcsops.msrp import MsrpSession, MsrpUri
from rcsops.testing import EmbeddedServer, SippResult, SippRunner
from rcsops.testing.waiting import eventually, free_port
from rcsops.transport import system_tokens
from rcsops.transport.msrp import MsrpEndpoint
from rcsops.ua import Invitation
from rcsops.ua.events import Ringing

pytestmark = [
    pytest.mark.skipif(bool(SippRunner.missing()), reason=SippRunner.missing()),
    pytest.mark.server("sipp"),
    pytest.mark.feature("registration and calls, with the embedded server and with agents"),
]

SCENARIOS = Path(__file__).parent / "sipp"


def login(name: str, password: str | None = None) -> str:
    """The field that sipp makes an Authorization of."""
    return f"[authentication username={name} password={password or f'of-{name}'}]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    users = {"alex": "of-alex", "bob": "of-bob"}
    made = EmbeddedServer(tmp_path_factory.mktemp("sipp") / "project", users)
    with made:
        # sipp takes the first challenge, and knows MD5 only.
        with (made.directory / "rcsops.toml").open("a") as settings:
            settings.write('[digest]\nalgorithms = ["MD5"]\n')
        made.command("restart")
        yield made


@pytest.fixture
def sipp(tmp_path: Path) -> SippRunner:
    return SippRunner(tmp_path)


@pytest.mark.rfc("3261", "10.3", "22.4")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_registers_with_digest(server: EmbeddedServer, sipp: SippRunner, transport: str) -> None:
    row = ("bob", login("bob"), "5099", "300")
    result = sipp.run(
        SCENARIOS / "register.xml",
        server.address,
        calls=50,
        rate=200,
        users=[row],
        transport=transport,
    )
    assert (result.exit_code, result.successful, result.failed) == (0, 50, 0), result.errors
    (contact,) = [each for each in server.json("contacts", "bob") if ":5099" in each["contact"]]
    assert contact["user_agent"] == "sipp"
    row = ("bob", login("bob"), "5099", "0")
    sipp.run(SCENARIOS / "register.xml", server.address, users=[row], transport=transport)
    assert server.json("contacts", "bob") == []


def test_a_wrong_password_does_not_register(server: EmbeddedServer, sipp: SippRunner) -> None:
    row = ("alex", login("alex", "wrong"), "5098", "300")
    result = sipp.run(SCENARIOS / "register.xml", server.address, users=[row])
    assert result.failed == 1
    assert "401 Unauthorized" in result.errors
    assert server.json("contacts", "alex") == []


@pytest.mark.rfc("3261", "16.6", "16.7", "22.3")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_calls_through_the_proxy(server: EmbeddedServer, sipp: SippRunner, transport: str) -> None:
    port = free_port()
    row = ("bob", login("bob"), str(port), "300")
    registered = sipp.run(
        SCENARIOS / "register.xml", server.address, users=[row], transport=transport
    )
    assert registered.successful == 1, registered.errors
    before = server.json("mi", "get_statistics", "tm:2xx_transactions")["tm:2xx_transactions"]
    with sipp.serve(SCENARIOS / "uas.xml", port, transport=transport):
        result = sipp.run(
            SCENARIOS / "uac.xml",
            server.address,
            calls=30,
            rate=20,
            users=[("alex", login("alex"), "bob")],
            transport=transport,
        )
    assert (result.exit_code, result.successful, result.failed) == (0, 30, 0), result.errors
    assert result.retransmissions == 0
    after = server.json("mi", "get_statistics", "tm:2xx_transactions")["tm:2xx_transactions"]
    # An INVITE and a BYE for each call.
    assert after - before == 60
    row = ("bob", login("bob"), str(port), "0")
    sipp.run(SCENARIOS / "register.xml", server.address, users=[row], transport=transport)


# --- with agents -----------------------------------------------------------------------------


@asynccontextmanager
async def msrp_listener() -> AsyncIterator[list[str]]:
    """What sipp has no idea of: the MSRP end of its session; the words that tell sipp its port."""
    tokens = system_tokens()
    endpoint = MsrpEndpoint("127.0.0.1", tokens=tokens)
    await endpoint.start()
    path = (MsrpUri("127.0.0.1", endpoint.port, "abcdefghijklmnop"),)
    endpoint.add(
        MsrpSession(path, tokens=tokens, active=False), lambda event: None, lambda reason: None
    )
    try:
        yield ["-key", "msrp_port", str(endpoint.port)]
    finally:
        await endpoint.close()


def alex_at(server: EmbeddedServer, transport: str) -> Agent:
    return Agent(
        "sip:alex@rcs.example", server=server.address, transport=transport, password="of-alex"
    )


async def rung(agent: Agent) -> Invitation:
    async with asyncio.timeout(60):
        async for invitation in agent.incoming():
            return invitation
    raise AssertionError("nobody called")


@pytest.mark.rfc("3261", "13.2.1", "13.2.2.4", "15.1.1")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_agent_calls_sipp_through_the_server(
    server: EmbeddedServer, sipp: SippRunner, transport: str
) -> None:
    port = free_port()
    register = SCENARIOS / "register.xml"
    row = ("bob", login("bob"), str(port), "300")

    async def registers(*row: str) -> SippResult:
        return await asyncio.to_thread(
            sipp.run, register, server.address, users=[row], transport=transport
        )

    assert (await registers(*row)).successful == 1
    async with msrp_listener() as keys:
        uas = sipp.serve(SCENARIOS / "uas_chat.xml", port, calls=1, transport=transport, extra=keys)
        await asyncio.to_thread(uas.start)
        try:
            async with alex_at(server, transport) as alex, asyncio.timeout(60):
                await alex.register()
                chat = await alex.invite("bob")
                await (await chat.send("Hi sipp")).sent(10)
                await chat.close()
                await eventually(lambda: not uas.running, 20, what="the end of sipp's call")
        finally:
            assert uas.stop() == 0, uas.tail()
    await registers(*row[:3], "0")


@pytest.mark.rfc("3261", "13.3.1.1", "13.3.1.4", "15.1.2")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sipp_calls_an_agent_through_the_server(
    server: EmbeddedServer, sipp: SippRunner, transport: str
) -> None:
    async with alex_at(server, transport) as alex, asyncio.timeout(60):
        await alex.register()
        calling = asyncio.create_task(
            asyncio.to_thread(
                sipp.run,
                SCENARIOS / "uac.xml",
                server.address,
                users=[("bob", login("bob"), "alex")],
                transport=transport,
            )
        )
        # Nobody connects to the session, and sipp hangs up at once.
        with pytest.raises(InviteError):
            await (await rung(alex)).accept()
        result = await calling
        assert (result.successful, result.failed) == (1, 0), result.errors
        assert alex.chats == ()


@pytest.mark.rfc("3261", "13.3.1.1", "13.3.1.4", "15.1.1")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sipp_calls_an_agent_directly(sipp: SippRunner, transport: str) -> None:
    async with msrp_listener() as keys, Agent("sip:alex@rcs.example") as alex, asyncio.timeout(60):
        address = next(each for each in alex.addresses if each.startswith(transport))
        calling = asyncio.create_task(
            asyncio.to_thread(
                sipp.run,
                SCENARIOS / "uac_chat.xml",
                address.partition(":")[2],
                transport=transport,
                extra=keys,
            )
        )
        chat = await (await rung(alex)).accept()
        await (await chat.send("Hi sipp")).sent(10)
        await chat.close()
        result = await calling
        assert (result.successful, result.failed) == (1, 0), result.errors


@pytest.mark.rfc("3261", "13.2.2.3")
async def test_sipp_refuses_an_agent(sipp: SippRunner) -> None:
    port = free_port()
    uas = sipp.serve(SCENARIOS / "uas_busy.xml", port, calls=1)
    await asyncio.to_thread(uas.start)
    try:
        async with Agent("sip:alex@rcs.example") as alex, asyncio.timeout(60):
            with pytest.raises(InviteError) as refused:
                await alex.invite(f"sip:bob@127.0.0.1:{port};transport=udp")
            assert refused.value.status == 486
            assert refused.value.hint == "try again in 60 s"
            await eventually(lambda: not uas.running, 20, what="the end of sipp's call")
    finally:
        assert uas.stop() == 0, uas.tail()


@pytest.mark.rfc("3261", "9.1")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_agent_takes_its_call_to_sipp_back(sipp: SippRunner, transport: str) -> None:
    port = free_port()
    uas = sipp.serve(SCENARIOS / "uas_cancelled.xml", port, calls=1, transport=transport)
    await asyncio.to_thread(uas.start)
    try:
        async with Agent("sip:alex@rcs.example") as alex, asyncio.timeout(60):
            ringing = asyncio.Event()
            calling = asyncio.create_task(
                alex.invite(
                    f"sip:bob@127.0.0.1:{port};transport={transport}",
                    on_progress=lambda event: ringing.set() if isinstance(event, Ringing) else None,
                )
            )
            await ringing.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await eventually(lambda: not uas.running, 20, what="the end of sipp's call")
    finally:
        assert uas.stop() == 0, uas.tail()
