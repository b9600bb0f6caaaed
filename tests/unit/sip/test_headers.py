"""Header values: addresses, Via, CSeq, media types, authentication."""

import pytest

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip import Challenge, Credentials, CSeq, MediaType, NameAddr, Uri, Via
from rcsops.sip.grammar import parse_number, split_first, split_list, unquote


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ('"Alice, \\"A\\" \\\\" <sip:a@x;p=1>;tag=88', 'Alice, "A" \\', "sip:a@x;p=1", "88"),
        ("Bob Smith <sip:b@x>", "Bob Smith", "sip:b@x", None),
        ("caller<sip:b@x>;Tag = 5;x", "caller", "sip:b@x", "5"),
        ("<sip:b@x>;x=1;tag=5", "", "sip:b@x", "5"),
        ("  sip:b@x;tag=1  ", "", "sip:b@x", "1"),
        ("tel:+1;tag=1", "", "tel:+1", "1"),
        ("J\u00fcrgen <sip:j@x> ; tag=1", "J\u00fcrgen", "sip:j@x", "1"),
        ('""<sip:b@x>', "", "sip:b@x", None),
    ],
)
def test_address(text: str, display: str, uri: str, tag: str | None) -> None:
    address = NameAddr.parse(text)
    assert (address.display, address.uri_text, address.tag) == (display, uri, tag)
    assert str(address.uri) == uri
    assert str(address) == text.strip()
    assert repr(address) == f"NameAddr({text.strip()!r})"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        '"Bob <sip:b@x>',
        'Bob" <sip:b@x>',
        "Bell, A <sip:b@x>",
        "<sip:b@x",
        "sip:b@x>",
        "<sip:b@x>;",
        "<sip:b@x>;;tag=1",
        "<sip:b@x>tag=1",
        '<sip:b@x>;tag="1',
        "<sip:b@x>;=1",
        "sip:b@x?a=b",
        "sip:b@x, sip:c@x",
        "*",
    ],
)
def test_no_address(text: str) -> None:
    with pytest.raises(SipParseError):
        NameAddr.parse(text)


def test_the_uri_of_an_address_is_parsed_late() -> None:
    address = NameAddr.parse("< sip:b@x >;tag=1")
    assert address.tag == "1"
    with pytest.raises(SipParseError):
        _ = address.uri


def test_feature_tags() -> None:
    text = '<sip:b@x>;+sip.instance="<urn:uuid:1>";expires=5;+g.x="a";+G.X="b"'
    address = NameAddr.parse(text)
    assert address.param("+SIP.instance") == "<urn:uuid:1>"
    assert address.params["+sip.instance"] == '"<urn:uuid:1>"'
    assert address.params.get("EXPIRES") == "5"
    assert address.param("+g.x") == "a"
    with pytest.raises(SipParseError):
        _ = NameAddr.parse("<sip:b@x>;q=1;Q=0").params
    with pytest.raises(SipParseError):
        _ = NameAddr.parse("<sip:b@x>;tag=1;tag=2").tag
    with pytest.raises(KeyError):
        _ = address.params["none"]


def test_build_address() -> None:
    assert str(NameAddr("sip:b@x", "Bob Smith", {"tag": "1"})) == "Bob Smith <sip:b@x>;tag=1"
    built = NameAddr(Uri.parse("sip:b@x"), 'B"b,', [("Reg-ID", "1"), ("i", "<u>"), ("ob", None)])
    assert str(built) == '"B\\"b," <sip:b@x>;reg-id=1;i="<u>";ob'
    assert NameAddr.parse(str(built)) == built
    assert built.display == 'B"b,'
    tagged = NameAddr.parse('"A" <sip:a@x>').with_param("tag", "9")
    assert (str(tagged), tagged.tag) == ('"A" <sip:a@x>;tag=9', "9")
    assert tagged.with_param("q").param("q") == ""
    assert str(tagged.without_param("TAG")) == '"A" <sip:a@x>'
    for bad in ("sip:a@x>", "sip:a\r\n"):
        with pytest.raises(LocalProtocolError):
            NameAddr(bad)
    for name, value in (("a b", "1"), ("a", "x\r\ny")):
        with pytest.raises(LocalProtocolError):
            tagged.with_param(name, value)


