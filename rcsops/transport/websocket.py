"""WebSocket under SIP (RFC 7118, RFC 6455): the layer of one connection, one SIP message each."""

import contextlib
import logging
import re
from collections.abc import Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidState, InvalidStatus, ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from rcsops.transport.layers import ConnectionFailed, Layer

__all__ = ["ANY_ORIGIN", "WebSocketClient", "WebSocketServer"]

ANY_ORIGIN = "*"
_SIP = Subprotocol("sip")
# No browser has pages of these schemes (RFC 6454 §4).
_NO_PAGE = re.compile(r"sips?:.*")
# Its own log would tell strangers' mistakes one by one.
_silent = logging.getLogger("rcsops.transport.websocket")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class _WebSocket(Layer):
    """What both ends have in common."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._parts: list[bytes] = []
        self._in_message = False

    def send(self, data: bytes) -> None:
        try:
            # RFC 7118 §5: SIP that is not UTF-8 goes as a binary message.
            if _is_text(data):
                self._protocol.send_text(data)
            else:
                self._protocol.send_binary(data)
        except (InvalidState, ProtocolError) as error:
            raise ConnectionFailed("the WebSocket is closed") from error

    def data_to_send(self) -> bytes:
        return b"".join(self._protocol.data_to_send())

    def close(self) -> None:
        with contextlib.suppress(InvalidState):
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)

    def _frames(self, events: Sequence[object]) -> list[bytes]:
        """The messages that became whole."""
        messages: list[bytes] = []
        # Without an event, what came was a part of a frame.
        self.unfinished = self._in_message or not events
        for event in events:
            if not isinstance(event, Frame):
                continue
            if event.opcode is Opcode.CLOSE:
                raise ConnectionFailed("the WebSocket was closed")
            if event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            if event.data:
                self._parts.append(bytes(event.data))
            self._in_message = self.unfinished = not event.fin
            if event.fin:
                messages.append(b"".join(self._parts))
                self._parts.clear()
        broken = self._protocol.parser_exc
        if broken is not None:
            raise ConnectionFailed(f"the WebSocket is broken: {_shown(broken)}")
        return messages


class WebSocketServer(_WebSocket):
    """The end that others connect to.

    A browser says which page it acts for: that must be one of ``origins`` ("https://chat.example",
    or "*" for any). Who says nothing, or names no web page, is no browser, and welcome.
    """

    def __init__(self, origins: Sequence[str], max_size: int) -> None:
        allowed = None
        if ANY_ORIGIN not in origins:
            allowed = [None, _NO_PAGE, *(Origin(origin) for origin in origins)]
        self._server = ServerProtocol(
            origins=allowed,
            subprotocols=[_SIP],
            select_subprotocol=_must_speak_sip,
            max_size=max_size,
            logger=_silent,
        )
        super().__init__(self._server)

    def start(self) -> None:
        pass

    def receive_data(self, data: bytes) -> list[bytes]:
        server = self._server
        server.receive_data(data)
        events = server.events_received()
        if not self.established:
            for event in events:
                if isinstance(event, Request):
                    server.send_response(server.accept(event))
            if server.handshake_exc is not None:
                raise ConnectionFailed(f"no WebSocket: {_shown(server.handshake_exc)}")
            if server.state is not OPEN:
                return []
            self.established = True
            # What came with the request was kept until it was answered.
            events = [*events, *server.events_received()]
        return self._frames(events)


class WebSocketClient(_WebSocket):
    """The end that connects, to ``host`` (host:port) by ``scheme``, "ws" or "wss".

    It says that it acts for no web page, since OpenSIPS wants to hear something.
    """

    def __init__(self, scheme: str, host: str, max_size: int) -> None:
        self._client = ClientProtocol(
            parse_uri(f"{scheme}://{host}/"),
            origin=Origin(f"sip://{host}"),
            subprotocols=[_SIP],
            max_size=max_size,
            logger=_silent,
        )
        super().__init__(self._client)

    def start(self) -> None:
        self._client.send_request(self._client.connect())

    def receive_data(self, data: bytes) -> list[bytes]:
        client = self._client
        client.receive_data(data)
        events = client.events_received()
        if not self.established:
            if client.handshake_exc is not None:
                raise ConnectionFailed(_refusal(client.handshake_exc))
            if client.state is not OPEN:
                return []
            if client.subprotocol != _SIP:
                raise ConnectionFailed('it is a WebSocket, but not one for SIP: no "sip" protocol')
            self.established = True
        return self._frames(events)


def _must_speak_sip(server: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol:
    if _SIP not in offered:
        # RFC 7118 §4.1 asks for it; websockets makes a 400 of this.
        raise InvalidHandshake('the client does not offer the protocol "sip"')
    return _SIP


def _refusal(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        return f"it answers {error.response.status_code} to a WebSocket"
    return f"no WebSocket: {_shown(error)}"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:120]
