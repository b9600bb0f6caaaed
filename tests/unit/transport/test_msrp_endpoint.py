"""MSRP on real sockets of the loopback."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from rcsops.errors import AgentError
from rcsops.msrp import (
    BodyComplete,
    BodyReceived,
    MessageReceived,
    MessageSent,
    MsrpSession,
    MsrpUri,
    SessionEvent,
)
from rcsops.transport import TapRecord, system_tokens
from rcsops.transport.msrp import MsrpEndpoint, MsrpLimits, MsrpLink

pytestmark = pytest.mark.timeout(30)


class End:
    """An endpoint with one session on it."""

    def __init__(self, *, limits: MsrpLimits | None = None, tap: bool = False) -> None:
        self.events: list[SessionEvent] = []
        self.lost: list[str] = []
        self.taps: list[TapRecord] = []
        self.endpoint = MsrpEndpoint(
            "127.0.0.1",
            tokens=system_tokens(),
            limits=limits,
            tap=self.taps.append if tap else None,
        )

    async def start(self, *, stream: bool = False) -> MsrpLink:
        await self.endpoint.start()
        session = MsrpSession(
            self.endpoint.new_path("127.0.0.1"),
            tokens=self.endpoint.tokens,
            active=False,
            stream_incoming=stream,
        )
        return self.endpoint.add(session, self.events.append, self.lost.append)


@asynccontextmanager
async def pair(
    *, stream: bool = False, tap: bool = False
) -> AsyncIterator[tuple[End, MsrpLink, End, MsrpLink]]:
    a, b = End(tap=tap), End(tap=tap)
    try:
        one, two = await a.start(), await b.start(stream=stream)
        one.session.set_remote_path(two.session.local_path)
        two.session.set_remote_path(one.session.local_path)
        await a.endpoint.connect(one, "127.0.0.1", b.endpoint.port)
        await until(lambda: two.session.bound)
        yield a, one, b, two
    finally:
        await a.endpoint.close()
        await b.endpoint.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def test_messages_both_ways() -> None:
    async with pair() as (a, one, b, two):
        assert (one.local, one.remote) == (two.remote, two.local)
        one.session.send("text/plain", b"hello")
        one.pump()
        await until(lambda: any(isinstance(e, MessageReceived) for e in b.events))
        two.session.send("text/plain", b"x" * 100_000)
        two.pump()
        await until(lambda: any(isinstance(e, MessageReceived) for e in a.events))
        await until(lambda: any(isinstance(e, MessageSent) for e in b.events))
        bodies = [e.body for e in (*a.events, *b.events) if isinstance(e, MessageReceived)]
        assert bodies == [b"x" * 100_000, b"hello"]


async def test_the_tap_sees_each_frame_once_on_both_sides() -> None:
    async with pair(tap=True) as (a, one, b, _):
        one.session.send("text/plain", b"hello")
        one.pump()
        await until(lambda: any(isinstance(e, MessageSent) for e in a.events))
    assert [(r.direction, r.data) for r in a.taps if r.direction == "out"] == [
        ("out", r.data) for r in b.taps if r.direction == "in"
    ]
    # The empty SEND and the text, and an answer to each.
    assert [r.direction for r in a.taps].count("out") == 2
    assert [r.direction for r in a.taps].count("in") == 2
    assert {r.protocol for r in a.taps} == {"msrp"}
    assert a.taps[0].local == b.taps[0].remote


async def test_a_stream_is_pulled_as_the_socket_takes_it() -> None:
    async with pair(stream=True) as (_, one, b, two):
        total = 8 << 20
        pulled = 0

        def read(count: int) -> bytes:
            nonlocal pulled
            pulled += count
            return os.urandom(count)

        two.pause_reading()
        one.session.send_stream("application/octet-stream", total, read)
        one.pump()
        await asyncio.sleep(0.2)
        assert 0 < pulled < total
        two.resume_reading()
        await until(lambda: any(isinstance(e, BodyComplete) for e in b.events))
        came = sum(len(e.data) for e in b.events if isinstance(e, BodyReceived))
        assert came == total


async def test_a_lost_connection_is_told_once() -> None:
    async with pair() as (a, one, b, two):
        two.close()
        await until(lambda: bool(a.lost))
        assert b.lost == []
        assert not one.connected
        one.close()
        await asyncio.sleep(0.05)
        assert len(a.lost) == 1


async def test_nobody_there_and_nobody_answers() -> None:
    end = End(limits=MsrpLimits(connect_seconds=0.2))
    link = await end.start()
    link.session.set_remote_path(link.session.local_path)
    with pytest.raises(AgentError, match="no MSRP connection to 127"):
        await end.endpoint.connect(link, "127.0.0.1", 9)
    # TEST-NET-1 swallows or refuses; either way it is over in time.
    async with asyncio.timeout(3):
        with pytest.raises(AgentError, match="no MSRP connection"):
            await end.endpoint.connect(link, "192.0.2.1", 2855)
    await end.endpoint.close()


async def test_a_stranger_gets_481_and_is_closed() -> None:
    end = End()
    await end.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", end.endpoint.port)
    writer.write(
        b"MSRP abcdef12 SEND\r\nTo-Path: msrp://127.0.0.1:1/nobodynobodynobody;tcp\r\n"
        b"From-Path: msrp://127.0.0.1:2/me;tcp\r\nMessage-ID: 12345\r\n-------abcdef12$\r\n"
    )
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"MSRP abcdef12 481 ")
    writer.close()
    await end.endpoint.close()


async def test_a_stranger_who_says_nothing_is_closed() -> None:
    end = End(limits=MsrpLimits(bind_seconds=0.1))
    await end.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", end.endpoint.port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await end.endpoint.close()


async def test_connections_are_limited() -> None:
    end = End(limits=MsrpLimits(max_connections=1))
    await end.start()
    first = await asyncio.open_connection("127.0.0.1", end.endpoint.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", end.endpoint.port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert end.endpoint.turned_away == 1
    writer.close()
    first[1].close()
    await end.endpoint.close()


async def test_a_port_that_is_taken_is_told() -> None:
    end = End()
    await end.start()
    other = MsrpEndpoint("127.0.0.1", end.endpoint.port, tokens=system_tokens())
    with pytest.raises(AgentError, match="cannot listen for MSRP"):
        await other.start()
    await end.endpoint.close()


async def test_a_session_that_was_closed_does_not_wait_for_ever_for_its_reader() -> None:
    end = End(limits=MsrpLimits(linger_seconds=0.05))
    link = await end.start()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        path = MsrpUri("127.0.0.1", deaf.getsockname()[1], "deaf567890123456")
        link.session.set_remote_path((path,))
        await end.endpoint.connect(link, *path.address)
        link.session.send_stream("x/y", 64 << 20, lambda count: b"x" * count)
        link.pump()
        taken, _ = await asyncio.to_thread(deaf.accept)
        with taken:
            link.close()
            assert end.endpoint._streams
            await until(lambda: not end.endpoint._streams)
    await end.endpoint.close()


def _texts(end: End) -> list[bytes]:
    return [e.body for e in end.events if isinstance(e, MessageReceived)]


def _say(link: MsrpLink, count: int, *, size: int = 0) -> list[bytes]:
    """Sends so many numbered texts at once, each so much longer, and returns them."""
    said = [b"%d " % number + b"x" * size for number in range(count)]
    for text in said:
        link.session.send("text/plain", text)
    link.pump()
    return said


async def test_what_comes_at_once_is_dealt_with_in_slices_and_in_order() -> None:
    async with pair() as (a, one, b, _):
        most = 0
        turn = asyncio.get_running_loop().call_soon
        watching = True

        def watch(before: int) -> None:
            nonlocal most
            now = len(_texts(b))
            most = max(most, now - before)
            if watching:
                turn(watch, now)

        watch(0)
        said = _say(one, 500)
        await until(lambda: sum(isinstance(e, MessageSent) for e in a.events) == 500)
        watching = False
        assert _texts(b) == said
        # Between two of them the loop has looked at what else there is.
        assert most < 250


async def test_nothing_is_dealt_with_while_somebody_holds_it_and_all_after_that() -> None:
    async with pair() as (a, one, b, two):
        b.endpoint.turns.hold()
        said = _say(one, 50)
        while b.endpoint.turns.held:
            assert _texts(b) == []
            await asyncio.sleep(0)
        await until(lambda: sum(isinstance(e, MessageSent) for e in a.events) == 50)
        assert _texts(b) == said
        assert two.connected


async def test_what_was_said_before_a_connection_was_lost_is_heard() -> None:
    async with pair() as (a, one, b, two):
        b.endpoint.turns.hold()
        said = _say(one, 100)
        # So that all of it is on its way; then it ends as the process of a peer that is killed.
        await asyncio.sleep(0)
        await a.endpoint.close()
        await until(lambda: bool(b.lost))
        assert _texts(b) == said
        assert not two.connected


async def test_who_ends_a_session_gets_what_has_come_first() -> None:
    async with pair() as (_, one, b, two):
        stream = two._stream
        assert stream is not None
        said: list[bytes] = []
        while not stream.machine.behind:
            # A hold is over after 50 ms, which on a busy machine nothing may come in.
            b.endpoint.turns.hold()
            said += _say(one, 100)
            await asyncio.sleep(0.001)
        two.catch_up()
        came = _texts(b)
        two.close()
        assert came
        assert came == said[: len(came)]


async def test_more_than_can_be_dealt_with_is_left_to_tcp() -> None:
    async with pair() as (_, one, b, two):
        stream = two._stream
        assert stream is not None
        most = 0
        said = _say(one, 400, size=8000)
        while len(_texts(b)) < 400:
            if not b.endpoint.turns.held:
                b.endpoint.turns.hold()
            most = max(most, stream._behind)
            one.pump()
            await asyncio.sleep(0)
        assert _texts(b) == said
        assert most < 1 << 20
        assert stream._behind == 0


async def test_what_is_sent_in_one_turn_leaves_together() -> None:
    async with pair() as (a, one, b, _):
        for number in range(5):
            one.session.send("text/plain", b"%d" % number)
            one.pump_soon()
        await until(lambda: sum(isinstance(e, MessageSent) for e in a.events) == 5)
        assert _texts(b) == [b"%d" % number for number in range(5)]
        one.session.send("text/plain", b"the last")
        one.pump_soon()
        one.catch_up()
        one.close()
        await until(lambda: _texts(b)[-1] == b"the last")
