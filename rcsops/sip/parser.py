"""From octets to messages (RFC 3261 §7, §18.3, §25)."""

from __future__ import annotations

import re
from itertools import pairwise

from rcsops.errors import SipParseError
from rcsops.limits import SIP_HEADERS
from rcsops.sip.grammar import TOKEN_CLASS, parse_number
from rcsops.sip.message import ENCODING, ERRORS, Request, Response
from rcsops.sip.names import HEADER_NAMES

_REQUEST_LINE = re.compile(
    rf"([{TOKEN_CLASS}]++) ([^\x00-\x20\x7f]++) ((?:SIP|sip|Sip)/[0-9]{{1,9}}\.[0-9]{{1,9}})"
)
_STATUS_LINE = re.compile(
    r"((?:SIP|sip|Sip)/[0-9]{1,9}\.[0-9]{1,9}) ([1-6][0-9][0-9])(?>(?: (.*+))?)", re.S
)
_METHOD = re.compile(rf"[{TOKEN_CLASS}]++")


def parse_message(data: bytes | bytearray | memoryview) -> Request | Response:
    """Parse a datagram that holds one message (RFC 3261 §18.3).

    Line ends before the message are skipped, octets beyond its Content-Length are dropped; without
    Content-Length the body goes to the end of the datagram. Raises SipParseError, whose ``partial``
    is the request as far as it can be read, for an answer, or None.
    """
    if not isinstance(data, bytes):
        data = bytes(data)
    if data[:2] == b"\r\n":
        data = data.lstrip(b"\r\n")
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        raise _failure("the head does not end with an empty line", str(head, ENCODING, ERRORS))
    message = parse_head(str(head, ENCODING, ERRORS))
    length = body_length(message)
    if length is None:
        message._body = body
        return message
    if len(body) < length:
        raise with_partial(
            SipParseError(f"the body has {len(body)} octets, Content-Length says {length}"), message
        )
    message._body = body[:length]
    return message


def body_length(message: Request | Response) -> int | None:
    """The Content-Length, None when absent. Raises SipParseError with ``partial``."""
    value = message._values.get("content-length")
    if value is None:
        return None
    if isinstance(value, list):
        # Two of them make two messages out of one for whoever reads the other (RFC 4475 §3.3.9).
        raise with_partial(SipParseError("more than one Content-Length"), message)
    value = value.strip(" \t\r\n")
    if len(value) < 10 and value.isascii() and value.isdigit():
        return int(value)
    try:
        return parse_number(value, "Content-Length")
    except SipParseError as error:
        raise with_partial(error, message) from None


def parse_head(head: str) -> Request | Response:
    """Parse start line and headers: the text before the empty line. The body is left empty."""
    lines = head.split("\r\n")
    # Looking through the joined lines costs a fifth of counting CR and LF in the head.
    joined = "".join(lines)
    if "\n" in joined or "\r" in joined:
        raise _failure("a CR or LF alone in the head", head)
    start = lines.pop(0)
    if len(lines) > SIP_HEADERS:
        lines = _join_folded(lines)
        if len(lines) > SIP_HEADERS:
            raise _failure("too many headers", head)
    try:
        names, values = _index(lines)
    except SipParseError:
        # Rare: a folded header. Its continuation line has no name, or one that begins with space.
        lines = _join_folded(lines)
        try:
            names, values = _index(lines)
        except SipParseError as error:
            raise _failure(str(error), head) from None
    message: Request | Response
    # No method has a slash, so only one of the two need be tried.
    line = _STATUS_LINE if start[3:4] == "/" else _REQUEST_LINE
    match = line.fullmatch(start)
    if match is None:
        raise _failure(f"not a start line: {start[:60]!r}", head)
    if line is _REQUEST_LINE:
        message = request = Request.__new__(Request)
        request._method, request._uri, version = match.groups()
    else:
        message = response = Response.__new__(Response)
        version, status, reason = match.groups()
        response._status = int(status)
        response._reason = reason or ""
    message._start = start
    message._version = version if version == "SIP/2.0" else version.upper()
    message._lines = lines
    message._names = names
    message._values = values
    message._typed = {}
    message._body = b""
    return message


def _index(lines: list[str]) -> tuple[list[str], dict[str, str | list[str]]]:
    """The canonical name of each line, and the text after the colon, a list where a name repeats.

    Every reader of a header needs its place, and that it is there once: found here on the way,
    that costs less than one search through the names. Raises SipParseError.
    """
    names = []
    values: dict[str, str | list[str]] = {}
    for line in lines:
        spelled, colon, value = line.partition(":")
        name = HEADER_NAMES[spelled]
        names.append(name)
        # One test for two rare things: a header again, and one without value or even colon.
        if name in values or not value:
            if not colon:
                raise SipParseError("a header without a colon")
            before = values.get(name)
            if before is None:
                values[name] = value
            elif isinstance(before, list):
                before.append(value)
            else:
                values[name] = [before, value]
        else:
            values[name] = value
    return names, values


def with_partial(error: SipParseError, message: Request | Response) -> SipParseError:
    """The error with the message that it is about, when that can be answered."""
    error.partial = message if isinstance(message, Request) else None
    return error


def _join_folded(lines: list[str]) -> list[str]:
    """One entry for each header: its continuation lines joined with their line breaks."""
    starts = [i for i, line in enumerate(lines) if line[:1] not in (" ", "\t")]
    if not starts or starts[0] != 0:
        # A continuation of the start line: it fails as a header without a name.
        return lines
    starts.append(len(lines))
    return [
        "\r\n".join(lines[start:end]) if end - start > 1 else lines[start]
        for start, end in pairwise(starts)
    ]


def _failure(reason: str, head: str) -> SipParseError:
    """The error, with what can be read of a request in ``partial``: Via, To and their like."""
    error = SipParseError(reason)
    lines = head.split("\r\n")
    words = lines.pop(0).split(" ")
    method = _METHOD.fullmatch(words[0])
    # A response is never answered, so there is nothing to save in it.
    if method is None or len(words) < 2 or words[0][:4].upper() == "SIP/":
        return error
    request = Request.__new__(Request)
    request._method, request._uri, request._version = words[0], words[1], "SIP/2.0"
    request._start = f"{words[0]} {words[1]} SIP/2.0"
    request._lines, request._names, request._values = [], [], {}
    request._typed, request._body = {}, b""
    for line in _join_folded(lines)[:SIP_HEADERS]:
        name, colon, _ = line.partition(":")
        joined = line.replace("\r\n ", "").replace("\r\n\t", "")
        if not colon or "\r" in joined or "\n" in joined:
            continue
        try:
            canonical = HEADER_NAMES[name]
        except SipParseError:
            continue
        request._names.append(canonical)
        request._lines.append(line)
    error.partial = request
    return error
