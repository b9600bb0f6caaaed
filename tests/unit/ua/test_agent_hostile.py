"""Peers that do not do as they should: each ends in a defined state, and nothing is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rcsops import Agent
from rcsops.errors import InviteError
from rcsops.msrp import MsrpSession, MsrpUri
from rcsops.rcs import chat_offer, chat_stream
from rcsops.sip import (
    AckReceived,
    Dialog,
    Event,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    Timers,
)
from rcsops.transport import SipEndpoint, system_tokens
from rcsops.transport.msrp import MsrpEndpoint, MsrpLimits
from rcsops.transport.requester import Walk
from rcsops.ua import AgentHost, Chat, InviteCancelled, SessionEnded, SessionOpened, TextReceived

pytestmark = pytest.mark.timeout(30)

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=message %d TCP/MSRP *\r\na=path:msrp://127.0.0.1:%d/abcdefghijklmnop;tcp\r\n"
    b"a=setup:%s\r\na=accept-types:message/cpim\r\n"
)


class Peer:
    """A user agent made of an endpoint and scripted answers."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self.seen: list[str] = []
        self.invite_answers: list[tuple[int, bytes]] = []
        self.endpoint = SipEndpoint(on_event=self._event)

    @property
    def uri(self) -> str:
        address = self.endpoint.addresses[0]
        return f"sip:peer@{address.host}:{address.port}"

    def _event(self, event: Event) -> None:
        if isinstance(event, AckReceived):
            self.seen.append("ACK")
        if not isinstance(event, RequestReceived):
            return
        request = event.request
        self.seen.append(request.method)
        self.requests.put_nowait(request)
        if request.method == "INVITE" and not self.invite_answers:
            return
        transaction = self.endpoint.accept(request, event.flow)
        if request.method != "INVITE":
            self.endpoint.respond(transaction, Response.to_request(request, 200, to_tag="p"))
            if event.invite is not None:
                refused = Response.to_request(event.invite.request, 487, to_tag="p")
                self.endpoint.respond(event.invite, refused)
            return
        for number, (status, body) in enumerate(self.invite_answers):
            tag = f"p{number}" if status < 300 else "p"
            headers = [("Contact", f"<{self.uri};transport=tcp>")]
            response = Response.to_request(request, status, to_tag=tag, headers=headers)
            if body:
                response.set_body(body, "application/sdp")
            self.endpoint.respond(transaction, response)

    async def saw(self, method: str) -> None:
        async with asyncio.timeout(5):
            while method not in self.seen:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def scene(**options: object) -> AsyncIterator[tuple[Agent, Peer]]:
    peer = Peer()
    await peer.endpoint.listen_pair("127.0.0.1", 0)
    timers = Timers(t1=0.02, t2=0.08, t4=0.1)
    host = AgentHost(timers=timers, msrp_limits=MsrpLimits(connect_seconds=0.3))
    try:
        async with host, Agent("sip:bob@rcs.example", host=host, **options) as agent:  # type: ignore[arg-type]
            yield agent, peer
    finally:
        await peer.endpoint.close()


