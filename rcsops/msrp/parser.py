"""A stream of MSRP frames, split anywhere, read in linear time and bounded memory."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from rcsops.errors import MsrpParseError
from rcsops.limits import MSRP_HEAD, MSRP_HEADERS, MSRP_START_LINE, MSRP_WHOLE_BODY
from rcsops.msrp.frame import (
    Frame,
    Request,
    Response,
    head_lines,
    parse_start_line,
)


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What one frame may take: octets of the start line and of the head, and headers.

    A body up to ``whole_body`` octets is kept until its end-line has come; a longer one is handed
    on piece by piece and costs no memory, however long it is.
    """

    start_line: int = MSRP_START_LINE
    head: int = MSRP_HEAD
    headers: int = MSRP_HEADERS
    whole_body: int = MSRP_WHOLE_BODY


class ChunkStart(NamedTuple):
    """The head of a request whose body is longer than ``whole_body``."""

    request: Request


class ChunkData(NamedTuple):
    """The next octets of that body."""

    data: bytes


class ChunkEnd(NamedTuple):
    """Its end-line, with the continuation flag ``$``, ``+`` or ``#``."""

    continuation: str


DEFAULT_LIMITS = FrameLimits()

ParserEvent = Request | Response | ChunkStart | ChunkData | ChunkEnd


# The answer to nearly every SEND, as a whole; any other is read line by line.
_OK = re.compile(
    rb"(MSRP ([A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}) 200 OK\r\n"
    rb"To-Path: ([!-~]+)\r\nFrom-Path: ([!-~]+))"
    rb"\r\n-------\2\$\r\n"
)


def _positive(match: re.Match[bytes]) -> Response:
    key, to_path, from_path = match[2].decode(), match[3].decode(), match[4].decode()
    response = Response(key, 200, "OK", [("To-Path", to_path), ("From-Path", from_path)])
    response.wire_head = match[1]
    return response


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    STREAM = auto()
    FAILED = auto()


