"""Two agents meet through Kamailio: nothing of theirs changes but the address of the server."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, RegistrationError
from rcsops.testing import KamailioServer
from rcsops.trace import TraceEntry, merge
from rcsops.transport.tap import TapRecord
from rcsops.ua.events import TextReceived

pytestmark = [
    pytest.mark.skipif(bool(KamailioServer.missing()), reason=KamailioServer.missing()),
    pytest.mark.server("Kamailio"),
    pytest.mark.feature("registration, invitation and chat of the agents"),
]

DOMAIN = "rcs.example"


@pytest.fixture
def kamailio(tmp_path: Path) -> Iterator[KamailioServer]:
    with KamailioServer(tmp_path / "kamailio", domain=DOMAIN) as server:
        server.add_user("alex", "of alex")
        server.add_user("bob", "of bob")
        yield server


class Seen:
    """The traces of all agents of a test."""

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []

    def tap(self, node: str):  # type: ignore[no-untyped-def]
        def take(record: TapRecord) -> None:
            self.entries.append(TraceEntry(*record[:6], node=node, data=record.data))

        return take


def agent(
    server: KamailioServer, name: str, transport: str, seen: Seen, password: str = ""
) -> Agent:
    return Agent(
        f"sip:{name}@{DOMAIN}",
        server=server.address,
        transport=transport,
        password=password or f"of {name}",
        tap=seen.tap(name),
    )


async def next_text(chat) -> str:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(10):
        async for event in chat:
            if isinstance(event, TextReceived):
                return event.text
    raise AssertionError("the chat ended")


@pytest.mark.rfc("3261", "10.2", "13.2.1", "15.1.1", "22.3")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_register_invite_and_chat(kamailio: KamailioServer, transport: str) -> None:
    seen = Seen()
    async with (
        agent(kamailio, "alex", transport, seen) as alex,
        agent(kamailio, "bob", transport, seen) as bob,
        asyncio.timeout(40),
    ):
        await alex.register()
        await bob.register()

        async def answer():  # type: ignore[no-untyped-def]
            async for invitation in bob.incoming():
                return await invitation.accept()
            raise AssertionError("nobody called")

        answering = asyncio.create_task(answer())
        chat = await alex.invite(f"sip:bob@{DOMAIN}")
        other = await answering
        there = await chat.send("Hi Bob")
        assert await next_text(other) == "Hi Bob"
        await there.delivered(10)
        back = await other.send("Grüße 👋")
        assert await next_text(chat) == "Grüße 👋"
        await back.delivered(10)
        await chat.close()
    arrows = merge(seen.entries)
    sip = [arrow for arrow in arrows if arrow.protocol == "sip"]
    # Every SIP message goes through Kamailio, every MSRP frame past it.
    assert {kamailio.address} == {
        name for arrow in sip for name in (arrow.source, arrow.target)
    } - {"alex", "bob"}
    assert {
        name
        for arrow in arrows
        if arrow.protocol == "msrp"
        for name in (arrow.source, arrow.target)
    } == {"alex", "bob"}
    assert {arrow.transport for arrow in sip} >= {transport}
    methods = Counter(arrow.summary.method for arrow in sip if arrow.target == kamailio.address)
    assert methods["INVITE"] >= 2  # challenged, then with credentials
    assert methods["ACK"] >= 2
    assert methods["BYE"] >= 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_wrong_password_is_refused(kamailio: KamailioServer, transport: str) -> None:
    async with agent(kamailio, "bob", transport, Seen(), "of alex") as bob, asyncio.timeout(20):
        with pytest.raises(RegistrationError) as refused:
            await bob.register()
    assert refused.value.status in (401, 403)


async def test_an_absent_peer_is_said_to_be_absent(kamailio: KamailioServer) -> None:
    async with agent(kamailio, "alex", "udp", Seen()) as alex, asyncio.timeout(20):
        await alex.register()
        with pytest.raises(InviteError) as refused:
            await alex.invite(f"sip:bob@{DOMAIN}")
    assert refused.value.status == 480
