"""A registrar and proxy small enough to be trusted, for tests of agents."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rcsops.errors import LocalProtocolError
from rcsops.sip import (
    AckReceived,
    ClientTransaction,
    Credential,
    Credentials,
    DigestServer,
    Event,
    Flow,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    ServerTransaction,
    TransportFailed,
    Uri,
    Verdict,
)
from rcsops.transport import SipEndpoint, TransactionUser, system_tokens
from rcsops.transport.resolver import resolve_numeric

DOMAIN = "rcs.example"


class Leg(TransactionUser):
    """A request that was forwarded, and the way of its answers back."""

    def __init__(self, lab: "Lab", server: ServerTransaction) -> None:
        self.lab = lab
        self.server = server
        self.client: ClientTransaction | None = None

    def transaction_event(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            if event.response.status == 100:
                return
            response = event.response.copy()
            response.pop_first("Via")
            self.lab.endpoint.respond(self.server, response)
        elif isinstance(event, TransportFailed):
            self.lab.endpoint.respond(self.server, Response.to_request(self.server.request, 480))


class Lab:
    """Digest on REGISTER, location in a dict, Record-Route, asserted identities."""

    def __init__(self, users: dict[str, str], *, asserted: str | None = None) -> None:
        tokens = system_tokens()
        self.users = users
        self.asserted = asserted
        self.contacts: dict[str, str] = {}
        self.registers = 0
        self.requests: list[str] = []
        # Whether MESSAGE needs credentials, and how often they were missing.
        self.challenges = False
        self.challenged = 0
        # Whether a MESSAGE for a user who is away is answered as if it were kept.
        self.stores = False
        # The address that a NAT would give to whoever registers.
        self.seen_as = ""
        self.auth = DigestServer(DOMAIN, b"secret", tokens)
        self.endpoint = SipEndpoint(on_event=self._event, tokens=tokens)

    @property
    def address(self) -> str:
        address = self.endpoint.addresses[0]
        return f"{address.host}:{address.port}"

    def _event(self, event: Event) -> None:
        if isinstance(event, AckReceived):
            self._forward_ack(event.request)
        elif isinstance(event, RequestReceived):
            request, flow = event.request, event.flow
            self.requests.append(request.method)
            if request.method == "CANCEL":
                self._answer(request, flow, 200)
                if event.invite is not None and isinstance(event.invite.context, Leg):
                    client = event.invite.context.client
                    assert client is not None
                    self.endpoint.cancel(client)
            elif request.method == "REGISTER":
                self._register(request, flow)
            else:
                self._forward(request, flow)

    def _answer(
        self,
        request: Request,
        flow: Flow,
        status: int,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        response = Response.to_request(request, status, to_tag="lab", headers=headers or [])
        if self.seen_as:
            via = response.top_via.with_params(received=self.seen_as)
            response.replace_first("Via", str(via))
        self.endpoint.respond(self.endpoint.accept(request, flow), response)

    def _register(self, request: Request, flow: Flow) -> None:
        self.registers += 1
        user = request.to.uri.username
        password = self.users.get(user)
        for credentials in request.authorizations:
            known = Credential.from_password(user, DOMAIN, password or "")
            verdict = self.auth.verify(
                credentials, "REGISTER", request.body, known.ha1, self.endpoint.now
            )
            if verdict is Verdict.OK and password is not None:
                break
        else:
            challenges = self.auth.challenges(self.endpoint.now)
            self._answer(request, flow, 401, [("WWW-Authenticate", c) for c in challenges])
            return
        contact = request.contacts[0]
        expires = contact.param("expires") or "3600"
        if expires == "0":
            self.contacts.pop(user, None)
            self._answer(request, flow, 200)
            return
        self.contacts[user] = str(contact.uri)
        self._answer(request, flow, 200, [("Contact", str(contact))])

    def _next_hop(self, request: Request) -> Uri | None:
        if request.routes and request.routes[0].uri.host_port == self.address:
            request.pop_first("Route")
            return request.routes[0].uri if request.routes else request.request_uri
        user = request.request_uri.username
        if request.request_uri.host != DOMAIN:
            return request.request_uri
        if user not in self.contacts:
            return None
        request.uri = self.contacts[user]
        return request.request_uri

    def _is_refused(self, request: Request, flow: Flow) -> bool:
        """Challenges a MESSAGE without the right credentials."""
        user = request.from_.uri.username
        known = Credential.from_password(user, DOMAIN, self.users.get(user, ""))
        for line in request.get_all("Proxy-Authorization"):
            credentials = Credentials.parse(line)
            if (
                self.auth.verify(credentials, "MESSAGE", request.body, known.ha1, self.endpoint.now)
                is Verdict.OK
            ):
                request.remove("Proxy-Authorization")
                return False
        self.challenged += 1
        challenges = self.auth.challenges(self.endpoint.now)
        self._answer(request, flow, 407, [("Proxy-Authenticate", c) for c in challenges])
        return True

    def _forward(self, request: Request, flow: Flow) -> None:
        if self.challenges and request.method == "MESSAGE" and self._is_refused(request, flow):
            return
        server = self.endpoint.accept(request, flow)
        copy = request.copy()
        to_user = request.request_uri.username
        hop = self._next_hop(copy)
        if hop is None:
            status = 480 if to_user in self.users else 404
            if status == 480 and self.stores and request.method == "MESSAGE":
                status = 202
            response = Response.to_request(request, status, to_tag="lab")
            self.endpoint.respond(server, response)
            return
        if request.method == "INVITE" and request.to_tag is None:
            copy.prepend("Record-Route", f"<sip:{self.address};transport={flow.transport};lr>")
            copy.remove("P-Asserted-Identity")
            if self.asserted is not None:
                copy.add("P-Asserted-Identity", self.asserted)
        candidate = resolve_numeric(hop)
        assert candidate is not None
        leg = Leg(self, server)
        server.context = leg
        target = self.endpoint.target(candidate.transport, (candidate.host, candidate.port))
        leg.client = self.endpoint.send_request(copy, target, context=leg)

    def _forward_ack(self, request: Request) -> None:
        hop = self._next_hop(request)
        candidate = None if hop is None else resolve_numeric(hop)
        if candidate is None:
            return
        target = self.endpoint.target(candidate.transport, (candidate.host, candidate.port))
        transport = candidate.transport.upper()
        request.prepend("Via", f"SIP/2.0/{transport} {target.sent_by};branch=z9hG4bKack;rport")
        try:
            self.endpoint.send_message(request, target.flow)
        except LocalProtocolError:
            return


@asynccontextmanager
async def lab(port: int = 0, *, asserted: str | None = None, **users: str) -> AsyncIterator[Lab]:
    made = Lab(users or {"alex": "secret-a", "bob": "secret-b"}, asserted=asserted)
    try:
        async with asyncio.timeout(5):
            await made.endpoint.listen_pair("127.0.0.1", port)
        yield made
    finally:
        await made.endpoint.close()
