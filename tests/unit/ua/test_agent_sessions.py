"""Sessions over time: refreshes, glare, timers, redirections, late offers."""

import asyncio
import socket

import pytest

from rcsops import Agent
from rcsops.errors import AgentError, InviteError, SessionClosed, UsageError
from rcsops.sip import Dialog, Request, Response
from rcsops.sip import session_timer as timers
from rcsops.testing import eventually
from rcsops.transport.tap import TapRecord
from rcsops.ua import AgentHost, Chat, Invitation, SessionEnded
from tests.unit.ua.test_agent_hostile import GOOD, Peer, call, invite_to, scene
from tests.unit.ua.test_agent_out_of_turn import first_of
from tests.unit.ua.test_agent_pager import address
from tests.unit.ua.test_agent_refresh import talk

pytestmark = pytest.mark.timeout(40)


class Wire:
    """What went over the wire, as the start lines of SIP messages."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def __call__(self, record: TapRecord) -> None:
        self.messages.append(bytes(record.data))

    def count(self, start: bytes) -> int:
        return sum(message.startswith(start) for message in self.messages)


def forbid_update(chat: Chat) -> None:
    """As if the peer had not said that it knows UPDATE."""
    chat.session.call.refresh._update_known = False


@pytest.mark.rfc("3311", "5")
async def test_a_refresh_is_an_update_where_the_peer_knows_it() -> None:
    wire = Wire()
    async with (
        Agent("sip:alex@rcs.example", tap=wire) as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        for chat in await talk(alex, bob):
            await chat.refresh()
        assert wire.count(b"UPDATE ") == 2 and wire.count(b"INVITE ") == 1
        for chat in (*alex.chats, *bob.chats):
            await (await chat.send("still here")).delivered(timeout=5)


@pytest.mark.rfc("3261", "14.1", "14.2")
async def test_else_it_is_a_reinvite() -> None:
    wire = Wire()
    async with (
        Agent("sip:alex@rcs.example", tap=wire) as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        ours, theirs = await talk(alex, bob)
        for chat in (ours, theirs):
            forbid_update(chat)
            await chat.refresh()
        # Each has its ACK, the last of which is perhaps still on its way.
        await (await ours.send("still here")).delivered(timeout=5)
        assert wire.count(b"INVITE ") == 3
        async with asyncio.timeout(5):
            while wire.count(b"ACK ") < 3:
                await asyncio.sleep(0.01)
        await theirs.close()
        async for event in ours:
            if isinstance(event, SessionEnded):
                assert event.by_peer


@pytest.mark.rfc("3261", "14.1")
async def test_two_reinvites_at_once_are_refused_and_then_both_done() -> None:
    wire = Wire()
    async with (
        Agent("sip:alex@rcs.example", tap=wire) as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        chats = await talk(alex, bob)
        for chat in chats:
            forbid_update(chat)
        await asyncio.gather(*(chat.refresh() for chat in chats))
        # The second need not cross the first any more.
        assert wire.count(b"SIP/2.0 491") >= 1
        await (await chats[0].send("after the glare")).delivered(timeout=5)
        assert all(not chat.ended for chat in chats)


async def test_who_does_not_wait_for_the_end_of_the_end_has_ended_it() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, theirs = await talk(alex, bob)
        closing = asyncio.create_task(ours.close())
        while not ours.ended:
            await asyncio.sleep(0)
        # The BYE is on its way, and not answered.
        closing.cancel()
        async with asyncio.timeout(5):
            for chat in (ours, theirs):
                assert [each async for each in chat if isinstance(each, SessionEnded)]
        assert alex.chats == bob.chats == ()
        assert ours.session.link is not None and ours.session.link.closed


@pytest.mark.rfc("4028", "10")
async def test_a_session_whose_peer_is_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "MIN_SE", 1)
    monkeypatch.setattr("rcsops.ua.agent.MIN_SE", 1)
    async with Agent("sip:alex@rcs.example", session_expires=1) as alex:
        bob = Agent("sip:bob@rcs.example", session_expires=1)
        await bob.start()
        ours, theirs = await talk(alex, bob)
        # Several intervals pass, as both sides are there.
        await asyncio.sleep(2.2)
        assert not ours.ended and not theirs.ended
        # Bob answers nothing any more, as if his machine had been switched off.
        theirs.session.call.refresh.timer.stop()
        theirs.session.call.refresh.schedule()
        monkeypatch.setattr(bob.host, "_request", lambda event: None)
        async for event in ours:
            if isinstance(event, SessionEnded):
                assert "not refreshed" in event.reason or "no such session" in event.reason
        assert alex.chats == ()
        await bob.close()


@pytest.mark.rfc("4028", "10")
@pytest.mark.rfc("3261", "12.2.1.2")
async def test_a_refresh_finds_out_that_the_peer_has_forgotten_the_session() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, theirs = await talk(alex, bob)
        dialog = theirs.session.call.dialog
        assert dialog is not None
        bob.host.remove_call(dialog.id)
        with pytest.raises(InviteError) as caught:
            await ours.refresh()
        assert caught.value.status == 481
        assert ours.ended
        with pytest.raises(SessionClosed):
            await ours.refresh()


@pytest.mark.rfc("4028", "6", "7.3")
async def test_an_interval_that_is_too_short_is_told_and_mended() -> None:
    wire = Wire()
    async with (
        Agent("sip:alex@rcs.example", session_expires=90, tap=wire) as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        bob_call = bob.make_call

        def strict(request: Request, contact: str):  # type: ignore[no-untyped-def]
            made = bob_call(request, contact)
            made.refresh.timer = timers.SessionTimer(300, 200)
            return made

        type(bob).__base__.make_call, kept = (  # type: ignore[union-attr]
            lambda self, request, contact: (
                strict(request, contact) if self is bob else kept(self, request, contact)
            ),
            type(bob).__base__.make_call,  # type: ignore[union-attr]
        )
        try:
            ours, _ = await talk(alex, bob)
        finally:
            type(bob).__base__.make_call = kept  # type: ignore[union-attr]
        assert wire.count(b"SIP/2.0 422") == 1
        agreed = ours.session.call.refresh.timer.agreed
        assert agreed is not None and agreed.seconds == 200


def test_an_interval_that_no_one_may_ask_for() -> None:
    with pytest.raises(UsageError):
        Agent("sip:alex@rcs.example", session_expires=30)


# --- redirections ---------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "13.2.2.2")
@pytest.mark.rfc("3261", "8.1.3.4", "21.3")
async def test_a_redirection_is_followed_with_the_same_call_id() -> None:
    async with scene() as (agent, peer), Agent("sip:carol@rcs.example") as carol:
        port = carol.host.addresses[0].port
        moved = f"<sip:nobody@{peer.uri.partition('@')[2]};transport=tcp>;q=0.2, "
        moved += f"<sip:carol@127.0.0.1:{port};transport=tcp>;q=0.9"
        redirect(peer, 302, moved)

        async def accept() -> Chat:
            return await (await first_of(carol)).accept()

        ours, theirs = await asyncio.gather(agent.invite(peer.uri), accept())
        asked = await peer.requests.get()
        assert asked.call_id == theirs.session.call.call_id
        assert theirs.session.call.request.cseq.number > asked.cseq.number
        await (await ours.send("found you")).delivered(timeout=5)


@pytest.mark.rfc("3261", "8.1.3.4", "13.2.2.2")
async def test_redirections_in_a_circle_come_to_an_end() -> None:
    async with scene() as (agent, peer):
        redirect(peer, 301, f"<{peer.uri};transport=tcp>, <{peer.uri};x=1>")
        with pytest.raises(InviteError) as caught:
            await agent.invite(peer.uri)
        assert caught.value.status == 301
        assert 2 <= peer.seen.count("INVITE") <= 6


@pytest.mark.rfc("3261", "8.1.3.4")
async def test_a_redirection_to_nowhere_is_the_outcome() -> None:
    for contact in ("<tel:+123>", "<mailto:bob@rcs.example>", ""):
        async with scene() as (agent, peer):
            redirect(peer, 305, contact)
            with pytest.raises(InviteError) as caught:
                await agent.invite(peer.uri)
            assert caught.value.status == 305


@pytest.mark.rfc("3261", "8.1.3.2")
@pytest.mark.parametrize(("status", "tries"), [(399, 2), (499, 1), (599, 1), (699, 1)])
async def test_a_status_that_nobody_knows_counts_as_its_class(status: int, tries: int) -> None:
    async with scene() as (agent, peer):
        redirect(peer, status, f"<{peer.uri};transport=tcp>")
        with pytest.raises(InviteError) as caught:
            await agent.invite(peer.uri)
        assert caught.value.status == status
        assert peer.seen.count("INVITE") == tries


def redirect(peer: Peer, status: int, contact: str) -> None:
    """The peer answers every INVITE with a redirection."""
    original = Response.to_request

    def answer(event: object) -> None:
        from rcsops.sip import AckReceived, RequestReceived

        if isinstance(event, AckReceived):
            peer.seen.append("ACK")
        if not isinstance(event, RequestReceived):
            return
        request = event.request
        peer.seen.append(request.method)
        peer.requests.put_nowait(request)
        headers = [("Contact", contact)] if contact else []
        response = original(request, status, to_tag="p", headers=headers)
        peer.endpoint.respond(peer.endpoint.accept(request, event.flow), response)

    peer.endpoint._on_event = answer


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "13.2.2.3")
async def test_a_refusal_says_what_it_is_about_and_when_to_try_again() -> None:
    from rcsops.ua.refusals import refusal

    busy = Response(486, "Busy Here")
    busy.add("Retry-After", "120 (in a meeting)")
    error = refusal(busy)
    assert error.status == 486 and error.hint == "try again in 120 s"
    unknown = Response(420, "Bad Extension")
    unknown.add("Unsupported", "foo\x1b[31m")
    assert "foo" in str(refusal(unknown)) and "\x1b" not in str(refusal(unknown))
    unsuitable = Response(606)
    unsuitable.add("Warning", '399 example "no MSRP here"')
    assert "no MSRP here" in str(refusal(unsuitable))


# --- late offers ----------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "13.2.1", "13.3.1")
async def test_an_invite_without_an_offer_gets_ours_and_answers_in_the_ack() -> None:
    async with scene() as (agent, peer), Agent("sip:carol@rcs.example") as carol:
        await call(agent, peer, b"", "")
        invitation = await first_of(agent)
        accepting = asyncio.create_task(invitation.accept())
        response = await final_of(peer, agent)
        assert b"m=message" in response.body and b"a=path:msrp://" in response.body
        # The answer is one that another agent would give to this offer.
        from rcsops.msrp import MsrpSession, MsrpUri
        from rcsops.rcs import chat_answer, chat_stream
        from rcsops.sdp import parse_sdp
        from rcsops.transport.msrp import MsrpEndpoint

        msrp: MsrpEndpoint = await carol.host.msrp()
        path = (MsrpUri("127.0.0.1", msrp.port, "abcdefghijklmnop"),)
        answer, agreement = chat_answer(
            parse_sdp(response.body), chat_stream(path, max_size=1 << 16), session_id=1
        )
        session = MsrpSession(path, tokens=carol.tokens, active=agreement.active)
        session.set_remote_path(agreement.remote_path)
        link = msrp.add(session, lambda event: None, lambda reason: None)
        invite = invite_to(agent, peer, b"", "")
        invite.set("Call-ID", response.call_id)
        dialog = Dialog.from_uac(invite, response)
        ack = dialog.create_ack(invite)
        ack.set_body(answer, "application/sdp")
        address = agent.host.addresses[0]
        peer.endpoint.send_ack(ack, peer.endpoint.target("tcp", (address.host, address.port)))
        if agreement.active:
            await msrp.connect(link, *agreement.target)
        chat = await accepting
        assert chat.remote
        await chat.close()


@pytest.mark.rfc("3261", "13.3.1.4")
async def test_a_late_offer_that_is_never_answered_is_ended_with_a_bye() -> None:
    async with scene() as (agent, peer):
        await call(agent, peer, b"", "")
        accepting = asyncio.create_task((await first_of(agent)).accept())
        response = await final_of(peer, agent)
        invite = invite_to(agent, peer, b"", "")
        invite.set("Call-ID", response.call_id)
        ack = Dialog.from_uac(invite, response).create_ack(invite)
        address = agent.host.addresses[0]
        peer.endpoint.send_ack(ack, peer.endpoint.target("tcp", (address.host, address.port)))
        with pytest.raises(InviteError) as caught:
            await accepting
        assert caught.value.status == 488
        await peer.saw("BYE")
        assert agent.chats == ()


async def final_of(peer: Peer, agent: Agent) -> Response:
    """The 200 that the peer's INVITE has got."""
    for _ in range(500):
        for transaction in tuple(peer.endpoint.layer._clients.values()):
            last = transaction.last_response
            if last is not None and last.status == 200:
                return last
        await asyncio.sleep(0.01)
    raise AssertionError("no 200")


def test_good_is_an_offer() -> None:
    assert b"actpass" in GOOD


async def test_an_invitation_that_cannot_be_accepted_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with (
            AgentHost(msrp_port=taken.getsockname()[1]) as host,
            Agent("sip:alex@rcs.example") as alex,
            Agent("sip:bob@rcs.example", host=host) as bob,
        ):
            inviting = asyncio.create_task(alex.invite(address(bob)))
            await eventually(lambda: bool(bob.invitations), 5)
            (invitation,) = bob.invitations
            assert isinstance(invitation, Invitation)
            with pytest.raises(AgentError, match="MSRP"):
                await invitation.accept()
            with pytest.raises(InviteError) as refused:
                await asyncio.wait_for(inviting, 5)
            assert refused.value.status == 500
            assert host.call_count == 0
