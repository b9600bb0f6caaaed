"""The examples of RFC 4975, 3862, 5438, 3994 and 5547: each means what the RFC says."""

import hashlib
from datetime import UTC, datetime

import pytest

from rcsops.errors import SdpParseError
from rcsops.msrp import (
    MessageReceived,
    MsrpSession,
    Request,
    Response,
    format_path,
    parse_frame,
    parse_path,
)
from rcsops.msrp.frame import ByteRange, parse_status
from rcsops.rcs import (
    ChatCodec,
    Composing,
    ContentReceived,
    CpimMessage,
    DeliveryReceived,
    FileSelector,
    ImdnReport,
    TextReceived,
    parse_composing,
    parse_imdn,
    read_features,
    read_file_offer,
)
from rcsops.rcs.cpim import IMDN_NAMESPACE, header_text, parse_address
from rcsops.sdp import find_msrp, parse_sdp
from rcsops.sip import Challenge, NameAddr, Via
from rcsops.sip.auth import Credentials
from rcsops.sip.grammar import split_list
from rcsops.sip.headers import MediaType
from rcsops.sip.multipart import BodyPart, read_parts
from rcsops.tokens import Tokens
from tests.corpus.corpus import HERE, Case, cases
from tests.property.oracles import ORACLES
from tests.unit.msrp.pair import Side

RCS = cases("rcs")
BY_NAME = {case.name: case for case in RCS}
SHA1 = "72245fe8653ddaf371362f86d471913ee4a2ce2e"


def data(name: str) -> bytes:
    return BY_NAME[name].data


def text(name: str) -> str:
    return data(name).decode()


def request(name: str) -> Request:
    frame = parse_frame(data(name))
    assert isinstance(frame, Request)
    return frame


def parts(data: bytes) -> tuple[BodyPart, ...]:
    boundary, _, body = data.partition(b"\n")
    return read_parts(body, boundary.decode())


def test_the_index_has_every_file() -> None:
    assert sorted(case.path for case in RCS) == sorted(HERE.glob("rcs/*.bin"))


@pytest.mark.parametrize("case", RCS, ids=str)
def test_it_is_read_and_written_again(case: Case) -> None:
    assert hashlib.sha256(case.data).hexdigest() == case.entry["sha256"]
    ORACLES[case.entry["oracle"]](case.data)


# --- RFC 4975 -------------------------------------------------------------------------------------


def test_a_basic_session() -> None:
    _, media = find_msrp(parse_sdp(data("msrp-basic-offer")))
    assert (media.host, media.port, media.accept_types) == (
        "atlanta.example", 7654, ("text/plain",),
    )  # fmt: skip
    send = request("msrp-basic-send")
    assert (send.method, send.message_id, send.continuation) == ("SEND", "87652491", "$")
    assert send.body == b"Good morning, are you?"
    assert ByteRange.parse(send.get("Byte-Range") or "") == ByteRange(1, 22, 22)
    assert send.from_path == media.path
    answer = parse_frame(data("msrp-basic-ok"))
    assert isinstance(answer, Response)
    assert (answer.status, answer.comment) == (200, "OK")
    assert (answer.to_path, answer.from_path) == (send.from_path, send.to_path)
    assert answer.transaction_id == send.transaction_id


def test_a_session_is_answered() -> None:
    offered, answered = (
        find_msrp(parse_sdp(data(f"msrp-basic-{name}")))[1] for name in ("offer", "answer")
    )
    assert (answered.host, answered.port) == ("biloxi.example", 12763)
    send = request("msrp-basic-send")
    assert (send.from_path, send.to_path) == (offered.path, answered.path)


def test_what_is_taken_bare_and_wrapped() -> None:
    _, media = find_msrp(parse_sdp(data("msrp-wrapped-types")))
    assert media.accept_types == ("message/cpim", "text/plain")
    assert media.accept_wrapped_types == ("text/html", "*")


def test_markup_and_blank_lines_are_body() -> None:
    send = request("msrp-xhtml")
    assert send.get("content-type") == "application/xhtml+xml"
    assert send.body is not None
    assert send.body.endswith(b"</html>")
    assert b"\r\n\r\n" in send.body


