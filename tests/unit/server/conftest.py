"""A server in this process, and phones that talk to it over loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rcsops.database import Subscribers, create_tables
from rcsops.database.engine import open_engine, writing
from rcsops.server.options import ServerOptions
from rcsops.server.service import Server
from rcsops.settings import Settings
from rcsops.sip import (
    ALGORITHMS,
    Credential,
    DigestClient,
    Event,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    Target,
    Timers,
    hash_a1,
)
from rcsops.sip.events import AckReceived
from rcsops.tokens import Tokens
from rcsops.transport import SipEndpoint
from rcsops.transport.clock import system_tokens

DOMAIN = "rcs.example"
FAST = Timers(t1=0.05, t2=0.2, t4=0.2, trying=0.02, c=1.0)
Answer = Callable[[Request], Response | None]


def add_account(url: str, name: str, password: str = "", domain: str = DOMAIN) -> None:
    """Writes an account from outside of the server, as another process would."""
    with writing(open_engine(url), url) as connection:
        hashes = {a: hash_a1(name, domain, password or f"pw-{name}", a) for a in ALGORITHMS}
        Subscribers(connection).add(name, domain, hashes)


class Phone:
    """A scripted user agent."""

    def __init__(
        self,
        name: str,
        server: Target | None = None,
        transport: str = "udp",
        domain: str = DOMAIN,
    ) -> None:
        self.name = name
        self.domain = domain
        self.transport = transport
        self.tokens: Tokens = system_tokens()
        self.digest = DigestClient(
            [Credential.from_password(name, domain, f"pw-{name}")], self.tokens
        )
        self.endpoint = SipEndpoint(on_event=self._event, timers=FAST)
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.acks: asyncio.Queue[Request] = asyncio.Queue()
        self.responses: dict[object, asyncio.Queue[Any]] = {}
        self.answer: Answer | None = None
        self.local: tuple[str, int] = ("", 0)
        self.server: tuple[str, int] = ("127.0.0.1", 0)
        self.cseq = 0
        self.call_id = self.tokens.call_id()

    async def open(self, port: int) -> "Phone":
        self.server = ("127.0.0.1", port)
        address = await self.endpoint.listen(self.transport, "127.0.0.1", 0)
        self.local = (address.host, address.port)
        return self

    @property
    def contact(self) -> str:
        suffix = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{self.name}@{self.local[0]}:{self.local[1]}{suffix}"

    @property
    def aor(self) -> str:
        return f"sip:{self.name}@{self.domain}"

    def _event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            if event.request.method == "CANCEL":
                self.requests.put_nowait(event)
                transaction = self.endpoint.accept(event.request, event.flow)
                self.endpoint.respond(transaction, self.reply(event.request, 200))
                if event.invite is not None:
                    self.endpoint.respond(event.invite, self.reply(event.invite.request, 487))
                return
            transaction = self.endpoint.accept(event.request, event.flow)
            self.requests.put_nowait((event.request, transaction))
            if self.answer is not None:
                response = self.answer(event.request)
                if response is not None:
                    self.endpoint.respond(transaction, response)
        elif isinstance(event, AckReceived):
            self.acks.put_nowait(event.request)
        elif isinstance(event, ResponseReceived):
            queue = event.transaction.context
            if isinstance(queue, asyncio.Queue):
                queue.put_nowait(event.response)

    def reply(self, request: Request, status: int, *headers: tuple[str, str]) -> Response:
        given = [("Contact", f"<{self.contact}>"), *headers] if status < 300 else list(headers)
        return Response.to_request(request, status, to_tag=f"t-{self.name}", headers=given)

    def make(self, method: str, uri: str, *headers: tuple[str, str], to: str = "") -> Request:
        self.cseq += 1
        fields = [
            ("Max-Forwards", "70"),
            ("From", f"<{self.aor}>;tag=f-{self.name}"),
            ("To", f"<{to or uri}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
        ]
        names = {name.lower() for name, _ in headers}
        kept = [field for field in fields if field[0].lower() not in names]
        return Request(method, uri, [*kept, *headers])

    def send(self, request: Request) -> "asyncio.Queue[Any]":
        queue: asyncio.Queue[Any] = asyncio.Queue()
        target = self.endpoint.target(self.transport, self.server)
        self.last = self.endpoint.send_request(request, target, context=queue)
        return queue

    async def ask(self, request: Request, *, login: bool = True) -> Response:
        """The final response, after one round of digest if it is asked for."""
        for _ in range(2):
            plain = request.copy()
            response = await self.final(self.send(request))
            if response.status not in (401, 407) or not login:
                return response
            request = plain
            self.cseq += 1
            request.set("CSeq", f"{self.cseq} {request.method}")
            if not self.digest.authorize(request, response):
                return response
        return response

    async def ringing(self, request: Request) -> "asyncio.Queue[Any]":
        """Sends an INVITE with credentials; the queue of what comes after the challenge."""
        plain = request.copy()
        response = await self.final(self.send(request))
        assert response.status == 407
        self.cseq += 1
        plain.set("CSeq", f"{self.cseq} {plain.method}")
        assert self.digest.authorize(plain, response)
        return self.send(plain)

    @staticmethod
    async def final(queue: "asyncio.Queue[Any]", limit: float = 5.0) -> Response:
        async with asyncio.timeout(limit):
            while True:
                response: Response = await queue.get()
                if response.status >= 200:
                    return response

    async def received(self, limit: float = 5.0) -> Any:
        async with asyncio.timeout(limit):
            return await self.requests.get()

    async def register(self, *headers: tuple[str, str], contact: str = "") -> Response:
        fields = [("Contact", contact or f"<{self.contact}>;expires=300"), *headers]
        uri = f"sip:{self.domain}"
        return await self.ask(self.make("REGISTER", uri, *fields, to=self.aor))

    def ack(self, invite: Request, response: Response, uri: str = "") -> None:
        """The ACK for a 2xx, by the route set of the response."""
        routes = [("Route", str(route)) for route in reversed(response.record_routes)]
        request = Request(
            "ACK",
            uri or str(response.contacts[0].uri),
            [
                ("Max-Forwards", "70"),
                *routes,
                ("From", invite.get("From") or ""),
                ("To", response.get("To") or ""),
                ("Call-ID", invite.call_id),
                ("CSeq", f"{response.cseq.number} ACK"),
            ],
        )
        self.endpoint.send_ack(request, self.endpoint.target(self.transport, self.server))

    def in_dialog(self, method: str, invite: Request, response: Response) -> Request:
        routes = [("Route", str(route)) for route in reversed(response.record_routes)]
        return Request(
            method,
            str(response.contacts[0].uri),
            [
                ("Max-Forwards", "70"),
                *routes,
                ("From", invite.get("From") or ""),
                ("To", response.get("To") or ""),
                ("Call-ID", invite.call_id),
                ("CSeq", f"{response.cseq.number + 1} {method}"),
            ],
        )


class Lab:
    """The server of one test and its phones."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.phones: list[Phone] = []
        self.server: Server | None = None
        self.port = 0

    @property
    def running(self) -> Server:
        assert self.server is not None
        return self.server

    async def start(self, options: ServerOptions | None = None, **more: Any) -> None:
        settings = Settings(
            domain=DOMAIN,
            database_url=self.url,
            listen=(f"udp:127.0.0.1:{self.port}", f"tcp:127.0.0.1:{self.port}"),
            **more,
        )
        if not self.port:
            settings = replace(settings, listen=("udp:127.0.0.1:0",))
        self.server = Server(
            settings,
            None,
            secret=b"s" * 32,
            options=options or ServerOptions(flush_seconds=0.05),
            timers=FAST,
        )
        if not self.port:
            self.port = (await self.server.endpoint.listen("tcp", "127.0.0.1", 0)).port
            self.server._settings = replace(settings, listen=(f"udp:127.0.0.1:{self.port}",))
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()
            self.server = None

    async def phone(self, name: str, transport: str = "udp", domain: str = DOMAIN) -> Phone:
        phone = await Phone(name, transport=transport, domain=domain).open(self.port)
        self.phones.append(phone)
        return phone

    async def registered(self, name: str, transport: str = "udp", *headers: Any) -> Phone:
        phone = await self.phone(name, transport)
        assert (await phone.register(*headers)).status == 200
        return phone


@pytest.fixture
async def idle_lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab with the accounts alex, bob and carol; its server is not started."""
    url = f"sqlite:///{tmp_path / 'rcsops.db'}"
    with writing(open_engine(url, create=True), url) as connection:
        create_tables(connection)
    for name in ("alex", "bob", "carol"):
        add_account(url, name)
    lab = Lab(url)
    yield lab
    for phone in lab.phones:
        await phone.endpoint.close()
    await lab.stop()


@pytest.fixture
async def lab(idle_lab: Lab) -> Lab:
    """A lab whose server runs."""
    await idle_lab.start()
    return idle_lab