@pytest.mark.rfc("3261", "13.2.2.4")
@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"", "no session description"),
        (b"nonsense", "cannot be used"),
        (SDP % (0, 0, b"active"), "cannot be used"),
        (SDP.replace(b"message/cpim", b"text/plain") % (9, 9, b"active"), "message/cpim"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_ended_with_a_bye(body: bytes, content: str) -> None:
    async with scene() as (agent, peer):
        peer.invite_answers = [(200, body)]
        with pytest.raises(InviteError, match=content) as caught:
            await agent.invite(peer.uri)
        assert caught.value.status == 488
        await peer.saw("BYE")
        assert peer.seen.index("ACK") < peer.seen.index("BYE")
        assert agent.chats == ()


async def test_no_msrp_connection_is_ended_with_a_bye_that_says_why() -> None:
    async with scene() as (agent, peer):
        # Port 9 of the loopback: nobody listens.
        peer.invite_answers = [(200, SDP % (9, 9, b"passive"))]
        with pytest.raises(InviteError, match="no connection") as caught:
            await agent.invite(peer.uri)
        assert caught.value.status == 503
        await peer.saw("BYE")
        while (request := await peer.requests.get()).method != "BYE":
            pass
        assert "MSRP connect failed" in (request.get("Reason") or "")


@pytest.mark.rfc("3261", "8.1.3.1")
async def test_nobody_answers_the_invite() -> None:
    async with scene() as (agent, peer):
        with pytest.raises(InviteError) as caught:
            await agent.invite(peer.uri + ";transport=udp")
        assert caught.value.status == 408


@pytest.mark.rfc("3261", "9.1")
async def test_it_rings_too_long() -> None:
    async with scene(invite_seconds=0.2) as (agent, peer):
        peer.invite_answers = [(180, b"")]
        with pytest.raises(InviteError) as caught:
            await agent.invite(peer.uri)
        assert caught.value.status == 487
        assert "CANCEL" in peer.seen


@pytest.mark.rfc("3261", "13.2.2.4")
async def test_a_second_fork_is_acknowledged_and_ended() -> None:
    tokens = system_tokens()
    msrp = MsrpEndpoint("127.0.0.1", tokens=tokens)
    await msrp.start()
    own = (MsrpUri("127.0.0.1", msrp.port, "abcdefghijklmnop"),)
    session = MsrpSession(own, tokens=tokens, active=False)
    msrp.add(session, lambda event: None, lambda reason: None)
    async with scene() as (agent, peer):
        body = SDP % (msrp.port, msrp.port, b"passive")
        peer.invite_answers = [(180, b""), (180, b""), (200, body)]
        chat = await agent.invite(peer.uri)
        invite = next(iter(peer.requests._queue))  # type: ignore[attr-defined]
        fork = Response.to_request(
            invite, 200, to_tag="other", headers=[("Contact", f"<{peer.uri};transport=tcp>")]
        )
        fork.set_body(body, "application/sdp")
        flow = peer.endpoint.connections[0]
        peer.endpoint.send_message(fork, flow)
        await peer.saw("BYE")
        assert not chat.ended
        await chat.close()
        assert peer.seen.count("BYE") == 2
    await msrp.close()


async def call(agent: Agent, peer: Peer, body: bytes, content_type: str) -> Response:
    """The peer's INVITE to the agent; its first response of 180 or more."""
    address = agent.host.addresses[0]
    request = invite_to(agent, peer, body, content_type)
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def on_response(event: ResponseReceived) -> None:
        if event.response.status > 100 and not future.done():
            future.set_result(event.response)

    target = peer.endpoint.target("tcp", (address.host, address.port))
    Walk(peer.endpoint, request, [target], on_response=on_response).start()
    return await asyncio.wait_for(future, 5)


def invite_to(agent: Agent, peer: Peer, body: bytes, content_type: str) -> Request:
    request = Request(
        "INVITE",
        "sip:bob@127.0.0.1",
        [
            ("Max-Forwards", "70"),
            ("From", "<sip:peer@rcs.example>;tag=f"),
            ("To", "<sip:bob@rcs.example>"),
            ("Call-ID", system_tokens().call_id()),
            ("CSeq", "1 INVITE"),
            ("Contact", f"<{peer.uri};transport=tcp>"),
        ],
    )
    if body:
        request.set_body(body, content_type)
    return request


GOOD = SDP % (9, 9, b"actpass")


@pytest.mark.rfc("3261", "8.2.3", "13.3.1.3")
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"hello", "text/plain", 415),
        (b"nonsense", "application/sdp", 400),
        (SDP.replace(b"TCP/MSRP", b"RTP/AVP") % (9, 9, b"actpass"), "application/sdp", 488),
        (GOOD + b'a=file-selector:name:"x"\r\na=sendonly\r\n', "application/sdp", 488),
        (
            GOOD + b'a=file-selector:name:"x" size:5\r\na=recvonly\r\n',
            "application/sdp",
            488,
        ),
        (GOOD, "application/sdp", 180),
    ],
)
async def test_an_offer_is_answered_as_it_deserves(
    body: bytes, content_type: str, status: int
) -> None:
    async with scene() as (agent, peer):
        response = await call(agent, peer, body, content_type)
        assert response.status == status
        if status == 415:
            assert response.get("Accept") == "application/sdp"


@pytest.mark.rfc("3261", "8.2.1", "8.2.2", "11.2", "12.2.2", "15.1.2")
async def test_an_unknown_extension_method_or_dialog_is_refused() -> None:
    async with scene() as (agent, peer):
        address = agent.host.addresses[0]
        target = peer.endpoint.target("udp", (address.host, address.port))
        for method, header, status in (
            ("INVITE", ("Require", "100rel"), 420),
            ("SUBSCRIBE", ("X-None", "x"), 405),
            ("BYE", ("X-None", "x"), 481),
            ("OPTIONS", ("X-None", "x"), 200),
        ):
            request = invite_to(agent, peer, b"", "")
            request.method = method
            request.set("CSeq", f"1 {method}")
            request.set(*header)
            if method == "BYE":
                request.set("To", "<sip:bob@rcs.example>;tag=none")
            future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            Walk(
                peer.endpoint,
                request,
                [target],
                on_response=lambda e, f=future: f.set_result(e.response),  # type: ignore[misc]
            ).start()
            response = await asyncio.wait_for(future, 5)
            assert response.status == status, method


