"""Which octets of a file a request is about (RFC 9110 §14)."""

import re
from typing import NamedTuple

__all__ = ["Span", "Unsatisfiable", "content_range", "wanted_span"]

_RANGE = re.compile(r"[ \t]*(\d{0,19})[ \t]*-[ \t]*(\d{0,19})[ \t]*")
_CONTENT_RANGE = re.compile(r"bytes[ \t]+(\d{1,19})-(\d{1,19})/(\d{1,19})", re.I)


class Span(NamedTuple):
    """The octets ``start`` to ``stop``, counted from 0, ``stop`` not included."""

    start: int
    stop: int


class Unsatisfiable(ValueError):
    """A range outside of the file: 416."""


def wanted_span(value: str, size: int) -> Span | None:
    """The octets that a Range header asks for; None for all of the file.

    What cannot be read, another unit and several ranges are as good as no header (RFC 9110 §14.2).
    Raises `Unsatisfiable`.
    """
    unit, equals, text = value.partition("=")
    match = _RANGE.fullmatch(text)
    if unit.strip().lower() != "bytes" or not equals or match is None or not value.isascii():
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        # The last so many octets (RFC 9110 §14.1.2).
        length = int(last)
        if not length or not size:
            raise Unsatisfiable
        return Span(max(0, size - length), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return Span(start, min(int(last) + 1, size) if last else size)


def content_range(value: str) -> tuple[Span, int] | None:
    """The octets that a PUT carries, and the size of the whole, from its Content-Range; None for
    what makes no sense (RFC 9110 §14.4)."""
    match = _CONTENT_RANGE.fullmatch(value.strip()) if value.isascii() else None
    if match is None:
        return None
    first, last, size = map(int, match.groups())
    if not first <= last < size:
        return None
    return Span(first, last + 1), size
