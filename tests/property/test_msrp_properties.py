"""MSRP for any input: frames, splits, order, overlap, hostility."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rcsops.errors import MsrpParseError
from rcsops.msrp import (
    BodyComplete,
    BodyReceived,
    ChunkData,
    ChunkEnd,
    ChunkStart,
    FrameLimits,
    FrameParser,
    MessageReceived,
    MsrpConnection,
    MsrpSession,
    MsrpUri,
    Request,
    Response,
    SessionTable,
    parse_frame,
)
from rcsops.msrp.ranges import Assembler, RangeSet
from rcsops.tokens import Tokens
from tests.unit.msrp.pair import ALICE, BOB, Pair
from tests.unit.msrp.test_msrp_connection import frame

FIRST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
idents = st.builds(
    lambda a, b: a + b, st.sampled_from(FIRST), st.text(FIRST + ".-+%=", min_size=3, max_size=31)
)
values = st.text(
    st.characters(blacklist_categories=["Cc", "Cs"]), max_size=40
).map(str.strip)  # fmt: skip
names = st.text(FIRST, min_size=1, max_size=12).map(lambda name: "X-" + name)
headers = st.lists(st.tuples(names, values), max_size=5).map(
    lambda more: [("To-Path", str(BOB)), ("From-Path", str(ALICE)), *more]
)
bodies = st.one_of(
    st.none(),
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"\r", b"\n", b"-", b"-------", b"abcd", b"$", b"x"])).map(b"".join),
)


def requests() -> st.SearchStrategy[Request]:
    made = st.builds(
        Request, idents, st.sampled_from(["SEND", "REPORT", "X"]), headers, bodies,
        st.sampled_from("$+#"),
    )  # fmt: skip
    return made.filter(
        lambda r: r.body is None or b"-------" + r.transaction_id.encode() not in r.body
    )


responses = st.builds(
    Response, idents, st.integers(100, 599), values.map(lambda v: " ".join(v.split())), headers
)
frames = st.lists(st.one_of(requests(), responses), max_size=6)


@given(st.one_of(requests(), responses))
def test_frames_survive(made: Request | Response) -> None:
    again = parse_frame(bytes(made))
    assert bytes(again) == bytes(made)
    assert again.headers == made.headers


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(frames, st.lists(st.integers(0, 1 << 20), max_size=20), st.sampled_from([0, 10, 4096]))
def test_any_split_gives_the_same_frames(
    made: list[Request | Response], places: list[int], whole_body: int
) -> None:
    parser = FrameParser(FrameLimits(whole_body=whole_body))
    got: list[Request | Response] = []
    for part in cut(b"".join(map(bytes, made)), places):
        parser.receive_data(part)
        while (event := parser.next_event()) is not None:
            if isinstance(event, ChunkStart):
                got.append(event.request)
                event.request.body = b""
            elif isinstance(event, ChunkData):
                last = got[-1]
                assert isinstance(last, Request)
                last.body = (last.body or b"") + event.data
            elif isinstance(event, ChunkEnd):
                got[-1].continuation = event.continuation  # type: ignore[union-attr]
            else:
                got.append(event)
    assert [bytes(f) for f in got] == [bytes(f) for f in made]


@given(
    st.lists(st.binary(max_size=6000), min_size=1, max_size=6),
    st.integers(100, 5000),
    st.integers(1, 5000),
    st.integers(1, 3000),
    st.booleans(),
)
def test_messages_arrive_whole_through_any_reads(
    texts: list[bytes], chunk: int, max_bytes: int, read: int, streamed: bool
) -> None:
    pair = Pair(
        alice={"chunk_size": chunk, "window": 8},
        bob={"stream_incoming": streamed},
        split=lambda data: (data[i : i + read] for i in range(0, len(data), read)),
    )
    keys = [pair.alice.session.send("a/b", text, success_report=True) for text in texts]
    while pair.move(pair.alice, pair.bob, max_bytes) + pair.move(pair.bob, pair.alice, max_bytes):
        pass
    if streamed:
        got = {e.message_id: b"" for e in pair.bob.of(BodyComplete)}
        for event in pair.bob.of(BodyReceived):
            assert event.offset == len(got[event.message_id])
            got[event.message_id] += event.data
    else:
        got = {e.message_id: e.body for e in pair.bob.of(MessageReceived)}
    assert got == dict(zip(keys, texts, strict=True))
    assert pair.alice.session.settled
    pair.alice.frames()
    pair.bob.frames()


pieces = st.lists(st.tuples(st.integers(0, 199), st.integers(1, 60)), min_size=1, max_size=40)


@given(st.binary(min_size=200, max_size=200), pieces, st.randoms(use_true_random=False))
def test_chunks_in_any_order_and_overlap(text: bytes, some: list[tuple[int, int]], random) -> None:  # type: ignore[no-untyped-def]
    spans = [(start, min(200, start + size)) for start, size in some]
    spans += [(start, start + 10) for start in range(0, 200, 10)]
    random.shuffle(spans)
    table = SessionTable()
    ours, theirs = MsrpUri.parse(str(BOB)), MsrpUri.parse(str(ALICE))
    session = MsrpSession((ours,), (theirs,), tokens=Tokens.deterministic(1), active=False)
    table.add(session)
    connection = MsrpConnection(table)
    for index, (start, end) in enumerate(spans):
        data = frame(
            text[start:end],
            f"{start + 1}-*/200",
            key=f"tid{index:04}x",
            flag="$" if end == 200 else "+",
            to=str(BOB),
            from_=str(ALICE),
        )
        connection.receive_data(data, 0.0)
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    assert [e.body for e in events if isinstance(e, MessageReceived)] == [text]


@given(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=50)), max_size=40))
def test_the_assembler_is_like_a_dictionary_of_octets(writes: list[tuple[int, bytes]]) -> None:
    model: dict[int, int] = {}
    body, ranges = Assembler(), RangeSet()
    for offset, data in writes:
        body.put(offset, data)
        ranges.add(offset, offset + len(data))
        model.update({offset + i: octet for i, octet in enumerate(data)})
        assert body.held == ranges.held == len(model)
        assert body.end == ranges.end == max(model, default=-1) + 1
    assert body.body() == bytes(model[key] for key in sorted(model))
    missing = next(i for i in range(400) if i not in model)
    assert ranges.missing_from == missing


@given(
    st.one_of(
        st.binary(max_size=400),
        st.lists(
            st.sampled_from(
                [
                    b"MSRP abcd SEND\r\n", b"MSRP abcd 200 OK\r\n", b"To-Path: ", b"From-Path: ",
                    str(BOB).encode() + b"\r\n", str(ALICE).encode() + b"\r\n", b"\r\n",
                    b"-------abcd$\r\n", b"-------abcd+\r\n", b"Byte-Range: 5-*/*\r\n",
                    b"Message-ID: abcd\r\n", b"Content-Type: a/b\r\n\r\n", b"\xff", b"\r", b"x",
                    b"Status: 000 200\r\n", b"MSRP abcd REPORT\r\n", b"MSRP abcd X\r\n",
                ]
            ),
            max_size=40,
        ).map(b"".join),
    ),
    st.integers(1, 50),
    st.booleans(),
)  # fmt: skip
def test_hostile_octets_give_an_answer_or_a_close_and_nothing_else(
    data: bytes, size: int, streamed: bool
) -> None:
    try:
        parse_frame(data)
    except MsrpParseError:
        pass
    pair = Pair(bob={"stream_incoming": streamed})
    pair.run()
    for start in range(0, len(data), size):
        pair.bob.connection.receive_data(data[start : start + size], pair.now)
        pair.bob.sent += pair.bob.connection.data_to_send(pair.now)
    # An answer repeats the peer's paths, which need not be by the grammar; the frame has to be.
    parser = FrameParser()
    parser.receive_data(pair.bob.sent)
    while parser.next_event() is not None:
        pass
    assert not parser.in_frame