async def test_a_broken_request_is_refused_and_hurts_nobody() -> None:
    async with scene() as (agent, peer):
        address = agent.host.addresses[0]
        target = peer.endpoint.target("udp", (address.host, address.port))
        for name, value, status in (
            ("CSeq", "1 OPTIONS", 400),
            ("Contact", "<no uri", 400),
            ("From", "<<>;tag=f", 400),
        ):
            request = invite_to(agent, peer, GOOD, "application/sdp")
            request.set(name, value)
            request.prepend("Via", f"SIP/2.0/UDP {target.sent_by};branch=z9hG4bK{name};rport")
            strays: list[Response] = []

            def stray(event: Event, found: list[Response] = strays) -> None:
                response = getattr(event, "response", None)
                if response is not None:
                    found.append(response)

            peer.endpoint._on_event = stray
            peer.endpoint.send_message(request, target.flow)
            async with asyncio.timeout(5):
                while not strays:
                    await asyncio.sleep(0.005)
            assert strays[0].status == status, name
        assert agent.invitations == ()


@pytest.mark.rfc("3261", "13.3.1.4")
async def test_the_caller_never_acknowledges() -> None:
    async with scene() as (agent, peer):
        task = asyncio.create_task(_accept(agent))
        await call(agent, peer, GOOD, "application/sdp")
        with pytest.raises(InviteError, match="before it was open"):
            await asyncio.wait_for(task, 10)
        await peer.saw("BYE")
        assert agent.chats == ()


async def _accept(agent: Agent) -> Chat:
    async for invitation in agent.incoming():
        return await invitation.accept()
    raise AssertionError("nobody called")


async def test_closing_while_it_rings_and_while_the_ack_is_awaited() -> None:
    async with scene() as (agent, peer):
        peer.invite_answers = [(180, b"")]
        inviting = asyncio.create_task(agent.invite(peer.uri))
        accepting = asyncio.create_task(_accept(agent))
        await call(agent, peer, GOOD, "application/sdp")
        await peer.saw("INVITE")
        async with asyncio.timeout(8):
            await agent.close()
            for task in (inviting, accepting):
                with pytest.raises(InviteError):
                    await task
        await peer.saw("CANCEL")


@pytest.mark.rfc("3261", "15.1.2")
async def test_a_caller_that_hangs_up_while_it_rings() -> None:
    async with scene() as (agent, peer):
        feed = agent.events()
        ringing = await call(agent, peer, GOOD, "application/sdp")
        invite = invite_to(agent, peer, b"", "")
        invite.set("Call-ID", ringing.call_id)
        dialog = Dialog.from_uac(invite, ringing)
        address = agent.host.addresses[0]
        target = peer.endpoint.target("tcp", (address.host, address.port))
        peer.endpoint.send_request(dialog.create_request("BYE"), target)
        async with asyncio.timeout(5):
            async for event in feed:
                if isinstance(event, InviteCancelled):
                    break
        assert agent.invitations == ()


async def test_a_reader_that_sleeps_holds_the_peer_back_and_loses_nothing() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        port = bob.host.addresses[0].port
        ours, theirs = await asyncio.gather(alex.invite(f"sip:bob@127.0.0.1:{port}"), _accept(bob))
        count = 3000
        receipts = []

        async def send() -> None:
            for number in range(count):
                receipts.append(await ours.send(f"{number:05d}" + "x" * 500))

        follower = aiter(theirs)
        first = await anext(follower)
        assert isinstance(first, SessionOpened)
        sending = asyncio.create_task(send())
        async with asyncio.timeout(20):
            while not theirs._held_back:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(theirs._events) < 2500
        assert not sending.done()
        texts = []
        async with asyncio.timeout(20):
            async for event in follower:
                if isinstance(event, TextReceived):
                    texts.append(event.text[:5])
                if len(texts) == count:
                    break
            await sending
            await receipts[-1].delivered()
        assert texts == [f"{number:05d}" for number in range(count)]
        await ours.close()
        assert [type(event) async for event in follower][-1] is SessionEnded


async def test_a_script_that_follows_nothing_still_gets_its_receipts() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        port = bob.host.addresses[0].port
        ours, theirs = await asyncio.gather(alex.invite(f"sip:bob@127.0.0.1:{port}"), _accept(bob))
        receipts = [await ours.send("x") for _ in range(1500)]
        back = [await theirs.send("y") for _ in range(1500)]
        for receipt in (receipts[-1], back[-1]):
            await receipt.delivered(timeout=20)


async def test_the_offer_of_a_real_peer_is_what_the_tests_assume() -> None:
    msrp = MsrpEndpoint("127.0.0.1", tokens=system_tokens())
    await msrp.start()
    offer = chat_offer(chat_stream(msrp.new_path("127.0.0.1")), session_id=1)
    assert b"a=setup:actpass" in offer
    assert f"m=message {msrp.port} TCP/MSRP *".encode() in offer
    await msrp.close()
