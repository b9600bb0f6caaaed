"""Bodies of several parts (RFC 2046 §5.1, in SIP RFC 5621)."""

import re
from typing import NamedTuple

from rcsops.errors import SipParseError
from rcsops.sip.headers import MediaType

__all__ = ["BodyPart", "read_parts"]

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")
_MOST_PARTS = 16


class BodyPart(NamedTuple):
    """One part: its media type, lower case and without parameters, the value of its
    Content-Disposition ("" without one) and of its Content-Transfer-Encoding, and its octets."""

    type_: str
    disposition: str
    encoding: str
    body: bytes

    @property
    def is_optional(self) -> bool:
        """Whether it may be left aside: it says so (RFC 5621 §8.2), or is the small picture of a
        file (RFC 5547 §6, file-icon)."""
        kind, _, params = self.disposition.lower().partition(";")
        said = {"".join(each.split()) for each in params.replace('"', "").split(";")}
        return kind.strip() == "icon" or "handling=optional" in said


def read_parts(body: bytes, boundary: str) -> tuple[BodyPart, ...]:
    """The parts of a body. Raises SipParseError when its boundaries make no sense, or there are
    too many."""
    if _BOUNDARY.fullmatch(boundary) is None:
        raise SipParseError(f"not a boundary: {boundary[:80]!r}")
    delimiter = re.compile(
        rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*+(?=\r?\n|\Z)"
    )
    parts: list[BodyPart] = []
    start = -1
    for found in delimiter.finditer(body):
        if start >= 0:
            if len(parts) == _MOST_PARTS:
                raise SipParseError("too many parts in a body")
            parts.append(_part(body[start : found.start()]))
        if found[1]:
            return tuple(parts)
        start = found.end()
    raise SipParseError("a body of several parts without its end")


def _part(data: bytes) -> BodyPart:
    # It begins with the end of the line of the delimiter: without headers a blank line follows.
    blank = _BLANK_LINE.search(data)
    head, content = (data, b"") if blank is None else (data[: blank.start()], data[blank.end() :])
    fields: dict[str, str] = {}
    for line in _FOLD.sub(" ", head.decode("utf-8", "replace")).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    # Without a type it is text (RFC 2046 §5.1).
    kind = MediaType.parse(fields.get("content-type") or "text/plain")
    return BodyPart(
        kind.type_,
        fields.get("content-disposition", ""),
        fields.get("content-transfer-encoding", "").lower(),
        content,
    )
