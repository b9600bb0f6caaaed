"""Phones behind TLS and WebSocket, where a Contact may be a name that nobody can reach."""

import base64
import os
import ssl

from rcsops.sip import Message, parse_message
from tests.live.phones import DOMAIN, PATIENCE, Phone


class TlsPhone(Phone):
    """One that looks at the server's certificate, for the SIP domain, with ``context``."""

    def __init__(self, server: str, name: str, context: ssl.SSLContext) -> None:
        super().__init__(server, name, transport="tcp")
        self.transport = "tls"
        self._socket = context.wrap_socket(self._socket, server_hostname=DOMAIN)


class WebSocketPhone(Phone):
    """One over ws, or with ``context`` over wss; ``origin`` is what only browsers send."""

    def __init__(
        self, server: str, name: str, context: ssl.SSLContext | None = None, *, origin: str = ""
    ) -> None:
        super().__init__(server, name, transport="tcp")
        self.transport = "ws"
        if context is not None:
            self.transport = "wss"
            self._socket = context.wrap_socket(self._socket, server_hostname=DOMAIN)
        self._data = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"{f'Origin: {origin}{chr(13)}{chr(10)}' if origin else ''}"
            "Sec-WebSocket-Protocol: sip\r\n\r\n".encode()
        )
        self._socket.settimeout(PATIENCE)
        while b"\r\n\r\n" not in self._data:
            if not (more := self._socket.recv(65535)):
                raise ConnectionError(f"no WebSocket: {self._data!r}")
            self._data += more
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(head.decode())

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@{self.name}.invalid;transport=ws>"

    def via(self) -> str:
        name = self.transport.upper()
        return f"SIP/2.0/{name} {self.name}.invalid;branch={self.tokens.branch()}"

    def send(self, message: Message | bytes) -> None:
        text, mask = bytes(message), os.urandom(4)
        masked = bytes(each ^ mask[index % 4] for index, each in enumerate(text))
        # A whole text message, masked, its length in two octets (RFC 6455 §5.2).
        self._socket.sendall(b"\x81\xfe" + len(text).to_bytes(2, "big") + mask + masked)

    def _read(self, seconds: float) -> None:
        while (text := self._frame()) is None:
            self._socket.settimeout(max(seconds, 0.01))
            try:
                more = self._socket.recv(65535)
            except TimeoutError:
                return
            if not more:
                raise ConnectionError(f"the server closed the connection of {self.name}")
            self._data += more
        if text.strip(b"\r\n\0"):
            self._take(parse_message(text))

    def _frame(self) -> bytes | None:
        """What the next frame of the server holds; it masks nothing."""
        size, start = (self._data[1], 2) if len(self._data) > 1 else (0, 2)
        if size == 126:
            size, start = int.from_bytes(self._data[2:4], "big"), 4
        if len(self._data) < max(start + size, 2):
            return None
        text, self._data = self._data[start : start + size], self._data[start + size :]
        return text
