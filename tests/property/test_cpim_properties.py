from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from rcsops.errors import CpimParseError, SdpParseError
from rcsops.rcs import (
    ChatCodec,
    CpimMessage,
    FileSelector,
    TextReceived,
    format_date_time,
    parse_date_time,
    safe_name,
)
from rcsops.rcs.cpim import escape_text, header_text
from rcsops.tokens import Tokens
from tests.unit.rcs.grammar import check_cpim

texts = st.text(st.characters(blacklist_categories=["Cs"]))
names = st.text(st.sampled_from("abcXYZ-"), min_size=1).map("X-".__add__)
values = st.text(st.characters(blacklist_categories=["Cs", "Cc"])).map(str.strip)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@given(
    st.lists(st.tuples(names, values), min_size=1, max_size=5),
    st.lists(st.tuples(names, values), max_size=3),
    st.binary(),
)
def test_messages_survive(
    headers: list[tuple[str, str]], inner: list[tuple[str, str]], body: bytes
) -> None:
    data = bytes(CpimMessage(headers, [("Content-Type", "a/b"), *inner], body))
    again = CpimMessage.parse(data)
    assert bytes(again) == data
    assert again.body == body


@given(texts, moments)
def test_any_text_arrives(text: str, moment: datetime) -> None:
    codec = ChatCodec(Tokens.deterministic(1))
    sent = codec.compose_text(text, moment)
    check_cpim(sent.body)
    got = codec.receive(sent.content_type, sent.body)
    assert isinstance(got, TextReceived)
    assert got.text == text
    assert got.sent_at is not None
    assert format_date_time(got.sent_at) == format_date_time(moment)


@given(moments)
def test_dates_survive_to_the_millisecond(moment: datetime) -> None:
    parsed = parse_date_time(format_date_time(moment))
    assert parsed == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@given(texts)
def test_escapes_survive(text: str) -> None:
    assert header_text(escape_text(text)) == text


@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [b"From: <a>\r\n", b"\r\n", b"\n", b"NS: ", b"<urn:ietf:params:imdn>", b"imdn.",
             b"Message-ID: x\r\n", b"Content-Type: text/plain\r\n", b"Content-Length: 3\r\n",
             b";a=",
             b'"', b"\\ud800", b"\xff", b"DateTime: 2026-11-23T22:00:09Z\r\n", b":", b"<imdn/>",
             b"Content-Type: message/imdn+xml\r\n", b"charset=utf-16"]
        )
    ).map(b"".join),
    st.sampled_from(["message/cpim", "message/imdn+xml", "application/im-iscomposing+xml", "x"]),
)  # fmt: skip
def test_anything_else_is_told_and_not_raised(data: bytes, kind: str) -> None:
    codec = ChatCodec(Tokens.deterministic(1))
    got = codec.receive(kind, data)
    if isinstance(got, TextReceived):
        got.text.encode()
        if got.wants_delivery:
            codec.delivery_report(got, datetime(2026, 1, 1, tzinfo=UTC))
    try:
        CpimMessage.parse(data)
    except CpimParseError:
        pass


@given(
    st.builds(
        FileSelector,
        name=st.none() | texts,
        type=st.none() | st.just("image/jpeg"),
        size=st.none() | st.integers(0, 10**15),
        sha1=st.none() | st.binary(min_size=20, max_size=20).map(bytes.hex),
    )
)
def test_selectors_survive(selector: FileSelector) -> None:
    assert FileSelector.parse(str(selector)) == selector


@given(st.text())
def test_a_selector_is_read_or_refused(text: str) -> None:
    try:
        FileSelector.parse(text)
    except SdpParseError:
        pass


@given(st.text())
def test_names_are_safe(name: str) -> None:
    safe = safe_name(name)
    assert safe == safe_name(safe)
    assert 0 < len(safe.encode()) <= 201
    assert not set(safe) & set('/\\<>:"|?*\0\r\n')
    assert safe not in (".", "..")
    assert not safe.startswith(".")
