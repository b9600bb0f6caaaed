"""SIP over TLS on real sockets of the loopback: who is believed, who is not, and why."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rcsops.errors import LocalProtocolError, SettingsError
from rcsops.operations.certs_make import Names
from rcsops.sip import Request, Response
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
from rcsops.transport.tls_failures import advice
from tests.unit.transport.certificates import Shop, self_signed

pytestmark = pytest.mark.timeout(30)


class Peer:
    """An endpoint that answers every request 200 and keeps what it saw."""

    def __init__(self, tls: TlsOptions | None, *, limits: EndpointLimits | None = None) -> None:
        self.requests: list[RequestReceived] = []
        self.taps: list[TapRecord] = []
        self.closed: list[str] = []
        self.endpoint = SipEndpoint(
            on_event=self._event,
            on_flow_closed=lambda _flow, error: self.closed.append(error),
            tap=self.taps.append,
            limits=limits,
            tls=Tls(tls),
            dials=("tls",),
        )

    def _event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.requests.append(event)
            transaction = self.endpoint.accept(event.request, event.flow)
            answer = Response.to_request(event.request, 200, to_tag="t")
            self.endpoint.respond(transaction, answer)

    async def ask(
        self, other: "Peer", domain: str = "", host: str = "127.0.0.1"
    ) -> ResponseReceived | TransportFailed:
        """OPTIONS to the TLS port of ``other``, which has to be ``domain``."""
        port = next(each.port for each in other.endpoint.addresses if each.transport == "tls")
        target = self.endpoint.target("tls", (host, port), domain)
        waiter = Waiter()
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


def options() -> Request:
    return Request(
        "OPTIONS",
        "sip:rcs.example",
        [
            ("Max-Forwards", "70"),
            ("From", "<sip:a@rcs.example>;tag=f"),
            ("To", "<sip:rcs.example>"),
            ("Call-ID", "call"),
            ("CSeq", "1 OPTIONS"),
        ],
    )


@asynccontextmanager
async def peers(
    server: TlsOptions,
    client: TlsOptions,
    *,
    host: str = "127.0.0.1",
    limits: EndpointLimits | None = None,
) -> AsyncIterator[tuple[Peer, Peer]]:
    """A server that listens by TLS, and a client; that listens too if it has a certificate."""
    one, two = Peer(server, limits=limits), Peer(client)
    try:
        await one.endpoint.listen("tls", host, 0)
        await two.endpoint.listen_pair(host, 0)
        if client.certificate is not None:
            await two.endpoint.listen("tls", host, 0)
        yield one, two
    finally:
        await two.endpoint.close()
        await one.endpoint.close()


def why(event: ResponseReceived | TransportFailed) -> str:
    assert isinstance(event, TransportFailed), event
    return event.error


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


# --- whom a client believes ----------------------------------------------------------------------


async def test_a_request_goes_over_tls_and_the_tap_sees_it_in_the_clear(shop: Shop) -> None:
    async with peers(shop.server(), shop.client()) as (server, client):
        answered = await client.ask(server, "rcs.example")
        assert isinstance(answered, ResponseReceived)
        request = server.requests[0].request
        assert request.top_via.transport == "TLS"
        assert [record.transport for record in client.taps + server.taps] == ["tls"] * 4
        assert client.taps[0].data.startswith(b"OPTIONS sip:rcs.example SIP/2.0\r\n")
        assert server.endpoint.statistics.failed_handshakes == 0


@pytest.mark.rfc("5922", "7.3")
async def test_a_server_that_proves_another_name_gets_nothing(shop: Shop) -> None:
    names = Names(uris=("sip:other.example",), hosts=("rcs.example",))
    async with peers(shop.server(names), shop.client()) as (server, client):
        error = why(await client.ask(server, "rcs.example"))
        assert error == "its certificate is for other.example, not rcs.example"
        assert "--name" in advice(error)
        assert server.requests == []
        assert server.taps == []


@pytest.mark.rfc("5922", "7.2")
async def test_a_wildcard_proves_nothing(shop: Shop) -> None:
    names = Names(hosts=("*.example",))
    async with peers(shop.server(names), shop.client()) as (server, client):
        assert why(await client.ask(server, "rcs.example")).startswith("its certificate is for *")
        assert server.requests == []


async def test_a_number_is_proved_by_an_address_in_the_certificate(shop: Shop) -> None:
    async with peers(shop.server(), shop.client()) as (server, client):
        assert isinstance(await client.ask(server), ResponseReceived)
    async with peers(shop.server(Names(hosts=("127.0.0.1",))), shop.client()) as (server, client):
        assert "not 127.0.0.1" in why(await client.ask(server))


async def test_an_expired_certificate_is_refused(shop: Shop) -> None:
    async with peers(shop.server(days=-2), shop.client()) as (server, client):
        error = why(await client.ask(server, "rcs.example"))
        assert error == "its certificate has expired"
        assert "--renew" in advice(error)
        await eventually(lambda: server.endpoint.statistics.failed_handshakes == 1)
        assert server.requests == []


async def test_an_unknown_authority_is_refused(shop: Shop, tmp_path: Path) -> None:
    stranger = Shop(tmp_path / "other", "somebody else")
    async with peers(stranger.server(), shop.client()) as (server, client):
        error = why(await client.ask(server, "rcs.example"))
        assert error == "its certificate comes from an authority that is not trusted here"
        assert "`ca` in [tls]" in advice(error)
        assert server.requests == []


async def test_a_self_signed_certificate_is_refused_unless_it_is_named(
    shop: Shop, tmp_path: Path
) -> None:
    certificate, key = shop.write("self", self_signed("rcs.example"))
    selfish = TlsOptions(certificate, key)
    async with peers(selfish, shop.client()) as (server, client):
        error = why(await client.ask(server, "rcs.example"))
        assert "self-signed" in error
        assert advice(error)
    # Its common name counts, since it has no subjectAltName.
    known = TlsOptions(ca=certificate, system_ca=False)
    async with peers(selfish, known) as (server, client):
        assert isinstance(await client.ask(server, "rcs.example"), ResponseReceived)


async def test_the_authorities_of_the_system_do_not_know_a_lab(shop: Shop) -> None:
    async with peers(shop.server(), TlsOptions()) as (server, client):
        assert "not trusted here" in why(await client.ask(server, "rcs.example"))


async def test_a_port_that_has_no_tls_is_found_out_at_once(shop: Shop) -> None:
    async with peers(shop.server(), shop.client()) as (_, client):
        tcp = next(each for each in client.endpoint.addresses if each.transport == "tcp")
        other = Peer(shop.client())
        try:
            await other.endpoint.listen_pair("127.0.0.1", 0)
            waiter = Waiter()
            target = other.endpoint.target("tls", (tcp.host, tcp.port), "rcs.example")
            other.endpoint.send_request(options(), target, context=waiter)
            async with asyncio.timeout(5):
                event = await waiter.future
            assert isinstance(event, TransportFailed)
            assert "during the handshake" in event.error
            assert "5061" in advice(event.error)
        finally:
            await other.endpoint.close()


async def test_a_peer_that_speaks_no_tls_is_told_from_one_that_does(shop: Shop) -> None:
    async with peers(shop.server(), shop.client()) as (server, _):
        address = server.endpoint.addresses[0]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"OPTIONS sip:rcs.example SIP/2.0\r\n\r\n")
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                while await reader.read(100):
                    pass
        writer.close()
        await eventually(lambda: server.endpoint.statistics.failed_handshakes == 1)


# --- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(shop: Shop, version: ssl.TLSVersion) -> None:
    async with peers(shop.server(), shop.client()) as (server, _):
        context = ssl.create_default_context(cafile=shop.ca)
        context.minimum_version = context.maximum_version = version
        found = await handshake(server, context)
        assert found == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_older_versions_are_not(shop: Shop) -> None:
    async with peers(shop.server(), shop.client()) as (server, _):
        context = ssl.create_default_context(cafile=shop.ca)
        # OpenSSL itself only speaks it at the lowest level of security.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            await handshake(server, context)


async def handshake(server: Peer, context: ssl.SSLContext) -> str | None:
    address = server.endpoint.addresses[0]
    async with asyncio.timeout(5):
        _, writer = await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname="rcs.example"
        )
    found: str | None = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()
    return found


async def test_a_client_cannot_ask_for_new_keys(shop: Shop) -> None:
    """Renegotiation is of TLS 1.2; a server that takes part computes at the client's will."""
    context = Tls(shop.server()).server()
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


