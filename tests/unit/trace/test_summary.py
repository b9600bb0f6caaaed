"""What a message is, in a few words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.trace import summarize

from .messages import msrp, request, response

CPIM = (
    "From: <sip:a@b>\r\nTo: <sip:b@b>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\r\n"
    "Content-Type: {}\r\n\r\n{}"
)
SDP = "v=0\r\na=path:msrp://127.0.0.1:50001/session-of-alex;tcp\r\n"
IMDN = '<?xml version="1.0"?><imdn xmlns="x"><delivery-notification><status><{}/></status></imdn>'


def cpim_send(kind: str, body: str) -> bytes:
    return msrp("t1", "SEND", "Content-Type: message/cpim\r\n", CPIM.format(kind, body))


@pytest.mark.parametrize(
    ("data", "label"),
    [
        (request("REGISTER", branch="1"), "REGISTER"),
        (
            request("REGISTER", branch="1", headers="Authorization: Digest x\r\n"),
            "REGISTER (digest)",
        ),
        (request("REGISTER", branch="1", headers="Expires: 0\r\n"), "REGISTER (remove)"),
        (
            request("REGISTER", branch="1", headers="Contact: <sip:a@b>;expires=0\r\n"),
            "REGISTER (remove)",
        ),
        (
            request("REGISTER", branch="1", headers="Contact: <sip:a@b>;expires=090\r\n"),
            "REGISTER",
        ),
        (
            request("INVITE", branch="1", headers="proxy-authorization: x\r\n", body=SDP),
            "INVITE (digest, SDP)",
        ),
        (response(180, "Ringing", "INVITE", branch="1"), "180 Ringing (INVITE)"),
        (response(200, "", "BYE", branch="1"), "200 (BYE)"),
        (b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\n\r\n", "OPTIONS"),
    ],
)
def test_sip(data: bytes, label: str) -> None:
    assert summarize("sip", data).label == label


@pytest.mark.parametrize(
    ("data", "label"),
    [
        (msrp("t1", "SEND"), "SEND (empty)"),
        (msrp("t1", "200 OK"), "200 OK"),
        (msrp("t1", "481"), "481"),
        (msrp("t1", "REPORT", "Status: 000 200 OK\r\n"), "REPORT 200 OK"),
        (msrp("t1", "SEND", "Content-Type: text/plain\r\n", "hi"), "SEND text/plain"),
        (cpim_send("text/plain;charset=UTF-8", "hi"), "SEND text/plain"),
        (cpim_send("message/imdn+xml", IMDN.format("delivered")), "SEND imdn delivered"),
        (cpim_send("message/imdn+xml", IMDN.format("i:displayed")), "SEND imdn displayed"),
        (cpim_send("message/imdn+xml", "<imdn/>"), "SEND imdn"),
        (
            msrp("t1", "SEND", "Byte-Range: 1-2/2\r\nContent-Type: text/plain\r\n", "hi"),
            "SEND text/plain",
        ),
        (
            msrp("t1", "SEND", "Byte-Range: 3-*/9000\r\nContent-Type: image/png\r\n", "hi"),
            "SEND image/png 3-*/9000",
        ),
    ],
)
def test_msrp(data: bytes, label: str) -> None:
    assert summarize("msrp", data).label == label


def test_the_numbers_that_tie_messages_together() -> None:
    invite = summarize("sip", request("INVITE", branch="1", body=SDP, cseq=7))
    assert (invite.method, invite.status) == ("INVITE", None)
    assert (invite.call_id, invite.cseq, invite.cseq_method) == ("call-1", 7, "INVITE")
    assert invite.session_ids == ("session-of-alex",)
    # The compact form of Call-ID counts too.
    ringing = summarize("sip", response(180, "Ringing", "INVITE", branch="1"))
    assert (ringing.method, ringing.status, ringing.call_id) == (None, 180, "call-1")
    send = summarize("msrp", msrp("t9", "SEND", "Message-ID: m1\r\n"))
    assert (send.transaction_id, send.message_id) == ("t9", "m1")
    assert set(send.session_ids) == {"session-of-alex", "session-of-bob"}


@given(st.binary(max_size=300), st.sampled_from(["sip", "msrp"]))
def test_nothing_makes_it_fail(data: bytes, protocol: str) -> None:
    assert isinstance(summarize(protocol, data).label, str)


@pytest.mark.parametrize("total", ["²", "٣", "9" * 5000, "-1", "*", ""])
def test_a_byte_range_that_is_none(total: str) -> None:
    frame = msrp("t9", "SEND", f"Byte-Range: 1-5/{total}\r\nContent-Type: text/plain\r\n", "hello")
    assert "text/plain" in summarize("msrp", frame).label


@pytest.mark.parametrize("start", [b"MSRP t SEND\r\n", b"INVITE sip:a SIP/2.0\r\n"])
def test_a_long_method_is_cut(start: bytes) -> None:
    assert len(summarize("sip", b"A" * 100_000 + b" sip:a SIP/2.0\r\n\r\n").label) < 100
    assert len(summarize("msrp", b"MSRP t " + b"A" * 100_000 + b"\r\n\r\n").label) < 100
