"""What shows that a request within a dialog came through here when the dialog was made.

The server puts a token into its Record-Route. A request that brings it back in its Route belongs to
a dialog whose first request was authenticated, so neither BYE nor ACK, which cannot be challenged,
needs credentials; nobody else can use the server as a relay by writing a Route.
"""

import hmac
from hashlib import blake2b

from rcsops.sip import NameAddr, Request, SipParseError

__all__ = ["PARAMETER", "DialogTokens"]

PARAMETER = "dlg"
_DIGEST_BYTES = 9


class DialogTokens:
    """Makes and checks tokens with a secret that outlives a restart of the server."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = blake2b(secret, person=b"rcsops-dialog").digest()

    def make(self, request: Request) -> str:
        """The token of the dialog that ``request`` may make."""
        return self._token(request.call_id, request.from_tag or "")

    def valid(self, request: Request, route: NameAddr) -> bool:
        """Whether ``route``, one of ours, carries the token of this request's dialog.

        The tag of who began the dialog stands in From or in To, by direction.
        """
        try:
            token = route.uri.params.get(PARAMETER)
            if not token:
                return False
            tags = (request.from_tag, request.to_tag)
            call_id = request.call_id
        except SipParseError:
            return False
        given = token.encode("utf-8", "surrogateescape")
        return any(
            hmac.compare_digest(self._token(call_id, tag).encode(), given)
            for tag in tags
            if tag is not None
        )

    def _token(self, call_id: str, tag: str) -> str:
        text = f"{len(call_id)}:{call_id}{tag}".encode("utf-8", "surrogateescape")
        return blake2b(text, key=self._secret[:32], digest_size=_DIGEST_BYTES).hexdigest()
