"""What a session promises, seen at both ends of a pair; every octet obeys the strict grammar."""

from collections.abc import Iterator

import pytest

from rcsops.errors import LocalProtocolError
from rcsops.msrp import (
    BodyComplete,
    BodyReceived,
    MessageAborted,
    MessageFailed,
    MessageReceived,
    MessageSent,
    MsrpSession,
    MsrpUri,
    PeerBound,
    Progress,
    ProtocolFault,
    ReceiveLimits,
    SuccessReported,
)
from rcsops.tokens import Tokens
from tests.unit.msrp.pair import ALICE, BOB, Pair, by, whole

PNG = "image/png"


def reader(data: bytes, most: int = 1 << 30) -> "Iterator[bytes]":
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        part = data[position : position + min(size, most)]
        position += len(part)
        return part

    return read  # type: ignore[return-value]


def test_the_active_side_speaks_at_once_and_the_passive_one_waits() -> None:
    pair = Pair(connect=False)
    pair.bob.session.send("text/plain", b"early")
    assert not pair.bob.connection.has_data_to_send()
    assert pair.bob.connection.data_to_send(0.0) == b""
    assert pair.alice.connection.attach(pair.alice.session, pair.now)
    pair.run()
    first = pair.alice.frames()[0]
    assert (first.kind, first.body, first.flag) == ("SEND", None, b"$")
    assert isinstance(pair.alice.events[0], PeerBound)
    assert pair.bob.events[0] == PeerBound()
    assert [event.body for event in pair.alice.of(MessageReceived)] == [b"early"]
    assert pair.bob.of(MessageReceived) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 4096])
