"""Requests and responses of MSRP as bytes (RFC 4975 §7, §9)."""

import re
from dataclasses import dataclass

from rcsops.errors import LocalProtocolError, MsrpParseError

CONTINUATIONS = "$+#"
PHRASES = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    413: "Stop Sending Message",
    415: "Unsupported Media Type",
    423: "Parameter Out Of Bounds",
    481: "No Such Session",
    501: "Unknown Method",
    506: "Session Already Bound",
}

_IDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}")
_START_LINE = re.compile(
    r"MSRP ([A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}) (?:([A-Z]{1,32})|([0-9]{3})(?: (.*))?)", re.DOTALL
)
_LOWER = {
    name: name.lower()
    for name in (
        "To-Path",
        "From-Path",
        "Message-ID",
        "Success-Report",
        "Failure-Report",
        "Byte-Range",
        "Status",
        "Content-Type",
    )
}
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_SAFE = bytes(c for c in range(256) if c in (9, 10, 13) or (c >= 32 and c != 127))
_UNSAFE_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BYTE_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18}|\*)/([0-9]{1,18}|\*)")
_STATUS = re.compile(r"([0-9]{3}) +([0-9]{3})(?: +(.*))?")


def is_ident(text: str) -> bool:
    """Whether ``text`` may be a transaction id or a Message-ID: 4 to 32 characters (§9)."""
    return _IDENT.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ByteRange:
    """``start-end/total``, counted from 1; None stands for ``*`` (RFC 4975 §7.1, §9)."""

    start: int
    end: int | None
    total: int | None

    @classmethod
    def parse(cls, text: str) -> "ByteRange":
        """Read the header's value; raise MsrpParseError when it is none or starts at 0."""
        match = _BYTE_RANGE.fullmatch(text)
        if match is None or int(match[1]) < 1:
            raise MsrpParseError(f"not a Byte-Range: {text[:80]!r}")
        end = None if match[2] == "*" else int(match[2])
        total = None if match[3] == "*" else int(match[3])
        return cls(int(match[1]), end, total)

    def __str__(self) -> str:
        end = "*" if self.end is None else self.end
        total = "*" if self.total is None else self.total
        return f"{self.start}-{end}/{total}"


class _Frame:
    """What requests and responses share: a transaction id and headers in order.

    ``wire_head`` is the head as it was received, without its last CRLF; empty when it was not.
    """

    __slots__ = ("_index", "headers", "transaction_id", "wire_head")

    def __init__(self, transaction_id: str, headers: list[tuple[str, str]]) -> None:
        self.transaction_id = transaction_id
        self.headers = headers
        self.wire_head = b""
        self._index: dict[str, str] | None = None

    def get(self, name: str) -> str | None:
        """The value of the first header of that name, in any case, or None."""
        index = self._index
        if index is None:
            index = self._index = {n.lower(): v for n, v in reversed(self.headers)}
        value = index.get(name)
        return index.get(name.lower()) if value is None else value

    @property
    def to_path(self) -> str:
        """The To-Path as text; empty when there is none."""
        return self.get("to-path") or ""

    @property
    def from_path(self) -> str:
        """The From-Path as text; empty when there is none."""
        return self.get("from-path") or ""

    def _head(self, start_line: str) -> bytes:
        lines = [start_line]
        for name, value in self.headers:
            check_header(name, value)
            lines.append(f"{name}: {value}")
        lines.append("")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")

    def read_headers(self, lines: list[str]) -> None:
        """Put header lines of a head that was checked; raise MsrpParseError at one that is none.

        The frame then holds what stood before that one, so that an answer can be sent.
        """
        headers = self.headers
        index: dict[str, str] = {}
        self._index = index
        for line in lines:
            name, colon, value = line.partition(":")
            key = _LOWER.get(name)
            if key is None:
                key = name.lower()
                if not _NAME.fullmatch(name):
                    colon = ""
            if not colon:
                raise MsrpParseError(f"not an MSRP header: {line[:80]!r}")
            value = value.strip(" \t")
            headers.append((name, value))
            if key not in index:
                index[key] = value
            elif key in ("to-path", "from-path"):
                raise MsrpParseError(f"more than one {name}")
        if "to-path" not in index or "from-path" not in index:
            raise MsrpParseError("no To-Path or no From-Path")


