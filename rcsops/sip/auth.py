"""The header values of digest authentication: challenges and credentials (RFC 3261 §20.7, §20.44).

What is computed from them is in `rcsops.sip.digest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Self

from rcsops.errors import SipParseError
from rcsops.sip.grammar import QUOTED, TOKEN_CLASS, Params, quote, unquote

_SCHEME = re.compile(rf"([{TOKEN_CLASS}]++)(?>(?:[ \t]++(.*+))?)", re.S)
_AUTH_PARAM = re.compile(
    rf"[ \t]*+([{TOKEN_CLASS}]++)[ \t]*+=[ \t]*+({QUOTED}|[^ \t\",]++)[ \t]*+(?:,|\Z)|(.++)", re.S
)
# What nearly all send: names in lower case, ", " between, and neither commas, escapes nor "=" in
# the values. Checked as a whole, so that it can be taken apart without looking at quotes.
_PLAIN = rf"[a-z0-9\-]++=(?:\"[^\"=,\\]*+\"|[{TOKEN_CLASS}]++)"
_PLAIN_PARAMS = re.compile(rf"{_PLAIN}(?>(?:, {_PLAIN})*)")
_new = object.__new__
# RFC 3261 §25.1: the values of these are quoted strings, all others are tokens.
_QUOTED_NAMES = frozenset(
    ("username", "realm", "nonce", "uri", "response", "cnonce", "opaque", "domain", "nextnonce")
) | {"rspauth"}


def parse_auth_params(text: str) -> Params:
    """``name=value, name="value"``: values as on the wire. Raises SipParseError."""
    if _PLAIN_PARAMS.fullmatch(text):
        pieces = text.replace(", ", "=").split("=")
        # The pattern has seen to it that they come in pairs.
        plain = Params(zip(pieces[::2], pieces[1::2]))  # noqa: B905
        if 2 * len(plain) == len(pieces):
            return plain
    text = text.strip(" \t")
    found = _AUTH_PARAM.findall(text)
    params = Params([(name.lower(), value) for name, value, _ in found])
    # A name that appears twice could be read differently by the next element on the way.
    if "" in params or len(params) != len(found) or text.endswith(","):
        raise SipParseError(f"broken authentication parameters: {text[:60]!r}")
    return params


class _AuthValue:
    """``scheme name=value, ...``: what challenges and credentials have in common."""

    __slots__ = ("_text", "params", "scheme")

    scheme: str
    params: Params

    def __init__(
        self,
        params: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        scheme: str = "Digest",
        quoted: Iterable[str] = (),
    ) -> None:
        """A new value; parameters are given unquoted, ``quoted`` names more that get quotes."""
        items = params.items() if isinstance(params, Mapping) else params
        self.scheme = scheme
        names = _QUOTED_NAMES.union(quoted)
        self.params = Params((n, quote(value) if n in names else value) for n, value in items)
        self._text = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse one header value. Raises SipParseError.

        Of a scheme other than Digest only the name is kept (RFC 4475 §3.3.7).
        """
        text = text.strip(" \t")
        value = _new(cls)
        value._text = text
        if text[:7] == "Digest ":
            value.scheme = "Digest"
            value.params = parse_auth_params(text[7:])
            return value
        match = _SCHEME.fullmatch(text)
        if match is None:
            raise SipParseError(f"not an authentication header: {text[:60]!r}")
        value.scheme = match[1]
        value.params = parse_auth_params(match[2] or "") if value.is_digest else Params()
        return value

    @property
    def is_digest(self) -> bool:
        """Whether the scheme is Digest: the only one that SIP allows (§22)."""
        return self.scheme.lower() == "digest"

    def get(self, name: str) -> str | None:
        """A parameter with quotes and escapes resolved; None when absent."""
        value = dict.get(self.params, name)
        # Most values have neither quotes nor escapes, or quotes only: no call for these.
        if value is None or "\\" in value:
            return None if value is None else unquote(value)
        return value[1:-1] if value[:1] == '"' else value

    def inner(self, name: str) -> str | None:
        """A parameter without its quotes but with its escapes, to be echoed octet by octet."""
        value = dict.get(self.params, name)
        return value[1:-1] if value and value[0] == '"' else value

    @property
    def realm(self) -> str:
        """The realm, "" when absent."""
        return self.get("realm") or ""

    @property
    def nonce(self) -> str:
        """The nonce as on the wire without its quotes, "" when absent."""
        return self.inner("nonce") or ""

    @property
    def opaque(self) -> str | None:
        """The opaque as on the wire without its quotes."""
        return self.inner("opaque")

    @property
    def algorithm(self) -> str:
        """The algorithm as written; MD5 when absent (RFC 7616 §3.3)."""
        return self.get("algorithm") or "MD5"

    def __str__(self) -> str:
        if not self._text:
            pairs = ", ".join(f"{name}={value}" for name, value in self.params.items())
            self._text = f"{self.scheme} {pairs}" if pairs else self.scheme
        return self._text

    def __repr__(self) -> str:
        # Not the text: a response is good for guessing passwords off line.
        return f"{type(self).__name__}({self.scheme!r}, realm={self.realm!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.scheme.lower() == other.scheme.lower() and self.params == other.params

    def __hash__(self) -> int:
        return hash((self.scheme.lower(), dict.get(self.params, "nonce")))


class Challenge(_AuthValue):
    """The value of WWW-Authenticate or Proxy-Authenticate."""

    __slots__ = ()

    @property
    def qop(self) -> tuple[str, ...]:
        """The offered qualities of protection in lower case; () when there is no qop."""
        options = (option.strip(" \t").lower() for option in (self.get("qop") or "").split(","))
        return tuple(option for option in options if option)

    @property
    def stale(self) -> bool:
        """Whether only the nonce was too old (RFC 7616 §3.3)."""
        return (self.get("stale") or "").lower() == "true"


class Credentials(_AuthValue):
    """The value of Authorization or Proxy-Authorization."""

    __slots__ = ()

    @property
    def username(self) -> str:
        """The user name, "" when absent."""
        return self.get("username") or ""

    @property
    def uri(self) -> str:
        """The digest-uri as on the wire, "" when absent."""
        return self.inner("uri") or ""

    @property
    def response(self) -> str:
        """The response in hexadecimal digits, "" when absent."""
        return self.get("response") or ""

    @property
    def cnonce(self) -> str | None:
        """The client's nonce as on the wire without its quotes."""
        return self.inner("cnonce")

    @property
    def qop(self) -> str | None:
        """The chosen quality of protection in lower case."""
        qop = self.get("qop")
        return None if qop is None else qop.lower()

    @property
    def nc(self) -> str | None:
        """The nonce count as on the wire: 8 hexadecimal digits."""
        return self.get("nc")

    @property
    def nonce_count(self) -> int | None:
        """The nonce count as a number. Raises SipParseError when it is none."""
        text = self.nc
        if text is None:
            return None
        if len(text) != 8 or not all(digit in "0123456789abcdefABCDEF" for digit in text):
            raise SipParseError(f"not a nonce count: {text[:20]!r}")
        return int(text, 16)
