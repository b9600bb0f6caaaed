"""An MSRP endpoint out of the words of RFC 4975 and nothing else: one TCP connection."""

import re
import secrets
import socket
import time
from dataclasses import dataclass, field

_LIMIT = 10.0
_START = re.compile(
    rb"MSRP ([A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}) (?:([A-Z]+)|(\d{3})(?: [^\r\n]*)?)"
)


@dataclass
class Frame:
    """One frame of the wire: a request has a ``method``, an answer a ``status``."""

    transaction: str
    method: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes | None
    flag: str

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def range(self) -> tuple[int, str, str]:
        """Byte-Range: start, end and total, the last two as they stand."""
        start, end, total = re.fullmatch(
            r"(\d+)-(\d+|\*)/(\d+|\*)", self.get("Byte-Range")
        ).groups()  # type: ignore[union-attr]
        return int(start), end, total


@dataclass
class Whole:
    """A message put together again, and the chunks that it came in."""

    message_id: str
    body: bytes
    content_type: str
    chunks: list[Frame] = field(default_factory=list)


class MsrpByHand:
    """One end of a session. ``listen`` or ``connect`` makes its connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_LIMIT)
        self.port = self._listener.getsockname()[1]
        self.path = f"msrp://127.0.0.1:{self.port}/{secrets.token_hex(12)};tcp"
        self.remote = ""
        self.socket: socket.socket | None = None
        self._buffer = b""
        self.frames: list[Frame] = []

    def __enter__(self) -> "MsrpByHand":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        if self.socket is not None:
            self.socket.close()

    def sdp(self, setup: str, more: str = "a=accept-types:message/cpim *\r\n") -> bytes:
        """An offer or answer with our path."""
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=message {self.port} TCP/MSRP *\r\na=path:{self.path}\r\na=setup:{setup}\r\n{more}"
        ).encode()

    def learn(self, sdp: bytes) -> None:
        """The peer's path."""
        found = re.search(rb"(?m)^a=path:(\S+)", sdp)
        assert found is not None, sdp
        self.remote = found[1].decode()

    def connect(self) -> None:
        """The active side: connects and says at once who it is (RFC 4975 §5.4)."""
        self.socket = self.open()
        self.send("SEND", ["Message-ID: " + secrets.token_hex(8)])
        assert self.answer().status == 200

    def open(self) -> socket.socket:
        """A connection to the peer."""
        host, port = re.match(r"msrps?://([\d.]+):(\d+)/", self.remote).groups()  # type: ignore[union-attr]
        return socket.create_connection((host, int(port)), timeout=_LIMIT)

    def accept(self) -> Frame:
        """The passive side: the peer's connection, and its first request, which is answered."""
        self.socket, _ = self._listener.accept()
        self.socket.settimeout(_LIMIT)
        first = self.receive()
        self.respond(first)
        return first

    # --- sending -----------------------------------------------------------------------------

    def frame(
        self,
        method: str,
        headers: list[str],
        body: bytes | None = None,
        flag: str = "$",
        *,
        to: str = "",
        transaction: str = "",
    ) -> tuple[str, bytes]:
        """A request in octets, and its transaction-id."""
        name = transaction or secrets.token_hex(8)
        lines = [
            f"MSRP {name} {method}",
            f"To-Path: {to or self.remote}",
            f"From-Path: {self.path}",
            *headers,
        ]
        data = "\r\n".join(lines).encode() + b"\r\n"
        if body is not None:
            data += b"\r\n" + body + b"\r\n"
        return name, data + f"-------{name}{flag}\r\n".encode()

    def send(
        self,
        method: str,
        headers: list[str],
        body: bytes | None = None,
        flag: str = "$",
        *,
        to: str = "",
    ) -> str:
        """Sends one request; its transaction-id."""
        name, data = self.frame(method, headers, body, flag, to=to)
        self.write(data)
        return name

    def write(self, data: bytes) -> None:
        assert self.socket is not None
        self.socket.sendall(data)

    def chunk(
        self,
        message_id: str,
        data: bytes,
        start: int,
        total: int | str,
        content_type: str = "message/cpim",
        more: tuple[str, ...] = (),
        *,
        end: int | str = "*",
        flag: str = "+",
    ) -> str:
        """Sends one chunk of a message; octets are counted from 1."""
        headers = [
            f"Message-ID: {message_id}",
            f"Byte-Range: {start}-{end}/{total}",
            *more,
            f"Content-Type: {content_type}",
        ]
        return self.send("SEND", headers, data, flag)

    def respond(self, frame: Frame, status: str = "200 OK") -> None:
        """A transaction response (§7.2): To-Path is the first URI of From-Path."""
        back = frame.get("From-Path").split(" ")[0]
        lines = [
            f"MSRP {frame.transaction} {status}",
            f"To-Path: {back}",
            f"From-Path: {self.path}",
        ]
        data = "\r\n".join(lines) + f"\r\n-------{frame.transaction}$\r\n"
        self.write(data.encode())

    # --- receiving ---------------------------------------------------------------------------

    def receive(self, seconds: float = _LIMIT) -> Frame:
        """The next frame of the wire."""
        deadline = time.monotonic() + seconds
        while True:
            frame = self._cut()
            if frame is not None:
                self.frames.append(frame)
                return frame
            assert self.socket is not None
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no frame; unfinished: {self._buffer[:200]!r}")
            self.socket.settimeout(left)
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError("the peer closed the connection")
            self._buffer += data

    def _cut(self) -> Frame | None:
        if b"\r\n" not in self._buffer:
            return None
        first = _START.fullmatch(self._buffer.partition(b"\r\n")[0])
        assert first is not None, self._buffer[:200]
        name = first[1].decode()
        end = re.search(rb"\r\n-------" + re.escape(first[1]) + rb"([$#+])\r\n", self._buffer)
        if end is None:
            return None
        inner, self._buffer = self._buffer[: end.start()], self._buffer[end.end() :]
        head, mark, body = inner.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")[1:]]
        assert all(len(pair) == 2 for pair in headers), head
        # §9: To-Path and From-Path come first, Content-Type last, and a body needs one.
        assert [key for key, _ in headers[:2]] == ["To-Path", "From-Path"], head
        if mark:
            assert headers[-1][0] == "Content-Type", head
        return Frame(
            name,
            (first[2] or b"").decode(),
            int(first[3] or 0),
            headers,  # type: ignore[arg-type]
            body if mark else None,
            end[1].decode(),
        )

    def answer(self, transaction: str = "") -> Frame:
        """The next response (to a transaction)."""
        while True:
            frame = self.receive()
            if frame.status and transaction in ("", frame.transaction):
                return frame

    def request(self, method: str = "SEND") -> Frame:
        """The next request with something in it; empty ones are answered on the way."""
        while True:
            frame = self.receive()
            if frame.method == "SEND" and frame.body is None:
                self.respond(frame)
            elif frame.method == method:
                return frame

    def message(self, *, respond: bool = True) -> Whole:
        """The next whole message, put together from its chunks as §7.3.1 says."""
        parts: dict[str, list[Frame]] = {}
        while True:
            frame = self.request()
            if respond and frame.get("Failure-Report") not in ("no", "partial"):
                self.respond(frame)
            message_id = frame.get("Message-ID")
            parts.setdefault(message_id, []).append(frame)
            if frame.flag == "+":
                continue
            chunks = parts.pop(message_id)
            if frame.flag == "#":
                continue
            body = bytearray()
            for chunk in sorted(chunks, key=lambda each: each.range[0]):
                start = chunk.range[0] - 1
                assert start <= len(body), f"a gap before octet {start + 1}"
                body[start:] = chunk.body or b""
            return Whole(message_id, bytes(body), frame.get("Content-Type"), chunks)

    def silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        try:
            self.receive(seconds)
        except TimeoutError:
            return True
        return False


def cpim(
    text: bytes, message_id: str, wanted: str = "positive-delivery, display", more: str = ""
) -> bytes:
    """A text in CPIM (RFC 3862) that asks for notifications (RFC 5438); ``more`` are header lines
    with their ends."""
    return (
        "From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\n"
        "DateTime: 2026-11-23T22:00:09.500Z\r\nNS: imdn <urn:ietf:params:imdn>\r\n"
        f"imdn.Message-ID: {message_id}\r\nimdn.Disposition-Notification: {wanted}\r\n{more}\r\n"
        f"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len(text)}\r\n\r\n"
    ).encode() + text


def text_of(body: bytes) -> bytes:
    """The text of a CPIM message."""
    return body.split(b"\r\n\r\n", 2)[2]
