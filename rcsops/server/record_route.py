"""Record-Route (RFC 3261 §16.6 step 4), twice where the transport changes (RFC 5658)."""

from rcsops.server.dialog_token import PARAMETER
from rcsops.sip import Request, Target

__all__ = ["add_record_route", "own_uri"]


def own_uri(target: Target, token: str, *, secure: bool = False) -> str:
    """The URI under which the side of ``target`` reaches this server again; a sips one when
    ``secure`` (RFC 3261 §16.6 step 4)."""
    transport = target.flow.transport
    if secure:
        suffix = ";transport=ws" if transport == "wss" else ""
        return f"<sips:{target.sent_by}{suffix};lr;{PARAMETER}={token}>"
    # RFC 7118 §5.2: in URIs a WebSocket is "ws", whether TLS is under it or not.
    suffix = "" if transport == "udp" else f";transport={transport.replace('wss', 'ws')}"
    return f"<sip:{target.sent_by}{suffix};lr;{PARAMETER}={token}>"


def add_record_route(request: Request, came_by: Target, goes_to: Target, token: str) -> None:
    """Puts this server into the route set of the dialog that ``request`` makes.

    Each side needs an address that it can use: with different transports or listeners there are
    two entries, the one for the side that the request goes to on top.
    """
    secure = request.uri[:5].lower() == "sips:"
    inner = own_uri(came_by, token, secure=secure)
    outer = own_uri(goes_to, token, secure=secure)
    request.prepend("Record-Route", inner)
    if outer != inner:
        request.prepend("Record-Route", outer)
