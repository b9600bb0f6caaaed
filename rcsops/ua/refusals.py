"""What the peer said no with, in words."""

from rcsops.errors import InviteError, SipParseError
from rcsops.sip import Request, Response
from rcsops.sip.registrar_answer import retry_after
from rcsops.text import visible

__all__ = [
    "ELSEWHERE",
    "NOT_KEPT",
    "SIZE_EXCEEDED",
    "cancel_reason",
    "reason_text",
    "refusal",
]

ELSEWHERE = "Call completed elsewhere"
"""Why a device rings no longer when another one of the user's has answered (RFC 3326 §3.1)."""

SIZE_EXCEEDED = "133 Size exceeded"
NOT_KEPT = "File not kept"
"""Texts of Warning headers, in refusals of files that are too large, and that we have no place
for."""

_EXPLAINED = {
    403: "the server does not allow it",
    404: "there is no such user",
    408: "no answer",
    415: "the peer cannot take this kind of session",
    420: "the peer does not know an extension that we ask for",
    421: "the peer asks for an extension that we do not have",
    480: "the user is not there",
    481: "the peer has no such session",
    486: "the user is busy",
    487: "the invitation was taken back",
    488: "the peer cannot take this kind of session",
    503: "the server cannot be reached",
    603: "the user declined",
    606: "no device of the user can take this kind of session",
}
_LONGEST = 100
# Headers that say what a refusal is about (RFC 3261 §20).
_DETAILS = {
    403: "Warning",
    415: "Accept",
    420: "Unsupported",
    421: "Require",
    488: "Warning",
    500: "Warning",
    606: "Warning",
}


def refusal(response: Response) -> InviteError:
    """What to raise for a final response other than 2xx."""
    status = response.status
    explained = _EXPLAINED.get(status)
    text = f"{status} {response.reason}".strip()
    detail = response.get(_DETAILS.get(status, "")) if status in _DETAILS else None
    if detail:
        text += f": {visible(detail)[:_LONGEST]}"
    wait = retry_after(response)
    hint = f"try again in {wait:.0f} s" if wait is not None else ""
    return InviteError(f"{explained} ({text})" if explained else text, status=status, hint=hint)


def reason_text(request: Request) -> str:
    """The text of a Reason header (RFC 3326), printable; empty without one."""
    texts = (params.get("text", "") for _, params in _reasons(request))
    text = next((text for text in texts if text), "")
    return "".join(c for c in text if c.isprintable())[:120]


def cancel_reason(request: Request) -> str:
    """The same of a CANCEL; ELSEWHERE when another device has answered, in whatever words."""
    for protocol, params in _reasons(request):
        if protocol == "SIP" and params.get("cause") == "200":
            return ELSEWHERE
    return reason_text(request)


def _reasons(request: Request) -> list[tuple[str, dict[str, str]]]:
    try:
        values = request.values("Reason")
    except SipParseError:
        return []
    found = []
    for value in values:
        protocol, _, params = value.partition(";")
        pairs = (param.partition("=") for param in params.split(";"))
        found.append(
            (
                protocol.strip().upper(),
                {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs},
            )
        )
    return found
