import pytest

from rcsops.errors import LocalProtocolError, MsrpParseError
from rcsops.msrp import (
    ByteRange,
    ChunkData,
    ChunkEnd,
    ChunkStart,
    FrameLimits,
    FrameParser,
    Request,
    Response,
    parse_frame,
)

PATHS = (
    b"To-Path: msrp://198.51.100.20:28550/mT9eH4u6Pd2cJ8gL1fVo;tcp\r\n"
    b"From-Path: msrp://192.0.2.10:28550/kQ3vN8s1Zt0aW5xY7bR2;tcp\r\n"
)
SEND = (
    b"MSRP k7Qw2vTn9e SEND\r\n" + PATHS + b"Message-ID: mZ81pLr40xYq\r\n"
    b"Byte-Range: 1-12/12\r\nContent-Type: text/plain\r\n\r\nHow are you?\r\n-------k7Qw2vTn9e$\r\n"
)
ANSWER = b"MSRP k7Qw2vTn9e 200 OK\r\n" + PATHS + b"-------k7Qw2vTn9e$\r\n"
EMPTY = b"MSRP a111 SEND\r\n" + PATHS + b"Message-ID: m222\r\n-------a111$\r\n"


def frames(data: bytes, size: int = 0, limits: FrameLimits | None = None) -> list[object]:
    """All events of a stream in reads of ``size`` octets; the data of one chunk is joined."""
    parser = FrameParser(limits or FrameLimits())
    found: list[object] = []
    for start in range(0, len(data), size or len(data)):
        parser.receive_data(data[start : start + (size or len(data))])
        while (event := parser.next_event()) is not None:
            if isinstance(event, ChunkData) and found and isinstance(found[-1], ChunkData):
                event = ChunkData(found.pop().data + event.data)  # type: ignore[attr-defined]
            found.append(event)
    assert not parser.in_frame
    return found


def test_one_frame() -> None:
    (request,) = frames(SEND)
    assert isinstance(request, Request)
    assert (request.method, request.transaction_id) == ("SEND", "k7Qw2vTn9e")
    assert request.message_id == "mZ81pLr40xYq"
    assert request.get("BYTE-RANGE") == "1-12/12"
    assert request.get("nothing") is None
    assert (request.body, request.continuation) == (b"How are you?", "$")
    assert bytes(request) == SEND
    (response,) = frames(ANSWER)
    assert isinstance(response, Response)
    assert (response.status, response.comment) == (200, "OK")
    assert bytes(response) == ANSWER


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 13, 64, 1000])
def test_every_split_gives_the_same(size: int) -> None:
    big = SEND.replace(b"How are you?", b"x\r\n-------k7Qw2vTn9\r\n" * 40).replace(b"$", b"+")
    stream = SEND + ANSWER + EMPTY + big + b"\r\n" + SEND
    limits = FrameLimits(whole_body=100)
    assert frames(stream, size, limits) == frames(stream, 0, limits)
    kinds = [type(event).__name__ for event in frames(stream, size, limits)]
    assert kinds == [
        "Request", "Response", "Request", "ChunkStart", "ChunkData", "ChunkEnd", "Request",
    ]  # fmt: skip


def test_every_split_in_two() -> None:
    stream = SEND + EMPTY
    for cut in range(1, len(stream)):
        parser = FrameParser(FrameLimits(whole_body=5))
        body = b""
        flags = []
        for part in (stream[:cut], stream[cut:]):
            parser.receive_data(part)
            while (event := parser.next_event()) is not None:
                if isinstance(event, ChunkData):
                    body += event.data
                elif isinstance(event, ChunkEnd | Request):
                    flags.append(event.continuation)
        assert (body, flags) == (b"How are you?", ["$", "$"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"\r\n-------k7Qw2vTn9e",
        b"\r\n-------k7Qw2vTn9ex\r\n",
        b"\r\n-------k7Qw2vTn9e$\r",
        b"\r\n-------k7Qw2vTn9e$x",
        b"\r\n-------k7Qw2vTn9\r\n-------",
        b"\r\n------k7Qw2vTn9e$\r\n",
        b"\r\n-------K7QW2VTN9E$\r\n",
        b"\r\r\r\n\r\n------",
        bytes(range(256)) * 3,
    ],
)
@pytest.mark.parametrize("whole_body", [0, 4, 4096])
def test_what_only_looks_like_an_end_line_is_body(body: bytes, whole_body: int) -> None:
    stream = SEND.replace(b"How are you?", body) + ANSWER
    for size in (0, 1, 3, 10):
        events = frames(stream, size, FrameLimits(whole_body=whole_body))
        assert isinstance(events[-1], Response)
        if isinstance(events[0], Request):
            assert events[0].body == body
        else:
            assert isinstance(events[0], ChunkStart)
            assert events[1:-1] == [ChunkData(body), ChunkEnd("$")]


def test_end_line_right_below_the_blank_line() -> None:
    stream = SEND.replace(b"How are you?\r\n", b"")
    for size in (0, 1, 2, 3):
        (request,) = frames(stream, size)
        assert isinstance(request, Request)
        assert request.body == b""


