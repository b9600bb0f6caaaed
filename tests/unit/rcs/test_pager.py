"""A pager message as it leaves and as it is read."""

from datetime import UTC, datetime

import pytest

from rcsops.errors import LocalProtocolError, RemoteProtocolError
from rcsops.rcs import (
    ChatCodec,
    ContentReceived,
    DeliveryReceived,
    TextReceived,
    pager_excess,
    read_message,
    write_message,
)
from rcsops.sip import Request, parse_message
from rcsops.tokens import Tokens

from .grammar import check_cpim

NOW = datetime(2026, 11, 23, 22, 5, tzinfo=UTC)


@pytest.fixture
def codec() -> ChatCodec:
    return ChatCodec(Tokens(lambda count: bytes(range(count))))


def message(method: str = "MESSAGE") -> Request:
    return Request(
        method,
        "sip:bob@rcs.example",
        [
            ("Max-Forwards", "70"),
            ("From", "<sip:alex@rcs.example>;tag=a"),
            ("To", "<sip:bob@rcs.example>"),
            ("Call-ID", "c"),
            ("CSeq", f"3 {method}"),
        ],
    )


def written(codec: ChatCodec, text: str) -> Request:
    request = message()
    write_message(
        request, codec.compose_text(text, NOW), conversation_id="thread", contribution_id="one"
    )
    return request


def test_what_leaves(codec: ChatCodec) -> None:
    request = written(codec, "Call me back")
    assert request.get("Accept-Contact") == (
        '*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg"'
    )
    service = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"
    assert request.get("P-Preferred-Service") == service
    assert request.get("Conversation-ID") == "thread"
    assert request.get("Contribution-ID") == "one"
    assert request.get("Content-Type") == "message/cpim"
    # RFC 3428 §4: it makes no dialog.
    assert not request.has("Contact")
    match, body = check_cpim(request.body)
    assert match["wanted"] == "positive-delivery, display"
    assert body == b"Call me back"


def test_and_comes_in(codec: ChatCodec) -> None:
    request = written(codec, "Grüße 👋")
    request.prepend("Via", "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKx")
    read = parse_message(bytes(request))
    assert isinstance(read, Request)
    came = read_message(codec, read)
    assert isinstance(came, TextReceived)
    assert (came.text, came.sent_at, came.wants_delivery) == ("Grüße 👋", NOW, True)
    report = message()
    write_message(
        report, codec.delivery_report(came, NOW), conversation_id="thread", contribution_id="one"
    )
    check_cpim(report.body)
    assert read_message(codec, report) == DeliveryReceived(came.message_id, "delivery", "delivered")


def test_a_text_without_an_id_has_that_of_its_request(codec: ChatCodec) -> None:
    request = message()
    request.set_body(b"plain", "text/plain")
    came = read_message(codec, request)
    assert isinstance(came, TextReceived)
    assert (came.message_id, came.text, came.wants_delivery) == ("c;3", "plain", False)


def test_what_kamailio_hands_on_as_plain_text(codec: ChatCodec) -> None:
    request = written(codec, "Call me back")
    sent = read_message(codec, request)
    request.set("Content-Type", "text/plain")
    assert read_message(codec, request) == sent
    # What it requires counts all the same.
    strict = request.body.replace(b"NS: imdn", b"Require: Kanji.MustRender\r\nNS: imdn")
    request.set_body(strict, "text/plain")
    assert isinstance(read_message(codec, request), ContentReceived)
    # A text about CPIM is a text.
    request.set_body(b"NS: imdn <urn:ietf:params:imdn> is how it begins", "text/plain")
    came = read_message(codec, request)
    assert isinstance(came, TextReceived)
    assert came.text.startswith("NS: ")


def test_the_1300_octets(codec: ChatCodec) -> None:
    size = 0
    while not pager_excess(written(codec, "x" * (size + 1))):
        size += 1
    assert size > 300
    request = written(codec, "x" * size)
    request.prepend("Via", "SIP/2.0/TCP [2001:db8:1:2:3:4:5:6]:65535;branch=z9hG4bK" + "b" * 20)
    assert len(bytes(request)) <= 1300
    assert pager_excess(written(codec, "x" * (size + 7))) == 7
    # In octets, not in characters.
    assert pager_excess(written(codec, "é" * size)) >= size


def test_another_method_is_a_mistake(codec: ChatCodec) -> None:
    with pytest.raises(LocalProtocolError):
        write_message(
            message("INFO"),
            codec.compose_text("x", NOW),
            conversation_id="thread",
            contribution_id="one",
        )


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("image/png", b"x", 415),
        ("message/cpim", b"nothing like it", 400),
        ("message/imdn+xml", b"<imdn/>", 400),
    ],
)
def test_what_is_refused(codec: ChatCodec, content_type: str, body: bytes, status: int) -> None:
    request = message()
    request.set_body(body, content_type)
    with pytest.raises(RemoteProtocolError) as refused:
        read_message(codec, request)
    assert refused.value.status == status
