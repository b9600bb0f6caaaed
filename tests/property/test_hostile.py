"""Every parser of what comes from the network: a value or its own error, in linear time.

The oracles (tests/property/oracles.py) also hold that what was read, written and read again stays.
"""

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcsops.errors import CpimParseError, MsrpParseError, SipParseError
from rcsops.limits import SIP_HEADERS, SIP_VALUES, XML_DEPTH, XML_ELEMENTS
from rcsops.msrp import FrameParser
from rcsops.rcs import parse_composing, parse_imdn, parse_location
from rcsops.sip import Request, StreamParser, check_request, parse_message
from tests.fuzz.seeds import seeds
from tests.property.oracles import ORACLES
from tests.property.work import assert_linear

# What the grammars are made of, to be strewn into messages and to make some of.
WORDS = [
    b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b'"', b"\\", b"<", b">", b";", b",", b":", b"=",
    b"@", b"/", b"%", b"%00", b"*", b"[", b"]", b"-------", b"$", b"+", b"#", b"0", b"99999999999",
    b"-1", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\x1b[2J", b"sip:", b"Digest ", b"SIP/2.0",
    b"MSRP ", b"m=message 1 TCP/MSRP *\r\n", b"a=path:", b"v=0\r\n", b"<!DOCTYPE x>", b"&x;",
    b"&#13;", b"<![CDATA[", b"imdn.", b"NS: ", b"Content-Length: ", b"name:\"", b"hash:sha-1:",
]  # fmt: skip


@st.composite
def hostile(draw: st.DrawFn, name: str) -> bytes:
    """Any octets, words of the grammars in any order, or a good message with some changes."""
    kind = draw(st.sampled_from(["octets", "words", "changed"]))
    if kind == "octets":
        return draw(st.binary(max_size=300))
    if kind == "words":
        return b"".join(draw(st.lists(st.sampled_from(WORDS) | st.binary(max_size=3), max_size=40)))
    octets = bytearray(draw(st.sampled_from(seeds(name))))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(octets)))
        end = min(len(octets), start + draw(st.integers(0, 8)))
        octets[start:end] = draw(st.sampled_from(WORDS) | st.binary(max_size=4))
    return bytes(octets)


@pytest.mark.parametrize("name", ORACLES)
@given(data=st.data())
@settings(max_examples=150)
def test_a_parser_gives_a_value_or_its_own_error(name: str, data: st.DataObject) -> None:
    ORACLES[name](data.draw(hostile(name)))


@pytest.mark.parametrize("name", ORACLES)
def test_what_the_fuzzer_found_stays_mended(name: str) -> None:
    for data in seeds(name):
        ORACLES[name](data)


HEAD = b"MSRP abcd SEND\r\nTo-Path: msrp://h:1/a;tcp\r\nFrom-Path: msrp://h:1/b;tcp\r\n"
XML = b'<imdn xmlns="urn:ietf:params:xml:ns:imdn">'
SDP = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n"
FILE = b"m=message 1 TCP/MSRP *\r\na=path:msrp://h:1/a;tcp\r\na=file-selector:"

SMALL = b"A sip:x SIP/2.0\r\nl:0\r\n\r\n"


