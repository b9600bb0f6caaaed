"""What a Reason header says (RFC 3326)."""

import pytest

from rcsops.sip import Request, parse_message
from rcsops.ua.refusals import ELSEWHERE, cancel_reason, reason_text

CANCEL = (
    "CANCEL sip:bob@192.0.2.1 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKx\r\n"
    "From: <sip:alex@rcs.example>;tag=1\r\nTo: <sip:bob@rcs.example>\r\n"
    "Call-ID: x\r\nCSeq: 1 CANCEL\r\n%sContent-Length: 0\r\n\r\n"
)


@pytest.mark.rfc("3326", "2")
@pytest.mark.parametrize(
    ("header", "cancelled", "text"),
    [
        ("", "", ""),
        # As ours, OpenSIPS, Kamailio and others write it.
        ('Reason: SIP;cause=200;text="Call completed elsewhere"\r\n', ELSEWHERE, ELSEWHERE),
        ('Reason: SIP ;cause=200 ;text="Call completed elsewhere"\r\n', ELSEWHERE, ELSEWHERE),
        ('Reason: sip;text="by the tablet";cause=200\r\n', ELSEWHERE, "by the tablet"),
        ("Reason: SIP;cause=200\r\n", ELSEWHERE, ""),
        ("Reason: Q.850;cause=26, SIP;cause=200\r\n", ELSEWHERE, ""),
        ('Reason: Q.850;cause=200;text="no"\r\n', "no", "no"),
        ('Reason: SIP;cause=487;text="ORIGINATOR_CANCEL"\r\n', *["ORIGINATOR_CANCEL"] * 2),
        ("Reason: ;;=;\r\n", "", ""),
    ],
    ids=[
        *("none", "ours", "OpenSIPS", "other words", "no words", "of two", "another protocol"),
        *("the caller", "nonsense"),
    ],
)
def test_a_reason(header: str, cancelled: str, text: str) -> None:
    request = parse_message((CANCEL % header).encode())
    assert isinstance(request, Request)
    assert (cancel_reason(request), reason_text(request)) == (cancelled, text)
