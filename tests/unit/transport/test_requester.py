"""The walk of a request over its targets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from rcsops.errors import AgentError
from rcsops.sip import (
    Credential,
    DigestClient,
    DigestServer,
    Event,
    Request,
    RequestReceived,
    Response,
    Target,
    Timers,
    Uri,
    Verdict,
)
from rcsops.transport import SipEndpoint, system_tokens
from rcsops.transport.requester import Walk, find_targets, send, targets_of
from rcsops.transport.resolver import Candidate

pytestmark = pytest.mark.timeout(20)

FAST = Timers(t1=0.01, t2=0.04, t4=0.05)
Answer = Callable[[SipEndpoint, RequestReceived], None]


@asynccontextmanager
async def endpoint(
    answer: Answer | None = None, *transports: str
) -> AsyncIterator[tuple[SipEndpoint, list[RequestReceived]]]:
    seen: list[RequestReceived] = []

    def on_event(event: Event) -> None:
        if isinstance(event, RequestReceived):
            seen.append(event)
            if answer is not None:
                answer(made, event)

    made = SipEndpoint(on_event=on_event, timers=FAST)
    try:
        if transports:
            for transport in transports:
                await made.listen(transport, "127.0.0.1", 0)
        else:
            await made.listen_pair("127.0.0.1", 0)
        yield made, seen
    finally:
        await made.close()


def reply(status: int, *headers: tuple[str, str]) -> Answer:
    def answer(end: SipEndpoint, event: RequestReceived) -> None:
        response = Response.to_request(event.request, status, to_tag="t", headers=headers)
        end.respond(end.accept(event.request, event.flow), response)

    return answer


def request(size: int = 0) -> Request:
    made = Request(
        "MESSAGE",
        "sip:b@127.0.0.1",
        [
            ("Max-Forwards", "70"),
            ("From", "<sip:a@127.0.0.1>;tag=f"),
            ("To", "<sip:b@127.0.0.1>"),
            ("Call-ID", "c"),
            ("CSeq", "7 MESSAGE"),
        ],
    )
    made.set_body(b"x" * size, "text/plain")
    return made


def target(a: SipEndpoint, b: SipEndpoint, transport: str = "udp") -> Target:
    address = next(each for each in b.addresses if each.transport == transport)
    return a.target(transport, (address.host, address.port))


async def test_one_target_one_answer() -> None:
    async with endpoint(reply(200)) as (b, seen), endpoint() as (a, _):
        response = await send(a, request(), [target(a, b)])
        assert response.status == 200
        assert len(seen) == 1


@pytest.mark.rfc("3263", "4.3")
@pytest.mark.rfc("3261", "8.1.2")
async def test_a_503_falls_over_to_the_next_target_with_a_new_branch() -> None:
    async with (
        endpoint(reply(503)) as (b, first),
        endpoint(reply(200)) as (c, second),
        endpoint() as (a, _),
    ):
        response = await send(a, request(), [target(a, b), target(a, c)])
        assert response.status == 200
        one, two = first[0].request, second[0].request
        assert one.top_via.branch != two.top_via.branch
        assert len(two.vias) == 1
        # The same request tried elsewhere: its number stays.
        assert one.cseq == two.cseq


@pytest.mark.rfc("3263", "4.3")
async def test_the_last_503_is_the_answer() -> None:
    async with endpoint(reply(503, ("Retry-After", "5"))) as (b, _), endpoint() as (a, _):
        response = await send(a, request(), [target(a, b)])
        assert response.status == 503
        assert response.retry_after == 5


@pytest.mark.rfc("3263", "4.3")
async def test_a_time_out_and_a_refused_connection_fall_over() -> None:
    async with (
        endpoint() as (silent, ignored),
        endpoint(reply(200)) as (c, _),
        endpoint() as (a, _),
    ):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nobody = a.target("tcp", taken.getsockname())
            targets = [target(a, silent), nobody, target(a, c)]
            response = await send(a, request(), targets)
        assert response.status == 200
        assert ignored


@pytest.mark.rfc("3263", "4.3")
async def test_what_has_failed_is_tried_last_the_next_time() -> None:
    async with (
        endpoint(reply(503, ("Retry-After", "60"))) as (busy, _),
        endpoint() as (silent, _),
        endpoint(reply(200)) as (c, _),
        endpoint() as (a, _),
    ):
        targets = [target(a, busy), target(a, silent), target(a, c)]
        assert (await send(a, request(), targets)).status == 200
        avoided = [a.resolver.avoidance.is_avoided("udp", each.flow.remote) for each in targets]
        assert avoided == [True, True, False]


@pytest.mark.rfc("3263", "4.3")
async def test_what_has_answered_at_all_has_not_failed() -> None:
    def slow(end: SipEndpoint, event: RequestReceived) -> None:
        transaction = end.accept(event.request, event.flow)
        end.respond(transaction, Response.to_request(event.request, 183, to_tag="t"))

    async with (
        endpoint(slow) as (b, first),
        endpoint(reply(200)) as (c, second),
        endpoint() as (a, _),
    ):
        # RFC 3263 §4.3: a time-out after a provisional response is no reason to go elsewhere.
        with pytest.raises(AgentError, match="no answer in time"):
            await send(a, request(), [target(a, b), target(a, c)])
        assert first
        assert not second


@pytest.mark.rfc("3261", "8.1.3.1")
async def test_no_answer_from_anybody_is_an_error_that_names_them() -> None:
    async with endpoint() as (silent, _), endpoint() as (a, _):
        one = target(a, silent)
        with pytest.raises(AgentError, match="no answer in time") as caught:
            await send(a, request(), [one])
        assert f"udp:127.0.0.1:{one.flow.remote[1]}" in str(caught.value)
        with pytest.raises(AgentError, match="no address"):
            await send(a, request(), [])


@pytest.mark.rfc("3261", "8.1.3.3")
@pytest.mark.parametrize("more", ["SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx", "nonsense"])
async def test_an_answer_with_another_via_is_not_for_us(more: str) -> None:
    def answer(end: SipEndpoint, event: RequestReceived) -> None:
        response = Response.to_request(event.request, 200, to_tag="t")
        response.add("Via", more)
        end.respond(end.accept(event.request, event.flow), response)

    async with (
        endpoint(answer) as (b, _),
        endpoint(reply(202)) as (c, _),
        endpoint() as (a, _),
    ):
        with pytest.raises(AgentError, match="meant for somebody else"):
            await send(a, request(), [target(a, b)])
        response = await send(a, request(), [target(a, b), target(a, c)])
        assert response.status == 202


@pytest.mark.rfc("3261", "18.1.1")
async def test_a_large_request_goes_by_tcp() -> None:
    async with endpoint(reply(200)) as (b, seen), endpoint() as (a, _):
        small = await send(a, request(500), [target(a, b)])
        large = await send(a, request(1300), [target(a, b)])
        assert (small.status, large.status) == (200, 200)
        assert [event.flow.transport for event in seen] == ["udp", "tcp"]
        assert [event.request.top_via.transport for event in seen] == ["UDP", "TCP"]


@pytest.mark.rfc("3261", "18.1.1")
async def test_the_limit_counts_the_whole_request_with_its_via() -> None:
    async with endpoint(reply(200)) as (b, seen), endpoint() as (a, _):
        for size in range(960, 1100, 7):
            await send(a, request(size), [target(a, b)])
        for event in seen:
            octets = len(bytes(event.request))
            assert event.flow.transport == "tcp" or octets <= 1300
        assert {event.flow.transport for event in seen} == {"udp", "tcp"}


@pytest.mark.rfc("3261", "18.1.1")
async def test_a_large_request_goes_by_udp_where_tcp_is_refused() -> None:
    async with endpoint(reply(200), "udp") as (b, seen), endpoint() as (a, _):
        response = await send(a, request(3000), [target(a, b)])
        assert response.status == 200
        assert [event.flow.transport for event in seen] == ["udp"]
        assert len(seen[0].request.body) == 3000


def guard(auth: DigestServer, password: str) -> Answer:
    def answer(end: SipEndpoint, event: RequestReceived) -> None:
        known = Credential.from_password("a", "rcs.example", password)
        for credentials in event.request.proxy_authorizations:
            verdict = auth.verify(
                credentials, event.request.method, event.request.body, known.ha1, end.now
            )
            if verdict is Verdict.OK:
                reply(200)(end, event)
                return
        challenges = [("Proxy-Authenticate", value) for value in auth.challenges(end.now)]
        reply(407, *challenges)(end, event)

    return answer


@pytest.mark.rfc("3261", "22.2")
@pytest.mark.parametrize(("password", "status", "asked"), [("right", 200, 2), ("wrong", 407, 2)])
async def test_a_challenge_is_answered_once(password: str, status: int, asked: int) -> None:
    tokens = system_tokens()
    auth = DigestServer("rcs.example", b"secret", tokens)
    digest = DigestClient([Credential.from_password("a", "rcs.example", password)], tokens)
    async with endpoint(guard(auth, "right")) as (b, seen), endpoint() as (a, _):
        response = await send(a, request(), [target(a, b)], digest=digest)
        assert response.status == status
        assert [event.request.cseq.number for event in seen] == [7, 8][:asked]
        assert len({event.request.top_via.branch for event in seen}) == asked
        assert all(len(event.request.vias) == 1 for event in seen)


async def test_credentials_are_sent_ahead_the_next_time() -> None:
    tokens = system_tokens()
    auth = DigestServer("rcs.example", b"secret", tokens)
    digest = DigestClient([Credential.from_password("a", "rcs.example", "right")], tokens)
    async with endpoint(guard(auth, "right")) as (b, seen), endpoint() as (a, _):
        for _ in range(3):
            response = await send(a, request(), [target(a, b)], digest=digest)
            assert response.status == 200
        assert len(seen) == 4


async def test_an_answer_of_who_does_not_know_the_password_counts_as_none() -> None:
    tokens = system_tokens()
    auth = DigestServer("rcs.example", b"secret", tokens)
    digest = DigestClient([Credential.from_password("a", "rcs.example", "right")], tokens)

    def forge(end: SipEndpoint, event: RequestReceived) -> None:
        if event.request.proxy_authorizations:
            given = event.request.proxy_authorizations[0]
            info = f'qop=auth, rspauth="{"0" * 32}", cnonce="{given.cnonce}", nc={given.nc}'
            reply(200, ("Authentication-Info", info))(end, event)
        else:
            guard(auth, "right")(end, event)

    async with endpoint(forge) as (b, _), endpoint() as (a, _):
        with pytest.raises(AgentError, match="rspauth"):
            await asyncio.wait_for(send(a, request(), [target(a, b)], digest=digest), 5)


@pytest.mark.rfc("3261", "9.1")
async def test_an_invite_is_cancelled() -> None:
    results: list[Response | None] = []

    def ring(end: SipEndpoint, event: RequestReceived) -> None:
        if event.request.method == "INVITE":
            transaction = end.accept(event.request, event.flow)
            end.respond(transaction, Response.to_request(event.request, 180, to_tag="t"))
        elif event.invite is not None:
            reply(200)(end, event)
            refused = Response.to_request(event.invite.request, 487, to_tag="t")
            end.respond(event.invite, refused)

    async with endpoint(ring) as (b, seen), endpoint() as (a, _):
        invite = request()
        invite.method = "INVITE"
        invite.set("CSeq", "7 INVITE")
        done = asyncio.Event()

        def finished(response: Response | None, error: str) -> None:
            results.append(response)
            done.set()

        walk = Walk(
            a,
            invite,
            [target(a, b)],
            on_response=lambda event: walk.cancel() if event.response.status == 180 else None,
            on_done=finished,
        )
        walk.start()
        await asyncio.wait_for(done.wait(), 5)
        assert [r.status for r in results if r is not None] == [487]
        assert [event.request.method for event in seen] == ["INVITE", "CANCEL"]


async def test_who_gives_up_waiting_hears_nothing_more() -> None:
    async with endpoint() as (silent, _), endpoint() as (a, _):
        task = asyncio.create_task(send(a, request(), [target(a, silent)]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)


async def test_targets_that_no_socket_reaches_are_left_out() -> None:
    async with endpoint() as (a, _):
        candidates = [Candidate("udp", "::1", 5060), Candidate("udp", "127.0.0.1", 5060)]
        assert [t.flow.remote for t in targets_of(a, candidates)] == [("127.0.0.1", 5060)]
        with pytest.raises(AgentError, match="no way"):
            await find_targets(a, Uri.parse("sip:b@[::1]:5060"))
