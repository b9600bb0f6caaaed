"""The short ways for common URIs, addresses and Via read as the general ones do, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rcsops.sip import NameAddr, SipParseError, Uri, Via, headers, uri

_NEVER = re.compile(r"(?!)")

# Pieces that the patterns care about, so that many of the texts made of them are legal.
_WORDS = (
    "sip: sips: SIP: alice Bob 1234 @ : ; = ? & , < > % %41 [2001:db8::1] 192.0.2.1 example.org "
    "Example.ORG 0 80 5060 59999 60000 65535 65536 99999 000080 ;lr ;transport=tcp ;tag=a1 ;tag= "
    ';branch=z9hG4bK1 ;received=192.0.2.7 ;rport ;q="1" ;x="a;b" "A" "A\\"B" \\ _ . - + # / | é '
    "SIP/2.0/UDP SIP/2.0/tcp sip/2.0/TLS SIP / 2.0 /UDP"
)
_PIECES = st.sampled_from((*_WORDS.split(), " ", "\t", "\n", ""))


def _texts(prefixes: tuple[str, ...], suffixes: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda prefix, pieces, suffix: prefix + "".join(pieces) + suffix,
        st.sampled_from(prefixes),
        st.lists(_PIECES, max_size=7),
        st.sampled_from(suffixes),
    )


def _uri(text: str) -> tuple[Any, ...]:
    parsed = Uri.parse(text)
    parts = (parsed.scheme, parsed.user, parsed.password, parsed.host, parsed.port)
    return (*parts, _params(lambda: parsed.params), parsed.headers, str(parsed))


def _address(text: str) -> tuple[Any, ...]:
    parsed = NameAddr.parse(text)
    seen = (parsed._display, parsed.uri_text, _params(lambda: parsed.params), str(parsed))
    return (*seen, _outcome(lambda text: parsed.tag, text), _outcome(lambda _: _parts(parsed), ""))


def _parts(parsed: NameAddr) -> tuple[Any, ...]:
    found = parsed.uri
    return (found.scheme, found.user, found.password, found.host, found.port, str(found))


def _via(text: str) -> tuple[Any, ...]:
    parsed = Via.parse(text)
    seen = (parsed.protocol, parsed.transport, parsed.host, parsed.port, str(parsed))
    return (*seen, _outcome(lambda _: parsed.branch, ""), _params(lambda: parsed.params))


def _params(read: Callable[[], Any]) -> Any:
    return _outcome(lambda _: list(read().items()), "")


def _outcome(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except SipParseError as error:
        return str(error)


def _both_ways(read: Callable[[str], Any], text: str) -> None:
    short = _outcome(read, text)
    with (
        patch.object(uri, "_COMMON", _NEVER),
        patch.object(headers, "_COMMON_ADDR", _NEVER),
        patch.object(headers, "_COMMON_VIA", _NEVER),
    ):
        assert short == _outcome(read, text)


@settings(max_examples=400)
@given(_texts(("sip:", "sip:alice@", "sip:alice@example.org", ""), ("", ";lr", ":5060")))
@example("sip:example.org:65535")
@example("sip:example.org:65536")
@example("sip:a:1@example.org")
def test_uri(text: str) -> None:
    _both_ways(_uri, text)


@settings(max_examples=400)
@given(
    _texts(
        ("<sip:", '"A" <sip:alice@example.org', "Bob <sip:", "<sip:alice@example.org>", ""),
        ("", ">", ">;tag=1", ";tag=1;x=2", ">;tag=1;tag=2"),
    )
)
@example("<sip:example.org:65536>;tag=1")
@example("Bob  <sip:example.org>")
@example("<sip:example.org>;tag=1;TAG=2")
def test_address(text: str) -> None:
    _both_ways(_address, text)


@settings(max_examples=400)
@given(
    _texts(
        ("SIP/2.0/UDP ", "SIP/2.0/UDP example.org", "SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK1"),
        ("", ";branch=z9hG4bK2", ";rport;received=192.0.2.7"),
    )
)
@example("SIP/2.0/UDP example.org:65536;branch=z9hG4bK1")
@example("SIP/2.0/UDP example.org;branch=z9hG4bK1;branch=z9hG4bK2")
def test_via(text: str) -> None:
    _both_ways(_via, text)
