"""Messages out of the octets of a connection, whatever is spoken there: SIP, MSRP, SIP over
WebSocket. What the parsers of the cores would refuse is passed over up to the next message."""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Literal, NamedTuple

from rcsops.limits import SIP_BODY, SIP_HEAD

SIP_START = re.compile(
    rb"SIP/2\.0 [1-9][0-9]{2}[ \r]|[A-Za-z0-9.!%*_+`'~-]{1,32} [^\s]{1,2048} SIP/2\.0\r\n"
)
_MSRP_START = re.compile(rb"MSRP ([A-Za-z0-9.+%=-]{1,64}) (?:[A-Z]+|[0-9]{3}[^\r\n]{0,200})\r\n")
_NEXT = re.compile(SIP_START.pattern + rb"|" + _MSRP_START.pattern)
_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,10})[ \t]*\r?$", re.I | re.M)
_UPGRADE = re.compile(rb"^upgrade[ \t]*:[ \t]*websocket", re.I | re.M)
_LONGEST_START = 4096
# An MSRP chunk may be a whole file; a picture needs its head, and its end to go on from.
_MOST_MSRP = 65536


class Message(NamedTuple):
    """One message; ``transport`` is "tcp" or "ws"."""

    protocol: Literal["sip", "msrp"]
    transport: str
    data: bytes


class _State(Enum):
    LOOKING = auto()
    SIP = auto()
    MSRP = auto()
    WEBSOCKET = auto()
    DEAF = auto()


class StreamFraming:
    """One direction of a connection. ``encrypted`` says that it is TLS, which gives nothing."""

    def __init__(self) -> None:
        self.encrypted = False
        self._state = _State.LOOKING
        self._buffer = bytearray()
        self._searched = 0
        self._kept = b""
        self._frames = bytearray()

    def gap(self) -> None:
        """Octets are missing here: what has begun is given up."""
        if self._state is _State.WEBSOCKET:
            # The next octet is not known to begin a frame, and nothing would show it.
            self._state = _State.DEAF
        elif self._state is not _State.DEAF:
            self._state = _State.LOOKING
        self._buffer.clear()
        self._frames.clear()
        self._kept = b""
        self._searched = 0

    def receive(self, data: bytes) -> Iterator[Message]:
        """The messages that these octets complete."""
        steps = {
            _State.LOOKING: self._look,
            _State.SIP: self._sip,
            _State.MSRP: self._msrp,
            _State.WEBSOCKET: self._websocket,
        }
        self._buffer += data
        while self._buffer:
            state, size = self._state, len(self._buffer)
            step = steps.get(state)
            if step is None:
                self._buffer.clear()
                return
            message = step()
            if message is not None:
                yield message
            elif self._state is state and len(self._buffer) == size:
                return

    # --- finding the beginning -----------------------------------------------------------------

    def _look(self) -> None:
        buffer = self._buffer
        if buffer[:2] == b"\x16\x03":
            self.encrypted = True
            self._state = _State.DEAF
            buffer.clear()
            return
        if buffer.startswith((b"GET ", b"HTTP/1.1 101")):
            end = buffer.find(b"\r\n\r\n")
            if end < 0 and len(buffer) <= SIP_HEAD:
                return
            if end >= 0 and _UPGRADE.search(buffer, 0, end):
                del buffer[: end + 4]
                self._state = _State.WEBSOCKET
                return
        found = _NEXT.search(buffer)
        if found is None:
            # The beginning of a start line may be at the end.
            if len(buffer) > 2 * _LONGEST_START:
                del buffer[:-_LONGEST_START]
            return
        del buffer[: found.start()]
        self._searched = 0
        self._state = _State.MSRP if buffer.startswith(b"MSRP ") else _State.SIP

    # --- SIP -----------------------------------------------------------------------------------

    def _sip(self) -> Message | None:
        buffer = self._buffer
        if self._searched == 0:
            # Keep-alives between messages (RFC 5626 §3.5.1).
            ends = len(buffer) - len(buffer.lstrip(b"\r\n"))
            if ends:
                del buffer[:ends]
                return None
            if not SIP_START.match(buffer):
                if b"\r\n" in buffer or len(buffer) > _LONGEST_START:
                    self._state = _State.LOOKING
                return None
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(len(buffer) - 3, 1)
            if len(buffer) > SIP_HEAD:
                del buffer[:1]
                self._state = _State.LOOKING
            return None
        found = _LENGTH.search(buffer, 0, end)
        length = int(found[1]) if found else 0
        if length > SIP_BODY:
            del buffer[: end + 4]
            self._state = _State.LOOKING
            return None
        self._searched = end
        if len(buffer) < end + 4 + length:
            return None
        message = bytes(buffer[: end + 4 + length])
        del buffer[: end + 4 + length]
        self._searched = 0
        return Message("sip", "tcp", message)

    # --- MSRP ----------------------------------------------------------------------------------

    def _msrp(self) -> Message | None:
        buffer = self._buffer
        if not self._kept and self._searched == 0:
            found = _MSRP_START.match(buffer)
            if found is None:
                if b"\r\n" in buffer or len(buffer) > _LONGEST_START:
                    self._state = _State.LOOKING
                return None
            self._end = re.compile(rb"\r\n-------" + re.escape(found[1]) + rb"[$+#]\r\n")
        ending = self._end.search(buffer, self._searched)
        if ending is not None:
            begin = ending.start() if self._kept else 0
            message = self._kept + bytes(buffer[begin : ending.end()])
            del buffer[: ending.end()]
            self._kept = b""
            self._searched = 0
            return Message("msrp", "tcp", message)
        room = 80
        if len(buffer) > _MOST_MSRP + room:
            # The body is passed over from here on, but for what may begin the end-line.
            if not self._kept:
                self._kept = bytes(buffer[:_MOST_MSRP])
            del buffer[:-room]
            self._searched = 0
        else:
            self._searched = max(len(buffer) - room, 1)
        return None

    # --- WebSocket -----------------------------------------------------------------------------

    def _websocket(self) -> Message | None:
        """One frame (RFC 6455 §5.2); a message of several is put together."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, at = buffer[1] & 127, 2
        if length == 126:
            length, at = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            length, at = int.from_bytes(buffer[2:10], "big"), 10
        masked = bool(buffer[1] & 128)
        if length > SIP_BODY + SIP_HEAD or buffer[0] & 0x70:
            # Longer than any message, or compressed: nothing more can be read here.
            self._state = _State.DEAF
            return None
        whole = at + 4 * masked + length
        if len(buffer) < max(whole, at):
            return None
        payload = bytes(buffer[whole - length : whole])
        if masked:
            payload = _unmasked(payload, bytes(buffer[at : at + 4]))
        first = buffer[0]
        del buffer[:whole]
        if first & 15 > 2:
            return None
        if len(self._frames) + len(payload) > SIP_BODY + SIP_HEAD:
            self._state = _State.DEAF
            return None
        self._frames += payload
        if not first & 128:
            return None
        message = bytes(self._frames)
        self._frames.clear()
        return Message("sip", "ws", message) if SIP_START.match(message) else None


def _unmasked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
