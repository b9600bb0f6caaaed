import pytest

from rcsops.errors import LocalProtocolError, MsrpParseError
from rcsops.msrp import MsrpUri, format_path, parse_path


@pytest.mark.parametrize(
    "text",
    [
        "msrp://192.0.2.10:28550/kQ3vN8s1Zt0aW5xY7bR2;tcp",
        "msrps://alice@relay.example.org:9000/a+b=c/d;tcp",
        "msrp://[2001:db8::1]:2855/abc;tcp",
        "msrp://example.org/abc;ws;x=1;y",
        "msrp://relay.example.org:2855;tcp",
    ],
)
def test_text_survives(text: str) -> None:
    assert str(MsrpUri.parse(text)) == text


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("msrp://h.example:1/s;tcp", "MSRP://H.EXAMPLE:1/s;TCP", True),
        ("msrp://h.example:1/s;tcp", "msrp://u@h.example:1/s;tcp;x=1", True),
        ("msrp://[2001:db8::1]:1/s;tcp", "msrp://[2001:DB8:0:0::1]:1/s;tcp", True),
        ("msrp://h.example:0028/s;tcp", "msrp://h.example:28/s;tcp", True),
        ("msrp://h.example:1/s;tcp", "msrp://h.example:1/S;tcp", False),
        ("msrp://h.example:2855/s;tcp", "msrp://h.example/s;tcp", False),
        ("msrp://h.example:1/s;tcp", "msrps://h.example:1/s;tcp", False),
        ("msrp://h.example:1/s;tcp", "msrp://h.example:1;tcp", False),
        ("msrp://h.example:1/s;tcp", "msrp://h.example:1/s;ws", False),
        ("msrp://h.example:1/s;tcp", "msrp://i.example:1/s;tcp", False),
    ],
)
def test_comparison_of_rfc_4975_6_1(left: str, right: str, equal: bool) -> None:
    a, b = MsrpUri.parse(left), MsrpUri.parse(right)
    assert (a == b) is equal
    if equal:
        assert hash(a) == hash(b)


def test_session_id_alone_is_found_behind_a_middlebox() -> None:
    ours = MsrpUri.parse("msrp://10.0.0.1:1/secret;tcp")
    assert ours.same_session(MsrpUri.parse("msrp://203.0.113.1:9/secret;tcp"))
    assert not ours.same_session(MsrpUri.parse("msrp://10.0.0.1:1/Secret;tcp"))
    relay = MsrpUri.parse("msrp://10.0.0.1:1;tcp")
    assert not relay.same_session(relay)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://h/s;tcp",
        "msrp://h/s",
        "msrp://h:99999/s;tcp",
        "msrp://h:x/s;tcp",
        "msrp:///s;tcp",
        "msrp://[::1/s;tcp",
        "msrp://h/s;tcp\r\nX: y",
        "msrp://h/" + "s" * 2000 + ";tcp",
    ],
)
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(MsrpParseError):
        MsrpUri.parse(text)


def test_path_in_visiting_order() -> None:
    text = "msrps://relay.example.org:2855/r;tcp msrp://192.0.2.1:5000/s;tcp"
    path = parse_path(text)
    assert [uri.host for uri in path] == ["relay.example.org", "192.0.2.1"]
    assert format_path(path) == text
    for wrong in ("", "   ", " ".join(["msrp://h/s;tcp"] * 17), "msrp://h/s;tcp x"):
        with pytest.raises(MsrpParseError):
            parse_path(wrong)
    long = " ".join(f"msrp://{'h' * 60}.example:{i}/{'s' * 200};tcp" for i in range(1, 12))
    assert len(parse_path(long)) == 11
    with pytest.raises(MsrpParseError):
        parse_path(" ".join(f"msrp://{'h' * 60}.example:{i}/{'s' * 200};tcp" for i in range(20)))


def test_our_own_uri() -> None:
    uri = MsrpUri.make("::1", 5000, "abc", secure=True)
    assert str(uri) == "msrps://[::1]:5000/abc;tcp"
    assert uri.secure
    assert uri.address == ("::1", 5000)
    assert MsrpUri.parse("msrp://h/s;tcp").address == ("h", 2855)
    with pytest.raises(LocalProtocolError):
        MsrpUri.make("h", 1, "a;b")
