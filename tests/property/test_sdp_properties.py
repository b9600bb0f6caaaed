from hypothesis import given
from hypothesis import strategies as st

from rcsops.errors import SdpParseError
from rcsops.sdp import MsrpMedia, find_msrp, parse_sdp

values = st.text(st.characters(blacklist_characters="\r\n\x00", blacklist_categories=["Cs"]))
lines = st.tuples(st.sampled_from("bceikprtuyza"), values).map("=".join)
media = st.tuples(
    st.sampled_from(["message", "audio", "x"]),
    st.integers(0, 65535).map(str),
    st.sampled_from(["TCP/MSRP", "TCP/TLS/MSRP", "RTP/AVP"]),
    st.sampled_from(["*", "0 8"]),
).map(lambda parts: "m=" + " ".join(parts))


@given(st.lists(st.one_of(lines, lines, media), max_size=20))
def test_any_lines_survive_byte_for_byte(more: list[str]) -> None:
    text = "\r\n".join(["v=0", "o=- 1 1 IN IP4 h", "s=-", *more, ""])
    assert bytes(parse_sdp(text.encode())) == text.encode()


words = st.text(st.sampled_from("abc/+*"), min_size=1, max_size=8)


@given(
    st.builds(
        MsrpMedia,
        path=words,
        host=st.sampled_from(["192.0.2.1", "2001:db8::1", "h.example"]),
        port=st.integers(1, 65535),
        setup=st.sampled_from(["actpass", "active", "passive", None]),
        accept_types=st.lists(words).map(tuple),
        accept_wrapped_types=st.lists(words).map(tuple),
        max_size=st.none() | st.integers(0, 10**12),
        direction=st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"]),
        secure=st.booleans(),
        cema=st.booleans(),
        fingerprints=st.lists(words).map(tuple),
        file_selector=st.none() | words,
        file_transfer_id=st.none() | words,
        file_disposition=st.none() | words,
        file_date=st.none() | words,
        file_icon=st.none() | words,
        file_range=st.none() | words,
        attributes=st.lists(words.map("x-".__add__)).map(tuple),
    )
)
def test_a_stream_survives(stream: MsrpMedia) -> None:
    text = f"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n{stream.to_text()}"
    assert find_msrp(parse_sdp(text)) == (0, stream)


@given(st.binary(max_size=300) | st.lists(st.one_of(lines, media, values)).map("\r\n".join))
def test_anything_else_raises_its_own_error(data: bytes | str) -> None:
    prefixes: list[bytes | str] = [data]
    if isinstance(data, str):
        prefixes.append("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n" + data)
    for text in prefixes:
        try:
            session = parse_sdp(text)
            find_msrp(session)
        except SdpParseError:
            pass
