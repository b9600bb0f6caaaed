"""Who may send what, and which identities are believed (RFC 3261 §16.3, RFC 3325, RFC 6050)."""

from rcsops.errors import SipParseError
from rcsops.sip import Message, NameAddr, Request, Uri

__all__ = ["assert_identity", "strip_asserted"]

_ASSERTED = ("P-Asserted-Identity", "P-Asserted-Service")
_SERVICE_START = "urn:urn-7:"


def strip_asserted(message: Message) -> None:
    """Takes away what only this server may claim: clients are outside the trust domain."""
    for name in _ASSERTED:
        message.remove(name)


def assert_identity(request: Request, user: str, domain: str) -> None:
    """Says who sent a request, with what the client prefers where it is the client's own.

    The display name of a P-Preferred-Identity is taken over when its URI is the user's (RFC 3325
    §9.2); a P-Preferred-Service becomes the asserted one (RFC 6050 §4.2). With ``Privacy: id`` the
    identity is not told.
    """
    strip_asserted(request)
    own = Uri("sip", user, domain)
    display = _preferred_display(request, own.aor)
    request.remove("P-Preferred-Identity")
    privacy = request.get("Privacy")
    if privacy is None or "id" not in [each.strip().lower() for each in privacy.split(";")]:
        request.add("P-Asserted-Identity", str(NameAddr(own, display)))
    service = request.get("P-Preferred-Service")
    if service is not None:
        request.remove("P-Preferred-Service")
        if service.startswith(_SERVICE_START) and "," not in service:
            request.add("P-Asserted-Service", service)


def _preferred_display(request: Request, own: str) -> str:
    for value in request.get_all("P-Preferred-Identity"):
        try:
            preferred = NameAddr.parse(value)
            if preferred.uri.aor == own:
                return preferred.display
        except SipParseError:
            continue
    return ""
