"""Of a session that is over nothing is left, and no collector of cycles is needed for that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.database import create_tables
from rcsops.database.engine import open_engine, writing
from rcsops.errors import DeliveryError, InviteError, RegistrationError, TransferError
from rcsops.msrp import MsrpSession
from rcsops.msrp.incoming import Receiver
from rcsops.msrp.outgoing import Sender
from rcsops.settings import Limits
from rcsops.sip import Dialog, InviteClient, InviteServer, Request, Response, SessionTimer
from rcsops.sip.client_transaction import InviteClientTransaction, NonInviteClientTransaction
from rcsops.sip.server_transaction import InviteServerTransaction, NonInviteServerTransaction
from rcsops.testing import eventually
from rcsops.transport.msrp import MsrpLink
from rcsops.transport.msrp_stream import MsrpStream
from rcsops.transport.requester import Walk
from rcsops.ua import AgentHost, Chat, Invitation, SessionEnded
from rcsops.ua.call import Call
from rcsops.ua.dialing import Attempt
from rcsops.ua.incoming import FileOffer
from rcsops.ua.outgoing_invite import OutgoingInvite
from rcsops.ua.receiving import IncomingTransfer
from rcsops.ua.refresh import SessionRefresh
from rcsops.ua.sending import OutgoingTransfer
from rcsops.ua.session import MsrpCall
from tests.survivors import alive, no_collector, none_more_than
from tests.unit.server.conftest import DOMAIN, FAST, Lab, add_account

COUNTED = (
    Attempt,
    Call,
    Chat,
    Dialog,
    FileOffer,
    IncomingTransfer,
    Invitation,
    InviteClient,
    InviteClientTransaction,
    InviteError,
    InviteServer,
    InviteServerTransaction,
    MsrpCall,
    MsrpLink,
    MsrpSession,
    MsrpStream,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    OutgoingInvite,
    OutgoingTransfer,
    Receiver,
    RegistrationError,
    Request,
    Response,
    Sender,
    SessionRefresh,
    SessionTimer,
    TransferError,
    Walk,
)

Answer = Callable[[Invitation], Awaitable[None]]

pytestmark = pytest.mark.timeout(120)


class Bob:
    """Whom Alex calls; what he does about the next invitation is put into ``answers``."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.answers: asyncio.Queue[Answer] = asyncio.Queue()
        self.chats: asyncio.Queue[Chat] = asyncio.Queue()

    async def serve(self) -> None:
        async for invitation in self.agent.incoming():
            await (await self.answers.get())(invitation)
            del invitation

    async def accept(self, invitation: Invitation) -> None:
        self.chats.put_nowait(await invitation.accept())


async def decline(invitation: Invitation) -> None:
    assert invitation.reject(603)


async def ring_on(invitation: Invitation) -> None:
    await eventually(lambda: not invitation.pending)


@asynccontextmanager
async def talk(alex: Agent, bob: Bob) -> AsyncIterator[tuple[Chat, Chat]]:
    bob.answers.put_nowait(bob.accept)
    async with asyncio.timeout(10):
        yield await alex.invite("bob"), await bob.chats.get()


async def read_to_the_end(chat: Chat) -> None:
    async with asyncio.timeout(10):
        async for event in chat:
            if isinstance(event, SessionEnded):
                return


async def chat_ended_by_the_caller(alex: Agent, bob: Bob) -> None:
    async with talk(alex, bob) as (ours, theirs):
        for chat in (ours, theirs, ours):
            await (await chat.send("x" * 5000)).delivered(timeout=5)
        await ours.refresh()
        theirs.session.call.refresh._update_known = False
        await theirs.refresh()
        await ours.close()
        await read_to_the_end(theirs)


async def chat_ended_by_the_callee(alex: Agent, bob: Bob) -> None:
    async with talk(alex, bob) as (ours, theirs):
        await theirs.close()
        await read_to_the_end(ours)


async def connection_lost(alex: Agent, bob: Bob) -> None:
    async with talk(alex, bob) as (ours, theirs):
        link = ours.session.link
        assert link is not None and link._stream is not None
        link._stream.abort()
        await read_to_the_end(ours)
        await read_to_the_end(theirs)


