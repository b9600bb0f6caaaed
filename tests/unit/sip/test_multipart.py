"""Bodies of several parts, and the SDP that is one of them (RFC 2046, RFC 5621)."""

import pytest

from rcsops.errors import SdpParseError, SipParseError
from rcsops.sip import Request, parse_message
from rcsops.sip.multipart import read_parts
from rcsops.ua.session import sdp_of

pytestmark = pytest.mark.rfc("5621", "3.1", "8.2")

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=message 9 TCP/MSRP *\r\na=path:msrp://127.0.0.1:9/abcdefghijklmnop;tcp\r\n"
)
OF_SDP = b"Content-Type: application/sdp"


def body(*parts: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--b1\r\n%b\r\n\r\n%b\r\n" % part for part in parts) + b"--b1--\r\n"


def invite(content: bytes, kind: str = 'multipart/mixed; boundary="b1"') -> Request:
    head = (
        "INVITE sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=z9hG4bKx\r\n"
        "From: <sip:alex@rcs.example>;tag=1\r\nTo: <sip:bob@rcs.example>\r\nCall-ID: x\r\n"
        f"CSeq: 1 INVITE\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    request = parse_message(head.encode() + content)
    assert isinstance(request, Request)
    return request


def test_its_parts() -> None:
    found = read_parts(
        b"for who knows no parts\r\n--b 1 \t\r\n\r\nwithout a type\r\n--b 10 is none\r\n"
        b"--b 1\nContent-Type: Image/PNG;\n x=y\nContent-Disposition: icon\n\n\x00\xff\n--b 1\r\n"
        b"Content-Type: a/b\r\n--b 1--\r\nbehind\r\n--b 1\r\n",
        "b 1",
    )
    assert found == (
        ("text/plain", "", "", b"without a type\r\n--b 10 is none"),
        ("image/png", "icon", "", b"\x00\xff"),
        ("a/b", "", "", b""),
    )


@pytest.mark.parametrize(
    ("data", "boundary"),
    [
        (b"", "b"),
        (b"--b\r\n\r\nno end", "b"),
        (b"--b--", ""),
        (b"--b--", "b" * 71),
        (b"--b--", "b\r\n"),
        (b"--b\r\nContent-Type: none\r\n\r\n\r\n--b--", "b"),
        (b"--b\r\n\r\n\r\n" * 18 + b"--b--", "b"),
    ],
    ids=["empty", "no end", "no boundary", "long", "lines", "no type", "many"],
)
def test_what_makes_no_sense(data: bytes, boundary: str) -> None:
    with pytest.raises(SipParseError):
        read_parts(data, boundary)


@pytest.mark.parametrize(
    "aside",
    [
        b"Content-Type: image/jpeg\r\nContent-Disposition: icon",
        b"Content-Type: a/b\r\nContent-Disposition: session ; Handling = Optional",
        b'Content-Type: a/b\r\nContent-Disposition: render;x=y;handling="optional"',
    ],
)
def test_the_description_is_one_of_them(aside: bytes) -> None:
    for parts in (((OF_SDP, SDP), (aside, b"x")), ((aside, b"x"), (OF_SDP, SDP))):
        assert sdp_of(invite(body(*parts))) == sdp_of(invite(SDP, "application/sdp"))


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        # It would be lost without a word: its sender is to send it otherwise.
        (((OF_SDP, SDP), (b"Content-Type: message/cpim", b"From: <sip:a@b>")), 415),
        (((OF_SDP, SDP), (b"Content-Type: a/b\r\nContent-Disposition: session", b"")), 415),
        (((OF_SDP, SDP), (OF_SDP, SDP)), 415),
        (((OF_SDP + b"\r\nContent-Transfer-Encoding: base64", b"dj0w"),), 415),
        (((b"Content-Type: image/jpeg\r\nContent-Disposition: icon", b""),), 488),
    ],
)
def test_what_is_not_taken(parts: tuple[tuple[bytes, bytes], ...], status: int) -> None:
    with pytest.raises(SdpParseError) as raised:
        sdp_of(invite(body(*parts)))
    assert raised.value.status == status


def test_a_body_without_its_boundary() -> None:
    with pytest.raises(SdpParseError) as raised:
        sdp_of(invite(body((OF_SDP, SDP)), "multipart/mixed"))
    assert raised.value.status == 400
