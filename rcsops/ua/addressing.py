"""Who an agent is and where its requests go: its URI, secrets, server, Contact, and what it sends
outside of dialogs."""

from collections.abc import Callable, Iterable

from rcsops.errors import AgentError, SipParseError, UsageError
from rcsops.rcs import REGISTERED, feature_text, service_headers
from rcsops.rcs.features import RCS_FILE_TRANSFER_HTTP
from rcsops.sip import Credential, Flow, NameAddr, Request, Target, Uri
from rcsops.tokens import Tokens
from rcsops.transport.addresses import Address
from rcsops.transport.requester import find_targets
from rcsops.transport.resolver import is_numeric
from rcsops.ua.host import ALLOW, AgentHost
from rcsops.ua.options import AgentOptions
from rcsops.ua.registrar import Registrar

__all__ = ["Addressing", "server_uri", "user_uri"]

_FEATURES = feature_text(REGISTERED)
_FEATURES_HTTP = feature_text((*REGISTERED, RCS_FILE_TRANSFER_HTTP))


class Addressing:
    """The part of an agent that knows its own addresses and the ways to others."""

    __slots__ = (
        "_contact",
        "_credentials",
        "_only_way",
        "_registrar",
        "_servers",
        "_targets",
        "aor",
        "contact_user",
        "host",
        "instance_id",
        "options",
        "uri",
    )

    def __init__(self, uri: Uri, host: AgentHost, options: AgentOptions) -> None:
        self.uri = uri
        self.aor = uri.aor
        """The address of record, "sip:bob@rcs.example"."""
        self.host = host
        self.options = options
        self.instance_id: str | None = None
        self.contact_user = ""
        self._credentials: Credential | None = options.credential
        self._registrar: Registrar | None = None
        self._targets: tuple[Target, ...] = ()
        self._servers: list[Address] = []
        # The flow that we are registered by, when the server's address leads nowhere else.
        self._only_way: Target | None = None
        # The Contact of the session before, with what it depends on.
        self._contact: tuple[tuple[str, str, str], str] | None = None

    @property
    def tokens(self) -> Tokens:
        """Where tags, ids and nonces come from."""
        return self.host.endpoint.tokens

    @property
    def server_text(self) -> str:
        """The server as a person would name it."""
        server = self.options.server
        return self.uri.host_text if server is None else server.host_port

    @property
    def features(self) -> str:
        """What it can do, as parameters of its Contact; files over HTTP where a content server is
        known."""
        return _FEATURES_HTTP if self.options.content else _FEATURES

    def use_credential(self, credential: Credential) -> None:
        """Answers challenges with another secret from now on: the password has been changed."""
        self._credentials = credential

    def credential_for(self, realm: str) -> Credential | None:
        """Our secret for a realm; None for a realm that is not our server's."""
        if self._credentials is None:
            password = self.options.password
            if password is None or realm != self.options.realm:
                return None
            self._credentials = Credential.from_password(self.uri.username, realm, password)
        return self._credentials if self._credentials.realm == realm else None

    # --- where from and where to -------------------------------------------------------------

    def identity_of(self, request: Request, flow: Flow) -> str:
        """Who sends a request: as our own server asserts, else as the From says (RFC 3325)."""
        if flow.remote in self._servers:
            for asserted in request.asserted_identities:
                if asserted.uri.is_sip:
                    return asserted.uri.aor
        return request.from_.uri.aor

    def is_from_server(self, flow: Flow) -> bool:
        """Whether a request came from a host of our server, by a connection of its own perhaps."""
        return any(host == flow.remote[0] for host, _ in self._servers)

    def peer_uri(self, text: str) -> Uri:
        """The URI of a peer, of our own domain when it has none. Raises UsageError."""
        full = text
        if not text.lower().startswith(("sip:", "sips:", "tel:")):
            full = f"sip:{text}" if "@" in text else f"sip:{text}@{self.uri.host_text}"
        try:
            uri = Uri.parse(full)
        except SipParseError as error:
            raise UsageError(f"{text!r} is not a SIP address: {error}") from error
        if not uri.is_sip or not uri.username:
            raise UsageError(f"{text!r} does not name a user, as sip:bob@rcs.example does")
        return uri

    async def targets_for(self, uri: Uri) -> tuple[Target, ...]:
        """Where requests for ``uri`` go: our server, or without one the host of the URI.

        Over the flow that we are registered by, while there is one (RFC 5626 §4.3).
        """
        held = None if self._registrar is None else self._registrar.held
        if held is not None and held is self._only_way:
            return self._targets
        wanted, transport, domain = self._way_to(uri)
        host = self.host
        found = host.targets_now(wanted, transport=transport, domain=domain)
        if not found:
            found = await find_targets(host.endpoint, wanted, transport=transport, domain=domain)
            return self._by_our_flow(found)
        targets = self._by_our_flow(found)
        self._only_way = held if targets == (held,) else None
        return targets

    def with_server(self, use: Callable[[tuple[Target, ...], str], None]) -> None:
        """Calls ``use`` with the targets of our server, at once when no look-up is needed; with
        none and the reason when it cannot be found."""
        wanted, transport, domain = self._way_to(self.uri)
        now = self.host.targets_now(wanted, transport=transport, domain=domain)
        if now:
            use(self._by_our_flow(now), "")
            return

        async def look_up() -> None:
            try:
                found, error = await self.targets_for(self.uri), ""
            except AgentError as failure:
                found, error = (), str(failure)
            use(found, error)

        self.host.spawn(look_up())

    def _way_to(self, uri: Uri) -> tuple[Uri, str | None, str]:
        """What to look up for ``uri``: a URI, the transport, and what TLS has to prove."""
        options = self.options
        wanted = options.server or uri
        named = wanted.param("transport") is not None or options.transport == "auto"
        # A server that is named by a number is believed when it proves our own domain.
        domain = self.uri.host or "" if is_numeric(wanted.host or "") else ""
        return wanted, None if named else options.transport, domain

    def _by_our_flow(self, found: tuple[Target, ...]) -> tuple[Target, ...]:
        if self.options.server is None:
            return found
        held = None if self._registrar is None else self._registrar.held
        if held is not None:
            found = (held, *(target for target in found if target.flow != held.flow))
        self._targets = found
        self._servers = [target.flow.remote for target in found]
        return found

    def contact_address(self, target: Target) -> NameAddr:
        """Our Contact as the peers behind ``target`` reach us, with what we can do."""
        transport = target.flow.transport
        # RFC 7118 §5.2: in URIs a WebSocket is "ws", whether TLS is under it or not.
        suffix = "" if transport == "udp" else f";transport={transport.replace('wss', 'ws')}"
        return NameAddr.parse(f"<sip:{self.contact_user}@{target.sent_by}{suffix}>{self.features}")

    def contact(self, target: Target) -> str:
        """The value of our Contact header in a session.

        Through our server it is our GRUU, where it gave us one, and asks to be reached over the
        flow that the request goes by, where the server does that (RFC 5626 §4.3, RFC 5627 §4.4).
        """
        registrar = self._registrar
        mark = ""
        if registrar is not None and target.flow.remote in self._servers:
            mark = registrar.dialog_mark
        key = (target.flow.transport, target.sent_by, mark)
        if self._contact is not None and self._contact[0] == key:
            return self._contact[1]
        contact = self.contact_address(target)
        if registrar is not None and mark:
            contact = registrar.dialog_contact(contact)
        text = str(contact.with_param("+sip.instance", f'"<{self.instance_id}>"'))
        self._contact = key, text
        return text

    def contact_for(self, flow: Flow) -> str:
        """Our Contact in the answer to a request that came by ``flow``."""
        return self.contact(self.host.endpoint.target_of(flow))

    # --- requests outside of dialogs ---------------------------------------------------------

    def service_headers(
        self, urn: str, *, conversation_id: str, contribution_id: str
    ) -> list[tuple[str, str]]:
        """The headers of an RCS service in an INVITE."""
        return service_headers(
            urn, conversation_id=conversation_id, contribution_id=contribution_id
        )

    def create_invite(
        self, uri: Uri, contact: str, headers: list[tuple[str, str]], sdp: bytes
    ) -> Request:
        """An INVITE outside a dialog."""
        more = [
            ("Contact", contact),
            *headers,
            ("Allow", ALLOW),
            ("Content-Type", "application/sdp"),
        ]
        return self.create_request("INVITE", uri, more, sdp)

    def create_request(
        self, method: str, uri: Uri, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Request:
        """A request outside a dialog, without a Via (RFC 3261 §8.1.1, RFC 3608)."""
        tokens = self.tokens
        sender = f"<{self.aor}>"
        if self.options.display_name:
            sender = str(NameAddr(self.aor, display=self.options.display_name))
        to = str(uri.without_headers())
        fixed = [("Max-Forwards", "70")]
        if self._registrar is not None:
            fixed += [("Route", str(route)) for route in self._registrar.service_route]
        fixed += [
            ("From", f"{sender};tag={tokens.tag()}"),
            ("To", f"<{to}>"),
            ("Call-ID", tokens.call_id()),
            ("CSeq", f"1 {method}"),
        ]
        return Request(method, to, [*fixed, *headers], body)


def user_uri(text: str) -> Uri:
    """The URI of a user, as an agent is told its own. Raises UsageError."""
    try:
        uri = Uri.parse(text if ":" in text else f"sip:{text}")
    except SipParseError as error:
        raise UsageError(f"{text!r} is not a SIP address: {error}") from error
    if not uri.is_sip or not uri.username or not uri.host:
        raise UsageError(f"{text!r} does not name a user, as sip:bob@rcs.example does")
    return uri


def server_uri(text: str) -> Uri:
    """The URI of a server: "HOST", "HOST:PORT" or a URI. Raises UsageError."""
    try:
        uri = Uri.parse(text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}")
    except SipParseError as error:
        raise UsageError(f"{text!r} is not a server: {error}") from error
    if not uri.is_sip or not uri.host:
        raise UsageError(f"{text!r} is not a server; give HOST:PORT or a SIP URI")
    return uri