async def refused(alex: Agent, bob: Bob) -> None:
    bob.answers.put_nowait(decline)
    with pytest.raises(InviteError, match="603"):
        await alex.invite("bob")
    with pytest.raises(InviteError, match="404"):
        await alex.invite("nobody")


async def taken_back(alex: Agent, bob: Bob) -> None:
    bob.answers.put_nowait(ring_on)
    task = asyncio.create_task(alex.invite("bob"))
    await eventually(lambda: bob.agent.invitations)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await eventually(lambda: not bob.agent.invitations)


async def crossing(alex: Agent, bob: Bob) -> None:
    async with asyncio.timeout(10):
        ours, theirs = await asyncio.gather(alex.invite("bob"), bob.agent.invite("alex"))
    await ours.close()
    await read_to_the_end(theirs)


async def files(alex: Agent, bob: Bob, letter: Path, directory: Path) -> None:
    async with talk(alex, bob) as (ours, theirs):
        for outcome in ("taken", "refused", "cancelled"):
            transfer = await ours.send_file(letter)
            await eventually(lambda: bob.agent.invitations)
            (offer,) = bob.agent.invitations
            assert isinstance(offer, FileOffer)
            if outcome == "taken":
                await (await offer.accept(directory)).done(timeout=10)
                await transfer.done(timeout=10)
                continue
            if outcome == "refused":
                offer.reject()
            else:
                await transfer.cancel()
            with pytest.raises(TransferError):
                await transfer.done(timeout=10)
            await eventually(lambda: not bob.agent.invitations)
        await ours.close()
        await read_to_the_end(theirs)


async def without_a_session(alex: Agent, bob: Bob) -> None:
    for sender, peer in ((alex, "bob"), (bob.agent, "alex")):
        await (await sender.send_message(peer, "hi")).delivered(timeout=5)
    lost = await alex.send_message("nobody", "hi")
    for _ in range(2):
        with pytest.raises(DeliveryError, match="404"):
            await lost.delivered(timeout=5)


async def login_refused(address: str, transport: str, host: AgentHost) -> None:
    eve = Agent(
        f"sip:carol@{DOMAIN}", server=address, transport=transport, password="wrong", host=host
    )
    async with eve:
        with pytest.raises(RegistrationError, match="password"):
            await eve.register()


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A server in this process with the accounts alex, bob and carol."""
    url = f"sqlite:///{tmp_path / 'rcsops.db'}"
    with writing(open_engine(url, create=True), url) as connection:
        create_tables(connection)
    for name in ("alex", "bob", "carol"):
        add_account(url, name)
    made = Lab(url)
    # A ban for guessing is not what this is about.
    await made.start(limits=Limits(login_failures=0))
    yield made
    await made.stop()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_nothing_outlives_a_session(lab: Lab, transport: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{lab.port}"
    letter = tmp_path / "letter.bin"
    letter.write_bytes(bytes(100_000))

    async with AgentHost(timers=FAST) as host:

        def agent(name: str) -> Agent:
            return Agent(
                f"sip:{name}@{DOMAIN}",
                server=address,
                transport=transport,
                password=f"pw-{name}",
                host=host,
            )

        async with agent("alex") as alex, agent("bob") as other:
            await asyncio.gather(alex.register(), other.register())
            bob = Bob(other)
            server = asyncio.create_task(bob.serve())

            async def run() -> None:
                await chat_ended_by_the_caller(alex, bob)
                await chat_ended_by_the_callee(alex, bob)
                await connection_lost(alex, bob)
                await refused(alex, bob)
                await taken_back(alex, bob)
                await crossing(alex, bob)
                await files(alex, bob, letter, tmp_path)
                await without_a_session(alex, bob)
                await login_refused(address, transport, host)
                layers = (lab.running.endpoint.layer, host.endpoint.layer)
                await eventually(lambda: not any(map(len, layers)), 20)

            with no_collector():
                await run()
                before = alive(*COUNTED)
                await run()
                await none_more_than(before, *COUNTED)
            server.cancel()