def received(*names: str) -> list[MessageReceived]:
    """What an endpoint with the paths of these frames is told when they come."""
    to, from_ = (
        parse_path(path) for path in (request(names[0]).to_path, request(names[0]).from_path)
    )
    side = Side(MsrpSession(to, from_, tokens=Tokens.deterministic(1), active=False))
    for name in names:
        side.connection.receive_data(data(name), 0.0)
    side.sent = side.connection.data_to_send(0.0)
    side.drain()
    assert side.sent.count(b" 200 OK\r\n") == len(side.frames()) == len(names)
    return side.of(MessageReceived)


@pytest.mark.parametrize("names", [("1", "2"), ("2", "1")])
def test_two_chunks_make_one_message(names: tuple[str, str]) -> None:
    chunks = [request(f"msrp-chunk-{name}") for name in ("1", "2")]
    assert [chunk.continuation for chunk in chunks] == ["+", "$"]
    [message] = received(*(f"msrp-chunk-{name}" for name in names))
    assert (message.body, message.message_id) == (b"abcdEFGH", "4564dpWd")


def test_a_wrapped_message_may_be_cut_anywhere() -> None:
    [message] = received("msrp-cpim-chunk-1", "msrp-cpim-chunk-2")
    wrapped = CpimMessage.parse(message.body)
    assert parse_address(wrapped.get("To") or "") == ("Bob", "sip:bob@biloxi.example")
    assert (wrapped.content_type, wrapped.body) == ("text/plain", b"A long story")
    assert wrapped.date_time == datetime(2026, 5, 15, 18, 2, 31, tzinfo=UTC)


def test_a_system_wants_no_answer() -> None:
    send = request("msrp-system")
    assert (send.get("Failure-Report"), send.get("Success-Report")) == ("no", "no")


def test_a_positive_report() -> None:
    send, report = request("msrp-positive-send"), request("msrp-positive-report")
    assert send.get("Success-Report") == "yes"
    assert (report.method, report.body, report.message_id) == ("REPORT", None, send.message_id)
    assert parse_status(report.get("Status") or "") == (200, "OK")
    assert report.to_path == send.from_path


def test_a_report_of_a_failure() -> None:
    report = request("msrp-failed-report")
    assert parse_status(report.get("Status") or "") == (408, "Timed out")
    send = request("msrp-basic-send")
    assert (report.message_id, report.to_path) == (send.message_id, send.from_path)
    assert report.get("Byte-Range") == send.get("Byte-Range")


@pytest.mark.rfc("4975", "11.7")
def test_one_of_several_devices() -> None:
    """Two are tried at once, and each has an early session; who takes the call has another."""
    contacts = [NameAddr.parse(each) for each in split_list(text("fork-contacts"))]
    assert [(each.uri.host.partition(".")[0], each.param("q")) for each in contacts] == [
        ("balcony", "0.9"), ("chamber", "0.9"), ("pda", "0.4"), ("thecapulets", "0.1"),
    ]  # fmt: skip
    own = find_msrp(parse_sdp(data("fork-offer")))[1].path
    paths = [
        find_msrp(parse_sdp(data(f"fork-answer-{name}")))[1].path
        for name in ("balcony", "chamber", "nurse")
    ]
    assert len({own, *paths}) == 4
    for name, path in zip(("balcony", "chamber"), paths, strict=False):
        send = request(f"fork-send-{name}")
        assert (send.from_path, send.to_path) == (own, path)
        [message] = received(f"fork-send-{name}")
        assert message.body == b"art thou there?"
    last = request("fork-send-nurse")
    assert (last.from_path, last.to_path) == (paths[2], own)
    [answer] = received("fork-send-nurse")
    assert answer.body == b"she is with her father"


def test_only_the_own_end_line_with_its_flag_ends_a_body() -> None:
    assert request("msrp-end-line-in-body").body == (
        b"-------a786hjs2$\r\n-------d93kswow\r\n-------d93kswowx"
    )


def test_a_path_over_a_relay() -> None:
    path = parse_path(request("msrp-relayed").to_path)
    assert [uri.secure for uri in path] == [True, False]
    assert path[0].address == ("relay.example.net", 2855)
    assert format_path(path) == request("msrp-relayed").to_path


def test_a_message_is_given_up() -> None:
    assert request("msrp-abort").continuation == "#"


def test_a_path_of_everything() -> None:
    path = parse_path(text("msrp-path"))
    assert [uri.port for uri in path] == [2855, 1, 65535]
    assert path[0].host.strip("[]") == "2001:db8::1"
    assert ByteRange.parse(text("byte-range")) == ByteRange(2049, None, None)