def test_a_message_at_every_split(size: int) -> None:
    pair = Pair(split=by(size))
    text = "How are you? ünïcödé ".encode() * 300
    key = pair.alice.session.send("text/plain;charset=UTF-8", text, success_report=True)
    reply = pair.bob.session.send("text/plain", b"")
    pair.run()
    (got,) = pair.bob.of(MessageReceived)
    assert (got.message_id, got.content_type, got.body) == (key, "text/plain;charset=UTF-8", text)
    assert pair.alice.of(MessageSent) == [MessageSent(key)]
    assert pair.alice.of(SuccessReported) == [SuccessReported(key)]
    assert [event.body for event in pair.alice.of(MessageReceived)] == [b""]
    assert pair.bob.of(MessageSent) == [MessageSent(reply)]
    assert pair.alice.session.settled
    assert pair.bob.session.settled
    chunks = [f for f in pair.alice.frames() if f.kind == "SEND" and f.body is not None]
    assert [len(f.body or b"") for f in chunks] == [2048] * (len(text) // 2048) + [len(text) % 2048]
    assert [f.flag for f in chunks] == [b"+"] * (len(chunks) - 1) + [b"$"]
    assert len({f.id for f in chunks}) == len(chunks)
    assert {f.head["message"] for f in chunks} == {key.encode()}


@pytest.mark.parametrize(
    ("failure", "answers"), [("yes", 2), ("partial", 0), ("no", 0)], ids=["yes", "partial", "no"]
)
def test_failure_report_decides_who_answers(failure: str, answers: int) -> None:
    pair = Pair()
    pair.run()
    before = len(pair.bob.frames())
    key = pair.alice.session.send("text/plain", b"x" * 3000, failure_report=failure)
    pair.run()
    assert len(pair.bob.of(MessageReceived)) == 1
    assert len(pair.bob.frames()) - before == answers
    assert pair.alice.of(MessageSent) == [MessageSent(key)]
    assert pair.alice.session.settled
    pair.now += 100
    pair.alice.connection.handle_timer(pair.now)
    pair.alice.drain()
    assert pair.alice.of(MessageFailed) == []


@pytest.mark.parametrize(("failure", "fails"), [("yes", True), ("partial", True), ("no", False)])
def test_a_refusal_is_told_unless_nobody_wants_to_know(failure: str, fails: bool) -> None:
    pair = Pair(bob={"accept_types": ("text/*",)})
    key = pair.alice.session.send(PNG, b"x", failure_report=failure)
    pair.run()
    failed = [(event.message_id, event.status) for event in pair.alice.of(MessageFailed)]
    assert failed == ([(key, 415)] if fails else [])
    assert pair.bob.of(MessageReceived) == []


def test_no_answer_in_30_seconds_after_the_last_octet() -> None:
    pair = Pair()
    pair.run()
    key = pair.alice.session.send("text/plain", b"x" * 3000)
    sent_at = pair.now + 5
    assert pair.alice.connection.data_to_send(sent_at)
    assert pair.alice.connection.next_timer() == sent_at + 30
    pair.alice.connection.handle_timer(sent_at + 29.9)
    pair.alice.drain()
    assert pair.alice.of(MessageFailed) == []
    pair.alice.connection.handle_timer(sent_at + 30)
    pair.alice.drain()
    assert [(e.message_id, e.status) for e in pair.alice.of(MessageFailed)] == [(key, 408)]
    assert pair.alice.connection.next_timer() is None


def test_an_unanswered_empty_send_is_a_fault() -> None:
    pair = Pair()
    pair.alice.connection.data_to_send(pair.now)
    pair.alice.connection.handle_timer(pair.now + 30)
    pair.alice.drain()
    assert [event.status for event in pair.alice.of(ProtocolFault)] == [408]
    pair = Pair()
    pair.run()
    pair.alice.session.keep_alive()
    pair.run()
    assert pair.bob.of(MessageReceived) == []
    assert len([f for f in pair.alice.frames() if f.body is None and f.kind == "SEND"]) == 2


def test_large_chunks_are_interruptible_and_streamed_both_ways() -> None:
    pair = Pair(bob={"stream_incoming": True}, split=by(1000))
    data = bytes(range(256)) * 1000
    key = pair.alice.session.send_stream(PNG, len(data), reader(data), chunk_size=65536)
    pair.run()
    got = pair.bob.of(BodyReceived)
    assert b"".join(event.data for event in got) == data
    assert [event.offset for event in got] == [
        sum(len(e.data) for e in got[:i]) for i in range(len(got))
    ]
    assert {event.total for event in got} == {len(data)}
    assert pair.bob.of(BodyComplete) == [BodyComplete(key, PNG, len(data))]
    assert [e.octets for e in pair.alice.of(Progress)] == [65536, 131072, 196608, 256000]
    assert pair.alice.of(MessageSent)
    assert pair.alice.of(SuccessReported)
    ranges = [f.head["range"] for f in pair.alice.frames() if f.body]
    assert ranges == [b"1-*/256000", b"65537-*/256000", b"131073-*/256000", b"196609-*/256000"]


def test_short_messages_interrupt_long_ones() -> None:
    pair = Pair(bob={"stream_incoming": False})
    long = pair.alice.session.send("text/plain", b"l" * 100_000)
    pair.move(pair.alice, pair.bob, max_bytes=5000)
    short = pair.alice.session.send("text/plain", b"short")
    pair.run()
    assert [event.message_id for event in pair.bob.of(MessageReceived)] == [short, long]
    order = [f.head["message"] for f in pair.alice.frames() if f.body]
    assert order.index(short.encode()) < 5


def test_a_flood_of_short_messages_does_not_starve_a_long_one() -> None:
    pair = Pair()
    pair.run()
    long = pair.alice.session.send("text/plain", b"l" * 20_000).encode()
    for _ in range(400):
        pair.alice.session.send("text/plain", b"s")
    pair.run()
    order = [f.head["message"] for f in pair.alice.frames() if f.body]
    assert order.index(long) <= 17
    last = max(i for i, message in enumerate(order) if message == long)
    assert last < 200


def test_two_long_messages_take_turns() -> None:
    pair = Pair()
    first = pair.alice.session.send("text/plain", b"a" * 20_000).encode()
    second = pair.alice.session.send("text/plain", b"b" * 20_000).encode()
    pair.run()
    order = [f.head["message"] for f in pair.alice.frames() if f.body]
    assert order == [first, second] * 10


def test_the_end_line_never_occurs_in_a_chunk() -> None:
    tokens = Tokens.deterministic(1)
    ids = [tokens.transact_id() for _ in range(8)]
    body = b"".join(b"\r\n-------" + key.encode() + b"$\r\n" for key in ids)
    pair = Pair()
    pair.alice.session.send("text/plain", body)
    pair.run()
    assert pair.bob.of(MessageReceived)[0].body == body
    (chunk,) = [f for f in pair.alice.frames() if f.body]
    assert chunk.id.decode() not in ids


def test_abort_in_the_middle() -> None:
    for streamed in (False, True):
        pair = Pair(bob={"stream_incoming": streamed})
        key = pair.alice.session.send("text/plain", b"x" * 100_000)
        pair.move(pair.alice, pair.bob, max_bytes=3000)
        assert pair.alice.session.abort(key)
        assert not pair.alice.session.abort(key)
        pair.run()
        assert pair.alice.frames()[-1].flag == b"#"
        assert pair.bob.of(MessageAborted) == [MessageAborted(key)]
        assert pair.bob.of(MessageReceived) == []
        assert pair.alice.of(MessageFailed) == []
        assert pair.alice.session.settled
        assert pair.alice.session.can_send()


def test_abort_before_the_first_chunk_leaves_no_trace() -> None:
    pair = Pair()
    pair.run()
    key = pair.alice.session.send("text/plain", b"x")
    assert pair.alice.session.abort(key)
    before = len(pair.alice.sent)
    pair.run()
    assert len(pair.alice.sent) == before
    done = pair.alice.session.send("text/plain", b"x")
    pair.run()
    assert not pair.alice.session.abort(done)


def test_pause_and_resume() -> None:
    pair = Pair()
    key = pair.alice.session.send("text/plain", b"x" * 50_000)
    pair.move(pair.alice, pair.bob, max_bytes=3000)
    assert pair.alice.session.pause(key)
    pair.run()
    assert pair.bob.of(MessageReceived) == []
    assert pair.alice.session.resume(key)
    assert not pair.alice.session.resume(key)
    pair.run()
    assert len(pair.bob.of(MessageReceived)) == 1
    assert not pair.alice.session.pause(key)


def test_a_source_that_has_nothing_yet_or_ends_early_or_breaks() -> None:
    pair = Pair(bob={"stream_incoming": True})
    parts: list[bytes | None] = [b"abc", None, b"def"]
    key = pair.alice.session.send_stream(PNG, 6, lambda size: parts.pop(0))
    pair.run()
    assert pair.bob.of(BodyComplete) == []
    assert pair.alice.session.resume(key)
    pair.run()
    assert pair.bob.of(BodyComplete) == [BodyComplete(key, PNG, 6)]

    key = pair.alice.session.send_stream(PNG, 100, reader(b"x" * 60, most=50))
    pair.run()
    failed = pair.alice.of(MessageFailed)[-1]
    assert (failed.message_id, failed.status) == (key, 0)
    assert pair.bob.of(MessageAborted) == [MessageAborted(key)]

    def broken(size: int) -> bytes:
        raise OSError("disk on fire")

    pair.alice.session.send_stream(PNG, 100, broken)
    pair.run()
    assert "disk on fire" in pair.alice.of(MessageFailed)[-1].reason
    assert pair.alice.session.settled


def test_too_long_a_message_is_stopped_at_its_first_chunk() -> None:
    pair = Pair(bob={"limits": ReceiveLimits(max_size=5000)})
    key = pair.alice.session.send("text/plain", b"x" * 100_000)
    pair.move(pair.alice, pair.bob, max_bytes=3000)
    pair.run()
    assert [(e.message_id, e.status) for e in pair.alice.of(MessageFailed)] == [(key, 413)]
    assert len([f for f in pair.alice.frames() if f.body]) < 60
    assert pair.alice.frames()[-1].flag == b"#"
    assert pair.bob.of(MessageReceived) == []
    fine = pair.alice.session.send("text/plain", b"x" * 5000)
    pair.run()
    assert [e.message_id for e in pair.bob.of(MessageReceived)] == [fine]


def test_the_receiver_stops_a_file() -> None:
    pair = Pair(alice={"window": 2}, bob={"stream_incoming": True})
    data = b"x" * 1_000_000
    key = pair.alice.session.send_stream(PNG, len(data), reader(data))
    pair.move(pair.alice, pair.bob)
    pair.move(pair.alice, pair.bob)
    assert pair.bob.session.stop_receiving(key)
    assert not pair.bob.session.stop_receiving(key)
    pair.run()
    assert [(e.message_id, e.status) for e in pair.alice.of(MessageFailed)] == [(key, 413)]
    assert len(pair.alice.sent) < 500_000


def test_direction_is_held_on_both_sides() -> None:
    pair = Pair(bob={"direction": "sendonly"})
    key = pair.alice.session.send("text/plain", b"x")
    pair.run()
    assert [(e.message_id, e.status) for e in pair.alice.of(MessageFailed)] == [(key, 403)]
    pair.bob.session.direction = "sendrecv"
    key = pair.alice.session.send("text/plain", b"x")
    pair.run()
    assert [event.message_id for event in pair.bob.of(MessageReceived)] == [key]
    pair.alice.session.direction = "recvonly"
    with pytest.raises(LocalProtocolError):
        pair.alice.session.send("text/plain", b"x")
    with pytest.raises(LocalProtocolError):
        pair.alice.session.direction = "up"


def test_a_window_of_unanswered_chunks() -> None:
    pair = Pair(alice={"window": 3})
    pair.run()
    pair.alice.session.send("text/plain", b"x" * 50_000)
    data = pair.alice.connection.data_to_send(pair.now, 1 << 20)
    assert data.count(b" SEND\r\n") == 3
    assert not pair.alice.connection.has_data_to_send()
    pair.bob.connection.receive_data(data, pair.now)
    pair.run()
    assert len(pair.bob.of(MessageReceived)) == 1


def test_back_pressure_by_can_send() -> None:
    pair = Pair()
    session = pair.alice.session
    while session.can_send():
        session.send("text/plain", b"x" * 100_000)
    pair.run()
    assert session.can_send()
    assert len(pair.bob.of(MessageReceived)) == 11


def test_a_lost_connection_fails_what_was_not_acknowledged() -> None:
    pair = Pair()
    pair.run()
    done = pair.alice.session.send("text/plain", b"done")
    pair.run()
    open_ = pair.alice.session.send("text/plain", b"x" * 3000)
    pair.alice.connection.data_to_send(pair.now)
    waiting = pair.alice.session.send("text/plain", b"waiting")
    pair.alice.connection.connection_lost("reset by peer")
    pair.alice.drain()
    assert pair.alice.of(MessageSent) == [MessageSent(done)]
    assert pair.alice.of(MessageFailed) == [
        MessageFailed(open_, 0, "reset by peer"),
        MessageFailed(waiting, 0, "reset by peer"),
    ]
    assert pair.alice.session.closed
    assert not pair.alice.session.can_send()
    with pytest.raises(LocalProtocolError):
        pair.alice.session.send("text/plain", b"late")


def test_the_same_message_again_is_answered_and_dropped() -> None:
    pair = Pair()
    key = pair.alice.session.send("text/plain", b"once", success_report=True)
    pair.run()
    again = pair.alice.session.send("text/plain", b"once", message_id=key, success_report=False)
    pair.run()
    assert again == key
    assert len(pair.bob.of(MessageReceived)) == 1
    assert len(pair.alice.of(MessageSent)) == 2
    assert len([f for f in pair.bob.frames() if f.kind == "REPORT"]) == 1


def test_an_answer_that_is_held_leaves_when_the_message_is_dealt_with() -> None:
    pair = Pair(bob={"hold_answers": True})
    session = pair.alice.session
    # Five chunks, of which the last one waits.
    long = session.send("text/plain", b"x" * 9000, success_report=True)
    short = session.send("text/plain", b"short")
    pair.run()
    assert {event.message_id for event in pair.bob.of(MessageReceived)} == {long, short}
    assert pair.alice.of(MessageSent) == pair.alice.of(SuccessReported) == []
    assert not pair.bob.session.settled
    answers = len([frame for frame in pair.bob.frames() if frame.kind == "response"])
    # Out of order, and each once.
    assert pair.bob.session.answer(long)
    assert not pair.bob.session.answer(long)
    pair.run()
    assert [event.message_id for event in pair.alice.of(MessageSent)] == [long]
    assert [event.message_id for event in pair.alice.of(SuccessReported)] == [long]
    assert pair.bob.session.answer(short)
    pair.run()
    assert [event.message_id for event in pair.alice.of(MessageSent)] == [long, short]
    assert pair.bob.session.settled
    assert len([frame for frame in pair.bob.frames() if frame.kind == "response"]) == answers + 2


def test_the_same_message_again_waits_with_the_first_one() -> None:
    pair = Pair(bob={"hold_answers": True})
    pair.run()
    before = len(pair.alice.sent)
    message_id = pair.alice.session.send("text/plain", b"told")
    pair.run()
    again = pair.alice.sent[before:]

    def answers(times: int) -> list[bytes]:
        pair.bob.connection.receive_data(again * times, 0.0)
        lines = pair.bob.connection.data_to_send(0.0).split(b"\r\n")
        return [line.split()[2] for line in lines if line.startswith(b"MSRP ")]

    assert answers(2) == []
    # What it is sent without end takes no room without end.
    assert set(answers(100)) == {b"413"}
    assert pair.bob.session.answer(message_id)
    held = answers(1)
    assert set(held) == {b"200"}
    assert 4 <= len(held) <= 20


def test_an_answer_that_is_held_goes_with_the_connection() -> None:
    pair = Pair(bob={"hold_answers": True})
    message_id = pair.alice.session.send("text/plain", b"told")
    pair.run()
    pair.bob.session.connection_lost("reset")
    assert not pair.bob.session.answer(message_id)
    assert not pair.bob.session.has_data_to_send()


def test_what_cannot_be_sent() -> None:
    pair = Pair(alice={"remote_max_size": 10})
    session = pair.alice.session
    for wrong in (
        lambda: session.send("text/plain", b"x" * 11),
        lambda: session.send("text/plain\r\nX: y", b"x"),
        lambda: session.send("text/plain", b"x", message_id="a b"),
        lambda: session.send("text/plain", b"x", failure_report="maybe"),
        lambda: session.send("text/plain", b"x", headers=(("X", "a\nb"),)),
        lambda: MsrpSession((), tokens=Tokens.deterministic(1), active=True),
        lambda: MsrpSession((BOB,), tokens=Tokens.deterministic(1), active=True).connection_made(0),
        lambda: session.set_remote_path(()),
    ):
        with pytest.raises(LocalProtocolError):
            wrong()
    session.send("text/plain", b"x", message_id="abcd")
    with pytest.raises(LocalProtocolError):
        session.send("text/plain", b"x", message_id="abcd")
    pair.run()
    assert len(pair.bob.of(MessageReceived)) == 1


def test_extra_headers_stand_before_the_content_type() -> None:
    pair = Pair()
    pair.alice.session.send("text/plain", b"x", headers=(("Content-Disposition", "render"),))
    pair.run()
    (got,) = pair.bob.of(MessageReceived)
    assert ("Content-Disposition", "render") in got.headers
    assert got.headers[-1] == ("Content-Type", "text/plain")


def test_the_time_of_the_last_content() -> None:
    pair = Pair()
    pair.run()
    quiet = pair.bob.session.last_content_at
    pair.now += 50
    pair.alice.session.keep_alive()
    pair.run()
    assert pair.bob.session.last_content_at == quiet
    pair.now += 50
    pair.alice.session.send("text/plain", b"x")
    pair.run()
    assert pair.bob.session.last_content_at == pair.alice.session.last_content_at == pair.now


def test_the_answer_decides_whom_an_early_connection_may_come_from() -> None:
    pair = Pair()
    early = MsrpSession((BOB,), tokens=Tokens.deterministic(4), active=False)
    pair.bob.table.remove(pair.bob.session)
    pair.bob.session = early
    pair.bob.table.add(early)
    pair.run()
    assert early.remote_path == (ALICE,)
    early.set_remote_path((MsrpUri.parse("msrp://192.0.2.10:28550/somebodyelse;tcp"),))
    pair.alice.session.send("text/plain", b"x")
    pair.run()
    assert pair.bob.of(MessageReceived) == []
    assert [event.status for event in pair.alice.of(ProtocolFault)] == [481]


def test_relays_stand_in_the_path() -> None:
    relay = MsrpUri.parse("msrps://relay.example.org:2855/r;tcp")
    session = MsrpSession((ALICE,), (relay, BOB), tokens=Tokens.deterministic(3), active=True)
    session.connection_made(0.0)
    frame = session.data_to_send(0.0)
    assert f"To-Path: {relay} {BOB}\r\nFrom-Path: {ALICE}\r\n".encode() in frame


def test_the_tap_sees_each_frame_once() -> None:
    pair = Pair(split=whole)
    pair.alice.session.send("text/plain", b"hello")
    pair.alice.session.send_stream("text/plain", 50_000, reader(b"y" * 50_000))
    pair.run()
    for near, far in ((pair.alice, pair.bob), (pair.bob, pair.alice)):
        out = [seen for seen in near.seen if seen.direction == "out"]
        in_ = [seen for seen in far.seen if seen.direction == "in"]
        assert [(s.data, s.omitted) for s in out] == [(s.data, s.omitted) for s in in_]
        assert len(out) == len(near.frames())
        assert sum(len(s.data) + s.omitted for s in out) == len(near.sent)
    assert [s.omitted for s in pair.bob.seen if s.omitted] == [50_000]
