from datetime import UTC, datetime, timedelta, timezone

import pytest

from rcsops.errors import CpimParseError, LocalProtocolError
from rcsops.rcs.cpim import (
    IMDN_NAMESPACE,
    CpimMessage,
    escape_text,
    format_date_time,
    header_text,
    parse_address,
    parse_date_time,
)

EXAMPLE = (
    b"From: MR SANDERS <im:piglet@100akerwood.com>\r\n"
    b"To: Depressed Donkey <im:eeyore@100akerwood.com>\r\n"
    b"DateTime: 2000-12-13T13:40:00-08:00\r\n"
    b"Subject: the weather will be fine today\r\n"
    b"Subject:;lang=fr beau temps prevu pour aujourd'hui\r\n"
    b"NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n"
    b"Require: MyFeatures.VitalMessageOption\r\n"
    b"MyFeatures.VitalMessageOption: Confirmation-requested\r\n"
    b"MyFeatures.WackyMessageOption: Use-silly-font\r\n"
    b"\r\n"
    b"Content-type: text/xml; charset=utf-8\r\n"
    b"Content-ID: <1234567890@foo.com>\r\n"
    b"\r\n"
    b"<body>\r\nHere is the text of my message.\r\n\r\n</body>"
)


def test_the_example_of_rfc_3862() -> None:
    message = CpimMessage.parse(EXAMPLE)
    assert parse_address(message.get("From") or "") == ("MR SANDERS", "im:piglet@100akerwood.com")
    assert message.get_all("subject") == [
        "the weather will be fine today",
        ";lang=fr beau temps prevu pour aujourd'hui",
    ]
    assert header_text(message.get_all("Subject")[1]) == "beau temps prevu pour aujourd'hui"
    assert message.get("VitalMessageOption", "mid:MessageFeatures@id.foo.com") == (
        "Confirmation-requested"
    )
    assert message.get("VitalMessageOption") is None
    assert message.content_type == "text/xml; charset=utf-8"
    assert message.content("content-id") == "<1234567890@foo.com>"
    assert message.body.endswith(b"message.\r\n\r\n</body>")
    assert message.date_time == datetime(2000, 12, 13, 21, 40, tzinfo=UTC)
    assert bytes(message) == EXAMPLE


@pytest.mark.parametrize(
    "headers",
    [
        "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: abc",
        "NS: n1 <urn:ietf:params:imdn>\r\nn1.Message-ID: abc",
        "NS: n1<urn:ietf:params:imdn>\r\nN1.message-id:abc",
        "NS: <urn:ietf:params:imdn>\r\nMessage-ID: abc",
        "imdn.Message-ID: abc",
        "NS: a <urn:x>\r\na.Message-ID: no\r\nNS: a <urn:ietf:params:imdn>\r\na.Message-ID: abc",
    ],
)
def test_prefixes_mean_what_their_uri_says(headers: str) -> None:
    data = f"From: <sip:a@b>\r\n{headers}\r\n\r\nContent-Type: text/plain\r\n\r\nx".encode()
    message = CpimMessage.parse(data)
    assert message.get_all("Message-ID", IMDN_NAMESPACE) == ["abc"]
    assert message.imdn("message-id") == "abc"


def test_a_prefix_that_means_something_else() -> None:
    data = (
        b"NS: imdn <urn:other>\r\nimdn.Message-ID: abc\r\nx.Message-ID: d\r\nNS: nonsense\r\n\r\n"
        b"Content-Type: a/b\r\n\r\n"
    )
    assert CpimMessage.parse(data).imdn("message-id") is None


@pytest.mark.rfc("3862", "3.5", "4.7")
@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ("Require: DateTime", []),
        ("require: From,to , imdn.Message-ID,,", []),
        ("NS: n <urn:ietf:params:imdn>\r\nRequire: n.Disposition-Notification", []),
        ("Require: Kanji.MustRender", ["Kanji.MustRender"]),
        # Not shown to anybody, so nobody may count on it.
        ("Require: Subject", ["Subject"]),
        ("NS: a <urn:x>\r\nRequire: a.From, From\r\nRequire: b.c", ["a.From", "b.c"]),
        # What a prefix means counts, not its letters, and only from its NS line on.
        ("NS: imdn <urn:x>\r\nRequire: imdn.Message-ID", ["imdn.Message-ID"]),
        ("Require: n.Message-ID\r\nNS: n <urn:ietf:params:imdn>", ["n.Message-ID"]),
        # Headers of somebody else's that have the same name.
        ("NS: a <urn:x>\r\na.Require: a.b", []),
        ("NS: <urn:x>\r\nRequire: b", []),
    ],
)
def test_what_a_message_requires(headers: str, names: list[str]) -> None:
    data = f"From: <sip:a@b>\r\n{headers}\r\n\r\nContent-Type: text/plain\r\n\r\nx".encode()
    message = CpimMessage.parse(data)
    assert message.not_understood() == names
    assert message.not_understood() == names


@pytest.mark.parametrize(
    ("length", "body", "read"),
    [
        ("", b"hello", b"hello"),
        ("Content-Length: 5\r\n", b"hello\r\n", b"hello"),
        ("Content-Length: 0\r\n", b"", b""),
        ("Content-Length: 99\r\n", b"hello", b"hello"),
        ("Content-Length: x\r\n", b"hello", b"hello"),
        ("Content-Length: " + "9" * 5000 + "\r\n", b"hello", b"hello"),
    ],
)
def test_the_inner_length(length: str, body: bytes, read: bytes) -> None:
    head = f"From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n{length}\r\n".encode()
    assert CpimMessage.parse(head + body).body == read