# --- RFC 3862, 5438, 3994 -------------------------------------------------------------------------


def test_cpim_headers() -> None:
    message = CpimMessage.parse(data("cpim-simple"))
    assert parse_address(message.get("from") or "") == (
        "MR SANDERS", "im:piglet@100akerwood.example",
    )  # fmt: skip
    subjects = message.get_all("Subject")
    assert [header_text(subject) for subject in subjects] == [
        "the weather will be fine today", "beau temps prevu pour aujourd'hui",
    ]  # fmt: skip
    assert subjects[1].startswith(";lang=fr ")
    own = "mid:MessageFeatures@id.foo.example"
    assert message.get("VitalMessageOption", own) == "Confirmation-requested"
    assert message.get("WackyMessageOption", own) == "Use-silly-font"
    assert message.get("VitalMessageOption") is None
    assert message.content("Content-ID") == "<1234567890@foo.example>"
    assert message.body.startswith(b"<body>\r\n")
    assert message.date_time == datetime(2000, 12, 13, 21, 40, tzinfo=UTC)


def test_cpim_escapes() -> None:
    message = CpimMessage.parse(data("cpim-escapes"))
    assert header_text(message.get("subject") or "") == "two\nlines\tand €"
    assert parse_address(message.get("from") or "")[0] == 'Björn "B" \\ Sohn'
    assert parse_address(message.get("cc") or "") == ("Winnie", "im:pooh@example.com")
    assert CpimMessage.parse(data("cpim-empty")).body == b""


def test_a_message_that_requires_what_is_not_known_is_not_read() -> None:
    assert CpimMessage.parse(data("cpim-simple")).not_understood() == [
        "MyFeatures.VitalMessageOption"
    ]
    got = ChatCodec(Tokens.deterministic(1)).receive("message/cpim", data("cpim-simple"))
    assert isinstance(got, ContentReceived)
    assert got.not_understood == ("MyFeatures.VitalMessageOption",)


def test_a_feature_without_a_header_is_required() -> None:
    message = CpimMessage.parse(data("cpim-locale"))
    assert message.not_understood() == ["Locale.MustRenderKanji"]
    assert [parse_address(each) for each in message.get_all("To")] == [
        ("Winnie the Pooh", "im:pooh@100akerwood.example"),
        ("", "im:piglet@100akerwood.example"),
    ]
    assert parse_address(message.get("cc") or "") == ("", "im:rabbit@100akerwood.example")


def test_another_default_namespace() -> None:
    message = CpimMessage.parse(data("cpim-default-namespace"))
    assert message.get("Subject") is None
    assert message.get("Subject", "urn:example:other") == "of another namespace"
    assert parse_address(message.get("From") or "")[1] == "im:tigger@100akerwood.example"
    assert message.imdn("Message-ID") == "8ah3"


@pytest.mark.rfc("3862", "5.2")
def test_a_signed_message() -> None:
    """Read it is not (tests/peers); what was signed is the wrapping with all that is in it."""
    signed, signature = parts(data("cpim-signed"))
    assert (signed.type_, signature.type_) == ("message/cpim", "application/pkcs7-signature")
    assert (signature.encoding, signature.body) == ("base64", b"MIIBAA==")
    # The line end before a boundary is the boundary's.
    assert signed.body + b"\r\n" == data("cpim-simple")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("imdn-request", "positive-delivery, negative-delivery"),
        ("imdn-request-display", "display"),
    ],
)
def test_a_message_asks_for_notifications(name: str, asked: str) -> None:
    message = CpimMessage.parse(data(name))
    assert message.imdn("message-id") == "34jk324j"
    assert message.imdn("disposition-notification") == asked
    # Its inner length leaves the last octets out, or is one too large: both are read.
    assert message.body.rstrip() in (b"Hello World", b"Hello World\r")
    got = ChatCodec(Tokens.deterministic(1)).receive("message/cpim", data(name))
    assert isinstance(got, TextReceived)
    assert got.wants_delivery == ("positive" in asked)
    assert got.wants_display == (asked == "display")


