"""Verdicts on messages that frame (RFC 3261 §8.1.1, §8.2; cases of RFC 4475 and RFC 5118)."""

import pytest

from rcsops.sip import Request, Response, check_request, check_response, parse_message

GOOD = {
    "start": "OPTIONS sip:bob@example.org SIP/2.0",
    "Via": "Via: SIP/2.0/UDP a;branch=z9hG4bK1",
    "From": "From: <sip:a@x>;tag=1",
    "To": "To: <sip:b@x>",
    "Call-ID": "Call-ID: c",
    "CSeq": "CSeq: 1 OPTIONS",
    "Max-Forwards": "Max-Forwards: 70",
}


def verdict(body: bytes = b"", **changes: str) -> int:
    """The status of the refusal, 0 for none; names have _ for -."""
    lines = dict(GOOD)
    for name, line in changes.items():
        lines[name.replace("_", "-")] = line
    text = "\r\n".join([line for line in lines.values() if line] + ["", ""])
    message = parse_message(text.encode() + body)
    assert isinstance(message, Request)
    error = check_request(message)
    return error.status if error else 0


@pytest.mark.rfc("3261", "8.1.1")
def test_good() -> None:
    assert verdict() == 0
    # RFC 4475 §3.4.1: by the rules of RFC 2543.
    assert verdict(Via="Via: SIP/2.0/UDP a", From="From: <sip:a@x>", Max_Forwards="") == 0
    # RFC 4475 §3.2.1
    assert verdict(Via="Via: SIP/2.0/UDP a;branch=z9hG4bK") == 0
    assert verdict(Max_Forwards="Max-Forwards: 0") == 0
    assert verdict(start="OPTIONS tel:+1 SIP/2.0") == 0
    assert verdict(To="To: isbn:2983792873") == 0


@pytest.mark.rfc("3261", "8.1.1")
@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_what_must_be_there(name: str) -> None:
    assert verdict(**{name.replace("-", "_"): ""}) == 400


@pytest.mark.rfc("3261", "8.1.1")
@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq", "Max-Forwards"])
def test_what_must_be_there_once(name: str) -> None:
    assert verdict(**{name.replace("-", "_"): f"{GOOD[name]}\r\n{GOOD[name]}"}) == 400


@pytest.mark.rfc("3261", "8.2.2")
@pytest.mark.parametrize(
    ("name", "line", "status"),
    [
        ("start", "OPTIONS sip:b@x SIP/7.0", 505),
        ("start", "OPTIONS soap.beep://192.0.2.1 SIP/2.0", 416),
        ("start", "OPTIONS nobodyKnowsThisScheme:x SIP/2.0", 416),
        ("start", "OPTIONS <sip:b@x> SIP/2.0", 400),
        ("start", "OPTIONS sip:b@x?Route=%3Csip:c@y%3E SIP/2.0", 400),
        ("start", "OPTIONS sip:2001:db8::10 SIP/2.0", 400),
        ("CSeq", "CSeq: 1 INVITE", 400),
        ("CSeq", "CSeq: 36893488147419103232 OPTIONS", 400),
        ("Max-Forwards", "Max-Forwards: 300", 400),
        ("Max-Forwards", "Max-Forwards: x", 400),
        ("Via", "Via: SIP/2.0/UDP 192.0.2.15;;,;,,", 400),
        ("Via", "Via: SIP/2.0/UDP a;branch=1;Branch=2", 400),
        ("To", 'To: "Mr. J. User <sip:j.user@example.com>', 400),
        ("To", "To: < sip:b@x >", 400),
        ("From", "From: Bell, Alexander <sip:a@x>;tag=4", 400),
        ("From", "From: <sip:a@x>;tag=4;tag=5", 400),
        ("Contact", 'Contact: "Joe" <sip:joe@example.org>;;;;', 400),
        ("Contact", "Contact: sip:user@example.com?Route=%3Csip:x%3E", 400),
        ("Contact", "Contact: *", 400),
        ("Contact", "Contact: <sip:a b@x>", 400),
        ("Route", "Route: <sip:a@x>,,<sip:b@x>", 400),
        ("Route", "Route: <sip:a@x;lr;lr>", 400),
    ],
)
def test_refused(name: str, line: str, status: int) -> None:
    assert verdict(**{name.replace("-", "_"): line}) == status


def test_content_type_counts_only_with_a_body() -> None:
    assert verdict(Content_Type="Content-Type: nonsense") == 0
    assert verdict(b"x", Content_Type="Content-Type: nonsense") == 400
    assert verdict(b"x", Content_Type="Content-Type: text/plain") == 0


@pytest.mark.rfc("3261", "10.3")
def test_register_may_remove_all() -> None:
    register = {"start": "REGISTER sip:x SIP/2.0", "CSeq": "CSeq: 1 REGISTER"}
    assert verdict(**register, Contact="Contact: *") == 0
    # RFC 4475 §3.3.12 to §3.3.14: unknown parameters and escaped headers are kept.
    for contact in ("<sip:a@x>;unknown", "<sip:a@x;unknown>", "<sip:a@x?Route=%3Csip:x%3E>"):
        assert verdict(**register, Contact=f"Contact: {contact}") == 0


def answer(*lines: str, start: str = "SIP/2.0 200 OK") -> bool:
    message = parse_message("\r\n".join((start, *lines, "", "")).encode())
    assert isinstance(message, Response)
    return check_response(message)


def test_responses() -> None:
    good = [GOOD[name] for name in ("Via", "From", "To", "Call-ID", "CSeq")]
    assert answer(*good)
    assert not answer(*good, start="SIP/7.0 200 OK")
    for index in range(len(good)):
        assert not answer(*good[:index], *good[index + 1 :])
        assert not answer(*good, *good[index : index + 1]) or index == 0
    # RFC 4475 §3.1.2.5
    assert not answer(*good[:4], "CSeq: 9292394834772304023312 OPTIONS")
