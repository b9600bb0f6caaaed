"""SIP over WebSocket on the loopback, against the client and the server of websockets itself."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from rcsops.errors import SipParseError
from rcsops.sip import Request, Response, parse_message
from rcsops.sip.events import Event, RequestReceived, ResponseReceived, TransportFailed
from rcsops.testing.waiting import eventually
from rcsops.transport import (
    EndpointLimits,
    SipEndpoint,
    TapRecord,
    Tls,
    TlsOptions,
    TransactionUser,
    connections,
)
from tests.unit.transport.certificates import Shop

pytestmark = pytest.mark.timeout(30)


class Peer:
    """An endpoint that answers every request 200 and keeps what it saw."""

    def __init__(
        self, *, tls: TlsOptions | None = None, limits: EndpointLimits | None = None, **more: Any
    ) -> None:
        self.requests: list[RequestReceived] = []
        self.bad: list[SipParseError] = []
        self.taps: list[TapRecord] = []
        self.closed: list[str] = []
        self.endpoint = SipEndpoint(
            on_event=self._event,
            on_bad_message=lambda error, _flow: self.bad.append(error),
            on_flow_closed=lambda _flow, error: self.closed.append(error),
            tap=self.taps.append,
            limits=limits,
            tls=Tls(tls),
            dials=("tls", "ws", "wss"),
            **more,
        )

    def _event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.requests.append(event)
            answer = Response.to_request(event.request, 200, to_tag="t")
            self.endpoint.respond(self.endpoint.accept(event.request, event.flow), answer)

    async def ask(
        self, transport: str, port: int, domain: str = ""
    ) -> ResponseReceived | TransportFailed:
        waiter = Waiter()
        target = self.endpoint.target(transport, ("127.0.0.1", port), domain)
        self.endpoint.send_request(options(), target, context=waiter)
        async with asyncio.timeout(10):
            event = await waiter.future
        assert isinstance(event, ResponseReceived | TransportFailed)
        return event


class Waiter(TransactionUser):
    def __init__(self) -> None:
        self.future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def transaction_event(self, event: Event) -> None:
        if not self.future.done():
            self.future.set_result(event)


def options(via: str = "", body: bytes = b"") -> Request:
    request = Request(
        "OPTIONS",
        "sip:rcs.example",
        [
            ("Max-Forwards", "70"),
            ("From", "<sip:a@rcs.example>;tag=f"),
            ("To", "<sip:rcs.example>"),
            ("Call-ID", "call"),
            ("CSeq", "1 OPTIONS"),
        ],
        body,
    )
    if via:
        request.prepend("Via", f"SIP/2.0/WS x.invalid;branch=z9hG4bK{via}")
    return request


@asynccontextmanager
async def server(**more: Any) -> AsyncIterator[tuple[Peer, str]]:
    """An endpoint that listens for WebSockets, and its URL."""
    made = Peer(**more)
    try:
        address = await made.endpoint.listen("ws", "127.0.0.1", 0)
        yield made, f"ws://127.0.0.1:{address.port}/"
    finally:
        await made.endpoint.close()


@asynccontextmanager
async def client(**more: Any) -> AsyncIterator[Peer]:
    made = Peer(**more)
    try:
        await made.endpoint.listen_pair("127.0.0.1", 0)
        yield made
    finally:
        await made.endpoint.close()


async def answer_to(browser: ClientConnection) -> Response:
    async with asyncio.timeout(5):
        data = await browser.recv()
    message = parse_message(data.encode() if isinstance(data, str) else data)
    assert isinstance(message, Response)
    return message


def sip(url: str, **more: Any) -> connect:
    return connect(url, subprotocols=["sip"], proxy=None, **more)  # type: ignore[list-item]


# --- our server, the client of websockets --------------------------------------------------------


@pytest.mark.rfc("7118", "4", "5")
async def test_a_message_a_frame_and_the_answer_comes_back_the_same_way() -> None:
    async with server() as (peer, url), sip(url) as browser:
        assert browser.subprotocol == "sip"
        await browser.send(bytes(options("1")).decode())
        response = await answer_to(browser)
        assert response.status == 200
        via = response.top_via
        assert (via.transport, via.host, via.received) == ("WS", "x.invalid", "127.0.0.1")
        # In a message of its own a Content-Length is not needed.
        bare = bytes(options("2")).decode().replace("Content-Length: 0\r\n", "")
        await browser.send(bare.encode())
        assert (await answer_to(browser)).status == 200
        assert [record.transport for record in peer.taps] == ["ws"] * 4


async def test_a_message_may_come_in_many_frames() -> None:
    async with server() as (peer, url), sip(url) as browser:
        text = bytes(options("1", b"x" * 1000)).decode()
        await browser.send(text[start : start + 7] for start in range(0, len(text), 7))
        assert (await answer_to(browser)).status == 200
        assert len(peer.requests[0].request.body) == 1000


async def test_binary_goes_out_where_it_is_no_text() -> None:
    async with server() as (peer, url), sip(url) as browser:
        await browser.send(bytes(options("1")))
        await answer_to(browser)
        flow = peer.requests[0].flow
        peer.endpoint.send_message(options("2", b"\xff\xfe"), flow)
        async with asyncio.timeout(5):
            data = await browser.recv()
        assert isinstance(data, bytes)
        assert data.endswith(b"\xff\xfe")


@pytest.mark.rfc("7118", "6")
async def test_keep_alives() -> None:
    async with server() as (peer, url), sip(url) as browser:
        async with asyncio.timeout(5):
            await (await browser.ping())
            await browser.send("\r\n\r\n")
            assert await browser.recv() == "\r\n"
            await browser.send("\r\n")
            await browser.send(bytes(options("1")).decode())
        assert (await answer_to(browser)).status == 200
        assert peer.bad == []


async def test_what_is_not_sip_does_not_end_the_connection() -> None:
    async with server() as (peer, url), sip(url) as browser:
        await browser.send("hello?")
        await browser.send(bytes(options("1")).decode())
        assert (await answer_to(browser)).status == 200
        assert len(peer.bad) == 1


@pytest.mark.rfc("7118", "4.1")
async def test_who_does_not_ask_for_sip_is_refused() -> None:
    async with server() as (peer, url):
        for offered in (None, ["chat"]):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, subprotocols=offered, proxy=None)  # type: ignore[arg-type]
            assert refused.value.response.status_code == 400
        await eventually(lambda: peer.endpoint.statistics.failed_handshakes == 2)
        assert peer.endpoint.connections == ()


@pytest.mark.parametrize(
    ("allowed", "origin", "status"),
    [
        ((), None, 0),
        ((), "https://evil.example", 403),
        ((), "null", 403),
        ((), "sip://rcs.example", 0),
        ((), "https://evil.example/sip:", 403),
        (("https://chat.example",), "https://chat.example", 0),
        (("https://chat.example",), "https://chat.example.evil.example", 403),
        (("https://chat.example",), "http://chat.example", 403),
        (("https://chat.example",), None, 0),
        (("*",), "https://any.example", 0),
    ],
)
async def test_web_pages_need_leave(
    allowed: tuple[str, ...], origin: str | None, status: int
) -> None:
    async with server(origins=allowed) as (_, url):
        if not status:
            async with sip(url, origin=origin) as browser:
                await browser.send(bytes(options("1")).decode())
                assert (await answer_to(browser)).status == 200
            return
        with pytest.raises(InvalidStatus) as refused:
            await sip(url, origin=origin)
        assert refused.value.response.status_code == status


# --- hostile clients -----------------------------------------------------------------------------


async def test_a_message_that_is_too_large_ends_the_connection() -> None:
    limits = EndpointLimits(max_head=1000, max_body=1000)
    async with server(limits=limits) as (peer, url):
        for parts in (["x" * 3000], ["x" * 900] * 4):
            async with sip(url) as browser:
                with pytest.raises(ConnectionClosed) as closed:
                    await browser.send(parts)
                    async with asyncio.timeout(5):
                        await browser.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009
        assert peer.requests == []
        await eventually(lambda: peer.endpoint.connections == ())


async def test_a_frame_that_only_announces_much_is_refused_at_once() -> None:
    async with server() as (peer, url), raw(url) as (reader, writer):
        # 2**62 octets, masked: the header alone.
        writer.write(b"\x81\xff" + (1 << 62).to_bytes(8, "big") + b"\0\0\0\0")
        assert await until_end(reader)
        await eventually(lambda: len(peer.closed) == 1)
        assert "broken" in peer.closed[0]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\x05hello",  # not masked (RFC 6455 §5.1)
        b"\xf1\x80\0\0\0\0",  # bits that no extension has explained
        b"\x83\x80\0\0\0\0",  # an opcode that there is not
        b"\x80\x80\0\0\0\0",  # the continuation of nothing
        b"\x09\x80\0\0\0\0",  # a ping in pieces
        b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126,  # a ping that is too long
    ],
)
@pytest.mark.rfc("6455", "5")
async def test_broken_frames_end_the_connection(frame: bytes) -> None:
    async with server() as (peer, url), raw(url) as (reader, writer):
        writer.write(frame)
        assert (await until_end(reader))[:1] == b"\x88"
        await eventually(lambda: len(peer.closed) == 1)
        assert "broken" in peer.closed[0]
        assert peer.requests == []


async def test_a_message_whose_end_does_not_come_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.05)
    async with (
        server(limits=EndpointLimits(message_seconds=0.3)) as (peer, url),
        raw(url) as (reader, writer),
    ):
        # Fragment after fragment, each empty: it is never idle, and never too large.
        writer.write(b"\x01\x80\0\0\0\0")
        reading = asyncio.create_task(until_end(reader))
        while not reading.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"\x00\x80\0\0\0\0")
            await asyncio.sleep(0.05)
        await eventually(lambda: peer.closed == ["a message did not end in time"])


async def test_an_upgrade_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.05)
    limits = EndpointLimits(handshake_seconds=0.3)
    async with server(limits=limits) as (peer, url):
        port = int(url.rstrip("/").rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await until_end(reader) == b""
        writer.close()
        assert peer.closed == ["the handshake did not end in time"]


async def test_an_upgrade_of_many_headers_is_refused() -> None:
    async with server() as (peer, url):
        port = int(url.rstrip("/").rpartition(":")[2])
        for junk in (b"X: y\r\n" * 2000, b"X: " + b"y" * 100_000 + b"\r\n", b"\r\n", b"\0\1\2\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n" + junk)
            with contextlib.suppress(ConnectionError):
                await until_end(reader)
            writer.close()
        await eventually(lambda: peer.endpoint.statistics.failed_handshakes == 4)


async def test_pings_without_end_do_not_pile_up_answers() -> None:
    limits = EndpointLimits(max_buffered=20_000)
    async with server(limits=limits) as (peer, url), raw(url, read=False) as (_, writer):
        ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
        with contextlib.suppress(ConnectionError):
            # Far more than the kernel keeps for a reader that does not read.
            for _ in range(400):
                writer.write(ping * 1000)
                async with asyncio.timeout(10):
                    await writer.drain()
                if peer.closed:
                    break
        await eventually(lambda: peer.closed == ["the peer does not read"])


@asynccontextmanager
async def raw(
    url: str, *, read: bool = True
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket by hand."""
    port = int(url.rstrip("/").rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2000)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: sip\r\n\r\n"
    )
    async with asyncio.timeout(5):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def until_end(reader: asyncio.StreamReader) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                data += piece
    return data