class Request(_Frame):
    """A SEND, a REPORT, or a method that we do not know.

    ``body`` is None where the frame has no Content-Type, no blank line and no body at all.
    ``continuation`` is ``$`` for the last chunk of a message, ``+`` when more follow, ``#`` when
    the message is given up (RFC 4975 §7.1).
    """

    __slots__ = ("body", "continuation", "method")

    def __init__(
        self,
        transaction_id: str,
        method: str,
        headers: list[tuple[str, str]],
        body: bytes | None = None,
        continuation: str = "$",
    ) -> None:
        super().__init__(transaction_id, headers)
        self.method = method
        self.body = body
        self.continuation = continuation

    @property
    def message_id(self) -> str:
        """The Message-ID; empty when there is none."""
        return self.get("message-id") or ""

    def head(self) -> bytes:
        """Start line and headers, each with its CRLF, without the blank line or the end-line."""
        return self._head(f"MSRP {self.transaction_id} {self.method}")

    def __bytes__(self) -> bytes:
        body = b"" if self.body is None else b"\r\n" + self.body + b"\r\n"
        return self.head() + body + end_line(self.transaction_id, self.continuation)

    def __repr__(self) -> str:
        size = "no body" if self.body is None else f"{len(self.body)} octets"
        return f"<Request {self.method} {self.transaction_id} {size} {self.continuation}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]


class Response(_Frame):
    """The answer to one request (RFC 4975 §7.2); ``comment`` is for people."""

    __slots__ = ("comment", "status")

    def __init__(
        self, transaction_id: str, status: int, comment: str, headers: list[tuple[str, str]]
    ) -> None:
        super().__init__(transaction_id, headers)
        self.status = status
        self.comment = comment

    def head(self) -> bytes:
        """Start line and headers, each with its CRLF, without the end-line."""
        comment = f" {self.comment}" if self.comment else ""
        return self._head(f"MSRP {self.transaction_id} {self.status:03d}{comment}")

    def __bytes__(self) -> bytes:
        return self.head() + end_line(self.transaction_id)

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.transaction_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Response) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]


Frame = Request | Response


def response_to(request: Request, status: int) -> bytes:
    """The answer to a request that was received, addressed by the rules of RFC 4975 §7.2.

    The answer to a SEND goes one hop back (the first URI of From-Path), any other answer along the
    whole From-Path; it comes from the first URI of the request's To-Path.
    """
    back = request.from_path
    if request.method == "SEND":
        back = back.partition(" ")[0]
    own = request.to_path.partition(" ")[0]
    key = request.transaction_id
    return (
        f"MSRP {key} {status} {PHRASES[status]}\r\nTo-Path: {back}\r\nFrom-Path: {own}\r\n"
        f"-------{key}$\r\n"
    ).encode("utf-8", "surrogateescape")


def end_line(transaction_id: str, continuation: str = "$") -> bytes:
    """Seven hyphens, the transaction id and the continuation flag, with the CRLF."""
    return f"-------{transaction_id}{continuation}\r\n".encode()


def parse_status(text: str) -> tuple[int, str]:
    """Code and text of a Status header (``000 200 OK``); raise MsrpParseError (RFC 4975 §7.1.2)."""
    match = _STATUS.fullmatch(text)
    if match is None:
        raise MsrpParseError(f"not a Status: {text[:80]!r}")
    # Only namespace 000 holds the codes of this protocol; any other is a failure nobody here knows.
    return (int(match[2]) if match[1] == "000" else 400), match[3] or ""


def parse_start_line(line: str) -> Frame:
    """A request or response without headers from its start line; raise MsrpParseError."""
    match = _START_LINE.fullmatch(line)
    if match is None:
        raise MsrpParseError(f"not an MSRP start line: {line[:80]!r}")
    if match[2]:
        return Request(match[1], match[2], [])
    return Response(match[1], int(match[3]), match[4] or "", [])


def check_header(name: str, value: str) -> None:
    """Raise LocalProtocolError for a header of ours that cannot be written."""
    if not _NAME.fullmatch(name) or _UNSAFE_VALUE.search(value):
        raise LocalProtocolError(f"not an MSRP header: {name}: {value[:80]!r}")


def head_lines(head: bytes) -> list[str]:
    """The lines of a head; raise MsrpParseError for control characters.

    A lone CR or LF is as hostile as any: it would let a value be read as a header further on.
    """
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    ends = len(lines) - 1
    if head.translate(None, _SAFE) or head.count(b"\r") != ends or head.count(b"\n") != ends:
        raise MsrpParseError("a control character in the head of a frame")
    return lines
