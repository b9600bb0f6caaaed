"""The small pieces that every header is made of (RFC 3261 §25.1).

All patterns use possessive quantifiers (``++``, ``*+``) and atomic groups (``(?>…)``): they never
go back, so the time is linear in the length of the input whatever a peer sends. What is possessive
is a single class alone; a group is ``(?>(?:…)*)``, as Python before 3.11.5, which Debian 12 has,
does not go back to the start of a possessive group's last round when that fails half-way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar, overload

from rcsops.errors import LocalProtocolError, SipParseError

T = TypeVar("T")

TOKEN_CLASS = r"A-Za-z0-9\-.!%*_+`'~"  # noqa: S105 - not a password
QUOTED = r'"(?>(?:[^"\\]++|\\.)*)"'
# gen-value is token / host / quoted-string; the class also takes what peers send unquoted.
VALUE_CLASS = r"\x21\x23-\x2b\x2d-\x3a\x3d\x3f-\x5b\x5d-\x7e"
# RFC 3261 wants at least one letter or digit between dots; "_" is common in local host names.
HOST = r"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._\-]++"

PARAMS = (
    rf"(?>(?:;[ \t]*+[{TOKEN_CLASS}]++"
    rf"(?>(?:[ \t]*+=[ \t]*+(?:{QUOTED}|[{VALUE_CLASS}]++))?)[ \t]*+)*)"
)

_TOKEN = re.compile(f"[{TOKEN_CLASS}]++")
_BARE_VALUE = re.compile(f"[{VALUE_CLASS}]++")
_QUOTED = re.compile(QUOTED, re.S)
_HOST = re.compile(HOST)
_ESCAPED = re.compile(r"\\(.)", re.S)
_PARAM = re.compile(
    rf";[ \t]*+([{TOKEN_CLASS}]++)(?>(?:[ \t]*+=[ \t]*+({QUOTED}|[{VALUE_CLASS}]++))?)[ \t]*+"
    r"|(.++)",
    re.S,
)
_INNER_COMMA = re.compile(r"<[^<>,]*+,")
_ELEMENT = re.compile(rf'(?>(?:[^",<]++|{QUOTED}|<[^>]*+>)*)', re.S)


class Params(dict[str, str | None]):
    """Parameters in their order: lower-case name to the text as it stands on the wire.

    A flag without "=" has the value None; a quoted string keeps its quotes (see `unquote`).
    Look-up by ``get``, ``in`` and subscript is case-insensitive.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> str | None:
        lower = name.lower()
        if lower == name:
            raise KeyError(name)
        return self[lower]

    def __contains__(self, name: object) -> bool:
        # Most have none: that much is known without a call.
        return bool(self) and isinstance(name, str) and dict.__contains__(self, name.lower())

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str | None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: T, /) -> str | T | None: ...
    def get(self, name: str, default: object = None, /) -> object:
        return dict.get(self, name.lower(), default)

    def __str__(self) -> str:
        return "".join(
            f";{name}" if value is None else f";{name}={value}" for name, value in self.items()
        )


def parse_params(text: str, *, repeated: bool = False) -> Params:
    """Parse ``;name=value;flag`` (RFC 3261 §25.1, generic-param).

    RFC 3261 §7.3.1: a name must not appear twice; feature tags (names with "+") may, since some
    phones send them so, and the first counts. ``repeated`` allows it for every name.
    """
    found = _PARAM.findall(text)
    params = Params([(name.lower(), value or None) for name, value, _ in found])
    if "" in params:
        raise SipParseError(f"broken parameters: {text[:60]!r}")
    if len(params) != len(found):
        first = Params()
        for name, value, _ in found:
            lower = name.lower()
            if lower not in first:
                first[lower] = value or None
            elif not repeated and lower[0] != "+":
                raise SipParseError(f"parameter {lower[:40]} appears twice")
        return first
    return params


def make_params(params: Mapping[str, str | None] | Iterable[tuple[str, str | None]]) -> Params:
    """Params from a caller's values, quoted where the grammar needs it."""
    items = params.items() if isinstance(params, Mapping) else params
    return Params((param_name(name), param_value(value)) for name, value in items)


def param_name(name: str) -> str:
    """A parameter name in lower case; LocalProtocolError when it is no token."""
    if not is_token(name):
        raise LocalProtocolError(f"not a parameter name: {name[:40]!r}")
    return name.lower()


def param_value(value: str | None) -> str | None:
    """A value in its form on the wire: as it stands if that is legal, quoted if not."""
    if value is None or _BARE_VALUE.fullmatch(value) or _QUOTED.fullmatch(value):
        return value
    return quote(value)


def is_token(text: str) -> bool:
    """Whether the text is a ``token`` (RFC 3261 §25.1)."""
    return _TOKEN.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether the text can be a ``host``: a name, an IPv4 address or a bracketed IPv6 one."""
    return _HOST.fullmatch(text) is not None


def quote(text: str) -> str:
    """The text as a ``quoted-string``."""
    if "\r" in text or "\n" in text:
        raise LocalProtocolError("a quoted string cannot hold a line break")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The content of a ``quoted-string``, escapes resolved; any other text as it stands."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    text = text[1:-1]
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def unfold(value: str) -> str:
    """A header value with each fold replaced by one space (RFC 3261 §7.3.1), stripped."""
    return " ".join(part.strip(" \t") for part in value.split("\r\n")).strip(" \t")


def parse_number(text: str, what: str, maximum: int = 2**32 - 1) -> int:
    """``1*DIGIT`` up to ``maximum``; SipParseError otherwise. Leading zeros are legal."""
    if not (text.isascii() and text.isdigit()):
        raise SipParseError(f"{what} is not a number: {text[:40]!r}")
    digits = text.lstrip("0")
    # int() takes time quadratic in the number of digits and refuses above 4300 of them.
    if len(digits) > 20 or (number := int(digits or "0")) > maximum:
        raise SipParseError(f"{what} is out of range: {text[:40]}")
    return number


def split_first(value: str) -> tuple[str, str | None]:
    """The first element of a comma list and the rest after its comma (None when it was alone)."""
    if "," not in value:
        return value, None
    match = _ELEMENT.match(value)
    end = match.end() if match else 0
    if end == len(value):
        return value, None
    if value[end] != ",":
        raise SipParseError(f"unbalanced quote or bracket: {value[end : end + 40]!r}")
    return value[:end].rstrip(" \t"), value[end + 1 :].lstrip(" \t")


def split_list(value: str) -> list[str]:
    """The elements of a comma list, stripped, empty ones too; quotes and <> are respected."""
    if "," not in value:
        return [value.strip(" \t")]
    if '"' not in value:
        brackets = value.count("<")
        # Commas inside <> are rare; without them there is nothing to look out for.
        if not brackets or (brackets == value.count(">") and not _INNER_COMMA.search(value)):
            return [element.strip(" \t") for element in value.split(",")]
    elements = []
    position = 0
    length = len(value)
    while True:
        match = _ELEMENT.match(value, position)
        end = match.end() if match else position
        elements.append(value[position:end].strip(" \t"))
        if end == length:
            return elements
        if value[end] != ",":
            raise SipParseError(f"unbalanced quote or bracket: {value[end : end + 40]!r}")
        position = end + 1
