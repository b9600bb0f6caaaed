"""Record-Route (RFC 3261 §16.6 step 4), twice where the two sides differ (RFC 5658, RFC 5626)."""

from rcsops.server.dialog_token import PARAMETER
from rcsops.server.flow_token import PARAMETER as FLOW
from rcsops.sip import Flow, Request, SipParseError, Target

__all__ = ["add_record_route", "own_uri", "service_route", "wants_flow"]


def own_uri(target: Target, token: str, flow_token: str = "", *, secure: bool = False) -> str:
    """The URI under which the side of ``target`` reaches this server again; a sips one when
    ``secure`` (RFC 3261 §16.6 step 4)."""
    transport = target.flow.transport
    if flow_token:
        token = f"{token};{FLOW}={flow_token}"
    if secure:
        suffix = ";transport=ws" if transport == "wss" else ""
        return f"<sips:{target.sent_by}{suffix};lr;{PARAMETER}={token}>"
    # RFC 7118 §5.2: in URIs a WebSocket is "ws", whether TLS is under it or not.
    suffix = "" if transport == "udp" else f";transport={transport.replace('wss', 'ws')}"
    return f"<sip:{target.sent_by}{suffix};lr;{PARAMETER}={token}>"


def service_route(target: Target) -> str:
    """The Service-Route for who registers through ``target`` (RFC 3608)."""
    transport = target.flow.transport
    suffix = "" if transport == "udp" else f";transport={transport}"
    return f"<sip:{target.sent_by}{suffix};lr>"


def add_record_route(
    request: Request,
    came_by: Target,
    goes_to: Target,
    token: str,
    flow_tokens: tuple[str, str] = ("", ""),
) -> None:
    """Puts this server into the route set of the dialog that ``request`` makes.

    Each side needs an address that it can use: with different transports or listeners there are
    two entries, the one for the side that the request goes to on top. So there are with
    ``flow_tokens`` (of the flow that it came by, of the one that it goes over): what comes back
    from one side has that of the other in the last of them.
    """
    secure = request.uri[:5].lower() == "sips:"
    came_flow, goes_flow = flow_tokens
    inner = own_uri(came_by, token, came_flow, secure=secure)
    outer = own_uri(goes_to, token, goes_flow, secure=secure)
    request.prepend("Record-Route", inner)
    if outer != inner:
        request.prepend("Record-Route", outer)


def wants_flow(request: Request, flow: Flow) -> bool:
    """Whether the sender of a request that makes a dialog is to be reached over the flow that it
    came by: its Contact says so (RFC 5626 §5.3.1) or leads nowhere without a registrar, or it is
    behind a WebSocket (RFC 7118 §5)."""
    if len(request.vias) != 1 or request.contact_star:
        return False
    try:
        contacts = request.contacts
        marks = contacts[0].uri.params if contacts else {}
    except SipParseError:
        return False
    return bool(contacts) and (flow.transport in ("ws", "wss") or "ob" in marks or "gr" in marks)