def test_address_equality() -> None:
    one, other = NameAddr.parse("A <sip:a@X>;tag=1"), NameAddr.parse("<sip:a@x>;tag=1")
    assert one == other
    assert hash(one) == hash(other)
    assert one != NameAddr.parse("<sip:a@x>;tag=2")
    assert one != "A"


@pytest.mark.parametrize(
    ("text", "transport", "sent_by", "branch"),
    [
        ("SIP/2.0/UDP pc33.Atlanta.com;branch=z9hG4bK776", "UDP", "pc33.atlanta.com", "z9hG4bK776"),
        ("SIP / 2.0 / tcp  x : 5061 ;branch=a", "TCP", "x:5061", "a"),
        ("SIP/2.0/TLS [2001:DB8::1]:5061;rport;branch=a", "TLS", "[2001:db8::1]:5061", "a"),
        ("SIP/2.0/UNKNOWN x ; Branch = a", "UNKNOWN", "x", "a"),
        ("SIP/2.0/UDP 192.0.2.1", "UDP", "192.0.2.1", None),
        ("SIP/2.0/WS df7.invalid;branch=", "", "", None),
    ][:-1],
)
def test_via(text: str, transport: str, sent_by: str, branch: str | None) -> None:
    via = Via.parse(text)
    assert (via.transport, via.sent_by, via.branch) == (transport, sent_by, branch)
    assert via.protocol == "SIP/2.0"
    assert str(via) == text
    assert repr(via) == f"Via({text!r})"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0 UDP x",
        "SIP/2.0/UDPx",
        "SIP/2.0/UDP x:70000",
        "SIP/2.0/UDP x:",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP [x]",
        "SIP/2.0/UDP x;;branch=a",
        "SIP/2.0/UDP x;branch=",
        "SIP/2.0/UDP x y",
        "SIP/2.0/UDP x, SIP/2.0/UDP y",
    ],
)
def test_no_via(text: str) -> None:
    with pytest.raises(SipParseError):
        Via.parse(text)


def test_via_parameters() -> None:
    via = Via.parse("SIP/2.0/UDP x;branch=a;rport")
    assert via.has_rport
    assert via.rport is None
    assert (via.received, via.maddr) == (None, None)
    answered = via.with_params(received="192.0.2.1", rport=40000)
    assert str(answered) == "SIP/2.0/UDP x;branch=a;rport=40000;received=192.0.2.1"
    assert (answered.rport, answered.received, answered.branch) == (40000, "192.0.2.1", "a")
    assert str(via) == "SIP/2.0/UDP x;branch=a;rport"
    assert via.with_params({"received": "2001:db8::1"}).received == "2001:db8::1"
    # RFC 5118 §4.5: with brackets too.
    v6 = Via.parse("SIP/2.0/UDP x;received=[2001:db8::1];maddr=[::1];rport=x")
    assert (v6.received, v6.maddr, v6.branch) == ("2001:db8::1", "::1", None)
    with pytest.raises(SipParseError):
        _ = v6.rport
    with pytest.raises(SipParseError):
        _ = Via.parse("SIP/2.0/UDP x;branch=a;Branch=b").params
    assert not Via.parse("SIP/2.0/UDP x").has_rport


def test_build_via() -> None:
    via = Via("tcp", "2001:DB8::1", 5060, {"branch": "z9hG4bK1", "rport": None})
    assert str(via) == "SIP/2.0/TCP [2001:db8::1]:5060;branch=z9hG4bK1;rport"
    assert Via.parse(str(via)) == via
    assert hash(Via.parse(str(via))) == hash(via)
    assert via != Via("udp", "2001:DB8::1", 5060, {"branch": "z9hG4bK1", "rport": None})
    assert via != 1
    with pytest.raises(LocalProtocolError):
        Via("u dp", "x")
    with pytest.raises(LocalProtocolError):
        Via("udp", "x y")