def test_sloppy_writing() -> None:
    loose = EXAMPLE.replace(b"\r\n", b"\n").replace(b"DateTime: ", b"Datetime:")
    message = CpimMessage.parse(loose)
    assert message.date_time == datetime(2000, 12, 13, 21, 40, tzinfo=UTC)
    assert message.body.startswith(b"<body>\nHere")
    folded = CpimMessage.parse(b"From: <sip:a@b>\r\n\r\nContent-Type: a/b;\r\n x=y\r\n\r\n")
    assert folded.content_type == "a/b; x=y"
    bare = CpimMessage.parse(b"From: <sip:a@b>\r\n\r\nContent-ID: <x>")
    assert (bare.content_type, bare.body, bare.date_time) == ("text/plain", b"", None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"\r\n\r\nContent-Type: text/plain\r\n\r\nx",
        b"From: <sip:a@b>\r\n",
        b"From: <sip:a@b>\r\n\r\n",
        b"From: <sip:a@b>\r\n\r\n\r\nbody",
        b"no colon\r\n\r\nContent-Type: a/b\r\n\r\n",
        b"Fr om: x\r\n\r\nContent-Type: a/b\r\n\r\n",
        b"From: a\x00b\r\n\r\nContent-Type: a/b\r\n\r\n",
        b"From: a\rb\r\n\r\nContent-Type: a/b\r\n\r\n",
        b"From: a\r\n\r\nContent Type: a/b\r\n\r\n",
        b"From: a\r\n\r\nContent-Type: a/b\x01\r\n\r\n",
        b"X: y\r\n" * 1000 + b"\r\nContent-Type: a/b\r\n\r\n",
        b"X: " + b"y" * 100_000 + b"\r\n\r\nContent-Type: a/b\r\n\r\n",
    ],
)
def test_what_is_no_cpim(data: bytes) -> None:
    with pytest.raises(CpimParseError):
        CpimMessage.parse(data)


def test_what_cannot_be_written() -> None:
    for name, value in (("X", "a\r\nY: b"), ("X y", "a"), ("X", "a\x00")):
        with pytest.raises(LocalProtocolError):
            bytes(CpimMessage([(name, value)], [("Content-Type", "a/b")], b""))


@pytest.mark.parametrize(
    "text",
    ['say "hi"', "back\\slash", "tab\there", "line\r\nend", "bell\x07", "it's", "ünïcödé 🎈"],
)
def test_escapes_survive(text: str) -> None:
    escaped = escape_text(text)
    assert not any(ord(c) < 32 for c in escaped)
    assert header_text(escaped) == text


def test_a_semicolon_after_a_space_begins_no_parameter() -> None:
    data = b"From: <sip:a@b>\r\nSubject: ;x=y  z\r\n\r\nContent-Type: a/b\r\n\r\n"
    message = CpimMessage.parse(data)
    again = CpimMessage.parse(bytes(message))
    for each in (message, again):
        assert header_text(each.get("Subject") or "") == ";x=y  z"


def test_hostile_escapes() -> None:
    assert header_text(r"\ud83c\udf88") == "🎈"
    assert header_text(r"a\ud83cb") == "a\ufffdb"
    assert header_text("a\\") == "a\\"
    assert header_text(r"\u00e9\x\q") == "éxq"
    assert parse_address('"A \\"B\\"" <sip:a@b>') == ('A "B"', "sip:a@b")
    assert parse_address("<sip:a@b>") == ("", "sip:a@b")
    with pytest.raises(CpimParseError):
        parse_address("sip:a@b")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T22:00:09.500Z", datetime(2026, 11, 23, 22, 0, 9, 500000, UTC)),
        ("2026-11-23t22:00:09z", datetime(2026, 11, 23, 22, 0, 9, 0, UTC)),
        ("2026-11-23T23:00:09.123456789+01:00", datetime(2026, 11, 23, 22, 0, 9, 123456, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 0, UTC)),
    ],
)
def test_dates(text: str, moment: datetime) -> None:
    assert parse_date_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-11-23", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2026-11-23T22:00:00",
        "2026-11-23T25:00:00Z", "2026-11-23T22:00:00+99:99", "x" * 1000, "２026-11-23T22:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(CpimParseError):
        parse_date_time(text)


def test_writing_a_date() -> None:
    moment = datetime(2026, 11, 23, 23, 0, 9, 123456, timezone(timedelta(hours=1)))
    assert format_date_time(moment) == "2026-11-23T22:00:09.123Z"
    with pytest.raises(LocalProtocolError):
        format_date_time(moment.replace(tzinfo=None))


def test_an_address_is_read_in_linear_time() -> None:
    with pytest.raises(CpimParseError):
        parse_address("x" + " " * 1_000_000 + "y")
    assert parse_address(" a  < sip:a@b >") == ("a", "sip:a@b")
    for wrong in ("", "<", ">", "sip:a@b", "<a>b>", "a <b", "a b>"):
        with pytest.raises(CpimParseError):
            parse_address(wrong)
