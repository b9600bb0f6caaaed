"""A second opinion on what we send: the grammar of RFC 4975 §9 as regular expressions.

Written from the grammar, strict where our parser is lenient, and sharing no code with it.
"""

import re
from typing import NamedTuple

IDENT = rb"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}"
URI = (
    rb"msrps?://(?:[A-Za-z0-9\-._~]+@)?(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+):[0-9]{1,5}"
    rb"(?:/[A-Za-z0-9\-._~+=/]+)?;(?:tcp|[a-z]+)(?:;[A-Za-z0-9\-.=]+)*"
)
PATH = URI + rb"(?: " + URI + rb")*"
RANGE = rb"[1-9][0-9]*-(?:[0-9]+|\*)/(?:[0-9]+|\*)"
TEXT = rb"[^\x00-\x1f\x7f]*"
PATHS = rb"To-Path: (?P<to>" + PATH + rb")\r\nFrom-Path: (?P<from>" + PATH + rb")\r\n"
OTHER = rb"(?:(?!(?i:Content-Type|To-Path|From-Path):)[A-Za-z][A-Za-z0-9\-]*: " + TEXT + rb"\r\n)*"
TYPE = rb"Content-Type: [a-zA-Z0-9.+\-]+/[a-zA-Z0-9.+\-]+(?:;[^\x00-\x1f\x7f]*)?\r\n"

SEND = re.compile(
    rb"MSRP (?P<id>" + IDENT + rb") SEND\r\n" + PATHS + rb"Message-ID: (?P<message>" + IDENT + rb")"
    rb"\r\n(?:Success-Report: (?:yes|no)\r\n)?(?:Failure-Report: (?:yes|no|partial)\r\n)?"
    rb"(?:Byte-Range: (?P<range>" + RANGE + rb")\r\n)?" + OTHER + rb"(?P<type>" + TYPE + rb"\r\n)?"
)
REPORT = re.compile(
    rb"MSRP (?P<id>" + IDENT + rb") REPORT\r\n" + PATHS + rb"Message-ID: (?P<message>" + IDENT
    + rb")\r\nByte-Range: (?P<range>" + RANGE + rb")\r\nStatus: 000 [0-9]{3}(?: "
    + TEXT + rb")?\r\n"
)  # fmt: skip
RESPONSE = re.compile(
    rb"MSRP (?P<id>" + IDENT + rb") (?P<status>[0-9]{3})(?: " + TEXT + rb")?\r\n" + PATHS
)


class Checked(NamedTuple):
    """One frame that obeys the grammar; ``body`` is None without a Content-Type."""

    kind: str
    id: bytes
    head: dict[str, bytes | None]
    body: bytes | None
    flag: bytes


def check_stream(data: bytes) -> list[Checked]:
    """Take a stream of whole frames apart; AssertionError at the first octet that is wrong."""
    frames = []
    position = 0
    while position < len(data):
        frame, position = _check_frame(data, position)
        frames.append(frame)
    return frames


def _check_frame(data: bytes, position: int) -> tuple[Checked, int]:
    kinds = {"SEND": SEND, "REPORT": REPORT, "response": RESPONSE}
    matches = ((kind, pattern.match(data, position)) for kind, pattern in kinds.items())
    kind, match = next(((k, m) for k, m in matches if m is not None), ("", None))
    assert match is not None, f"no frame at {position}: {data[position : position + 300]!r}"
    groups = match.groupdict()
    mark = b"-------" + match["id"]
    if groups.get("type"):
        end = re.compile(b"\r\n" + re.escape(mark) + rb"([$+#])\r\n").search(data, match.end() - 2)
        assert end is not None, "no end-line"
        body: bytes | None = data[match.end() : end.start()]
        assert mark not in data[match.end() : end.start()], "the end-line's text in the body"
    else:
        end = re.compile(re.escape(mark) + rb"([$+#])\r\n").match(data, match.end())
        assert end is not None, f"no end-line after the headers: {data[match.end() :][:80]!r}"
        body = None
    flag = end[1]
    assert kind == "SEND" or flag == b"$"
    if body is not None:
        _check_range(groups["range"], body, flag)
    return Checked(kind, match["id"], groups, body, flag), end.end()


def _check_range(text: bytes | None, body: bytes, flag: bytes) -> None:
    assert text is not None, "a chunk of ours without its Byte-Range"
    span, _, total = text.partition(b"/")
    start, _, end = span.partition(b"-")
    if len(body) > 2048:
        assert end == b"*", "more than 2048 octets have to be interruptible"
    if end != b"*":
        assert int(end) == int(start) - 1 + len(body), (text, len(body))
    if flag == b"$" and total != b"*":
        assert int(start) - 1 + len(body) == int(total), (text, len(body))
