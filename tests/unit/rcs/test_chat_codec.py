from datetime import UTC, datetime

import pytest

from rcsops.rcs import (
    ChatCodec,
    ComposingReceived,
    ContentReceived,
    DeliveryReceived,
    Malformed,
    TextReceived,
)
from rcsops.tokens import Tokens
from tests.unit.rcs.grammar import COMPOSING, check_cpim

NOW = datetime(2026, 11, 23, 22, 0, 9, 500000, UTC)
LATER = datetime(2026, 11, 23, 22, 0, 10, 0, UTC)


@pytest.fixture
def codec() -> ChatCodec:
    return ChatCodec(Tokens.deterministic(1))


@pytest.mark.parametrize("text", ["How are you?", "", "ünïcödé 🎈\r\n\r\nsecond", "x" * 100_000])
def test_a_text_there_and_its_notifications_back(codec: ChatCodec, text: str) -> None:
    sent = codec.compose_text(text, NOW)
    match, body = check_cpim(sent.body)
    assert (match["id"], match["wanted"]) == (sent.message_id, "positive-delivery, display")
    assert body == text.encode()
    got = codec.receive(sent.content_type, sent.body)
    assert got == TextReceived(
        sent.message_id, text, NOW, True, True, "2026-11-23T22:00:09.500Z", ()
    )
    assert isinstance(got, TextReceived)
    for report, kind, status in (
        (codec.delivery_report(got, LATER), "delivery", "delivered"),
        (codec.display_report(got, LATER), "display", "displayed"),
        (codec.delivery_report(got, LATER, status="failed"), "delivery", "failed"),
    ):
        match, body = check_cpim(report.body)
        assert b"<datetime>2026-11-23T22:00:09.500Z</datetime>" in body
        assert match["id"] == report.message_id != sent.message_id
        assert codec.receive(report.content_type, report.body) == DeliveryReceived(
            sent.message_id, kind, status
        )


def test_sending_again_keeps_the_id_and_display_can_be_left_out() -> None:
    codec = ChatCodec(Tokens.deterministic(1), display=False, from_="<sip:a@b>", to="<sip:c@d>")
    sent = codec.compose_text("x", NOW, message_id="0123456789abcdef")
    match, _ = check_cpim(sent.body)
    assert (sent.message_id, match["wanted"]) == ("0123456789abcdef", "positive-delivery")
    assert sent.body.startswith(b"From: <sip:a@b>\r\nTo: <sip:c@d>\r\n")


def test_other_content(codec: ChatCodec) -> None:
    kind = "application/x-other"
    sent = codec.compose(kind, b"<x/>", NOW)
    check_cpim(sent.body)
    got = codec.receive(sent.content_type, sent.body)
    assert isinstance(got, ContentReceived)
    assert (got.content_type, got.body, got.wants_delivery) == (kind, b"<x/>", True)
    check_cpim(codec.delivery_report(got, LATER).body)


def test_typing(codec: ChatCodec) -> None:
    for active in (True, False):
        sent = codec.composing(active)
        assert COMPOSING.fullmatch(sent.body.decode())
        got = codec.receive(sent.content_type, sent.body)
        assert isinstance(got, ComposingReceived)
        assert got.active is active


def cpim(headers: str, inner: str = "Content-Type: text/plain", body: bytes = b"hi") -> bytes:
    return f"From: <sip:a@b>\r\n{headers}\r\n{inner}\r\n\r\n".encode() + body


def test_a_message_that_nobody_could_answer_is_not_answered(codec: ChatCodec) -> None:
    ask = "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Disposition-Notification: positive-delivery\r\n"
    date = "DateTime: 2026-11-23T22:00:09Z\r\n"
    for headers, answer in (
        (ask + date + "imdn.Message-ID: abc\r\n", True),
        (ask + date, False),
        (ask + "imdn.Message-ID: abc\r\n", False),
        (ask + "DateTime: yesterday\r\nimdn.Message-ID: abc\r\n", False),
        (ask + date + "imdn.Message-ID: a b\r\n", False),
        (ask + date + f"imdn.Message-ID: {'x' * 1000}\r\n", False),
        (ask + date + "imdn.Message-ID: ünï\r\n", False),
        (date + "imdn.Message-ID: abc\r\n", False),
        ("", False),
    ):
        got = codec.receive("Message/CPIM; x=y", cpim(headers))
        assert isinstance(got, TextReceived)
        assert got.text == "hi"
        assert got.wants_delivery is answer, headers
        assert not got.wants_display


@pytest.mark.rfc("3862", "4.7")
@pytest.mark.parametrize(
    ("inner", "told"),
    [
        ("Content-Type: text/plain", True),
        ("Content-Type: image/png", True),
        ("Content-Type: application/im-iscomposing+xml", True),
        ("Content-Type: message/imdn+xml", False),
    ],
)
def test_what_requires_more_than_is_known_is_not_read(
    codec: ChatCodec, inner: str, told: bool
) -> None:
    headers = (
        "DateTime: 2026-11-23T22:00:09Z\r\nimdn.Message-ID: abc\r\n"
        "imdn.Disposition-Notification: positive-delivery, negative-delivery\r\n"
        f"Require: Kanji.MustRender{', x' * 200}\r\n"
    )
    got = codec.receive("message/cpim", cpim(headers, inner, b"<x/>"))
    assert isinstance(got, ContentReceived)
    assert got.not_understood[:2] == ("Kanji.MustRender", "x")
    assert "requires Kanji.MustRender, x, " in got.reason
    assert len(got.reason) < 150
    assert got.wants_failure is told
    # Without the header it would be read, or would not be what it says.
    assert codec.receive("message/cpim", cpim("", inner, b"<x/>")) != got


def test_the_route_of_a_notification(codec: ChatCodec) -> None:
    routes = ("<sip:first@x>", "<sip:second@x>")
    lines = "".join(f"imdn.IMDN-Record-Route: {route}\r\n" for route in routes)
    got = codec.receive(
        "message/cpim",
        cpim("DateTime: 2026-11-23T22:00:09Z\r\nimdn.Message-ID: abc\r\n" + lines),
    )
    assert isinstance(got, TextReceived)
    assert got.routes == routes
    report = codec.delivery_report(got, NOW).body
    assert b"imdn.IMDN-Route: <sip:first@x>\r\nimdn.IMDN-Route: <sip:second@x>\r\n" in report
    check_cpim(report)


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", "é".encode(), "é"),
        ("TEXT/PLAIN; charset=ISO-8859-1", b"\xe9", "é"),
        ('text/plain;charset="utf-8"', b"\xff", "\ufffd"),
        ("text/plain;charset=utf-16", "é".encode("utf-16"), "é"),
        ("text/plain;charset=zip", b"plain", "plain"),
        ("text/plain;charset=idna", b"plain", "plain"),
    ],
)
def test_text_without_cpim_and_its_charset(
    codec: ChatCodec, kind: str, body: bytes, text: str
) -> None:
    assert codec.receive(kind, body) == TextReceived("", text, None)


def test_what_is_not_what_it_says(codec: ChatCodec) -> None:
    for kind in ("message/cpim", "message/imdn+xml", "application/im-iscomposing+xml"):
        for body in (b"", b"nonsense", bytes(range(256))):
            got = codec.receive(kind, body)
            assert isinstance(got, Malformed)
            assert got.content_type == kind
    bad = cpim("", "Content-Type: message/imdn+xml", b"<x/>")
    assert isinstance(codec.receive("message/cpim", bad), Malformed)
    assert codec.receive("image/png", b"x") == ContentReceived("", "image/png", b"x", None)
