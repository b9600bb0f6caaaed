"""Properties of SIP messages: round trips, one exception only, linear time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rcsops.errors import SipParseError
from rcsops.sip import (
    NameAddr,
    Request,
    StreamParser,
    Uri,
    Via,
    parse_message,
)
from tests.property.oracles import sip, touch_everything
from tests.property.work import assert_linear

NAMES = ["Via", "v", "From", "t", "Contact", "m", "Route", "Authorization", "WWW-Authenticate"]
NAMES += ["CSeq", "Call-ID", "Content-Length", "Content-Type", "Max-Forwards", "Expires"]
NAMES += ["Retry-After", "Min-Expires", "Record-Route", "Supported", "X-Unknown"]

SEED = (
    b"INVITE sip:bob@192.0.2.20:5060;transport=tcp SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP p1.example.org:5060;branch=z9hG4bK1;rport, SIP/2.0/TCP [2001:db8::1]\r\n"
    b'f: "Alice \\"A\\"" <sip:alice@example.org;x=y?a=b>;tag=1\r\n'
    b"To: Bob <sip:bob@example.org>\r\nCall-ID: a@b\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
    b'Contact: <sip:a@x>;+sip.instance="<urn:uuid:1>";q=0.5,\r\n sip:b@x;expires=5\r\n'
    b"Route: <sip:p;lr>, <sip:q;lr>\r\nExpires: 60\r\nRetry-After: 5 (x);duration=1\r\n"
    b'Authorization: Digest username="a", realm="r", nonce="n", uri="sip:x", response="f", '
    b'qop=auth, nc=00000001, cnonce="c"\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n'
    b'Content-Type: multipart/mixed;boundary="a b"\r\nContent-Length: 4\r\n\r\nbody'
)

token = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=8)
hostile = st.text(
    st.sampled_from(' \t,;:<>"\\=@?&%*/[]().-_aZ09\x00\x7fé☎\udcff'), max_size=30
) | st.text(max_size=20)
value = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    sip(data)
    sip(b"INVITE sip:x SIP/2.0\r\n" + data + b"\r\n\r\n")


@given(st.lists(st.tuples(st.sampled_from(NAMES), hostile), max_size=8))
@example([("Via", "SIP/2.0/UDP x;branch=\udcff")])
@example([("Contact", "*"), ("Contact", "*")])
@settings(max_examples=300)
def test_hostile_headers(headers: list[tuple[str, str]]) -> None:
    head = "".join(f"{name}: {text}\r\n" for name, text in headers)
    sip(f"SIP/2.0 200 OK\r\n{head}\r\n".encode("utf-8", "surrogatepass"))
    sip(f"INVITE sip:x SIP/2.0\r\n{head}\r\n".encode("utf-8", "surrogatepass"))


@given(st.data())
@settings(max_examples=300)
def test_mutated_message(data: st.DataObject) -> None:
    octets = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(octets)))
        end = min(len(octets), start + data.draw(st.integers(0, 6)))
        octets[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"\\", b",", b"<", b">", b"\r\n", b";"])
        )
    sip(bytes(octets))


@given(
    st.lists(st.tuples(token, value), max_size=6),
    st.binary(max_size=50),
    token,
)
def test_what_we_write_we_sip(headers: list[tuple[str, str]], body: bytes, method: str) -> None:
    message = Request(method, "sip:bob@example.org", headers, body)
    data = bytes(message)
    again = parse_message(data)
    assert bytes(again) == data
    assert isinstance(again, Request)
    assert (again.method, again.body) == (method, body)
    assert again.fields() == message.fields()
    expected = [(n, v.strip(" \t")) for n, v in headers if n.lower() not in ("l", "content-length")]
    assert again.fields()[:-1] == expected


@given(st.data())
def test_stream_gives_the_same_at_any_split(data: st.DataObject) -> None:
    messages = data.draw(
        st.lists(
            st.builds(lambda body: bytes(Request("MESSAGE", "sip:x", [], body)), st.binary()),
            max_size=4,
        )
    )
    stream = b"".join(message + b"\r\n" for message in messages)
    parser = StreamParser()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        parser.receive_data(stream[:size])
        stream = stream[size:]
        while (message := parser.next_message()) is not None:
            found.append(bytes(message))
    assert found == messages


@given(st.binary(max_size=300), st.integers(1, 20))
def test_hostile_stream(data: bytes, size: int) -> None:
    parser = StreamParser(max_head=100, max_body=50)
    for start in range(0, len(data), size):
        parser.receive_data(data[start : start + size])
        try:
            while (message := parser.next_message()) is not None:
                touch_everything(message)
        except SipParseError:
            return


@given(
    st.text(max_size=8),
    st.sampled_from(["example.org", "192.0.2.1", "2001:db8::1"]),
    st.none() | st.integers(0, 65535),
    st.dictionaries(
        st.text("abcxyz%;=? é", min_size=1, max_size=5), st.none() | st.text(max_size=5)
    ),
    st.lists(st.tuples(st.text("abc &=", min_size=1), st.text(max_size=5)), max_size=2),
)
def test_uri(
    user: str,
    host: str,
    port: int | None,
    params: dict[str, str | None],
    headers: list[tuple[str, str]],
) -> None:
    try:
        user.encode()
        "".join(f"{v}" for v in params.values()).encode()
        "".join(v for _, v in headers).encode()
    except UnicodeEncodeError:
        return
    uri = Uri("sip", user or None, host, port, params, headers)
    again = Uri.parse(str(uri))
    assert again == uri
    assert hash(again) == hash(uri)
    assert again.username == user
    assert (again.host, again.port) == (host, port)
    assert {n: again.param(n) for n in again.params} == {n: uri.param(n) for n in uri.params}
    assert Uri.parse(again.aor).aor == again.aor


@given(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12),
    st.dictionaries(
        token.map(str.lower),
        st.none() | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])),
    ),
)
@example("\t", {})
def test_address(display: str, params: dict[str, str | None]) -> None:
    address = NameAddr("sip:bob@example.org", display, params)
    again = NameAddr.parse(str(address))
    assert str(again) == str(address)
    assert again == address
    stripped = display.strip(" \t")
    assert again.display in (display, stripped)
    via = Via("udp", "example.org", 5060, {n: v for n, v in params.items() if v != ""})
    assert Via.parse(str(via)).params == via.params


LONG = {
    "commas": lambda n: "Contact: " + "," * n,
    "addresses": lambda n: "Contact: " + "<sip:a@x>," * (n // 10) + "<sip:a@x>",
    "quotes": lambda n: "Contact: " + '"' * n,
    "open quote": lambda n: 'Contact: "' + "a" * n,
    "escapes": lambda n: 'Contact: "' + "\\" * n,
    "spaces": lambda n: "Contact: a" + " " * n + "a",
    "spaces in a parameter": lambda n: "Contact: <sip:a@x>;a" + " " * n + "!",
    "semicolons": lambda n: "Contact: <sip:a@x>" + ";" * n,
    "parameters": lambda n: "Contact: <sip:a@x>" + "".join(f";p{i}=1" for i in range(n // 8)),
    "brackets": lambda n: "Contact: " + "<" * n,
    "folds": lambda n: "Contact: <sip:a@x>" + "\r\n " * (n // 3) + ";a",
    "blank folds": lambda n: "Contact: <sip:a@x>" + "\r\n \t" * (n // 4),
    "digits": lambda n: "CSeq: " + "9" * n + " INVITE",
    "zeros": lambda n: "Max-Forwards: " + "0" * n,
    "headers": lambda n: "\r\n".join(["Via: SIP/2.0/UDP x"] * (n // 20)),
    "names": lambda n: "\r\n".join(f"X{i}: y" for i in range(n // 10)),
    "one hop": lambda n: "Via: SIP/2.0/UDP " + "a" * n,
    "hops": lambda n: "Via: " + ",".join(["SIP/2.0/UDP x"] * (n // 14)),
    "authorization": lambda n: "Authorization: Digest " + "a=1," * (n // 4),
    "quoted authorization": lambda n: 'Authorization: Digest a="' + '\\"' * (n // 2),
    "equals": lambda n: "Authorization: Digest a" + "=" * n,
    "media type": lambda n: "Content-Type: a/b" + ";a=b" * (n // 4),
    "user": lambda n: "To: <sip:" + "a" * n + ">",
    "user escapes": lambda n: "To: <sip:" + "%41" * (n // 3) + "@x>",
    "URI parameters": lambda n: "To: <sip:a@x" + ";a" * (n // 2) + ">",
    "URI headers": lambda n: "To: <sip:a@x?a=b" + "&a=b" * (n // 4) + ">",
    "colons": lambda n: "To: <sip:a" + ":" * n + ">",
    "no colon": lambda n: "a" * n,
}


@pytest.mark.parametrize("kind", LONG)
def test_time_is_linear(kind: str) -> None:
    def work(size: int) -> Callable[[], object]:
        data = f"INVITE sip:x SIP/2.0\r\n{LONG[kind](size)}\r\n\r\n".encode()
        return lambda: sip(data)

    assert_linear(work)


def test_a_stream_in_small_pieces_is_linear() -> None:
    def work(size: int) -> Callable[[], object]:
        def run() -> None:
            parser = StreamParser(max_head=10**9)
            for _ in range(size // 10):
                parser.receive_data(b"X-Y: 8901\r")
                parser.next_message()

        return run

    assert_linear(work)


def test_pipelined_messages_are_linear() -> None:
    one = bytes(Request("MESSAGE", "sip:x"))

    def work(count: int) -> Callable[[], object]:
        def run() -> None:
            parser = StreamParser()
            parser.receive_data(one * count)
            for _ in range(count):
                assert parser.next_message() is not None

        return run

    assert_linear(work, 500)