def test_a_notification_takes_the_way_back() -> None:
    codec = ChatCodec(Tokens.deterministic(1))
    got = codec.receive("message/cpim", data("imdn-request-display"))
    assert isinstance(got, TextReceived)
    report = CpimMessage.parse(codec.display_report(got, datetime(2026, 1, 1, tzinfo=UTC)).body)
    assert report.imdn("imdn-route") == "<im:relay.example.com>"
    assert parse_imdn(report.body).message_id == "34jk324j"


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("imdn-delivered", "delivery", "delivered"),
        ("imdn-displayed", "display", "displayed"),
        ("imdn-processing", "processing", "stored"),
        ("imdn-processed", "processing", "processed"),
        ("imdn-failed", "delivery", "failed"),
        ("imdn-forbidden", "display", "forbidden"),
        ("imdn-error", "display", "error"),
    ],
)
def test_notifications(name: str, kind: str, status: str) -> None:
    bob = "im:bob@example.com"
    assert parse_imdn(data(name)) == ImdnReport(
        "34jk324j", kind, status, "2008-04-04T12:16:49-05:00", bob, bob
    )


def test_a_wrapped_notification_is_no_message() -> None:
    got = ChatCodec(Tokens.deterministic(1)).receive("message/cpim", data("imdn-wrapped"))
    assert got == DeliveryReceived("34jk324j", "delivery", "delivered")


def test_a_notification_over_two_on_the_way() -> None:
    message = CpimMessage.parse(data("imdn-routed"))
    assert [parse_address(each)[1] for each in message.get_all("IMDN-Route", IMDN_NAMESPACE)] == [
        "im:near@example.com",
        "im:far@example.com",
    ]
    got = ChatCodec(Tokens.deterministic(1)).receive("message/cpim", data("imdn-routed"))
    assert got == DeliveryReceived("34jk324j", "display", "displayed")


def test_notifications_of_several_recipients() -> None:
    """A list's; one to one there is none, and an agent leaves it aside."""
    message = CpimMessage.parse(data("imdn-aggregated"))
    kind = MediaType.parse(message.content_type)
    each = read_parts(message.body, kind.param("boundary") or "")
    assert {part.type_ for part in each} == {"message/imdn+xml"}
    reports = [parse_imdn(part.body) for part in each]
    assert [(one.recipient_uri, one.message_id, one.status) for one in reports] == [
        ("im:bob@example.com", "34jk324j", "delivered"),
        ("im:carol@example.com", "34jk324j", "failed"),
    ]
    got = ChatCodec(Tokens.deterministic(1)).receive("message/cpim", data("imdn-aggregated"))
    assert isinstance(got, ContentReceived)
    assert not (got.wants_delivery or got.wants_failure)


def test_is_composing() -> None:
    active = parse_composing(data("composing-active"))
    assert active == Composing(True, 90, "text/plain", "")
    assert active.expiry == 90
    idle = parse_composing(data("composing-idle"))
    assert idle == Composing(False, None, "audio", "2003-01-27T10:43:00Z")
    assert idle.expiry == 120


# --- RFC 5547 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file-push-offer", "file-resume-offer"])
def test_a_file_is_pushed(name: str) -> None:
    offer = read_file_offer(parse_sdp(data(name)))
    assert offer.push
    assert offer.selector == FileSelector("My cool picture.jpg", "image/jpeg", 32349, SHA1)
    assert offer.transfer_id == "vBnG916bdberum2fFEABR1FR3ExZMUrd"
    expected = (1, 32349) if name == "file-push-offer" else (1001, None)
    assert (offer.start, offer.stop) == expected
    if name == "file-push-offer":
        assert offer.icon == "cid:id2@alicepc.example.com"


def test_a_file_is_taken() -> None:
    answer = find_msrp(parse_sdp(data("file-push-answer")))[1]
    offer = find_msrp(parse_sdp(data("file-push-offer")))[1]
    assert (offer.direction, answer.direction) == ("sendonly", "recvonly")
    assert answer.file_transfer_id == offer.file_transfer_id
    assert answer.file_selector == offer.file_selector


def test_a_file_is_pulled_by_its_hash() -> None:
    offer = read_file_offer(parse_sdp(data("file-pull-offer")))
    assert not offer.push
    assert offer.selector == FileSelector(sha1=SHA1)


def test_the_file_that_was_asked_for() -> None:
    asked, given = (
        find_msrp(parse_sdp(data(f"file-pull-{name}")))[1] for name in ("offer", "answer")
    )
    assert (asked.direction, given.direction) == ("recvonly", "sendonly")
    assert asked.file_transfer_id == given.file_transfer_id
    selector = FileSelector.parse(given.file_selector or "")
    assert selector == FileSelector("My cool picture.jpg", "image/jpeg", 32349, SHA1)
    assert FileSelector.parse(asked.file_selector or "").sha1 == selector.sha1


