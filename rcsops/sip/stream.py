"""Messages out of a stream: TCP, TLS (RFC 3261 §18.3, RFC 5626 §3.5.1)."""

from __future__ import annotations

from rcsops.errors import SipParseError
from rcsops.limits import SIP_BODY, SIP_HEAD
from rcsops.sip.message import ENCODING, ERRORS, Request, Response
from rcsops.sip.parser import body_length, parse_head, with_partial

_CR = 0x0D


class StreamParser:
    """Cuts a stream into messages.

    Feed it with `receive_data`, then call `next_message` until that returns None, and answer each
    of `take_pings` with CRLF. When `next_message` raises, the framing is lost: the connection must
    be closed (``error.partial`` is the request, if it can be answered before).
    At most ``max_head`` + ``max_body`` octets are kept beyond what was fed at once.
    """

    __slots__ = (
        "_awaited_pongs",
        "_buffer",
        "_error",
        "_half_ping",
        "_length",
        "_max_body",
        "_max_head",
        "_message",
        "_pings",
        "_pongs",
        "_searched",
    )

    def __init__(self, max_head: int = SIP_HEAD, max_body: int = SIP_BODY) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._buffer = bytearray()
        self._searched = 0
        self._message: Request | Response | None = None
        self._length = 0
        self._error: SipParseError | None = None
        self._pings = self._pongs = self._awaited_pongs = 0
        self._half_ping = False

    def receive_data(self, data: bytes) -> None:
        """Take what was read from the connection."""
        self._buffer += data

    def next_message(self) -> Request | Response | None:
        """The next message, None when more octets are needed.

        Raises SipParseError for what is not SIP, for a missing or wrong Content-Length and for a
        message over the limits (status 513); from then on always.
        """
        if self._error is not None:
            raise self._error
        if not self._buffer and self._message is None:
            return None
        try:
            return self._next()
        except SipParseError as error:
            self._error = error
            self._buffer.clear()
            raise

    def _next(self) -> Request | Response | None:
        buffer = self._buffer
        if self._message is None:
            if buffer[0] == _CR:
                self._take_line_ends()
            end = buffer.find(b"\r\n\r\n", self._searched)
            if end < 0:
                # The last three octets may be the beginning of the empty line.
                self._searched = max(0, len(buffer) - 3)
                if len(buffer) > self._max_head + 4:
                    raise SipParseError("the head is too large", status=513)
                return None
            if end > self._max_head:
                raise SipParseError("the head is too large", status=513)
            message = parse_head(str(buffer[:end], ENCODING, ERRORS))
            self._length = self._body_length(message)
            self._message = message
            self._half_ping = False
            self._searched = 0
            del buffer[: end + 4]
        message, length = self._message, self._length
        if len(buffer) < length:
            return None
        message._body = bytes(buffer[:length])
        del buffer[:length]
        self._message = None
        return message

    def _body_length(self, message: Request | Response) -> int:
        # RFC 3261 §18.3: on a stream the Content-Length tells where the message ends.
        length = body_length(message)
        if length is None:
            raise with_partial(SipParseError("no Content-Length on a stream"), message)
        if length > self._max_body:
            raise with_partial(SipParseError("the body is too large", status=513), message)
        return length

    def _take_line_ends(self) -> None:
        """Skip line ends before a message: they are keep-alives (RFC 5626 §3.5.1)."""
        buffer = self._buffer
        count = 0
        while buffer.startswith(b"\r\n", 2 * count):
            count += 1
        del buffer[: 2 * count]
        self._searched = max(0, self._searched - 2 * count)
        pongs = min(count, self._awaited_pongs)
        self._awaited_pongs -= pongs
        self._pongs += pongs
        count -= pongs
        if not count:
            return
        halves = count + self._half_ping
        self._pings += halves // 2
        # A single CRLF may be a pong, or half a ping whose rest is still on its way.
        self._half_ping = halves % 2 == 1
        if self._half_ping:
            self._pongs += 1

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun whose end has not come."""
        return self._message is not None or bool(self._buffer)

    def ping_sent(self) -> None:
        """Our side has sent a ping (CRLFCRLF), so the next CRLF is its answer."""
        self._awaited_pongs = min(self._awaited_pongs + 1, 16)

    def take_pings(self) -> int:
        """How many pings (CRLFCRLF) came since the last call; each is to be answered with CRLF."""
        pings, self._pings = self._pings, 0
        return pings

    def take_pongs(self) -> int:
        """How many pongs (CRLF) came since the last call."""
        pongs, self._pongs = self._pongs, 0
        return pongs