# --- certificates of clients ---------------------------------------------------------------------

ALICE = Names(uris=("sip:alice.example",), hosts=("alice.example",))


async def test_a_client_certificate_that_is_required(shop: Shop, tmp_path: Path) -> None:
    server_options = shop.server(asks="required")
    async with peers(server_options, shop.client(ALICE)) as (server, client):
        assert isinstance(await client.ask(server, "rcs.example"), ResponseReceived)
    async with peers(server_options, shop.client()) as (server, client):
        error = why(await client.ask(server, "rcs.example"))
        assert error == "it wants a certificate of ours"
        assert "[agent]" in advice(error)
        assert server.requests == []
    stranger = Shop(tmp_path / "other", "somebody else")
    strange = stranger.client(ALICE)
    unknown = TlsOptions(strange.certificate, strange.private_key, shop.ca, system_ca=False)
    async with peers(server_options, unknown) as (server, client):
        assert "authority of our certificate" in why(await client.ask(server, "rcs.example"))
        assert server.requests == []


async def test_a_client_certificate_that_is_optional(shop: Shop, tmp_path: Path) -> None:
    server_options = shop.server(asks="optional")
    for options_ in (shop.client(), shop.client(ALICE)):
        async with peers(server_options, options_) as (server, client):
            assert isinstance(await client.ask(server, "rcs.example"), ResponseReceived)


