"""Whether the connections between two agents are made with TLS (RFC 4975 §14.4)."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from rcsops.errors import InviteError, SdpParseError
from rcsops.sdp import MsrpMedia
from rcsops.sip import Flow

__all__ = ["check_security", "is_secured", "offer_securely"]

T = TypeVar("T")

_ENCRYPTED = ("tls", "wss")
_NOT_SO = (415, 488, 606)


def is_secured(policy: str, flow: Flow | None) -> bool:
    """Whether we offer MSRP over TLS to a peer beyond ``flow``.

    A fingerprint is worth as much as the way that it went: "auto" offers TLS where that is
    encrypted.
    """
    if policy == "auto":
        return flow is not None and flow.transport in _ENCRYPTED
    return policy == "tls"


async def offer_securely(policy: str, flow: Flow, offer: Callable[[bool], Awaitable[T]]) -> T:
    """Calls ``offer(secure)``; with "auto" once more without TLS when the peer takes none."""
    secure = is_secured(policy, flow)
    try:
        return await offer(secure)
    except InviteError as error:
        if not secure or policy != "auto" or error.status not in _NOT_SO:
            raise
    return await offer(False)


def check_security(policy: str, offered: MsrpMedia) -> None:
    """Raises SdpParseError (488) for an offer that our settings do not let us take."""
    if policy == "tls" and not offered.secure:
        raise SdpParseError("Only MSRP over TLS is taken here", status=488)
    if policy == "tcp" and offered.secure:
        raise SdpParseError("MSRP over TLS is not taken here", status=488)
