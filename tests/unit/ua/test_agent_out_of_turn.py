"""What comes or ends out of turn: nothing is left ringing, open or half done by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, TransferError
from rcsops.sip import (
    AckReceived,
    Dialog,
    Event,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
)
from rcsops.transport.msrp import MsrpEndpoint
from rcsops.transport.requester import Walk
from rcsops.ua import FileOffered, receiving, sending
from rcsops.ua.call import Call
from rcsops.ua.dialing import Attempt
from rcsops.ua.incoming import FileOffer, Invitation
from tests.unit.ua.test_agent_hostile import GOOD, SDP, Peer, call, invite_to, scene

pytestmark = pytest.mark.timeout(20)


async def send(agent: Agent, peer: Peer, request: Request) -> Response:
    """Sends a request of the peer's and returns its final response."""
    address = agent.host.addresses[0]
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def on_response(event: ResponseReceived) -> None:
        if event.response.status >= 200 and not future.done():
            future.set_result(event.response)

    target = peer.endpoint.target("tcp", (address.host, address.port))
    Walk(peer.endpoint, request, [target], on_response=on_response).start()
    return await asyncio.wait_for(future, 5)


async def first_of(agent: Agent) -> Invitation:
    async for invitation in agent.incoming():
        return invitation
    raise AssertionError("nobody called")


@asynccontextmanager
async def ringing(agent: Agent, peer: Peer) -> AsyncIterator[tuple[Invitation, Dialog, Request]]:
    """The peer's INVITE rings; its dialog as the peer sees it, and the INVITE."""
    response = await call(agent, peer, GOOD, "application/sdp")
    invite = invite_to(agent, peer, b"", "")
    invite.set("Call-ID", response.call_id)
    yield await first_of(agent), Dialog.from_uac(invite, response), invite


@pytest.mark.rfc("3261", "14.2")
async def test_a_second_invite_before_the_answer_to_the_first_is_put_off() -> None:
    async with scene() as (agent, peer), ringing(agent, peer) as (invitation, dialog, _):
        again = dialog.create_request("INVITE", [("Contact", f"<{peer.uri};transport=tcp>")])
        again.set_body(GOOD, "application/sdp")
        response = await send(agent, peer, again)
        assert response.status == 500
        assert response.retry_after is not None
        # The first one can still be answered.
        assert invitation.pending
        assert invitation.reject(486)


@pytest.mark.rfc("3261", "15")
async def test_who_gives_up_an_accepted_call_says_bye_after_the_ack() -> None:
    async with scene() as (agent, peer), ringing(agent, peer) as (invitation, dialog, invite):
        accepting = asyncio.create_task(invitation.accept())
        await asyncio.sleep(0.05)
        accepting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await accepting
        await asyncio.sleep(0.05)
        assert "BYE" not in peer.seen
        address = agent.host.addresses[0]
        target = peer.endpoint.target("tcp", (address.host, address.port))
        peer.endpoint.send_ack(dialog.create_ack(invite), target)
        await peer.saw("BYE")
        async with asyncio.timeout(5):
            while agent._opening:
                await asyncio.sleep(0.005)


@pytest.mark.rfc("3261", "15.1.2")
async def test_a_bye_that_waits_for_the_ack_is_settled_by_the_peers_own() -> None:
    async with scene() as (agent, peer), ringing(agent, peer) as (invitation, dialog, _):
        accepting = asyncio.create_task(invitation.accept())
        await asyncio.sleep(0.05)
        hanging = asyncio.create_task(invitation.call.end("enough"))
        await asyncio.sleep(0.01)
        assert (await send(agent, peer, dialog.create_request("BYE"))).status == 200
        await asyncio.wait_for(hanging, 1)
        with pytest.raises(InviteError):
            await accepting
        assert "BYE" not in peer.seen


async def test_a_route_that_cannot_be_read_is_refused_at_once() -> None:
    async with scene() as (agent, peer):
        request = invite_to(agent, peer, GOOD, "application/sdp")
        request.add("Record-Route", "<sip:127.0.0. 1;lr>")
        assert (await send(agent, peer, request)).status == 400
        assert agent.invitations == ()


async def test_a_session_that_cannot_be_closed_keeps_no_socket_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene() as (agent, peer), ringing(agent, peer) as (invitation, _, _):
        accepting = asyncio.create_task(invitation.accept())
        await asyncio.sleep(0.02)

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr(Call, "hang_up", broken)
        await agent.close()
        assert agent.host.agent_count == 0
        accepting.cancel()


async def test_an_invitation_taken_back_while_the_port_opens_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene() as (agent, peer), ringing(agent, peer) as (invitation, _, _):
        msrp = await agent.host.msrp()

        async def slow(*, secure: bool = False) -> MsrpEndpoint:
            invitation.call.call_cancelled("changed my mind")
            return msrp

        monkeypatch.setattr(agent.host, "msrp", slow)
        with pytest.raises(InviteError):
            await invitation.accept()
        assert len(msrp.table) == 0
        assert agent._opening == ()