@pytest.mark.rfc("5923", "5")
async def test_a_connection_is_used_both_ways_for_who_has_proved_a_name(shop: Shop) -> None:
    async with peers(shop.server(asks="optional"), shop.client(ALICE)) as (server, client):
        assert isinstance(await client.ask(server, "rcs.example"), ResponseReceived)
        via = server.requests[0].request.top_via
        assert "alias" in via.params
        # The server's own requests to that port take the connection that is there...
        assert isinstance(await server.ask(client, "alice.example"), ResponseReceived)
        assert client.requests[0].flow.connection == client.endpoint.connections[0].connection
        assert server.endpoint.statistics.connections_opened == 0
        # ... but not those for a name that the other end has not proved.
        assert "not mallory.example" in why(await server.ask(client, "mallory.example"))
        assert server.endpoint.statistics.connections_opened == 1


async def test_nobody_without_a_certificate_gets_an_alias(shop: Shop) -> None:
    async with peers(shop.server(asks="optional"), shop.client()) as (server, client):
        request = options()
        request.add("Via", "SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKx;alias")
        port = server.endpoint.addresses[0].port
        target = client.endpoint.target("tls", ("127.0.0.1", port), "rcs.example")
        client.endpoint.send_message(request, target.flow)
        await eventually(lambda: len(server.requests) == 1)
        server.endpoint._book.add(server.endpoint.addresses[0])
        back = server.endpoint.target("tls", ("127.0.0.1", 5061), "alice.example")
        assert server.endpoint.connection_of(back.flow) == 0


@pytest.mark.rfc("5922", "7.3")
async def test_a_connection_is_shared_only_by_names_that_were_proved(shop: Shop) -> None:
    names = Names(uris=("sip:a.example", "sip:b.example"))
    async with peers(shop.server(names), shop.client()) as (server, client):
        assert isinstance(await client.ask(server, "a.example"), ResponseReceived)
        assert isinstance(await client.ask(server, "b.example"), ResponseReceived)
        # A proxy that has proved its name may name itself by its number, in Record-Route.
        assert isinstance(await client.ask(server), ResponseReceived)
        assert client.endpoint.statistics.connections_opened == 1
        assert "not c.example" in why(await client.ask(server, "c.example"))
        assert client.endpoint.statistics.connections_opened == 2


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_the_end_of_an_old_connection_is_not_that_of_the_new_one(
    shop: Shop, transport: str
) -> None:
    async with peers(shop.server(), shop.client()) as (server, client):
        address = await server.endpoint.listen(transport, "127.0.0.1", 0)
        target = client.endpoint.target(transport, (address.host, address.port), "rcs.example")
        for _ in range(3):
            waiter = Waiter()
            client.endpoint.send_request(options(), target, context=waiter)
            async with asyncio.timeout(10):
                assert isinstance(await waiter.future, ResponseReceived)
            # It says good-bye while the next request is on its way already.
            client.endpoint.close_flow(client.endpoint.connections[0])
        assert client.endpoint.statistics.connections_opened == 3


# --- hostile peers -------------------------------------------------------------------------------