class FrameParser:
    """Octets in by ``receive_data``, frames out by ``next_event`` until that gives None.

    What is not MSRP raises MsrpParseError from ``next_event``; nothing can be read after that and
    the connection has to be closed. ``offender`` is then the request as far as it could be read,
    so that a 400 can be sent first, or None.
    """

    def __init__(self, limits: FrameLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._state = _State.HEAD
        self._buffer = b""
        self._position = 0
        self._scan = 0
        self._marker = b""
        self._frame: Frame | None = None
        self.offender: Request | None = None

    def receive_data(self, data: bytes) -> None:
        """Take octets from the connection, however they are split."""
        if self._state is _State.FAILED:
            return
        # The scan may stand before the position: see the end-line of an empty body below.
        used = min(self._position, self._scan)
        self._buffer = self._buffer[used:] + data if used < len(self._buffer) else bytes(data)
        self._position -= used
        self._scan -= used

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and its end-line has not come."""
        return self._state is not _State.HEAD or self._position < len(self._buffer)

    def next_event(self) -> ParserEvent | None:
        """The next whole frame or piece of one; None when more octets are needed."""
        try:
            if self._state is _State.HEAD:
                frame = self._read_head()
                if frame is not None or self._state is _State.HEAD:
                    return frame
            if self._state is _State.BODY:
                return self._read_body()
            if self._state is _State.STREAM:
                return self._read_stream()
        except MsrpParseError:
            self._state = _State.FAILED
            self._buffer = b""
            self._position = 0
            raise
        return None

    def _read_head(self) -> Frame | None:
        buffer = self._buffer
        # Not in the RFC, but a CRLF between frames is what some clients send to keep a NAT open.
        while buffer.startswith(b"\r\n", self._position):
            self._position += 2
        start = self._position
        if self._frame is None:
            answer = _OK.match(buffer, start)
            if answer is not None and answer.end() - start <= self._limits.start_line:
                self._position = self._scan = answer.end()
                return _positive(answer)
            line_end = buffer.find(b"\r\n", max(start, self._scan))
            if line_end < 0:
                begun = buffer[start : start + 5]
                if not b"MSRP ".startswith(begun) and begun != b"\r":
                    raise MsrpParseError(f"not MSRP: {buffer[start : start + 40]!r}")
                if len(buffer) - start > self._limits.start_line:
                    raise MsrpParseError("a start line that is too long")
                self._scan = max(start, len(buffer) - 1)
                return None
            if line_end - start > self._limits.start_line:
                raise MsrpParseError("a start line that is too long")
            line = buffer[start:line_end]
            self._frame = parse_start_line(line.decode("utf-8", "surrogateescape"))
            self._marker = b"\r\n-------" + self._frame.transaction_id.encode()
            self._scan = line_end
        return self._read_headers(self._frame)

    def _read_headers(self, frame: Frame) -> Frame | None:
        buffer, start, limit = self._buffer, self._position, self._limits.head
        blank = buffer.find(b"\r\n\r\n", self._scan)
        end = buffer.find(self._marker, self._scan, blank + 2 if blank >= 0 else len(buffer))
        if end >= 0:
            tail = end + len(self._marker)
            if len(buffer) < tail + 3:
                self._scan = end
                if len(buffer) - start > limit:
                    raise MsrpParseError("a head that is too long")
                return None
        elif blank < 0:
            if len(buffer) - start > limit:
                raise MsrpParseError("a head that is too long")
            self._scan = max(self._scan, len(buffer) - len(self._marker) - 3)
            return None
        head_end = end if end >= 0 else blank
        if head_end - start > limit:
            raise MsrpParseError("a head that is too long")
        self._parse_head(frame, buffer[start:head_end])
        if end < 0:
            if isinstance(frame, Response):
                raise MsrpParseError("a response with a body")
            self._state = _State.BODY
            self._position = blank + 4
            # Two octets back: some write the end-line right below the blank line of an empty body.
            self._scan = blank + 2
            return None
        flag = self._flag_at(tail)
        if flag is None:
            raise MsrpParseError("an end-line without its flag")
        self._position = self._scan = tail + 3
        self._frame = None
        if isinstance(frame, Request):
            frame.continuation = flag
        return frame

    def _parse_head(self, frame: Frame, head: bytes) -> None:
        frame.wire_head = head
        if isinstance(frame, Request):
            self.offender = frame
        lines = head_lines(head)
        if len(lines) > self._limits.headers + 1:
            raise MsrpParseError("too many headers")
        frame.read_headers(lines[1:])
        self.offender = None

    def _flag_at(self, index: int) -> str | None:
        tail = self._buffer[index : index + 3]
        if tail[1:] == b"\r\n" and tail[:1] in (b"$", b"+", b"#"):
            return tail[:1].decode()
        return None

    def _find_end(self) -> int:
        """Where the end-line's CRLF stands, or -1; ``_scan`` is then where to look on."""
        buffer, marker, start = self._buffer, self._marker, self._scan
        while True:
            found = buffer.find(marker, start)
            if found < 0:
                self._scan = max(start, len(buffer) - len(marker) + 1)
                return -1
            tail = found + len(marker)
            if len(buffer) < tail + 3:
                self._scan = found
                return -1
            if self._flag_at(tail) is not None:
                return found
            start = found + 1

    def _end_frame(self, end: int) -> str:
        tail = end + len(self._marker)
        flag = self._buffer[tail : tail + 1].decode()
        self._position = self._scan = tail + 3
        self._state = _State.HEAD
        self._frame = None
        return flag

    def _read_body(self) -> ParserEvent | None:
        start = self._position
        end = self._find_end()
        request = self._frame
        assert isinstance(request, Request)
        if end >= 0 and end - start <= self._limits.whole_body:
            request.body = self._buffer[start : max(start, end)]
            request.continuation = self._end_frame(end)
            return request
        if end < 0 and self._safe_end() - start <= self._limits.whole_body:
            return None
        if end >= 0:
            self._scan = end
        self._state = _State.STREAM
        return ChunkStart(request)

    def _safe_end(self) -> int:
        """Up to where the buffer surely is body: before whatever may begin an end-line."""
        buffer, marker = self._buffer, self._marker
        if buffer.startswith(marker, self._scan):
            return self._scan
        index = buffer.find(b"\r", max(self._position, len(buffer) - len(marker) + 1))
        while index >= 0 and not marker.startswith(buffer[index:]):
            index = buffer.find(b"\r", index + 1)
        return len(buffer) if index < 0 else index

    def _read_stream(self) -> ParserEvent | None:
        buffer, start = self._buffer, self._position
        end = self._find_end()
        if end == start:
            return ChunkEnd(self._end_frame(end))
        stop = end if end >= 0 else self._safe_end()
        if stop == start:
            return None
        self._position = self._scan = stop
        # A slice of everything is the same object: a block that is all body is not copied.
        return ChunkData(buffer[start:stop])


def parse_frame(data: bytes) -> Frame:
    """Read exactly one whole frame; raise MsrpParseError for less, more or something else."""
    parser = FrameParser(FrameLimits(whole_body=len(data)))
    parser.receive_data(data)
    frame = parser.next_event()
    if not isinstance(frame, Request | Response) or parser.in_frame:
        raise MsrpParseError("not exactly one MSRP frame")
    return frame
