"""Invitations that cross, and several devices of one user, through the embedded server."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, SessionClosed
from rcsops.testing.embedded import EmbeddedServer
from rcsops.tui.wire import Wire
from rcsops.ua import Chat, InviteCancelled, TextReceived
from tests.unit.ua.test_agent_embedded import accept_one, agent, take

pytestmark = pytest.mark.timeout(150)

ROUNDS = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("server")
    with EmbeddedServer(directory, {"alex": "secret-a", "bob": "secret-b"}) as running:
        yield running


async def welcome(agent: Agent) -> None:
    """Takes every invitation, as a phone does."""
    async for invitation in agent.incoming():
        try:
            await invitation.accept()
        except InviteError:
            pass


async def read(agent: Agent, into: Counter[str]) -> None:
    async for event in agent.events():
        if isinstance(event, TextReceived):
            into[event.text] += 1


async def until(condition: object, what: str) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", [1, 2])
async def test_invitations_that_cross_become_one_session(server: EmbeddedServer, seed: int) -> None:
    moments = random.Random(seed)
    async with agent(server, "alex") as alex, agent(server, "bob") as bob:
        await asyncio.gather(alex.register(), bob.register())
        heard: dict[Agent, Counter[str]] = {alex: Counter(), bob: Counter()}
        helpers = [asyncio.create_task(welcome(each)) for each in (alex, bob)]
        helpers += [asyncio.create_task(read(each, heard[each])) for each in (alex, bob)]

        async def call(caller: Agent, peer: str, delay: float, text: str) -> Chat:
            await asyncio.sleep(delay)
            chat = await caller.invite(peer)
            receipt = await chat.send(text)
            # Also where the other's INVITE made another session meanwhile.
            await receipt.delivered(timeout=30)
            return chat

        for turn in range(ROUNDS):
            late = moments.choice((0, 0, 0.001, 0.002, 0.004, 0.008, 0.02))
            first, second = moments.choice(((0.0, late), (late, 0.0)))
            await asyncio.gather(
                call(alex, "bob", first, f"alex {turn}"), call(bob, "alex", second, f"bob {turn}")
            )
            await until(
                lambda: (
                    [each.chat_id for each in alex.chats] == [each.chat_id for each in bob.chats]
                    and len(alex.chats) == 1
                ),
                "one session",
            )
            await alex.chats[0].close()
            await until(lambda: not alex.chats and not bob.chats, "the end")
        await until(lambda: len(heard[alex]) == len(heard[bob]) == ROUNDS, "all messages")
        assert set(heard[alex].values()) == set(heard[bob].values()) == {1}
        for helper in helpers:
            helper.cancel()


@pytest.mark.parametrize("again", ["alex", "bob"])
async def test_a_receipt_outlives_the_session_that_is_replaced(
    server: EmbeddedServer, again: str
) -> None:
    async with agent(server, "alex") as alex, agent(server, "bob") as bob:
        await asyncio.gather(alex.register(), bob.register())
        feed = bob.events()
        first, _ = await asyncio.gather(alex.invite("bob"), accept_one(bob))
        receipt = await first.send("read me later")
        await receipt.delivered(timeout=20)
        text = await take(feed, TextReceived)
        assert isinstance(text, TextReceived)
        caller, callee = (alex, bob) if again == "alex" else (bob, alex)
        shown = asyncio.create_task(receipt.displayed(timeout=20))
        await asyncio.gather(caller.invite(callee.aor), accept_one(callee))
        await until(lambda: first.ended and len(bob.chats) == 1, "the first session is over")
        assert not shown.done()
        bob.mark_displayed(text)
        await shown
        # What nobody can tell of any more is not waited for.
        last = await alex.chats[0].send("never seen")
        await last.delivered(timeout=20)
        await alex.chats[0].close()
        with pytest.raises(SessionClosed):
            await last.displayed(timeout=20)


@pytest.mark.rfc("3261", "16.7")
async def test_of_several_devices_the_one_that_accepts_wins(server: EmbeddedServer) -> None:
    async with (
        agent(server, "alex") as phone,
        agent(server, "alex") as tablet,
        agent(server, "bob") as home,
        agent(server, "bob") as work,
    ):
        await asyncio.gather(*(each.register() for each in (phone, tablet, home, work)))
        feeds = {each: each.events() for each in (phone, tablet, home, work)}

        async def accept() -> Chat:
            async for invitation in home.incoming():
                # Not before it rings at the other device too.
                await until(lambda: work.invitations, "the other device rings")
                return await invitation.accept()
            raise AssertionError("nobody called")

        ours, theirs = await asyncio.gather(phone.invite("bob"), accept())
        gone = await take(feeds[work], InviteCancelled)
        assert isinstance(gone, InviteCancelled)
        assert gone.reason == "Call completed elsewhere"
        assert not work.invitations and not work.chats and not tablet.chats
        receipt = await ours.send("which of you is it?")
        text = await take(feeds[home], TextReceived)
        assert isinstance(text, TextReceived)
        home.mark_displayed(text)
        await receipt.displayed(timeout=20)
        # Both devices of either user can be written to without a session.
        letter = await tablet.send_message("bob", "to both")
        for device in (home, work):
            got = await take(feeds[device], TextReceived)
            assert isinstance(got, TextReceived) and got.text == "to both"
        await letter.delivered(timeout=20)
        assert theirs.chat_id == ours.chat_id and not ours.ended

        # The other device of the one who called has a session of its own with the other device.
        async def also() -> Chat:
            async for invitation in work.incoming():
                return await invitation.accept()
            raise AssertionError("nobody called")

        other, _ = await asyncio.gather(tablet.invite("bob"), also())
        await (await other.send("from the tablet")).delivered(timeout=20)
        assert len(work.chats) == len(home.chats) == 1
        assert not ours.ended


async def test_byes_that_cross_are_told_of_as_no_failure(server: EmbeddedServer) -> None:
    """As when the timers of both ends say at once that nobody uses the session."""
    for _ in range(ROUNDS):
        wire = Wire("alex")
        async with agent(server, "alex", tap=wire) as alex, agent(server, "bob") as bob:
            await asyncio.gather(alex.register(), bob.register())
            welcoming = asyncio.create_task(welcome(bob))
            chat = await alex.invite("bob")
            await until(lambda bob=bob: bob.chats, "his side of the session")
            await asyncio.gather(chat.close(), bob.chats[0].close())
            welcoming.cancel()
        gone = [
            step
            for step in wire.steps()
            if (step.arrow.summary.cseq_method, step.arrow.summary.status) == ("BYE", 481)
        ]
        if gone:
            break
    assert gone, "no two BYEs crossed"
    for step in gone:
        assert step.arrow.kind == "sip"
        assert "crossed on the way" in step.told.text
        assert "no failure" in step.told.text
