"""URIs and their comparison (RFC 3261 §19.1)."""

import pytest

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip import Uri, escape, unescape

# RFC 3261 §19.1.4, the examples of equivalent URIs.
EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("SIP:bob@x", "sip:bob@X"),
    ("sip:bob@[2001:DB8::1]", "sip:bob@[2001:db8::1]"),
    ("tel:+1-201-555-0123", "tel:+1(201)5550123"),
    ("tel:7042;phone-context=Example.com", "TEL:7042;Phone-Context=example.com"),
    ("urn:service:sos", "URN:service:sos"),
]
# ... and of those that are not.
DIFFERENT = [
    ("SIP:ALICE@AtlanTa.CoM;Transport=udp", "sip:alice@AtlanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:bob@x", "sips:bob@x"),
    ("sip:bob@x", "sip:bob:pass@x"),
    ("sip:bob@x", "sip:x"),
    ("sip:bob@x", "sip:bob@x;maddr=192.0.2.1"),
    ("sip:bob@x", "sip:bob@x;user=ip"),
    ("sip:bob@x", "sip:bob@x;ttl=1"),
    ("sip:bob@x", "sip:bob@x;method=INVITE"),
    # An escape of a reserved character is not that character.
    ("sip:a%3Bb@x", "sip:a;b@x"),
    ("tel:+12015550123", "tel:12015550123"),
    ("tel:7042;phone-context=a", "tel:7042"),
    ("http://a", "http://b"),
    ("tel:1", "sip:1"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one: str, other: str) -> None:
    assert Uri.parse(one) == Uri.parse(other)
    assert Uri.parse(other) == Uri.parse(one)
    assert hash(Uri.parse(one)) == hash(Uri.parse(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str, other: str) -> None:
    assert Uri.parse(one) != Uri.parse(other)
    assert Uri.parse(other) != Uri.parse(one)


def test_equal_to_nothing_else() -> None:
    assert Uri.parse("sip:x") != "sip:x"


def test_parts() -> None:
    text = "SIPS:alice;day=tue:p%20w@Atlanta.Example:5061;Transport=TCP;lr?Subject=a%20b&To=x"
    uri = Uri.parse(text)
    assert (uri.scheme, uri.user, uri.password) == ("sips", "alice;day=tue", "p%20w")
    assert (uri.host, uri.port, uri.host_port) == ("atlanta.example", 5061, "atlanta.example:5061")
    assert dict(uri.params) == {"transport": "TCP", "lr": None}
    assert "LR" in uri.params
    assert uri.params.get("TRANSPORT") == "TCP"
    assert uri.params["LR"] is None
    assert (uri.param("transport"), uri.param("lr"), uri.param("x")) == ("TCP", "", None)
    assert uri.headers == (("Subject", "a%20b"), ("To", "x"))
    assert str(uri) == text
    assert repr(uri) == f"Uri({text!r})"
    assert uri.is_sip


def test_ipv6() -> None:
    uri = Uri.parse("sip:bob@[2001:DB8::9:1]:5070")
    assert (uri.host, uri.port, uri.host_port) == ("2001:db8::9:1", 5070, "[2001:db8::9:1]:5070")
    # RFC 5118 §4.3: what stands inside the brackets belongs to the address.
    assert Uri.parse("sip:[2001:db8::10:5070]").port is None
    # RFC 5118 §4.10: three colons come from a bug in the grammar of RFC 3261.
    assert Uri.parse("sip:[2001:db8:::192.0.2.1]").host == "2001:db8:::192.0.2.1"


def test_tel_and_opaque() -> None:
    tel = Uri.parse("tel:+1-201-555-0123;phone-context=x")
    assert (tel.user, tel.host, tel.aor, tel.is_sip) == (
        "+1-201-555-0123",
        "",
        "tel:+12015550123",
        False,
    )
    assert str(tel.with_param("isub", "1")) == "tel:+1-201-555-0123;phone-context=x;isub=1"
    other = Uri.parse("soap.beep://192.0.2.1:3002")
    assert (other.scheme, other.opaque) == ("soap.beep", "//192.0.2.1:3002")
    assert other.aor == str(other)
    assert tel.opaque == ""
    with pytest.raises(LocalProtocolError):
        other.with_param("a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip",
        "bob@example.org",
        "sip:@x",
        "sip:bob@",
        "sip:bob@x y",
        " sip:bob@x",
        "sip:bob@x ",
        "<sip:bob@x>",
        "sip:2001:db8::10",
        "sip:bob@[2001:db8::1",
        "sip:bob@x:",
        "sip:bob@x:65536",
        "sip:bob@x:999999",
        "sip:bob@x;",
        "sip:bob@x;;lr",
        "sip:bob@x?",
        "sip:bob@x?a",
        "sip:a@b@c",
        "sip:bo%4@x",
        "sip:bo%zz@x",
        "sip:b\u00fcb@x",
        "\u017fip:bob@x",
        "sip:bob@\u212aelvin",
        "sip:bob@x;a=\u0661",
        "sip:bob@x:\u0661",
        "sip:bob@x\r\n",
        "sip:bob@x\n",
        "tel:",
        "tel:abc;",
        "http:a<b",
        ":x",
    ],
)
def test_no_uri(text: str) -> None:
    with pytest.raises(SipParseError):
        Uri.parse(text)


def test_a_parameter_that_appears_twice() -> None:
    uri = Uri.parse("sip:bob@x;maddr=1.1.1.1;Maddr=2.2.2.2")
    with pytest.raises(SipParseError):
        _ = uri.params


def test_build() -> None:
    uri = Uri("sip", "b b;\u00fc", "2001:db8::1", 5060, {"transport": "tcp", "lr": None})
    assert str(uri) == "sip:b%20b;%C3%BC@[2001:db8::1]:5060;transport=tcp;lr"
    assert uri.username == "b b;\u00fc"
    assert Uri.parse(str(uri)) == uri
    with_header = Uri(
        "sip", "a", "x", params=[("gr", None)], headers=[("To", "a&b")], password="p w"
    )
    assert str(with_header) == "sip:a:p%20w@x;gr?To=a%26b"
    assert str(with_header.without_headers()) == "sip:a:p%20w@x;gr"
    for bad in ("", "a b", "a/b", "a@b"):
        with pytest.raises(LocalProtocolError):
            Uri("sip", "a", bad)
    with pytest.raises(LocalProtocolError):
        Uri("tel", "1")
    with pytest.raises(LocalProtocolError):
        Uri("sip", "a", "x", 65536)


def test_change() -> None:
    uri = Uri.parse("sip:Bob@X.org:5070;lr;a=b")
    assert str(uri.with_param("Transport", "tcp")) == "sip:Bob@x.org:5070;lr;a=b;transport=tcp"
    assert str(uri.with_param("a", "c d")) == "sip:Bob@x.org:5070;lr;a=c%20d"
    assert str(uri.without_param("LR").without_param("nix")) == "sip:Bob@x.org:5070;a=b"
    assert str(uri) == "sip:Bob@X.org:5070;lr;a=b"


def test_aor() -> None:
    assert (
        Uri.parse("sips:%61lice:pw@Example.ORG:5061;transport=tls").aor == "sip:alice@example.org"
    )
    assert Uri.parse("sip:Example.org").aor == "sip:example.org"
    assert Uri.parse("sip:a@[2001:DB8::1]").aor == "sip:a@[2001:db8::1]"


def test_escapes() -> None:
    assert escape("a b%\u00fc\udcff") == "a%20b%25%C3%BC%FF"
    assert unescape("a%20b%25%C3%BC%FF%00") == "a b%\u00fc\udcff\x00"
    # RFC 4475 §3.1.1.3, §3.1.1.5: what looks like an escape is one only in a URI.
    assert (
        Uri.parse("sip:sips%3Auser%40example.com@example.net").username == "sips:user@example.com"
    )
