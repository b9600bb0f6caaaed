"""A SIP phone out of the words of RFC 3261 and nothing else: one TCP connection to the server."""

import hashlib
import re
import secrets
import socket
import time
from collections.abc import Callable

_LIMIT = 10.0
_CHAT = '+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"'


class Message:
    """A SIP message as it came: ``first`` line, header lines in order, body."""

    def __init__(self, head: str, body: bytes) -> None:
        self.first, *lines = head.split("\r\n")
        self.headers = [tuple(line.split(":", 1)) for line in lines]
        self.body = body

    def all(self, name: str) -> list[str]:
        return [value.strip() for key, value in self.headers if key.strip().lower() == name.lower()]

    def get(self, name: str) -> str:
        return (self.all(name) or [""])[0]

    @property
    def method(self) -> str:
        return "" if self.first.startswith("SIP/2.0") else self.first.split(" ")[0]

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1]) if self.first.startswith("SIP/2.0") else 0


class Dialog:
    """What a phone has to say in each request of a call."""

    def __init__(self, target: str, route: list[str], ours: str, theirs: str, call_id: str) -> None:
        self.target, self.route, self.ours, self.theirs = target, route, ours, theirs
        self.call_id = call_id
        self.cseq = 10


class SipByHand:
    """``user`` of ``domain``, registered with the server at ``server`` (host:port)."""

    def __init__(self, server: str, user: str, password: str, domain: str = "rcs.example") -> None:
        host, _, port = server.rpartition(":")
        self.user, self.password, self.domain = user, password, domain
        self.aor = f"sip:{user}@{domain}"
        self._socket = socket.create_connection((host, int(port)), timeout=_LIMIT)
        self._buffer = b""
        self._later: list[Message] = []
        self._cseq = 0
        local = "{}:{}".format(*self._socket.getsockname())
        self.local = local
        self.contact = f"<sip:{user}@{local};transport=tcp>"

    def __enter__(self) -> "SipByHand":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    # --- messages ----------------------------------------------------------------------------

    def send(self, first: str, headers: list[str], body: bytes = b"") -> None:
        head = "\r\n".join([first, *headers, f"Content-Length: {len(body)}"])
        self._socket.sendall(head.encode() + b"\r\n\r\n" + body)

    def _read(self) -> Message:
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            head, mark, rest = self._buffer.partition(b"\r\n\r\n")
            if mark:
                found = re.search(rb"(?im)^(?:content-length|l) *: *(\d+)", head)
                size = int(found[1]) if found else 0
                if len(rest) >= size:
                    self._buffer = rest[size:]
                    return Message(head.decode(), rest[:size])
            data = self._socket.recv(65536)
            assert data, "the server closed the connection"
            self._buffer += data

    def take(self, wanted: str, call_id: str = "") -> Message:
        """The next request of a method, or response ("2xx", "180", "final") of a call."""
        deadline = time.monotonic() + 3 * _LIMIT
        waiting, self._later = self._later, []
        while True:
            message = waiting.pop(0) if waiting else self._read()
            status = message.status
            fits = (
                message.method == wanted
                or (wanted == "final" and status >= 200)
                or (status and wanted == str(status))
            )
            if fits and (not call_id or message.get("Call-ID") == call_id):
                self._later += waiting
                return message
            self._later.append(message)
            assert time.monotonic() < deadline, f"no {wanted} in {[m.first for m in self._later]}"

    def _via(self) -> str:
        return f"Via: SIP/2.0/TCP {self.local};branch=z9hG4bK{secrets.token_hex(8)};rport"

    def _credentials(self, refused: Message, method: str, uri: str) -> str:
        kind = "WWW-Authenticate" if refused.status == 401 else "Proxy-Authenticate"
        for challenge in refused.all(kind):
            values = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
            algorithm = values.get("algorithm", "MD5")
            if algorithm not in ("MD5", "SHA-256"):
                continue
            make = hashlib.md5 if algorithm == "MD5" else hashlib.sha256

            def hashed(text: str, make=make) -> str:  # type: ignore[no-untyped-def]
                return str(make(text.encode()).hexdigest())

            cnonce = secrets.token_hex(8)
            ha1 = hashed(f"{self.user}:{values['realm']}:{self.password}")
            ha2 = hashed(f"{method}:{uri}")
            response = hashed(f"{ha1}:{values['nonce']}:00000001:{cnonce}:auth:{ha2}")
            opaque = f', opaque="{values["opaque"]}"' if "opaque" in values else ""
            return (
                f"{'Authorization' if refused.status == 401 else 'Proxy-Authorization'}: Digest "
                f'username="{self.user}", realm="{values["realm"]}", nonce="{values["nonce"]}", '
                f'uri="{uri}", response="{response}", algorithm={algorithm}, qop=auth, '
                f'nc=00000001, cnonce="{cnonce}"{opaque}'
            )
        raise AssertionError("no challenge that can be answered")

    def ask(self, method: str, uri: str, headers: list[str], body: bytes = b"") -> Message:
        """A request outside a dialog, with credentials if they are wanted; its final answer."""
        call_id = secrets.token_hex(12)
        tag = secrets.token_hex(6)
        more: list[str] = []
        for _ in range(2):
            self._cseq += 1
            via = self._via()
            to = self.aor if method == "REGISTER" else uri
            common = [
                via,
                "Max-Forwards: 70",
                f"From: <{self.aor}>;tag={tag}",
                f"Call-ID: {call_id}",
            ]
            own = [f"To: <{to}>", f"CSeq: {self._cseq} {method}"]
            self.send(f"{method} {uri} SIP/2.0", [*common, *own, *headers, *more], body)
            answer = self.take("final", call_id)
            if method == "INVITE" and answer.status >= 300:
                ack = [*common, f"To: {answer.get('To')}", f"CSeq: {self._cseq} ACK"]
                self.send(f"ACK {uri} SIP/2.0", ack)
            if answer.status not in (401, 407):
                return answer
            more = [self._credentials(answer, method, uri)]
        return answer

    # --- what a phone does -------------------------------------------------------------------

    def register(self) -> None:
        headers = [f"Contact: {self.contact}", "Expires: 600"]
        answer = self.ask("REGISTER", f"sip:{self.domain}", headers)
        assert answer.status == 200, answer.first

    def invite(
        self,
        peer: str,
        sdp: bytes,
        before_ack: Callable[[Message], None] | None = None,
        *,
        kind: str = "application/sdp",
    ) -> tuple[Dialog | None, Message]:
        """Calls; None as dialog when it was refused. ``before_ack`` is called with the 200."""
        headers = [f"Contact: {self.contact}", f"Content-Type: {kind}"]
        answer = self.ask("INVITE", peer, headers, sdp)
        if answer.status != 200:
            return None, answer
        if before_ack is not None:
            before_ack(answer)
        route = [f"Route: {value}" for value in reversed(answer.all("Record-Route"))]
        target = re.search(r"<([^>]+)>", answer.get("Contact"))
        assert target is not None
        dialog = Dialog(
            target[1], route, answer.get("From"), answer.get("To"), answer.get("Call-ID")
        )
        self._in_dialog(dialog, "ACK", int(answer.get("CSeq").split()[0]))
        return dialog, answer

    def answer(self, sdp: bytes | None, status: str = "200 OK") -> tuple[Dialog, Message]:
        """Takes (or refuses) the next call, or what is asked within one."""
        invite = self.take("INVITE")
        ours = invite.get("To")
        if ";tag=" not in ours:
            ours += f";tag={secrets.token_hex(6)}"
        headers = [
            *(f"Via: {value}" for value in invite.all("Via")),
            *(f"Record-Route: {value}" for value in invite.all("Record-Route")),
            f"From: {invite.get('From')}",
            f"To: {ours}",
            f"Call-ID: {invite.get('Call-ID')}",
            f"CSeq: {invite.get('CSeq')}",
            f"Contact: {self.contact}",
            "Content-Type: application/sdp",
        ]
        self.send(f"SIP/2.0 {status}", headers, sdp or b"")
        self.take("ACK", invite.get("Call-ID"))
        target = re.search(r"<([^>]+)>", invite.get("Contact"))
        assert target is not None
        route = [f"Route: {value}" for value in invite.all("Record-Route")]
        theirs = invite.get("From")
        return Dialog(target[1], route, ours, theirs, invite.get("Call-ID")), invite

    def bye(self, dialog: Dialog, *headers: str) -> None:
        """Hangs up, and waits for the answer."""
        dialog.cseq += 1
        self._in_dialog(dialog, "BYE", dialog.cseq, headers)
        assert self.take("final", dialog.call_id).status == 200

    def take_bye(self) -> Message:
        """The other side hangs up."""
        return self._confirm("BYE")

    def take_message(self) -> Message:
        """Somebody writes without a session."""
        return self._confirm("MESSAGE")

    def take_options(self) -> Message:
        """Somebody asks what we can do; chats are all."""
        return self._confirm("OPTIONS", f"Contact: {self.contact};{_CHAT}")

    def patience(self, seconds: float) -> None:
        """How long the next message may take."""
        self._socket.settimeout(seconds)

    def _confirm(self, method: str, *more: str) -> Message:
        request = self.take(method)
        to = request.get("To")
        headers = [
            *(f"Via: {value}" for value in request.all("Via")),
            *(f"{name}: {request.get(name)}" for name in ("From", "Call-ID", "CSeq")),
            f"To: {to}" if ";tag=" in to else f"To: {to};tag={secrets.token_hex(6)}",
            *more,
        ]
        self.send("SIP/2.0 200 OK", headers)
        return request

    def _in_dialog(
        self, dialog: Dialog, method: str, cseq: int, headers: tuple[str, ...] = ()
    ) -> None:
        self.send(
            f"{method} {dialog.target} SIP/2.0",
            [
                self._via(),
                "Max-Forwards: 70",
                *dialog.route,
                f"From: {dialog.ours}",
                f"To: {dialog.theirs}",
                f"Call-ID: {dialog.call_id}",
                f"CSeq: {cseq} {method}",
                *headers,
            ],
        )