def test_a_file_and_its_icon() -> None:
    offer, icon = parts(data("file-related"))
    assert (offer.type_, icon.type_, icon.is_optional) == ("application/sdp", "image/jpeg", True)
    assert read_file_offer(parse_sdp(offer.body)).icon == "cid:id2@alicepc.example.com"
    assert icon.body == b"small"


def test_a_file_comes_in_its_wrapping() -> None:
    [message] = received("file-send-1", "file-send-2")
    wrapped = CpimMessage.parse(message.body)
    assert wrapped.content_type == "image/jpeg"
    assert wrapped.body == b"!" * 2048 + b'"' * 2044
    disposition = wrapped.content("content-disposition") or ""
    assert disposition.startswith('render; filename="My cool picture.jpg"; ')
    assert disposition.endswith("size=4092")


def test_the_stream_of_a_file_that_is_over() -> None:
    session = parse_sdp(data("file-over"))
    (media,) = session.media
    assert media.port == 0
    assert session.origin.version == 2890844527
    with pytest.raises(SdpParseError):
        read_file_offer(session)


def test_two_files_are_offered() -> None:
    session = parse_sdp(data("file-two-offers"))
    selectors = [
        FileSelector.parse(media.attribute("file-selector") or "") for media in session.media
    ]
    assert [(each.name, each.size) for each in selectors] == [
        ("sunset.jpg", 4096), ('100% sure "really".txt', 17),
    ]  # fmt: skip
    assert selectors[1].type == 'text/plain;charset="utf-8"'


def test_that_files_can_be_taken_is_no_offer_of_one() -> None:
    """A selector without a value, on a stream without a port or path (RFC 5547 §8.5)."""
    session = parse_sdp(data("file-capability"))
    (media,) = session.media
    assert (media.port, media.attribute("file-selector")) == (0, "")
    with pytest.raises(SdpParseError) as refused:
        read_file_offer(session)
    assert refused.value.status == 488


def test_selectors() -> None:
    assert FileSelector.parse(text("selector-full")).sha1 == SHA1
    hostile = FileSelector.parse(text("selector-escapes"))
    assert hostile.name == '100% "sure"\r\n.txt'


# --- what goes with them --------------------------------------------------------------------------


def test_header_values() -> None:
    challenge = Challenge.parse(text("digest-challenge"))
    assert (challenge.algorithm, challenge.stale) == ("SHA-256", True)
    assert challenge.qop == ("auth", "auth-int")
    assert challenge.opaque == 'op\\"1'
    credentials = Credentials.parse(text("digest-credentials"))
    assert (credentials.username, credentials.nonce_count) == ("alice", 1)
    assert (credentials.qop, credentials.opaque) == ("auth", "")
    address = NameAddr.parse(text("sip-name-addr"))
    assert address.display == 'A "B" \\'
    assert (address.uri.username, address.uri.host) == ("alice", "2001:db8::1")
    assert address.param("+sip.instance") == "<urn:uuid:1>"
    via = Via.parse(text("sip-via"))
    assert (via.transport, via.host, via.port, via.rport) == ("TLS", "2001:db8::1", 5061, 1)
    assert (via.received, via.maddr) == ("192.0.2.1", "::1")
    urns = read_features([("+g.3gpp.icsi-ref", text("features"))])
    prefix = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm."
    assert urns == {f"{prefix}session", f"{prefix}msg", "urn:x"}


def test_texts_as_an_agent_gets_them() -> None:
    codec = ChatCodec(Tokens.deterministic(1))
    kind, _, body = data("chat-latin").partition(b"\n")
    got = codec.receive(kind.decode(), body)
    assert isinstance(got, TextReceived)
    assert got.text == "grüße"


def test_a_content_type_among_the_headers_counts_where_there_is_no_other() -> None:
    both = b"From: <a>\r\nContent-Type: a/b\r\n\r\nContent-Type: text/plain\r\n\r\nx"
    message = CpimMessage.parse(both)
    assert (message.content_type, message.body) == ("text/plain", b"x")
    alone = CpimMessage.parse(b"From: <a>\r\nContent-Type: a/b\r\n\r\nTo: you\r\n\r\nx")
    assert (alone.content_type, alone.body) == ("a/b", b"To: you\r\n\r\nx")
