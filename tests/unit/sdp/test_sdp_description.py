import pytest

from rcsops.errors import LocalProtocolError, SdpParseError
from rcsops.sdp import Connection, MediaDescription, Origin, SessionDescription, parse_sdp

OFFER = (
    "v=0\r\n"
    "o=alice 3972931200 3972931200 IN IP4 192.0.2.10\r\n"
    "s=-\r\n"
    "c=IN IP4 192.0.2.10\r\n"
    "t=0 0\r\n"
    "a=odd thing: with  spaces \r\n"
    "z=unknown letter\r\n"
    "m=message 28550 TCP/MSRP *\r\n"
    "a=path:msrp://192.0.2.10:28550/kQ3vN8s1Zt0aW5xY7bR2;tcp\r\n"
    "a=setup:actpass\r\n"
    "a=X-Vendor\r\n"
    "a=accept-types:message/cpim application/im-iscomposing+xml\r\n"
    "a=sendrecv\r\n"
    "m=audio 5004/2 RTP/AVP 0 8\r\n"
    "c=IN IP6 2001:db8::1\r\n"
    "a=recvonly\r\n"
    "y=\r\n"
)


def test_every_line_survives_in_its_place() -> None:
    session = parse_sdp(OFFER.encode())
    assert bytes(session) == OFFER.encode()
    assert str(parse_sdp(OFFER)) == OFFER
    assert str(parse_sdp(OFFER.replace("\r\n", "\n"))) == OFFER
    assert parse_sdp(OFFER) == session
    raw = OFFER.encode().replace(b"s=-", b"s=\xff\xfe")
    assert bytes(parse_sdp(raw)) == raw


def test_what_the_lines_say() -> None:
    session = parse_sdp(OFFER)
    message, audio = session.media
    assert session.origin == Origin("alice", "3972931200", 3972931200, Connection("192.0.2.10"))
    assert (message.media, message.port, message.proto) == ("message", 28550, "TCP/MSRP")
    assert (audio.formats, audio.count) == (("0", "8"), "2")
    assert message.attribute("setup") == "actpass"
    assert message.attribute("X-Vendor") == ""
    assert message.attribute("x-vendor") is None
    assert session.connection_for(message) == Connection("192.0.2.10")
    assert session.connection_for(audio) == Connection("2001:db8::1", "IP6")
    assert [session.direction_of(media) for media in session.media] == ["sendrecv", "recvonly"]
    message.remove_attribute("sendrecv")
    assert session.direction_of(message) == "sendrecv"
    session.add_attribute("inactive")
    assert session.direction_of(message) == "inactive"


def test_changing_one_attribute_leaves_the_rest() -> None:
    session = parse_sdp(OFFER)
    message = session.media[0]
    message.add_attribute("setup", "passive")
    assert message.attributes("setup") == ["actpass", "passive"]
    message.set_attribute("setup", "active")
    message.set_attribute("msrp-cema")
    assert str(session) == OFFER.replace("actpass", "active").replace(
        "a=sendrecv\r\n", "a=sendrecv\r\na=msrp-cema\r\n"
    )
    for wrong in ("a\r\nb", "a\nb", "a\x00"):
        with pytest.raises(LocalProtocolError):
            message.set_attribute("label", wrong)
        with pytest.raises(LocalProtocolError):
            message.add_attribute("label", wrong)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("192.0.2.1", "IN IP4 192.0.2.1"),
        ("[2001:db8::1]", "IN IP6 2001:db8::1"),
        ("::ffff:192.0.2.1", "IN IP6 ::ffff:192.0.2.1"),
        ("host.example", "IN IP4 host.example"),
    ],
)
def test_connection_of_a_host(host: str, text: str) -> None:
    assert str(Connection.to(host)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "v=1\r\no=- 1 1 IN IP4 h\r\ns=-\r\n",
        "o=- 1 1 IN IP4 h\r\nv=0\r\ns=-\r\n",
        "v=0\r\ns=-\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nnonsense\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n\r\na=x\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nA=x\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\na=x\ry\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nm=message\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nm=message 70000 TCP/MSRP *\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nm=message -1 TCP/MSRP *\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nm=message 1 TCP/MSRP\r\n",
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n" + "m=message 1 TCP/MSRP *\r\n" * 100,
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n" + "a=x\r\n" * 3000,
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\na=" + "x" * 70000,
    ],
)
def test_what_is_no_description(text: str) -> None:
    with pytest.raises(SdpParseError):
        parse_sdp(text)


def test_lines_that_are_read_only_when_asked_for() -> None:
    session = parse_sdp("v=0\r\no=nonsense\r\ns=-\r\nc=too few\r\n")
    with pytest.raises(SdpParseError):
        _ = session.origin
    with pytest.raises(SdpParseError):
        _ = session.connection
    assert str(SessionDescription([], [MediaDescription("message", 0, "TCP/MSRP")])) == (
        "m=message 0 TCP/MSRP *\r\n"
    )
