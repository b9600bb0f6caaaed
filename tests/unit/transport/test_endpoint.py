"""The SIP endpoint on real sockets of the loopback."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip import Request, Response
from rcsops.sip.events import Event, RequestReceived, ResponseReceived, TransportFailed
from rcsops.sip.target import Flow
from rcsops.transport import EndpointLimits, SipEndpoint, TapRecord, TransactionUser, connections

pytestmark = pytest.mark.timeout(20)


class Peer:
    """An endpoint that answers every request 200 and keeps what it saw."""

    def __init__(
        self,
        *,
        limits: EndpointLimits | None = None,
        answer: Callable[["Peer", RequestReceived], None] | None = None,
    ) -> None:
        self.events: list[Event] = []
        self.bad: list[tuple[SipParseError, Flow]] = []
        self.closed: list[tuple[Flow, str]] = []
        self.taps: list[TapRecord] = []
        self._answer = answer or Peer.ok
        self.endpoint = SipEndpoint(
            on_event=self._event,
            on_bad_message=lambda error, flow: self.bad.append((error, flow)),
            on_flow_closed=lambda flow, error: self.closed.append((flow, error)),
            tap=self.taps.append,
            limits=limits,
        )

    def _event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, RequestReceived):
            self._answer(self, event)

    def ok(self, event: RequestReceived) -> None:
        transaction = self.endpoint.accept(event.request, event.flow)
        self.endpoint.respond(transaction, Response.to_request(event.request, 200, to_tag="t"))


class Waiter(TransactionUser):
    def __init__(self) -> None:
        self.future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def transaction_event(self, event: Event) -> None:
        if not self.future.done():
            self.future.set_result(event)


@asynccontextmanager
async def peer(**kwargs: object) -> AsyncIterator[Peer]:
    made = Peer(**kwargs)  # type: ignore[arg-type]
    try:
        await made.endpoint.listen_pair("127.0.0.1", 0)
        yield made
    finally:
        await made.endpoint.close()


def options(number: int = 1, extra: int = 0) -> Request:
    return Request(
        "OPTIONS",
        "sip:b@127.0.0.1",
        [
            ("Max-Forwards", "70"),
            ("From", "<sip:a@127.0.0.1>;tag=f"),
            ("To", "<sip:b@127.0.0.1>"),
            ("Call-ID", f"call-{number}"),
            ("CSeq", f"{number} OPTIONS"),
        ],
        b"x" * extra,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_request_is_answered(transport: str) -> None:
    async with peer() as a, peer() as b:
        address = b.endpoint.addresses[0]
        target = a.endpoint.target(transport, (address.host, address.port))
        waiter = Waiter()
        a.endpoint.send_request(options(), target, context=waiter)
        event = await asyncio.wait_for(waiter.future, 5)
        assert isinstance(event, ResponseReceived)
        assert event.response.status == 200
        via = event.response.top_via
        assert via.received == "127.0.0.1"
        assert via.rport is not None


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_tap_sees_each_message_once_and_the_same_bytes_on_both_sides(
    transport: str,
) -> None:
    async with peer() as a, peer() as b:
        address = b.endpoint.addresses[0]
        waiter = Waiter()
        target = a.endpoint.target(transport, (address.host, address.port))
        a.endpoint.send_request(options(), target, context=waiter)
        await asyncio.wait_for(waiter.future, 5)
        assert [(r.direction, r.transport) for r in a.taps] == [
            ("out", transport),
            ("in", transport),
        ]
        assert [r.direction for r in b.taps] == ["in", "out"]
        assert [r.data for r in a.taps] == [r.data for r in b.taps]
        assert a.taps[0].remote == b.taps[0].local
        assert a.taps[0].local == b.taps[0].remote
        assert all(r.protocol == "sip" for r in a.taps)


@pytest.mark.rfc("3261", "18.1.1")
async def test_a_connection_is_used_again_for_the_same_remote() -> None:
    async with peer() as a, peer() as b:
        address = b.endpoint.addresses[0]
        target = a.endpoint.target("tcp", (address.host, address.port))
        for number in range(3):
            waiter = Waiter()
            a.endpoint.send_request(options(number), target, context=waiter)
            await asyncio.wait_for(waiter.future, 5)
        assert a.endpoint.statistics.connections_opened == 1
        assert b.endpoint.statistics.connections_accepted == 1
        assert len(b.endpoint.connections) == 1


@pytest.mark.rfc("3261", "17.1.4", "18.4")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_nobody_there_fails_the_transaction_at_once(transport: str) -> None:
    async with peer() as a:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            remote = taken.getsockname()
            waiter = Waiter()
            a.endpoint.send_request(options(), a.endpoint.target(transport, remote), context=waiter)
            event = await asyncio.wait_for(waiter.future, 3)
        assert isinstance(event, TransportFailed)
        assert event.error


async def test_an_unreachable_address_does_not_hurt_others_on_the_same_socket() -> None:
    async with peer() as a, peer() as b:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nobody = taken.getsockname()
            address = b.endpoint.addresses[0]
            good = a.endpoint.target("udp", (address.host, address.port))
            waiters = []
            for number in range(20):
                lost, found = Waiter(), Waiter()
                a.endpoint.send_request(
                    options(2 * number), a.endpoint.target("udp", nobody), context=lost
                )
                a.endpoint.send_request(options(2 * number + 1), good, context=found)
                waiters.append((lost, found))
            for lost, found in waiters:
                assert isinstance(await asyncio.wait_for(lost.future, 3), TransportFailed)
                assert isinstance(await asyncio.wait_for(found.future, 3), ResponseReceived)


@pytest.mark.rfc("3261", "18.3")
async def test_a_bad_datagram_is_told_and_counted_and_hurts_nobody() -> None:
    async with peer() as a:
        address = a.endpoint.addresses[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.sendto(b"\xff\xfe nonsense", (address.host, address.port))
            sender.sendto(
                b"OPTIONS sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n"
                b"Content-Length: 10\r\n\r\nx",
                (address.host, address.port),
            )
            sender.sendto(b"\r\n\r\n", (address.host, address.port))
            await until(lambda: len(a.bad) == 2)
            assert a.bad[1][0].partial is not None
            assert a.bad[1][1].remote == sender.getsockname()
        assert a.endpoint.statistics.bad_datagrams == 2
        assert a.events == []


@pytest.mark.rfc("3261", "18.3")
async def test_a_broken_stream_is_closed() -> None:
    async with peer() as a:
        address = a.endpoint.addresses[0]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"OPTIONS sip:b@x SIP/2.0\r\nCall-ID: 1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert a.endpoint.statistics.bad_streams == 1
        assert len(a.bad) == 1
        await until(lambda: a.endpoint.connections == ())


@pytest.mark.rfc("5626", "4.4.1", "5.4")
async def test_a_ping_is_answered_and_a_split_message_is_joined() -> None:
    async with peer() as a:
        address = a.endpoint.addresses[0]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
        request = options(extra=5)
        request.prepend("Via", "SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKq;rport")
        data = bytes(request) * 1
        for position in range(0, len(data), 7):
            writer.write(data[position : position + 7])
            await writer.drain()
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert answer.startswith(b"SIP/2.0 200 ")
        writer.close()


@pytest.mark.rfc("5626", "4.4.1")
async def test_a_keep_alive_without_answer_closes_the_connection() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with peer(limits=EndpointLimits(pong_seconds=0.1)) as a:
        flow = a.endpoint.flow_to("tcp", server.sockets[0].getsockname())
        a.endpoint.send_message(options(), flow)
        await until(lambda: bool(a.endpoint.connections))
        assert a.endpoint.keep_alive(flow)
        await until(lambda: bool(a.closed))
        assert "keep-alive" in a.closed[0][1]
    server.close()


@pytest.mark.rfc("5626", "4.4.1")
async def test_a_keep_alive_with_an_answer_keeps_the_connection() -> None:
    async with peer(limits=EndpointLimits(pong_seconds=0.1)) as a, peer() as b:
        address = b.endpoint.addresses[0]
        flow = a.endpoint.flow_to("tcp", (address.host, address.port))
        assert not a.endpoint.keep_alive(flow)
        a.endpoint.send_message(options(), flow)
        await until(lambda: bool(a.endpoint.connections))
        assert a.endpoint.keep_alive(flow)
        await asyncio.sleep(2.3)
        assert a.closed == []
        assert len(a.endpoint.connections) == 1


@pytest.mark.rfc("3261", "17.1.4")
@pytest.mark.parametrize("ends", ["peer", "endpoint"])
async def test_a_lost_connection_fails_each_transaction_once(ends: str) -> None:
    """Not once for each response that the others could not send either."""
    number = 40
    async with peer() as b:
        address = b.endpoint.addresses[0]
        _reader, writer = await asyncio.open_connection(address.host, address.port)
        for each in range(number):
            # Nobody listens there: the responses find no way back.
            via = f"Via: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bK{each}\r\n"
            names = f"From: <sip:a@x>;tag=f\r\nTo: <sip:b@x>\r\nCall-ID: {each}\r\n"
            rest = "CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            writer.write(f"INVITE sip:b@x SIP/2.0\r\n{via}{names}{rest}".encode())
        await until(lambda: len(b.events) == number)
        if ends == "peer":
            writer.close()
            await until(lambda: any(isinstance(each, TransportFailed) for each in b.events))
        else:
            await b.endpoint.close()
            writer.close()
        failed = [each.transaction for each in b.events if isinstance(each, TransportFailed)]
        assert len(failed) == len(set(failed)) == number


async def test_idle_connections_are_closed() -> None:
    async with peer(limits=EndpointLimits(idle_seconds=0.1)) as a:
        address = a.endpoint.addresses[0]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        assert await asyncio.wait_for(reader.read(), 6) == b""
        assert a.endpoint.statistics.idle_closed == 1
        writer.close()


async def test_connections_are_limited_for_each_source() -> None:
    async with peer(limits=EndpointLimits(max_connections_per_source=2)) as a:
        address = a.endpoint.addresses[0]
        streams = [await asyncio.open_connection(address.host, address.port) for _ in range(3)]
        assert await asyncio.wait_for(streams[2][0].read(), 5) == b""
        await until(lambda: len(a.endpoint.connections) == 2)
        assert a.endpoint.statistics.refused_connections == 1
        streams[0][1].close()
        await until(lambda: len(a.endpoint.connections) == 1)
        again = await asyncio.open_connection(address.host, address.port)
        await until(lambda: len(a.endpoint.connections) == 2)
        for _, writer in (*streams, again):
            writer.close()


async def test_a_lost_connection_fails_what_waits_on_it() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with peer() as a:
        waiter = Waiter()
        target = a.endpoint.target("tcp", server.sockets[0].getsockname())
        a.endpoint.send_request(options(), target, context=waiter)
        event = await asyncio.wait_for(waiter.future, 5)
        assert isinstance(event, TransportFailed)
    server.close()


async def test_a_handler_that_fails_is_logged_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail_once(self: Peer, event: RequestReceived) -> None:
        if len(self.events) == 1:
            raise ValueError("a programming error")
        self.ok(event)

    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with peer() as a, peer(answer=fail_once) as b:
        address = b.endpoint.addresses[0]
        target = a.endpoint.target("udp", (address.host, address.port))
        with caplog.at_level(logging.ERROR):
            a.endpoint.send_request(options(1), target, context=Waiter())
            waiter = Waiter()
            a.endpoint.send_request(options(2), target, context=waiter)
            event = await asyncio.wait_for(waiter.future, 5)
        assert isinstance(event, ResponseReceived)
        assert "a programming error" in caplog.text
    assert problems == []


async def test_a_tap_that_fails_is_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    def broken(record: TapRecord) -> None:
        raise OSError("the disk is full")

    async with peer() as b:
        endpoint = SipEndpoint(on_event=lambda event: None, tap=broken)
        await endpoint.listen("udp", "127.0.0.1", 0)
        address = b.endpoint.addresses[0]
        waiter = Waiter()
        endpoint.send_request(
            options(), endpoint.target("udp", (address.host, address.port)), context=waiter
        )
        assert isinstance(await asyncio.wait_for(waiter.future, 5), ResponseReceived)
        await endpoint.close()
    assert len(caplog.records) == 1
    assert "the tap failed" in caplog.text


@pytest.mark.rfc("3261", "18.2.1")
async def test_listen_pair_has_one_port_and_close_gives_it_back() -> None:
    async with peer() as a:
        datagram, stream = a.endpoint.addresses
        assert (datagram.transport, stream.transport) == ("udp", "tcp")
        assert datagram.port == stream.port != 0
        assert str(datagram) == f"udp:127.0.0.1:{datagram.port}"
    again = SipEndpoint(on_event=lambda event: None)
    assert (await again.listen_pair("127.0.0.1", datagram.port))[1].port == datagram.port
    with pytest.raises(OSError, match="in use"):
        await again.listen("udp", "127.0.0.1", datagram.port)
    await again.close()


async def test_ipv6() -> None:
    a = Peer()
    await a.endpoint.listen("udp", "::1", 0)
    address = a.endpoint.addresses[0]
    assert str(address) == f"udp:[::1]:{address.port}"
    target = a.endpoint.target("udp", (address.host, address.port))
    assert target.sent_by == f"[::1]:{address.port}"
    waiter = Waiter()
    a.endpoint.send_request(options(), target, context=waiter)
    assert isinstance(await asyncio.wait_for(waiter.future, 5), ResponseReceived)
    with pytest.raises(LocalProtocolError, match="nothing listens"):
        a.endpoint.target("udp", ("127.0.0.1", 5060))
    await a.endpoint.close()


async def test_a_wildcard_listener_names_the_address_that_the_peer_sees() -> None:
    endpoint = SipEndpoint(on_event=lambda event: None)
    listener = await endpoint.listen("udp", "0.0.0.0", 0)
    target = endpoint.target("udp", ("127.0.0.1", 5060))
    assert target.sent_by == f"127.0.0.1:{listener.port}"
    await endpoint.close()


async def test_an_unknown_transport_is_a_mistake_of_the_caller() -> None:
    endpoint = SipEndpoint(on_event=lambda event: None)
    with pytest.raises(LocalProtocolError, match="sctp"):
        await endpoint.listen("sctp", "127.0.0.1", 0)
    await endpoint.close()


async def test_close_leaves_no_task_and_no_socket() -> None:
    before = asyncio.all_tasks()
    async with peer() as a, peer() as b:
        address = b.endpoint.addresses[0]
        waiter = Waiter()
        target = a.endpoint.target("tcp", (address.host, address.port))
        a.endpoint.send_request(options(), target, context=waiter)
        # One that is still being opened when all is closed.
        a.endpoint.send_message(options(), a.endpoint.flow_to("tcp", ("127.0.0.1", 9)))
        await asyncio.wait_for(waiter.future, 5)
    assert asyncio.all_tasks() == before
    assert a.endpoint.connections == ()


async def test_an_answered_keep_alive_is_not_taken_for_one() -> None:
    got = bytearray()

    async def pongs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            got.extend(data)
            # Two answers behind each other would be a question.
            if data == b"\r\n\r\n":
                writer.write(b"\r\n")
        writer.close()

    server = await asyncio.start_server(pongs, "127.0.0.1", 0)
    async with peer() as a:
        target = a.endpoint.target("tcp", server.sockets[0].getsockname()[:2])
        a.endpoint.send_request(options(), target)
        await until(lambda: got.endswith(b"\r\n\r\n"))
        request = len(got)
        connection = a.endpoint._table.find(target.flow)
        assert connection is not None
        for count in range(1, 5):
            assert a.endpoint.keep_alive(target.flow)
            await until(lambda: connection.pong_due is None)
            assert got[request:] == b"\r\n\r\n" * count
    server.close()


class _FullTransport(asyncio.Transport):
    """A transport whose peer reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return 1 << 30

    def abort(self) -> None:
        self.aborted = True


async def test_who_pings_and_does_not_read_is_cut_off() -> None:
    async with peer() as a:
        address = a.endpoint.addresses[0]
        _, writer = await asyncio.open_connection(address.host, address.port)
        await until(lambda: bool(a.endpoint.connections))
        connection = a.endpoint._table.find(a.endpoint.connections[0])
        assert connection is not None
        real, full = connection._transport, _FullTransport()
        connection._transport = full
        connection.data_received(b"\r\n\r\n")
        assert full.aborted
        assert connection.closed
        connection._transport = real
        writer.close()


async def test_a_connection_that_was_closed_does_not_wait_for_ever_for_its_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.02)
    async with peer(limits=EndpointLimits(linger_seconds=0.05)) as a:
        address = a.endpoint.addresses[0]
        with socket.create_connection((address.host, address.port)):
            await until(lambda: bool(a.endpoint.connections))
            flow = a.endpoint.connections[0]
            connection = a.endpoint._table.find(flow)
            assert connection is not None
            connection._write(b"x" * (8 << 20))
            a.endpoint.close_flow(flow)
            await until(lambda: not a.endpoint._table._connections)
