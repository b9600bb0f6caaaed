"""MSRP over TLS on the loopback: two endpoints of ours, and one beside the TLS of Python's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rcsops.errors import AgentError
from rcsops.msrp import MessageReceived, MsrpSession, SessionEvent
from rcsops.sdp import fingerprint, is_fingerprint_of
from rcsops.transport import TapRecord, system_tokens
from rcsops.transport.msrp import MsrpEndpoint, MsrpLimits, MsrpLink
from tests.unit.transport.certificates import self_signed

pytestmark = [pytest.mark.timeout(30), pytest.mark.rfc("4975", "14.4")]


class End:
    """An endpoint with one session over TLS, and what its SDP would say of its certificate."""

    def __init__(self, limits: MsrpLimits | None = None) -> None:
        self.events: list[SessionEvent] = []
        self.lost: list[str] = []
        self.taps: list[TapRecord] = []
        self.endpoint = MsrpEndpoint(
            "127.0.0.1", tokens=system_tokens(), tap=self.taps.append, limits=limits
        )
        self.link: MsrpLink

    async def start(self) -> None:
        await self.endpoint.start(secure=True)
        path = self.endpoint.new_path("127.0.0.1", secure=True)
        session = MsrpSession(path, tokens=self.endpoint.tokens, active=False)
        self.link = self.endpoint.add(session, self.events.append, self.lost.append)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.endpoint.certificate.der)

    @property
    def port(self) -> int:
        port = self.link.session.local_path[-1].port
        assert port
        return port

    def believe(self, value: str) -> None:
        self.endpoint.trust(self.link, lambda shown: is_fingerprint_of([value], shown))

    def texts(self) -> list[bytes]:
        return [event.body for event in self.events if isinstance(event, MessageReceived)]


@asynccontextmanager
async def two_ends() -> AsyncIterator[tuple[End, End]]:
    a, b = End(), End()
    try:
        await a.start()
        await b.start()
        a.link.session.set_remote_path(b.link.session.local_path)
        b.link.session.set_remote_path(a.link.session.local_path)
        yield a, b
    finally:
        await a.endpoint.close()
        await b.endpoint.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def send(end: End, body: bytes) -> None:
    end.link.session.send("text/plain", body)
    end.link.pump()


async def test_both_sides_know_each_other_by_their_fingerprints() -> None:
    async with two_ends() as (a, b):
        a.believe(b.fingerprint)
        b.believe(a.fingerprint)
        await a.endpoint.connect(a.link, "127.0.0.1", b.port)
        await until(lambda: b.link.session.bound)
        assert a.link.security == b.link.security == "TLSv1.3"
        send(a, b"hello")
        send(b, b"x" * 300_000)
        await until(lambda: a.texts() and b.texts())
        assert (b.texts(), a.texts()) == ([b"hello"], [b"x" * 300_000])
        assert {record.transport for record in a.taps} == {"tls"}


async def test_a_peer_of_another_certificate_is_not_talked_to() -> None:
    async with two_ends() as (a, b):
        a.believe(a.fingerprint)
        with pytest.raises(AgentError, match="certificate is not the one of its SDP"):
            await a.endpoint.connect(a.link, "127.0.0.1", b.port)
        assert not a.link.session.bound and not b.link.session.bound


async def test_who_connects_with_another_certificate_gets_481_and_is_gone() -> None:
    async with two_ends() as (a, b):
        a.believe(b.fingerprint)
        b.believe(b.fingerprint)
        await a.endpoint.connect(a.link, "127.0.0.1", b.port)
        send(a, b"not for you")
        await until(lambda: a.lost or a.link.session.closed)
        assert b.link.session.distrusted and not b.link.session.bound
        assert b.texts() == []


async def test_a_peer_that_is_faster_than_its_answer_waits_for_it() -> None:
    async with two_ends() as (a, b):
        a.believe(b.fingerprint)
        await a.endpoint.connect(a.link, "127.0.0.1", b.port)
        send(a, b"early")
        # Everything has arrived when what comes after it on another connection has.
        await until(lambda: a.link.session.bound)
        await asyncio.sleep(0.05)
        assert not b.link.session.bound and b.texts() == []
        b.believe(a.fingerprint)
        await until(lambda: b.texts() == [b"early"])


async def test_without_tls_nobody_gets_into_a_secure_session() -> None:
    async with two_ends() as (a, b):
        b.believe(a.fingerprint)
        await b.endpoint.start()
        plain = b.endpoint.port
        reader, writer = await asyncio.open_connection("127.0.0.1", plain)
        to, ours = b.link.session.local_path[0], a.link.session.local_path[0]
        writer.write(
            f"MSRP aaaa1111 SEND\r\nTo-Path: {to}\r\nFrom-Path: {ours}\r\n"
            "Message-ID: m1234\r\n-------aaaa1111$\r\n".encode()
        )
        answer = await asyncio.wait_for(reader.read(-1), 10)
        assert answer.startswith(b"MSRP aaaa1111 481 ")
        writer.close()
        assert not b.link.session.bound


async def test_what_is_not_tls_is_cut_off() -> None:
    async with two_ends() as (_, b):
        reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
        writer.write(b"MSRP aaaa1111 SEND\r\n" * 100)
        # At most an alert comes back.
        assert len(await asyncio.wait_for(reader.read(-1), 10)) < 64
        writer.close()


async def test_a_handshake_that_never_ends_is_given_up() -> None:
    end = End(MsrpLimits(bind_seconds=0.2, connect_seconds=0.2))
    async with two_ends() as (_, b):
        await end.start()
        silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        end.link.session.set_remote_path(b.link.session.local_path)
        with pytest.raises(AgentError, match=r"within 0\.2 s"):
            await end.endpoint.connect(end.link, "127.0.0.1", port)
        await until(lambda: not end.endpoint._streams)
        reader, writer = await asyncio.open_connection("127.0.0.1", end.port)
        assert await asyncio.wait_for(reader.read(-1), 10) == b""
        writer.close()
        silent.close()
        await end.endpoint.close()


async def test_the_end_of_a_session_leaves_the_handshakes_of_others_alone() -> None:
    async with two_ends() as (a, _):
        silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        task = asyncio.create_task(a.endpoint.connect(a.link, "127.0.0.1", port))
        await until(lambda: a.endpoint._streams)
        (stream,) = a.endpoint._streams.values()
        path = a.endpoint.new_path("127.0.0.1", secure=True)
        other = MsrpSession(path, tokens=a.endpoint.tokens, active=False)
        a.endpoint.add(other, a.events.append, a.lost.append).close()
        await asyncio.sleep(0)
        assert stream in a.endpoint._streams.values() and not stream._closing
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: not a.endpoint._streams)
        silent.close()


async def test_the_standard_library_as_the_passive_side(tmp_path: Path) -> None:
    """An independent TLS server (it cannot ask for a certificate that nobody signed)."""
    async with two_ends() as (a, _):
        seen: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"$\r\n"))
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = load(context, tmp_path)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        a.believe(fingerprint(certificate))
        await a.endpoint.connect(a.link, "127.0.0.1", server.sockets[0].getsockname()[1])
        await until(lambda: seen)
        assert b" SEND\r\nTo-Path: msrps://" in seen[0]
        server.close()


async def test_the_standard_library_as_the_active_side(tmp_path: Path) -> None:
    async with two_ends() as (a, b):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        b.believe(fingerprint(load(context, tmp_path)))
        reader, writer = await asyncio.open_connection("127.0.0.1", b.port, ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(True)
        assert fingerprint(shown) == b.fingerprint
        to, ours = b.link.session.local_path[0], a.link.session.local_path[0]
        writer.write(
            f"MSRP bbbb2222 SEND\r\nTo-Path: {to}\r\nFrom-Path: {ours}\r\nMessage-ID: m5678\r\n"
            "Byte-Range: 1-2/2\r\nContent-Type: text/plain\r\n\r\nhi\r\n"
            "-------bbbb2222$\r\n".encode()
        )
        assert (await reader.readuntil(b"$\r\n")).startswith(b"MSRP bbbb2222 200 ")
        assert b.texts() == [b"hi"]
        writer.close()


def load(context: ssl.SSLContext, directory: Path) -> bytes:
    """Gives a context a self-signed certificate, which comes back in DER."""
    pair = self_signed("a peer of the tests")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    certificate.write_bytes(pair.certificate_pem)
    key.write_bytes(pair.key_pem)
    context.load_cert_chain(certificate, key)
    return ssl.PEM_cert_to_DER_cert(pair.certificate_pem.decode())