async def test_a_transfer_cancelled_before_its_invite_sends_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("hello")
    async with scene() as (agent, peer):
        looked_up = asyncio.Event()
        targets_for = agent.targets_for

        async def slow(uri: object) -> object:
            await looked_up.wait()
            return await targets_for(uri)  # type: ignore[arg-type]

        monkeypatch.setattr(type(agent), "targets_for", lambda self, uri: slow(uri))
        sending = await agent.send_file(peer.uri, path)
        await asyncio.sleep(0)
        await sending.cancel()
        looked_up.set()
        with pytest.raises(TransferError, match="cancelled"):
            await sending.done()
        await asyncio.sleep(0.05)
        assert peer.seen == []


class _Ringing:
    """An invitation and a call, as far as an attempt that gives way knows them."""

    def __init__(self) -> None:
        self.refused = 0

    def reject_as_crossed(self) -> None:
        self.refused = 486

    def cancel(self) -> None:
        self.cancelled = True


def test_an_invitation_that_ours_gave_way_to_in_vain_is_refused() -> None:
    ring = _Ringing()
    attempt = Attempt("sip:alex@rcs.example", ring)  # type: ignore[arg-type]
    attempt.refuse_crossed()
    attempt.give_way(ring)  # type: ignore[arg-type]
    assert ring.refused == 0
    attempt.refuse_crossed()
    assert ring.refused == 486


async def test_a_fork_that_declined_does_not_get_the_session() -> None:
    async with scene() as (agent, peer):
        inviting = asyncio.create_task(agent.invite(peer.uri))
        await peer.saw("INVITE")
        invite = await peer.requests.get()
        lines = invite.body.decode().split("\r\n")
        path = next(line for line in lines if line.startswith("a=path:"))[len("a=path:") :]
        host, port = path.split("/")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"MSRP abcd1234 SEND\r\nTo-Path: " + path.encode() + b"\r\n"
            b"From-Path: msrp://127.0.0.1:9/astranger1234567;tcp\r\n"
            b"Message-ID: 12345678\r\n-------abcd1234$\r\n"
        )
        await asyncio.sleep(0.05)
        flow = peer.endpoint.connections[0]
        answer = Response.to_request(
            invite, 200, to_tag="p", headers=[("Contact", f"<{peer.uri};transport=tcp>")]
        )
        answer.set_body(SDP % (9, 9, b"active"), "application/sdp")
        peer.endpoint.send_message(answer, flow)
        with pytest.raises(InviteError, match="another"):
            await inviting
        await peer.saw("BYE")
        writer.close()


async def test_no_digest_goes_straight_to_the_peer() -> None:
    async with scene(password="secret") as (agent, peer):
        response = await call(agent, peer, GOOD, "application/sdp")
        invitation = await first_of(agent)
        invite = invite_to(agent, peer, b"", "")
        invite.set("Call-ID", response.call_id)
        byes: list[Request] = []

        def on_event(event: Event) -> None:
            if isinstance(event, RequestReceived) and event.request.method == "BYE":
                byes.append(event.request)
                challenge = 'Digest realm="rcs.example", nonce="n", algorithm=MD5, qop="auth"'
                refusal = Response.to_request(
                    event.request, 407, to_tag="p", headers=[("Proxy-Authenticate", challenge)]
                )
                peer.endpoint.respond(peer.endpoint.accept(event.request, event.flow), refusal)
            assert not isinstance(event, AckReceived)

        peer.endpoint._on_event = on_event
        accepting = asyncio.create_task(invitation.accept())
        await asyncio.sleep(0.03)
        address = agent.host.addresses[0]
        target = peer.endpoint.target("tcp", (address.host, address.port))
        peer.endpoint.send_ack(Dialog.from_uac(invite, response).create_ack(invite), target)
        # Nobody listens where the SDP said: it hangs up, straight to the Contact.
        with pytest.raises(InviteError, match="no connection"):
            await accepting
        assert len(byes) == 1
        assert not byes[0].has("Proxy-Authorization")


async def test_a_sender_that_never_says_bye_is_seen_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_PARTING_SECONDS", 0.05)
    monkeypatch.setattr(sending.OutgoingTransfer, "_end", lambda self, reason: None)
    path = tmp_path / "a.txt"
    path.write_text("hello")
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        feed = bob.events()
        port = bob.host.addresses[0].port
        offered = await alex.send_file(f"sip:bob@127.0.0.1:{port}", path)
        async with asyncio.timeout(5):
            async for event in feed:
                if isinstance(event, FileOffered):
                    assert isinstance(event.offer, FileOffer)
                    taken = await event.offer.accept(tmp_path / "in")
                    break
            await taken.done()
            await offered.done()
            while bob.host._calls or alex.host._calls:
                await asyncio.sleep(0.01)
