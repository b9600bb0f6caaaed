"""From a destination to the address that its request is sent to (RFC 3261 §16.6, RFC 3263)."""

from rcsops.errors import LocalProtocolError, RcsopsError
from rcsops.server.location import Binding, LocationService
from rcsops.server.response_context import Destination
from rcsops.sip import Flow, NameAddr, Request, Target, Uri
from rcsops.transport import SipEndpoint
from rcsops.transport.resolver import Candidate, resolve_numeric

__all__ = ["FlowFailed", "Router", "set_routes"]


_SECURE = frozenset({"tls", "wss"})


class FlowFailed(RcsopsError):
    """The way to a contact is gone, and there is no other to it (RFC 5626 §5.3.1)."""


class Router:
    """Finds targets: at once where the next hop is a number or a live flow."""

    def __init__(self, endpoint: SipEndpoint, location: LocationService) -> None:
        self._endpoint = endpoint
        self._location = location

    def target(self, destination: Destination) -> Target | None:
        """The target, None when a name has to be resolved first.

        Raises `FlowFailed`, SipParseError for a next hop that is no SIP URI, and
        LocalProtocolError for a transport that the server does not have.
        """
        if destination.routes:
            hop = Uri.parse(destination.routes[0])
            return self._numeric(hop)
        flow = destination.flow
        if flow is not None and self._is_open(flow) and _fits(flow, destination.uri):
            return self._endpoint.target_of(flow)
        uri = Uri.parse(destination.uri) if destination.binding is None else None
        binding = destination.binding
        if binding is None and uri is not None:
            # Within a dialog the Request-URI is the contact that the peer gave: the way that its
            # REGISTER came by leads there too.
            binding = self._location.by_contact(uri)
        if binding is not None:
            target = self._flow_target(binding)
            if target is not None:
                return target
            uri = binding.uri
        elif flow is not None:
            raise FlowFailed("the flow of the dialog is gone")
        assert uri is not None
        return self._numeric(uri)

    async def resolve(self, destination: Destination) -> list[Target]:
        """The targets of a next hop that is a name, the best first; raises RcsopsError."""
        hop = destination.routes[0] if destination.routes else destination.uri
        found: list[Target] = []
        failure: RcsopsError | None = None
        candidates = await self._endpoint.resolver.resolve(
            Uri.parse(hop), supported=self._endpoint.transports
        )
        for candidate in candidates:
            try:
                found.append(self._target(candidate))
            except LocalProtocolError as error:
                failure = error
        if not found and failure is not None:
            raise failure
        return found

    def _numeric(self, uri: Uri) -> Target | None:
        candidate = resolve_numeric(uri)
        if candidate is None:
            return None
        return self._target(candidate)

    def _target(self, candidate: Candidate) -> Target:
        address = (candidate.host, candidate.port)
        return self._endpoint.target(candidate.transport, address, candidate.name)

    def is_bound(self, destination: Destination) -> bool:
        """Whether a destination can only be reached by the flow that its REGISTER came by."""
        if destination.routes:
            return False
        binding = destination.binding or self._location.by_contact(Uri.parse(destination.uri))
        return destination.flow is not None or (binding is not None and _is_bound(binding))

    def _flow_target(self, binding: Binding) -> Target | None:
        """The flow that a contact registered over, where that is the way to it."""
        endpoint = self._endpoint
        flow = binding.flow
        if binding.path:
            return None
        if (
            flow is not None
            and self._is_open(flow)
            and _fits(flow, binding.uri_text)
            and (flow.transport != "udp" or _is_bound(binding))
        ):
            return endpoint.target_of(flow)
        by_websocket = (binding.uri.param("transport") or "").lower() in ("ws", "wss")
        if binding.outbound or by_websocket:
            # Nobody connects to a browser (RFC 7118 §6).
            raise FlowFailed("the connection of the contact is gone")
        return None

    def _is_open(self, flow: Flow) -> bool:
        return flow.transport == "udp" or bool(self._endpoint.connection_of(flow))


def _fits(flow: Flow, uri: str) -> bool:
    """Whether a request for a URI may go over a flow; sips wants TLS (RFC 3261 §26.2.2)."""
    return flow.transport in _SECURE or uri[:5].lower() != "sips:"


def _is_bound(binding: Binding) -> bool:
    return binding.outbound or binding.behind_nat


def set_routes(request: Request, routes: tuple[str, ...]) -> str:
    """Puts ``routes`` above what Route a request has, and returns the URI of the next hop.

    Where the first route is a strict router the Request-URI and it change places (RFC 3261 §16.6
    step 6). Raises SipParseError.
    """
    for route in reversed(routes):
        request.prepend("Route", f"<{route}>")
    if not request.has("Route"):
        return request.uri
    first: NameAddr = request.routes[0]
    if "lr" in first.uri.params:
        return first.uri_text
    request.pop_first("Route")
    last = f"<{request.uri}>"
    request.add("Route", last)
    request.uri = first.uri_text
    return first.uri_text