async def test_a_handshake_that_does_not_end_is_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "rcsops.transport")
    limits = EndpointLimits(handshake_seconds=0.3, max_connections_per_source=3)
    async with peers(shop.server(), shop.client(), limits=limits) as (server, client):
        address = server.endpoint.addresses[0]
        silent = [await asyncio.open_connection(address.host, address.port) for _ in range(3)]
        # They count from the beginning: a fourth finds no room.
        await eventually(lambda: server.endpoint.statistics.connections_accepted == 3)
        assert isinstance(await client.ask(server, "rcs.example"), TransportFailed)
        for reader, writer in silent:
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
        assert server.endpoint.statistics.failed_handshakes == 3
        assert "handshake did not end in time" in caplog.text
        assert caplog.text.count("no connection by tls") <= 2
        assert isinstance(await client.ask(server, "rcs.example"), ResponseReceived)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_message_that_does_not_end_is_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.05)
    limits = EndpointLimits(message_seconds=0.3)
    async with peers(shop.server(), shop.client(), limits=limits) as (server, _):
        address = await server.endpoint.listen(transport, "127.0.0.1", 0)
        context = ssl.create_default_context(cafile=shop.ca) if transport == "tls" else None
        reader, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=context,
            server_hostname="rcs.example" if context else None,
        )
        # Octet by octet, so that the connection is never idle.
        for octet in bytes(options()):
            writer.write(bytes([octet]))
            await asyncio.sleep(0.02)
            if server.endpoint.statistics.bad_streams:
                break
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert await reader.read() == b""
        writer.transport.abort()
        assert server.endpoint.statistics.bad_streams == 1
        assert server.requests == []


async def test_a_record_that_was_tampered_with_ends_the_connection(shop: Shop) -> None:
    async with peers(shop.server(), shop.client()) as (server, _):
        address = server.endpoint.addresses[0]
        with socket.create_connection((address.host, address.port)) as raw:
            raw.setblocking(False)
            context = ssl.create_default_context(cafile=shop.ca)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="rcs.example")
            loop = asyncio.get_running_loop()
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await loop.sock_sendall(raw, outgoing.read())
                    incoming.write(await asyncio.wait_for(loop.sock_recv(raw, 65536), 5))
            tls.write(bytes(options()))
            record = bytearray(outgoing.read())
            record[-1] ^= 1
            await loop.sock_sendall(raw, bytes(record))
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    while await loop.sock_recv(raw, 65536):
                        pass
        await eventually(lambda: len(server.closed) == 1)
        assert "TLS failed" in server.closed[0]
        assert server.requests == []


# --- settings ------------------------------------------------------------------------------------


async def test_a_listener_needs_a_certificate() -> None:
    endpoint = SipEndpoint(on_event=lambda _: None)
    try:
        with pytest.raises(SettingsError) as refused:
            await endpoint.listen("tls", "127.0.0.1", 0)
        assert "rcsops certs" in refused.value.hint
        with pytest.raises(LocalProtocolError):
            await endpoint.listen("sctp", "127.0.0.1", 0)
    finally:
        await endpoint.close()


def test_files_that_cannot_be_used_are_named(shop: Shop, tmp_path: Path) -> None:
    certificate, key = shop.make("good")
    _, other = shop.make("other")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("not PEM")
    for wrong, said in (
        (TlsOptions(certificate, other), "is not that of the certificate"),
        (TlsOptions(rubbish, key), f"{rubbish}: it is not a PEM file"),
        (TlsOptions(tmp_path / "none.pem", key), "No such file"),
    ):
        with pytest.raises(SettingsError) as refused:
            Tls(wrong).server()
        assert said in str(refused.value)
        assert refused.value.hint
    with pytest.raises(SettingsError, match="authorities"):
        Tls(TlsOptions(ca=rubbish)).client()


# --- IPv6 ----------------------------------------------------------------------------------------


async def test_tls_over_ipv6(shop: Shop) -> None:
    names = Names(uris=("sip:rcs.example",), addresses=("::1",))
    async with peers(shop.server(names), shop.client(), host="::1") as (server, client):
        assert isinstance(await client.ask(server, "rcs.example", "::1"), ResponseReceived)
        assert isinstance(await client.ask(server, host="::1"), ResponseReceived)
        via = server.requests[0].request.get("Via") or ""
        assert via.startswith("SIP/2.0/TLS [::1]:")
        assert "received=::1" in via