# --- our client ----------------------------------------------------------------------------------


@pytest.mark.rfc("7118", "5.2")
async def test_our_client_is_nowhere_to_be_reached_but_by_its_connection() -> None:
    async with server() as (peer, url), client() as agent:
        port = int(url.rstrip("/").rpartition(":")[2])
        assert isinstance(await agent.ask("ws", port), ResponseReceived)
        assert isinstance(await agent.ask("ws", port), ResponseReceived)
        vias = {event.request.top_via.host for event in peer.requests}
        assert len(vias) == 1
        assert vias.pop().endswith(".invalid")
        assert agent.endpoint.statistics.connections_opened == 1


async def test_our_client_keeps_its_connection_alive() -> None:
    async with server() as (_, url), client() as agent:
        port = int(url.rstrip("/").rpartition(":")[2])
        answered = await agent.ask("ws", port)
        assert isinstance(answered, ResponseReceived)
        flow = agent.endpoint.connections[0]
        connection = agent.endpoint._table.find(flow)
        assert connection is not None
        assert agent.endpoint.keep_alive(flow)
        assert connection.pong_due is not None
        await eventually(lambda: connection.pong_due is None)


async def test_our_client_against_the_server_of_websockets() -> None:
    seen: list[str] = []

    async def answer(browser: ServerConnection) -> None:
        assert browser.request is not None
        seen.append(browser.request.headers["Origin"])
        async for data in browser:
            assert isinstance(data, str)
            seen.append(data)
            request = parse_message(data.encode())
            assert isinstance(request, Request)
            await browser.send(bytes(Response.to_request(request, 200, to_tag="t")).decode())

    async with (
        serve(answer, "127.0.0.1", 0, subprotocols=["sip"]) as other,  # type: ignore[list-item]
        client() as agent,
    ):
        port = next(iter(other.sockets)).getsockname()[1]
        assert isinstance(await agent.ask("ws", port), ResponseReceived)
        assert seen[0] == f"sip://127.0.0.1:{port}"
        assert seen[1].startswith("OPTIONS sip:rcs.example SIP/2.0\r\nVia: SIP/2.0/WS ")


