"""What `take_snapshot` says of real agents, and that both sides of a call say the same."""

import asyncio
from collections.abc import Callable

import pytest

from rcsops import Agent
from rcsops.errors import AgentError
from rcsops.sip import DialogState, RegistrationState, State
from rcsops.ua import AgentSnapshot, Invitation, take_snapshot
from rcsops.ua.call_user import CallState

from .lab import lab
from .test_agent_registration import agent, registered_pair

pytestmark = pytest.mark.timeout(40)


async def comes(look: Callable[[], bool]) -> None:
    """Waits until something holds of the snapshots."""
    async with asyncio.timeout(15):
        while not look():
            await asyncio.sleep(0.01)


async def first(invited: Agent) -> Invitation:
    async for invitation in invited.incoming():
        return invitation
    raise AssertionError("nobody called")


def invites(shot: AgentSnapshot) -> list[tuple[str, State, int]]:
    return [(t.figure, t.state, t.status) for t in shot.transactions if t.method == "INVITE"]


async def test_the_registration() -> None:
    with pytest.raises(AgentError):
        take_snapshot(Agent("sip:bob@rcs.example"))
    async with lab() as server, agent(server, "bob", expires=600) as bob:
        assert take_snapshot(bob) == AgentSnapshot(None, (), ())
        task = asyncio.create_task(bob.register())
        while take_snapshot(bob).registration is None:
            await asyncio.sleep(0)
        begun = take_snapshot(bob).registration
        assert begun is not None
        assert (begun.state, begun.expires_in) == (RegistrationState.REGISTERING, 0.0)
        assert begun.renews_in is None
        await task
        held = take_snapshot(bob).registration
        assert held is not None
        assert held.state is RegistrationState.REGISTERED
        assert held.renews_in is not None
        assert 0 < held.renews_in < held.expires_in <= 600
        await bob.unregister()
        assert take_snapshot(bob).registration is None


async def test_a_registration_that_fails_says_when_it_is_tried_again() -> None:
    async with lab() as server, agent(server, "bob", retry_base=30.0, retry_max=60.0) as bob:
        await bob.register()
        await server.endpoint.close()
        await comes(
            lambda: (
                (shot := take_snapshot(bob).registration) is not None
                and shot.state is RegistrationState.WAITING
            )
        )
        shot = take_snapshot(bob).registration
        assert shot is not None
        assert shot.renews_in is not None
        assert 0 < shot.renews_in <= 60.0


async def test_the_transactions_of_a_call_and_its_dialog() -> None:
    async with lab() as server, registered_pair(server) as (alex, bob):
        calling = asyncio.create_task(alex.invite("bob"))
        invitation = await first(bob)
        await comes(lambda: any(s.dialogs for s in take_snapshot(alex).sessions))
        # It rings.
        (ours,), (theirs,) = take_snapshot(alex).sessions, take_snapshot(bob).sessions
        assert (ours.kind, ours.peer, ours.outgoing) == ("chat", "sip:bob@rcs.example", True)
        assert (theirs.kind, theirs.outgoing) == ("invitation", False)
        assert ours.call_id == theirs.call_id
        assert ours.state is theirs.state is CallState.SETTING_UP
        (early,), (mirror,) = ours.dialogs, theirs.dialogs
        assert early.state is mirror.state is DialogState.EARLY
        assert (early.local_tag, early.remote_tag) == (mirror.remote_tag, mirror.local_tag)
        assert ours.timer is None
        assert invites(take_snapshot(alex)) == [
            ("INVITE client transaction", State.PROCEEDING, 180)
        ]
        assert invites(take_snapshot(bob)) == [("INVITE server transaction", State.PROCEEDING, 180)]
        # It is taken.
        chat = await invitation.accept()
        await calling
        (ours,), (theirs,) = take_snapshot(alex).sessions, take_snapshot(bob).sessions
        (early,), (mirror,) = ours.dialogs, theirs.dialogs
        assert early.state is mirror.state is DialogState.CONFIRMED
        assert early.local_cseq == mirror.remote_cseq
        assert (early.remote_cseq, mirror.local_cseq) == (None, None)
        assert ours.timer is not None
        assert theirs.timer is not None
        assert ours.timer.interval == theirs.timer.interval == 1800
        assert [ours.timer.refreshing, theirs.timer.refreshing].count(True) == 1
        for timer in (ours.timer, theirs.timer):
            assert timer.ends_in is not None
            assert (timer.refreshes_in is not None) == timer.refreshing
        assert ours.msrp is not None
        assert theirs.msrp is not None
        assert ours.msrp.bound and ours.msrp.connected and not ours.msrp.closed
        assert (ours.msrp.local, ours.msrp.remote) == (theirs.msrp.remote, theirs.msrp.local)
        assert ours.msrp.active != theirs.msrp.active
        # RFC 6026: it stays for retransmissions of the 2xx and of the INVITE.
        ((figure, state, status),) = invites(take_snapshot(alex))
        assert (figure, state, status) == ("INVITE client transaction", State.ACCEPTED, 200)
        (kept,) = [t for t in take_snapshot(alex).transactions if t.method == "INVITE"]
        ((name, left),) = kept.timers
        assert name == "Timer M"
        assert 0 < left <= 32
        # A refresh is seen in both.
        await chat.refresh()
        (after,) = take_snapshot(bob).sessions
        assert after.dialogs[0].local_cseq is not None
        await chat.close()
        await comes(lambda: not take_snapshot(alex).sessions and not take_snapshot(bob).sessions)


async def test_transactions_that_nobody_answers_say_which_timers_run() -> None:
    async with lab() as server, agent(server, "bob", transport="udp") as bob:
        server.endpoint.layer.receive_message = lambda *_: None  # type: ignore[method-assign]
        task = asyncio.create_task(bob.register())
        await comes(lambda: bool(take_snapshot(bob).transactions))
        (shot,) = take_snapshot(bob).transactions
        assert (shot.figure, shot.method) == ("non-INVITE client transaction", "REGISTER")
        assert (shot.state, shot.status, shot.is_client) == (State.TRYING, 0, True)
        assert [name for name, _ in shot.timers] == ["Timer E", "Timer F"]
        assert shot.branch.startswith("z9hg4bk")
        assert shot.transport == "udp"
        task.cancel()
