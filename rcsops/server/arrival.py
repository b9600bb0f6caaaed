"""What a request is checked for, and what is undone on it, before it is decided where it goes
(RFC 3261 §16.3, §16.4)."""

from collections.abc import Sequence
from typing import NamedTuple

from rcsops.server.addresses import LocalNames
from rcsops.server.dialog_token import PARAMETER, DialogTokens
from rcsops.server.flow_token import PARAMETER as FLOW
from rcsops.server.flow_token import FlowTokens
from rcsops.sip import Flow, NameAddr, Request, Uri

__all__ = ["Arrival", "Arrivals", "Refusal", "check_options"]

_DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}


class Refusal(Exception):
    """Ends the handling of a request with an answer that leaves no state."""

    def __init__(
        self, status: int, reason: str = "", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


def check_options(request: Request, name: str, supported: Sequence[str] = ()) -> None:
    """Refuses with 420 what ``name`` (Require, Proxy-Require) asks for and nobody here knows."""
    if request.has(name):
        unknown = [tag for tag in request.option_tags(name) if tag.lower() not in supported]
        if unknown:
            raise Refusal(420, "", [("Unsupported", ", ".join(unknown))])


class Arrival(NamedTuple):
    """What the Routes of a request say: how many on top are this server, whether one of them proves
    that the dialog began here, and the flow that the last of them names (RFC 5626 §5.3)."""

    own_routes: int = 0
    admitted: bool = False
    flow: Flow | None = None


_NO_ROUTES = Arrival()


class Arrivals:
    """Knows what in a request names this server."""

    def __init__(self, names: LocalNames, tokens: DialogTokens, flow_tokens: FlowTokens) -> None:
        self._names = names
        self._tokens = tokens
        self._flow_tokens = flow_tokens

    def prepare(self, request: Request, flow: Flow) -> Arrival:
        """What the Routes say (§16.4).

        Changes ``request``: undoes what a strict router before us did, and takes a maddr that
        means us off the Request-URI. Raises SipParseError.
        """
        if "maddr" in request.request_uri.params:
            self._take_maddr(request, flow)
        if not request.has("Route"):
            return _NO_ROUTES
        self._undo_strict_routing(request)
        own = []
        valid = False
        for route in request.routes:
            if not self._names.is_local(route.uri):
                break
            own.append(route.uri)
            valid = valid or self._tokens.valid(request, route)
        text = own[-1].params.get(FLOW) if valid else None
        return Arrival(len(own), valid, self._flow_tokens.read(text) if text else None)

    def _undo_strict_routing(self, request: Request) -> None:
        """When the Request-URI is what we put into Record-Route, the real one is the last Route."""
        uri = request.request_uri
        if PARAMETER not in uri.params or "lr" not in uri.params or not self._names.is_local(uri):
            return
        routes = request.routes
        rest = [str(route) for route in (NameAddr(uri), *routes[:-1])]
        request.uri = routes[-1].uri_text
        request.set("Route", ", ".join(rest))

    def _take_maddr(self, request: Request, flow: Flow) -> None:
        """A maddr that is us has done its work, when port and transport are those by which the
        request came: it goes, and with it a port and transport that are not the usual ones."""
        uri = request.request_uri
        maddr = (uri.param("maddr") or "").strip("[]").lower()
        transport = (uri.param("transport") or _usual_transport(uri)).lower()
        port = uri.port or _DEFAULT_PORTS.get(transport, 5060)
        came_here = (transport, port) == (flow.transport, flow.local[1])
        if not came_here or not (
            self._names.is_address(maddr, port) or maddr in self._names.domains
        ):
            return
        bare = uri.without_param("maddr").without_param("transport")
        bare.port = None
        request.uri = str(bare)


def _usual_transport(uri: Uri) -> str:
    return "tls" if uri.scheme == "sips" else "udp"
