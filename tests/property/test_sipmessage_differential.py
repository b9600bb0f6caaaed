"""What rcsops reads is what the sipmessage library reads, wherever both accept it."""

from __future__ import annotations

import sipmessage
from hypothesis import given, settings
from hypothesis import strategies as st

from rcsops.errors import SipParseError
from rcsops.sip import NameAddr, Request, Uri, Via, parse_message

token = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=8)
host = st.sampled_from(["example.org", "192.0.2.1", "[2001:db8::1]", "Pc33.Atlanta.COM"])
port = st.sampled_from(["", ":5060", ":1", ":65535"])
user = st.text("abcZ09-_.!~*'()&=+$,;?/", max_size=6).map(lambda text: f"{text}@" if text else "")
plain = st.text("abcXYZ019", min_size=1, max_size=6)
params = st.dictionaries(plain.map(str.lower), st.none() | plain, max_size=3).map(
    lambda pairs: "".join(f";{n}" if v is None else f";{n}={v}" for n, v in pairs.items())
)
uris = st.builds(
    lambda scheme, u, h, p, more: f"{scheme}:{u}{h}{p}{more}",
    st.sampled_from(["sip", "sips"]), user, host, port, params,
)  # fmt: skip
display = st.sampled_from(["", "Bob ", '"Bob" ', '"B, \\"b\\" <c>;d" ', "Bob Smith "])
addresses = st.builds(lambda d, u, p: f"{d}<{u}>{p}", display, uris, params)
vias = st.builds(
    lambda t, h, p, more: f"SIP/2.0/{t} {h}{p}{more}",
    st.sampled_from(["UDP", "TCP", "TLS", "WS", "WSS"]), host, port, params,
)  # fmt: skip


def bare(text: str) -> str:
    return text.strip("[]").lower()


def same_params(ours: dict[str, str | None], theirs: object) -> None:
    pairs = {name.lower(): value for name, value in dict(theirs).items()}  # type: ignore[call-overload]
    assert dict(ours) == pairs


def same_uri(ours: Uri, theirs: sipmessage.URI) -> None:
    assert ours.scheme == theirs.scheme.lower()
    assert ours.username == (theirs.user or "")
    assert ours.host == bare(theirs.host)
    assert ours.port == theirs.port
    same_params(ours.params, theirs.parameters)


@given(uris)
@settings(max_examples=300)
def test_uri(text: str) -> None:
    same_uri(Uri.parse(text), sipmessage.URI.parse(text))


@given(addresses)
@settings(max_examples=300)
def test_address(text: str) -> None:
    ours, theirs = NameAddr.parse(text), sipmessage.Address.parse(text)
    assert ours.display == (theirs.name or "")
    same_uri(ours.uri, theirs.uri)
    same_params(ours.params, theirs.parameters)


@given(vias)
@settings(max_examples=300)
def test_via(text: str) -> None:
    ours, theirs = Via.parse(text), sipmessage.Via.parse(text)
    assert (ours.transport, ours.host, ours.port) == (
        theirs.transport,
        bare(theirs.host),
        theirs.port,
    )
    same_params(ours.params, theirs.parameters)


@given(
    st.lists(vias, min_size=1, max_size=3),
    addresses,
    addresses,
    st.lists(addresses, max_size=3),
    st.integers(0, 2**31 - 1),
    st.binary(max_size=20),
)
def test_message(
    hops: list[str], caller: str, callee: str, contacts: list[str], number: int, body: bytes
) -> None:
    lines = [f"Via: {', '.join(hops)}", f"f: {caller}", f"To:{callee}", "Call-ID: a@b"]
    lines += [f"CSeq: {number} INVITE", "Max-Forwards: 70"]
    lines += [f"m: {contact}" for contact in contacts]
    lines += [f"Content-Length: {len(body)}", "", ""]
    data = "\r\n".join(["INVITE sip:bob@example.org SIP/2.0", *lines]).encode() + body
    ours, theirs = parse_message(data), sipmessage.Message.parse(data)
    assert isinstance(ours, Request)
    assert isinstance(theirs, sipmessage.Request)
    assert (ours.method, ours.call_id, ours.body) == (theirs.method, theirs.call_id, theirs.body)
    assert tuple(ours.cseq) == (theirs.cseq.sequence, theirs.cseq.method)
    assert ours.max_forwards == theirs.max_forwards
    same_uri(ours.request_uri, theirs.uri)
    same_uri(ours.from_.uri, theirs.from_address.uri)
    same_uri(ours.to.uri, theirs.to_address.uri)
    assert len(ours.vias) == len(theirs.via)
    assert [via.host for via in ours.vias] == [bare(via.host) for via in theirs.via]
    assert len(ours.contacts) == len(theirs.contact)
    for one, other in zip(ours.contacts, theirs.contact, strict=True):
        same_uri(one.uri, other.uri)
        same_params(one.params, other.parameters)


@given(st.text('sip:ab@.;=<>"[]1 ', max_size=12))
@settings(max_examples=500)
def test_short_texts_that_both_accept(text: str) -> None:
    try:
        ours = Uri.parse(text)
        theirs = sipmessage.URI.parse(text)
    except (SipParseError, ValueError):
        return
    if ours.is_sip:
        same_uri(ours, theirs)
