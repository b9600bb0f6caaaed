"""A transaction layer in a simulated world: no socket, a clock that jumps from timer to timer."""

from rcsops.sip import (
    ClientTransaction,
    Event,
    Flow,
    Message,
    Request,
    RequestReceived,
    Response,
    ServerTransaction,
    Target,
    TransactionLayer,
    parse_message,
)
from rcsops.tokens import Tokens

US = ("192.0.2.1", 5060)
PEER = ("192.0.2.2", 5060)


def flow(transport: str = "udp") -> Flow:
    return Flow(transport, US, PEER, 0 if transport == "udp" else 7)


def make_request(method: str = "INVITE", *, to_tag: str = "", number: int = 1) -> Request:
    tag = f";tag={to_tag}" if to_tag else ""
    return Request(
        method,
        "sip:bob@example.org",
        [
            ("Max-Forwards", "70"),
            ("Route", "<sip:p1.example.org;lr>"),
            ("Route", "<sip:p2.example.org;lr>"),
            ("From", "<sip:alice@example.org>;tag=a1"),
            ("To", f"<sip:bob@example.org>{tag}"),
            ("Call-ID", "call-1"),
            ("CSeq", f"{number} {method}"),
            ("Contact", "<sip:alice@192.0.2.1>"),
        ],
    )


def from_peer(method: str = "INVITE", branch: str = "z9hG4bKpeer", **more: object) -> Request:
    """A request as the peer sends it: what it puts on the wire, parsed."""
    request = make_request(method, **more)  # type: ignore[arg-type]
    request.prepend("Via", f"SIP/2.0/UDP 192.0.2.2:5060;branch={branch}")
    return reparsed(request)


def reparsed(request: Request) -> Request:
    parsed = parse_message(bytes(request))
    assert isinstance(parsed, Request)
    return parsed


class World:
    """One layer, the time, and what came out when."""

    def __init__(self, transport: str = "udp", **options: object) -> None:
        self.flow = flow(transport)
        self.target = Target(self.flow, "192.0.2.1:5060")
        self.layer = TransactionLayer(tokens=Tokens.deterministic(1), **options)  # type: ignore[arg-type]
        self.now = 0.0
        self.sent: list[tuple[float, Message, Flow]] = []
        self.events: list[tuple[float, Event]] = []

    def drain(self) -> None:
        for data, where in self.layer.data_to_send():
            self.sent.append((self.now, parse_message(data), where))
        while (event := self.layer.next_event()) is not None:
            self.events.append((self.now, event))

    def run_until(self, when: float) -> None:
        while (due := self.layer.next_timer()) is not None and due <= when:
            self.now = max(self.now, due)
            self.layer.handle_timer(self.now)
            self.drain()
        self.now = when

    def send(self, method: str = "INVITE") -> ClientTransaction:
        transaction = self.layer.send_request(make_request(method), self.target, self.now)
        self.drain()
        return transaction

    def receive(self, message: Message, over: Flow | None = None) -> None:
        self.layer.receive_message(parse_message(bytes(message)), over or self.flow, self.now)
        self.drain()

    def answer(self, transaction: ClientTransaction, status: int, to_tag: str = "b1") -> None:
        """A response of the peer."""
        self.receive(Response.to_request(transaction.request, status, to_tag=to_tag))

    def accept(self, request: Request) -> ServerTransaction:
        """A request of the peer comes, and the TU makes its transaction."""
        self.receive(request)
        event = self.events[-1][1]
        assert isinstance(event, RequestReceived)
        return self.layer.accept(event.request, event.flow, self.now)

    def respond(self, transaction: ServerTransaction, status: int, request: Request) -> bool:
        """A response of the TU."""
        response = Response.to_request(request, status, to_tag="us1")
        done = self.layer.respond(transaction, response, self.now)
        self.drain()
        return done

    def fail(self) -> None:
        self.layer.transport_failed(self.flow, "unreachable", self.now)
        self.drain()

    def ack(self, request: Request) -> Request:
        """The ACK that the peer's INVITE transaction sends for our final response."""
        return Request(
            "ACK",
            request.uri,
            [
                ("Via", request.values("Via")[0]),
                ("From", request.get("From") or ""),
                ("To", f"{request.get('To')};tag=us1"),
                ("Call-ID", request.get("Call-ID") or ""),
                ("CSeq", f"{request.cseq.number} ACK"),
            ],
        )

    def sent_at(self, when: float) -> list[str]:
        """What was sent at that instant: methods, and statuses as text."""
        return [name_of(message) for at, message, _ in self.sent if at == when]

    def told_at(self, when: float) -> list[str]:
        """What the TU was told at that instant, by the names of the events."""
        return [type(event).__name__ for at, event in self.events if at == when]

    def times(self, name: str) -> list[float]:
        """When messages of that name were sent."""
        return [round(at, 6) for at, message, _ in self.sent if name_of(message) == name]


def name_of(message: Message) -> str:
    return message.method if isinstance(message, Request) else str(message.status)  # type: ignore[attr-defined]
