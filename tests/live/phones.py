"""A phone of the tests: one socket, messages made by hand, nothing resent, nothing hidden."""

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from rcsops.sip import (
    Credential,
    DigestClient,
    Message,
    Request,
    Response,
    StreamParser,
    hash_a1,
    parse_message,
)
from rcsops.tokens import Tokens

DOMAIN = "rcs.example"
# How long an answer may take on a machine that has much else to do; nothing is asserted by it.
PATIENCE = 60.0
ALLOW = "INVITE, ACK, BYE, CANCEL, MESSAGE, OPTIONS"


class Phone:
    """``name`` at DOMAIN, talking to ``server`` (host:port) from ``source``, at ``port`` if any."""

    def __init__(
        self,
        server: str,
        name: str,
        *,
        password: str = "",
        transport: str = "udp",
        source: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        host, _, servers = server.rpartition(":")
        self.server = server
        self.name = name
        self.transport = transport
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind((source, port))
        self._to = (host, int(servers))
        if transport == "tcp":
            self._socket.connect(self._to)
        self._parser = StreamParser()
        self._inbox: list[Message] = []
        self.tokens = Tokens(secrets.token_bytes)
        credential = Credential.from_password(name, DOMAIN, password or f"of {name}")
        self.digest = DigestClient([credential], self.tokens)
        self._cseq = 0
        self.pings = 0

    def __enter__(self) -> "Phone":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @contextlib.contextmanager
    def over(self, connection: socket.socket) -> Iterator[None]:
        """Talks over a TCP connection that somebody made to it, for a while."""
        usual = self._socket, self.transport
        self._socket, self.transport = connection, "tcp"
        try:
            with connection:
                yield
        finally:
            self._socket, self.transport = usual

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    @property
    def uri(self) -> str:
        return f"sip:{self.name}@{DOMAIN}"

    @property
    def contact(self) -> str:
        more = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"<sip:{self.name}@{self.address}{more}>"

    @staticmethod
    def hash_of(name: str, password: str) -> str:
        """What the table holds for an account: its HA1 for MD5."""
        return hash_a1(name, DOMAIN, password, "MD5")

    def via(self) -> str:
        name = self.transport.upper()
        return f"SIP/2.0/{name} {self.address};rport;branch={self.tokens.branch()}"

    def request(
        self, method: str, uri: str, headers: Mapping[str, str] | None = None, body: str = ""
    ) -> Request:
        """A request outside of any dialog; ``headers`` replace, or remove with ""."""
        self._cseq += 1
        fields = {
            "Via": self.via(),
            "Max-Forwards": "70",
            "From": f"<{self.uri}>;tag={self.tokens.tag()}",
            "To": f"<{self.uri if method == 'REGISTER' else uri}>",
            "Call-ID": self.tokens.call_id(),
            "CSeq": f"{self._cseq} {method}",
        }
        if method in ("REGISTER", "INVITE"):
            fields |= {"Contact": self.contact, "Allow": ALLOW}
        if body:
            fields["Content-Type"] = "text/plain"
        fields |= headers or {}
        return Request(method, uri, [each for each in fields.items() if each[1]], body.encode())

    def send(self, message: Message | bytes) -> None:
        data = bytes(message)
        if self.transport == "udp":
            self._socket.sendto(data, self._to)
        else:
            self._socket.sendall(data)

    def receive(self, wanted: Callable[[Message], bool], seconds: float = PATIENCE) -> Message:
        """The first message that is ``wanted``; the others wait for their turn."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self._inbox:
                if wanted(message):
                    self._inbox.remove(message)
                    return message
            left = deadline - time.monotonic()
            if left <= 0:
                had = [bytes(each).partition(b"\r\n")[0] for each in self._inbox]
                raise TimeoutError(f"{self.name} waited in vain; there came {had}")
            self._read(left)

    def receive_raw(self, seconds: float = PATIENCE) -> bytes:
        """The next datagram, whatever it is."""
        self._socket.settimeout(seconds)
        return self._socket.recv(65535)

    def nothing(self, wanted: Callable[[Message], bool], seconds: float = 0.6) -> bool:
        """Whether no such message comes."""
        try:
            self.receive(wanted, seconds)
        except TimeoutError:
            return True
        return False

    def final(self, request: Request, seconds: float = PATIENCE) -> Response:
        """The final response to a request that was sent."""

        def fits(message: Message) -> bool:
            return (
                isinstance(message, Response)
                and message.status >= 200
                and message.call_id == request.call_id
                and message.cseq == request.cseq
            )

        found = self.receive(fits, seconds)
        assert isinstance(found, Response)
        return found

    def ask(self, request: Request, seconds: float = PATIENCE) -> Response:
        """Sends a request, and once more with credentials when it is challenged."""
        self.send(request)
        response = self.final(request, seconds)
        if request.method == "INVITE" and response.status >= 300:
            self.send(ack_of(request, response))
        if response.status in (401, 407) and self.digest.authorize(request, response):
            self.again(request)
            self.send(request)
            response = self.final(request, seconds)
            if request.method == "INVITE" and response.status >= 300:
                self.send(ack_of(request, response))
        return response

    def again(self, request: Request) -> None:
        """Makes a new transaction of a request."""
        self._cseq += 1
        request.set("CSeq", f"{self._cseq} {request.method}")
        request.replace_first("Via", self.via())

    def authorized(self, request: Request) -> Request:
        """The request with credentials for the challenge that it gets; not sent yet."""
        self.send(request)
        response = self.final(request)
        if request.method == "INVITE":
            self.send(ack_of(request, response))
        assert self.digest.authorize(request, response), response.status
        self.again(request)
        return request

    def register(self, expires: int | None = 600, **headers: str) -> Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if expires is not None:
            given = {"Expires": str(expires), **given}
        return self.ask(self.request("REGISTER", f"sip:{DOMAIN}", given))

    def incoming(self, method: str, seconds: float = PATIENCE) -> Request:
        """The next request of that kind."""
        found = self.receive(
            lambda each: isinstance(each, Request) and each.method == method, seconds
        )
        assert isinstance(found, Request)
        return found

    def answer(self, request: Request, status: int, **headers: str) -> Response:
        response = Response.to_request(request, status, to_tag=f"t{self.name}")
        for name, value in headers.items():
            response.set(name.replace("_", "-"), value)
        self.send(response)
        return response

    def _read(self, seconds: float) -> None:
        self._socket.settimeout(max(seconds, 0.01))
        try:
            if self.transport == "udp":
                data = self._socket.recv(65535)
                if data.strip(b"\r\n\0"):
                    self._take(parse_message(data))
                return
            data = self._socket.recv(65535)
        except TimeoutError:
            return
        if not data:
            raise ConnectionError(f"the server closed the connection of {self.name}")
        self._parser.receive_data(data)
        while (message := self._parser.next_message()) is not None:
            self._take(message)

    def _take(self, message: Message) -> None:
        # The keep-alive of the server is no part of any test but its own.
        if isinstance(message, Request) and message.from_.uri_text.startswith("sip:ping@"):
            self.answer(message, 200)
            self.pings += 1
            return
        self._inbox.append(message)


def ack_of(request: Request, response: Response) -> Request:
    """The ACK for a refusal: of the same transaction (RFC 3261 §17.1.1.3)."""
    fields = [(name, request.get(name) or "") for name in ("Via", "From", "Call-ID")]
    fields += [("To", response.get("To") or ""), ("Max-Forwards", "70")]
    fields += [("CSeq", f"{request.cseq.number} ACK")]
    return Request("ACK", request.uri, fields)