def numbered(pattern: bytes, size: int) -> bytes:
    """About that many octets of a pattern with a number that grows."""
    return b"".join(pattern % i for i in range(size // (len(pattern) + 2)))


LONG: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "sdp: lines": ("sdp", lambda n: SDP + b"a=x\r\n" * (n // 5)),
    "sdp: empty lines": ("sdp", lambda n: SDP + b"\r\n" * (n // 2)),
    "sdp: one line": ("sdp", lambda n: SDP + b"a=" + b"x" * n),
    "sdp: media": ("sdp", lambda n: SDP + b"m=message 1 TCP/MSRP *\r\n" * (n // 24)),
    "sdp: formats": ("sdp", lambda n: SDP + b"m=a 1 b" + b" c" * (n // 2) + b"\t"),
    "sdp: blanks": ("sdp", lambda n: SDP + b"m=a 1" + b" " * n + b"\t"),
    "sdp: selector": ("sdp", lambda n: SDP + FILE + b"name:" * (n // 5)),
    "selector: types": ("selector", lambda n: b"type:a" + b";a" * (n // 2)),
    "selector: parameters": ("selector", lambda n: b"type:a/b" + b";a=b" * (n // 4) + b";"),
    "selector: quotes": ("selector", lambda n: b'name:"' + b"x" * n),
    "selector: names": ("selector", lambda n: b'name:"x" ' * (n // 9)),
    "selector: unknown": ("selector", lambda n: b"x:" + b"y" * n),
    "selector: blanks": ("selector", lambda n: b" " * n + b"x"),
    "selector: hash": ("selector", lambda n: b"hash:sha-1:" + b"A:" * (n // 2)),
    "selector: escapes": ("selector", lambda n: b'name:"' + b"%41" * (n // 3) + b'"'),
    "msrp: headers": ("msrp", lambda n: HEAD + b"X: y\r\n" * (n // 6) + b"-------abcd$\r\n"),
    "msrp: body": ("msrp", lambda n: HEAD + b"\r\n" + b"\r\n-------abcd" * (n // 13)),
    "msrp: hyphens": ("msrp", lambda n: HEAD + b"\r\n" + b"-" * n + b"\r\n-------abcd$\r\n"),
    "msrp: line ends": ("msrp_stream", lambda n: b"\xff" + b"\r\n" * (n // 2)),
    "msrp: in pieces": ("msrp_stream", lambda n: b"\x00" + HEAD + b"\r\n" + b"x" * n),
    "msrp: no line end": ("msrp_stream", lambda n: b"\x07" + b"M" * n),
    "msrp: path": ("msrp_values", lambda n: b"msrp://h:1/a;tcp " * (n // 17)),
    "msrp: parameters": ("msrp_values", lambda n: b"msrp://h:1/a;tcp" + b";a" * (n // 2)),
    "msrp: digits": ("msrp_values", lambda n: b"1" * n + b"-*/*"),
    "cpim: headers": ("cpim", lambda n: b"A: b\r\n" * (n // 6) + b"\r\nB: c\r\n\r\n"),
    "cpim: parameters": ("cpim", lambda n: b"A:" + b";a=b" * (n // 4) + b";\r\n\r\nB: c\r\n\r\n"),
    "cpim: open quote": ("cpim", lambda n: b'A:;a="' + b"x" * n + b"\r\n\r\nB: c\r\n\r\n"),
    "cpim: folds": ("cpim", lambda n: b"A: b\r\n\r\nB: c\r\n" + b" x\r\n" * (n // 4) + b"\r\n"),
    "cpim: namespace": ("cpim", lambda n: b"NS: " + b"<" * n + b"\r\n\r\nB: c\r\n\r\n"),
    "cpim: namespaces": ("cpim", lambda n: b"NS: a" + b" \t" * (n // 2) + b"\r\n\r\nB: c\r\n\r\n"),
    "cpim: escapes": ("cpim", lambda n: b"Subject: " + b"\\u0041" * (n // 6) + b"\r\n\r\nB: c\r\n"),
    "cpim: no end": ("cpim", lambda n: b"A: " + b"x" * n),
    "imdn: depth": ("imdn", lambda n: XML + b"<a>" * (n // 3)),
    "imdn: elements": ("imdn", lambda n: XML + b"<a/>" * (n // 4) + b"</imdn>"),
    "imdn: attributes": ("imdn", lambda n: b"<imdn" + numbered(b" a%d=''", n)),
    "imdn: text": ("imdn", lambda n: XML + b"&amp;" * (n // 5) + b"</imdn>"),
    "imdn: namespaces": ("imdn", lambda n: b"<imdn" + numbered(b" xmlns:a%d='b'", n)),
    "fthttp: depth": ("fthttp", lambda n: b"<file>" + b"<a>" * (n // 3)),
    "fthttp: files": ("fthttp", lambda n: b"<file>" + b"<file-info/>" * (n // 12) + b"</file>"),
    "fthttp: address": ("fthttp", lambda n: b"<file><file-info><data url='" + b"h" * n + b"'/>"),
    "multipart: line ends": ("multipart", lambda n: b"b\n--b" + b"\r\n" * (n // 2)),
    "multipart: delimiters": ("multipart", lambda n: b"b\n--b" + b"\r\n--bb" * (n // 6)),
    "multipart: blanks": ("multipart", lambda n: b"b\n--b" + b" " * n + b"x"),
    "multipart: folds": ("multipart", lambda n: b"b\n--b\nA: b" + b"\n x" * (n // 3) + b"\n--b--"),
    "multipart: parameters": (
        "multipart",
        lambda n: b"b\n--b\nContent-Disposition: x" + b";a" * (n // 2) + b"\n\n\n--b--",
    ),
    "composing: comment": ("composing", lambda n: b"<!--" + b"- " * (n // 2)),
    "chat: charset": ("chat", lambda n: b"text/plain" + b";charset=x" * (n // 10) + b"\nx"),
    "digest: parameters": ("digest", lambda n: b"Digest " + numbered(b"a%d=b,", n) + b"a=b"),
    "digest: commas": ("digest", lambda n: b"Digest " + b"," * n),
    "digest: quotes": ("digest", lambda n: b'Digest a="' + b'\\"' * (n // 2)),
    "digest: blanks": ("digest", lambda n: b"Digest a" + b" " * n + b"b"),
    "features: list": ("features", lambda n: b"urn%3A," * (n // 7)),
    "sip: one value": ("sip_values", lambda n: b"<sip:a@x>;a=" + b'"' * n),
    "sip: escapes": ("sip_values", lambda n: b"sip:" + b"%41" * (n // 3)),
    "sip: colons": ("sip_values", lambda n: b"SIP/2.0/UDP " + b"[::" * (n // 3)),
    "sip stream: line ends": ("sip_stream", lambda n: b"\x04" + b"\r\n" * (n // 2)),
    "sip stream: small ones": ("sip_stream", lambda n: b"\x00" + SMALL * (n // 25)),
}  # fmt: skip


@pytest.mark.parametrize("kind", LONG)
def test_time_is_linear(kind: str) -> None:
    name, make = LONG[kind]

    def work(size: int) -> Callable[[], object]:
        data = make(size)
        return lambda: ORACLES[name](data)

    assert_linear(work, 4000)


# --- memory and limits ----------------------------------------------------------------------------


def peak(work: Callable[[], object]) -> int:
    """The most octets that a call held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"\r\n", b"X", b"\0"])
def test_a_sip_stream_that_never_ends_its_head_is_bounded(piece: bytes) -> None:
    def feed() -> None:
        parser = StreamParser()
        parser.receive_data(b"MESSAGE sip:x SIP/2.0\r\n")
        try:
            for _ in range(200):
                parser.receive_data(piece * 10_000)
                while parser.next_message() is not None:
                    pass
        except SipParseError:
            return

    assert peak(feed) < 8 << 20


def test_an_msrp_message_of_any_length_is_bounded() -> None:
    def feed() -> None:
        parser = FrameParser()
        parser.receive_data(HEAD + b"Message-ID: abcd\r\nContent-Type: a/b\r\n\r\n")
        for _ in range(400):
            parser.receive_data(b"\r\n-------abc" * 5000)
            while parser.next_event() is not None:
                pass

    assert peak(feed) < 2 << 20


def test_an_msrp_head_without_end_is_refused() -> None:
    parser = FrameParser()
    with pytest.raises(MsrpParseError):
        for _ in range(100):
            parser.receive_data(b"MSRP abcd SEND\r\n" + b"X: y\r\n" * 1000)
            parser.next_event()


def test_too_many_headers_are_refused_and_the_answer_is_small() -> None:
    vias = b"Via: SIP/2.0/UDP 192.0.2.1\r\n" * (SIP_HEADERS + 1)
    with pytest.raises(SipParseError) as caught:
        parse_message(b"OPTIONS sip:x SIP/2.0\r\n" + vias + b"\r\n")
    assert caught.value.status == 400
    assert caught.value.partial.count("Via") <= SIP_HEADERS


@pytest.mark.parametrize("name", ["Via", "Route", "Contact", "Record-Route", "Path"])
def test_too_many_values_are_refused(name: str) -> None:
    value = "SIP/2.0/UDP 192.0.2.1" if name == "Via" else "<sip:x;lr>"
    headers = [("Via", "SIP/2.0/UDP h"), ("From", "<sip:a>"), ("To", "<sip:b>")]
    headers += [("Call-ID", "x"), ("CSeq", "1 OPTIONS"), (name, ",".join([value] * SIP_VALUES))]
    request = Request("OPTIONS", "sip:x", headers)
    if name != "Via":
        assert check_request(request) is None
    request.add(name, value)
    wrong = check_request(request)
    if name in ("Record-Route", "Path"):
        with pytest.raises(SipParseError):
            getattr(request, name.lower().replace("-", "_") + "s")
    else:
        assert wrong is not None
        assert wrong.status == 400


@pytest.mark.parametrize(
    "inner",
    [
        b"<a>" * XML_DEPTH + b"</a>" * XML_DEPTH,
        b"<a/>" * XML_ELEMENTS,
        b"<a>" * 20_000,
    ],
)
def test_xml_that_is_deep_or_wide_is_refused(inner: bytes) -> None:
    with pytest.raises(CpimParseError, match="too many elements"):
        parse_imdn(XML + inner + b"</imdn>")


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%b">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
)


@pytest.mark.parametrize(
    "start",
    [
        BOMB + b"]>",
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        b"<!DOCTYPE x>",
    ],
)
@pytest.mark.parametrize("read", [parse_imdn, parse_composing, parse_location])
def test_a_dtd_is_refused_whatever_it_says(start: bytes, read: Callable[[bytes], object]) -> None:
    body = b"<message-id>&a;</message-id>"
    with pytest.raises(CpimParseError):
        read(start + XML + body + b"</imdn>")
