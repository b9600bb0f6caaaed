"""Messages out of a stream (RFC 3261 §18.3, RFC 5626 §3.5.1)."""

import pytest

from rcsops.errors import SipParseError
from rcsops.sip import Request, Response, StreamParser

FIRST = b"MESSAGE sip:b@x SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 8\r\n\r\n\r\n\r\nabcd"
SECOND = b"SIP/2.0 200 OK\r\nSubject: a\r\n b\r\nl:0\r\n\r\n"


def drain(parser: StreamParser) -> list[bytes]:
    found = []
    while (message := parser.next_message()) is not None:
        found.append(bytes(message))
    return found


@pytest.mark.rfc("3261", "18.3")
def test_pipelined_messages_and_any_split() -> None:
    stream = FIRST + b"\r\n\r\n" + SECOND + b"\r\n" + FIRST + SECOND
    whole = [FIRST, SECOND, FIRST, SECOND]
    for size in (1, 2, 3, 5, 7, 50, len(stream)):
        parser = StreamParser()
        found = []
        for start in range(0, len(stream), size):
            parser.receive_data(stream[start : start + size])
            found += drain(parser)
        assert found == whole
        assert parser.take_pings() == 1


def test_kinds() -> None:
    parser = StreamParser()
    assert parser.next_message() is None
    parser.receive_data(FIRST + SECOND)
    assert isinstance(parser.next_message(), Request)
    assert isinstance(parser.next_message(), Response)
    assert parser.next_message() is None


@pytest.mark.rfc("5626", "4.4.1", "5.4")
def test_pings() -> None:
    parser = StreamParser()
    parser.receive_data(b"\r\n\r\n" * 3)
    assert parser.next_message() is None
    assert (parser.take_pings(), parser.take_pings()) == (3, 0)
    parser.receive_data(b"\r")
    assert parser.next_message() is None
    parser.receive_data(b"\n\r\n")
    assert parser.next_message() is None
    assert parser.take_pings() == 1


@pytest.mark.rfc("5626", "4.4.1")
def test_a_ping_in_two_pieces_and_a_pong() -> None:
    parser = StreamParser()
    parser.receive_data(b"\r\n")
    drain(parser)
    assert (parser.take_pings(), parser.take_pongs()) == (0, 1)
    parser.receive_data(b"\r\n")
    drain(parser)
    assert parser.take_pings() == 1


def test_pongs_that_we_wait_for_are_no_pings() -> None:
    parser = StreamParser()
    for _ in range(2):
        parser.ping_sent()
        parser.receive_data(b"\r\n")
        drain(parser)
        assert (parser.take_pings(), parser.take_pongs()) == (0, 1)


@pytest.mark.rfc("3261", "18.3")
@pytest.mark.parametrize(
    ("data", "status", "answerable"),
    [
        (b"MESSAGE sip:b@x SIP/2.0\r\nCall-ID: 1\r\n\r\n", 400, True),
        (b"MESSAGE sip:b@x SIP/2.0\r\nl: -1\r\n\r\n", 400, True),
        (b"MESSAGE sip:b@x SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n", 400, True),
        (b"MESSAGE sip:b@x SIP/2.0\r\nl: 101\r\n\r\n", 513, True),
        (b"MESSAGE sip:b@x SIP/2.0\r\nl: 99999999999999999999\r\n\r\n", 400, True),
        (b"SIP/2.0 200 OK\r\n\r\n", 400, False),
        (b"x" * 300, 513, False),
        (b"MESSAGE sip:b@x SIP/2.0\r\nX: " + b"x" * 300 + b"\r\n\r\n", 513, False),
        (b"\n\n\n\r\n\r\n", 400, False),
        (b"\rx\r\n\r\n", 400, False),
    ],
)
def test_broken_framing_stays_broken(data: bytes, status: int, answerable: bool) -> None:
    parser = StreamParser(max_head=200, max_body=100)
    parser.receive_data(data)
    with pytest.raises(SipParseError) as caught:
        drain(parser)
    assert caught.value.status == status
    assert (caught.value.partial is not None) is answerable
    parser.receive_data(SECOND)
    with pytest.raises(SipParseError):
        parser.next_message()


def test_limits_are_inclusive() -> None:
    parser = StreamParser(max_head=len(SECOND) - 4, max_body=8)
    parser.receive_data(SECOND)
    assert drain(parser) == [SECOND]
    parser = StreamParser(max_body=8)
    parser.receive_data(FIRST)
    assert drain(parser) == [FIRST]