def test_no_body_is_not_an_empty_body() -> None:
    (request,) = frames(EMPTY)
    assert isinstance(request, Request)
    assert request.body is None
    assert bytes(request) == EMPTY


def test_ids_of_4_and_of_32_characters_and_all_flags() -> None:
    for ident in ("a.-+", "Z" + "%=" * 15 + "9"):
        for flag in "$+#":
            request = Request(ident, "SEND", [("To-Path", "x"), ("From-Path", "y")], b"b", flag)
            assert parse_frame(bytes(request)) == request


def test_a_long_body_takes_no_memory() -> None:
    parser = FrameParser()
    parser.receive_data(SEND.partition(b"How are")[0])
    assert parser.next_event() is None
    block = bytes(65536)
    total = 0
    for _ in range(100):
        parser.receive_data(block)
        while (event := parser.next_event()) is not None:
            if isinstance(event, ChunkData):
                total += len(event.data)
        assert len(parser._buffer) < 2 * len(block)
    assert total == 100 * len(block)
    parser.receive_data(b"\r\n-------k7Qw2vTn9e+\r\n")
    assert parser.next_event() == ChunkEnd("+")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"MSRP abc SEND\r\n",
        b"MSRP -abcd SEND\r\n",
        b"MSRP " + b"a" * 33 + b" SEND\r\n",
        b"MSRP abcd send\r\n",
        b"MSRP abcd 20\r\n",
        b"MSRP abcd  SEND\r\n",
        b"MSRP " + b"a" * 5000,
        b"MSRP abcd 200 " + b"a" * 5000 + b"\r\n",
        b"MSRP abcd SEND\r\n\r\n",
        b"MSRP abcd SEND\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\r\nTo-Path: x\r\nFrom-Path: y\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\r\nFrom-Path: y\r\nno colon\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\r\nFrom-Path: y\r\nA b: c\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\nEvil: y\r\nFrom-Path: y\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\rFrom-Path: y\r\nFrom-Path: y\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\x00\r\nFrom-Path: y\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nTo-Path: x\r\nFrom-Path: y\r\n-------abcd?\r\n",
        b"MSRP abcd SEND\r\n" + b"X: y\r\n" * 100 + b"-------abcd$\r\n",
        b"MSRP abcd SEND\r\nX: " + b"y" * 20000,
        b"MSRP abcd SEND\r\nX: " + b"y" * 20000 + b"\r\n-------abcd$\r\n",
        b"MSRP abcd SEND\r\nX: " + b"y" * 20000 + b"\r\n-------abcd",
        b"MSRP abcd 200 OK\r\n" + PATHS + b"\r\nbody\r\n-------abcd$\r\n",
    ],
)
def test_what_is_no_msrp_raises_at_every_split(data: bytes) -> None:
    for size in (len(data), 1, 7):
        parser = FrameParser()
        with pytest.raises(MsrpParseError):
            for start in range(0, len(data), size):
                parser.receive_data(data[start : start + size])
                while parser.next_event() is not None:
                    pass
        parser.receive_data(SEND)
        assert parser.next_event() is None


def test_the_offender_can_be_answered() -> None:
    parser = FrameParser()
    parser.receive_data(b"MSRP abcd SEND\r\n" + PATHS + b"bad line\r\n-------abcd$\r\n")
    with pytest.raises(MsrpParseError):
        parser.next_event()
    assert parser.offender is not None
    assert parser.offender.transaction_id == "abcd"
    assert parser.offender.from_path.endswith("kQ3vN8s1Zt0aW5xY7bR2;tcp")


def test_exactly_one_frame() -> None:
    assert bytes(parse_frame(SEND)) == SEND
    for wrong in (b"", SEND[:-1], SEND + SEND, SEND + b"x"):
        with pytest.raises(MsrpParseError):
            parse_frame(wrong)


def test_text_that_is_no_utf_8_survives() -> None:
    frame = EMPTY.replace(b"Message-ID", "X-Ünï: ".encode() + b"\xff\xfe\r\nMessage-ID").replace(
        "X-Ünï".encode(), b"X-Uni"
    )
    assert bytes(parse_frame(frame)) == frame


@pytest.mark.parametrize("text", ["1-2/3", "1-*/*", "5-*/100", "1-0/0"])
def test_byte_range(text: str) -> None:
    assert str(ByteRange.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "0-1/1", "*-1/1", "1-2", "-1-2/3", "1-2/3/4", "1-" + "9" * 5000 + "/*", "1-２/3"]
)
def test_what_is_no_byte_range(text: str) -> None:
    with pytest.raises(MsrpParseError):
        ByteRange.parse(text)


def test_a_header_of_ours_cannot_smuggle_a_line() -> None:
    for name, value in (("X", "a\r\nY: b"), ("X y", "a"), ("X", "a\x00")):
        with pytest.raises(LocalProtocolError):
            bytes(Request("abcd", "SEND", [(name, value)]))