def test_cseq() -> None:
    assert CSeq.parse("0009 INVITE") == CSeq(9, "INVITE")
    assert CSeq.parse("1 \t NEWMETHOD'!") == (1, "NEWMETHOD'!")
    assert str(CSeq(2147483647, "ACK")) == "2147483647 ACK"
    for bad in (
        "",
        "1",
        "INVITE",
        "-1 INVITE",
        "1 IN VITE",
        "2147483648 ACK",
        "\u0661 ACK",
        "1INVITE",
    ):
        with pytest.raises(SipParseError):
            CSeq.parse(bad)


def test_media_type() -> None:
    media = MediaType.parse('Multipart / Mixed ; Boundary="a b";x=1')
    assert (media.type_, media.main, media.subtype) == ("multipart/mixed", "multipart", "mixed")
    assert (media.param("boundary"), media.param("X"), media.param("y")) == ("a b", "1", None)
    assert str(media) == 'multipart/mixed;boundary="a b";x=1'
    for bad in ("", "text", "text/", "text/plain;", "text/plain x", "/plain"):
        with pytest.raises(SipParseError):
            MediaType.parse(bad)


def test_challenge() -> None:
    text = 'digest Realm="a \\"b\\"", nonce="n\\\\", stale=TRUE, qop="auth, auth-int",algorithm=MD5'
    challenge = Challenge.parse(text)
    assert (challenge.realm, challenge.nonce) == ('a "b"', "n\\\\")
    assert challenge.qop == ("auth", "auth-int")
    assert challenge.stale
    assert challenge.opaque is None
    assert str(challenge) == text
    assert Challenge.parse('Digest realm="r"').algorithm == "MD5"
    assert not Challenge.parse('Digest realm="r"').stale


def test_credentials() -> None:
    text = 'Digest username="b", realm="r", uri="sip:x", response="f", nc=0000000a, qop=auth'
    credentials = Credentials.parse(text)
    assert (credentials.username, credentials.uri, credentials.response) == ("b", "sip:x", "f")
    assert (credentials.nonce_count, credentials.qop, credentials.cnonce) == (10, "auth", None)
    assert '"f"' not in repr(credentials)
    assert credentials == Credentials.parse(text.replace(", ", " , "))
    assert hash(credentials) == hash(Credentials.parse(text))
    assert credentials != Challenge.parse(text)
    built = Credentials({"username": 'b"', "nc": "00000001"})
    assert str(built) == 'Digest username="b\\"", nc=00000001'
    # RFC 4475 §3.3.7: a scheme that we do not know is no error.
    other = Credentials.parse("NoOneKnowsThisScheme opaque-data=here")
    assert (other.scheme, other.is_digest, dict(other.params)) == (
        "NoOneKnowsThisScheme",
        False,
        {},
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"',
        'Digest realm="r',
        "Digest realm",
        "Digest a=1,",
        "Digest a=1,,b=2",
        "Digest a=1 b=2",
        "Digest a=1, A=2",
        "Digest a=1, a=2",
        "Digest =",
        'Digest a="1"x',
    ],
)
def test_no_credentials(text: str) -> None:
    with pytest.raises(SipParseError):
        Credentials.parse(text)


def test_lists() -> None:
    assert split_list('"a,b" <sip:x,y>, c ,,d') == ['"a,b" <sip:x,y>', "c", "", "d"]
    assert split_list("") == [""]
    assert split_list(" a , b ") == ["a", "b"]
    assert split_list('"\\",", b') == ['"\\","', "b"]
    assert split_first('"a,b" , c, d') == ('"a,b"', "c, d")
    assert split_first("<a,b>") == ("<a,b>", None)
    assert split_first("a") == ("a", None)
    for bad in ('a, "b', "a, <b", 'a, "b\\"', '"a, b'):
        with pytest.raises(SipParseError):
            split_list(bad)
    with pytest.raises(SipParseError):
        split_first('"a, b')


def test_numbers_and_quotes() -> None:
    assert parse_number("0" * 5000 + "7", "x") == 7
    for bad in ("", "-1", "+1", " 1", "1_0", "\u0661", "\u00b2", "4294967296", "9" * 10000):
        with pytest.raises(SipParseError):
            parse_number(bad, "x")
    assert unquote('"a\\\\\\"b"') == 'a\\"b'
    assert unquote('"') == '"'
    assert unquote("ab") == "ab"