@pytest.mark.parametrize(
    ("subprotocols", "said"),
    [(None, "not one for SIP"), (["chat"], "not one for SIP")],
)
async def test_a_websocket_that_is_not_for_sip(subprotocols: list[Any] | None, said: str) -> None:
    async def wait(browser: ServerConnection) -> None:
        await browser.wait_closed()

    async with (
        serve(
            wait,
            "127.0.0.1",
            0,
            subprotocols=subprotocols,
            select_subprotocol=lambda *_: None,
        ) as other,
        client() as agent,
    ):
        port = next(iter(other.sockets)).getsockname()[1]
        failed = await agent.ask("ws", port)
        assert isinstance(failed, TransportFailed)
        assert said in failed.error


async def test_a_server_that_refuses_the_upgrade() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    http = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with http, client() as agent:
        failed = await agent.ask("ws", http.sockets[0].getsockname()[1])
        assert isinstance(failed, TransportFailed)
        assert failed.error == "it answers 404 to a WebSocket"


# --- with TLS under it ---------------------------------------------------------------------------


async def test_wss_needs_the_name_as_tls_does(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    async with server(tls=shop.server()) as (peer, _), client(tls=shop.client()) as agent:
        address = await peer.endpoint.listen("wss", "127.0.0.1", 0)
        answered = await agent.ask("wss", address.port, "rcs.example")
        assert isinstance(answered, ResponseReceived)
        assert peer.requests[0].request.top_via.transport == "WSS"
        # What a Record-Route calls "ws" at that port is the same connection.
        assert isinstance(await agent.ask("ws", address.port), ResponseReceived)
        assert agent.endpoint.statistics.connections_opened == 1
        failed = await agent.ask("wss", address.port, "other.example")
        assert isinstance(failed, TransportFailed)
        assert "not other.example" in failed.error
        context = ssl.create_default_context(cafile=shop.ca)
        url = f"wss://127.0.0.1:{address.port}/"
        async with sip(url, ssl=context) as browser:
            await browser.send(bytes(options("1")).decode())
            assert (await answer_to(browser)).status == 200
