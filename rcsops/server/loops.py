"""Loops and breadth: what keeps a request from circling and from multiplying (RFC 5393)."""

from collections.abc import Iterable
from hashlib import blake2b

from rcsops.sip import Request, Via

__all__ = ["MAX_BREADTH", "LoopMarks", "breadth_of", "shares"]

MAX_BREADTH = 60
"""What a request without Max-Breadth counts for (RFC 5393 §5.3.3.1)."""

_SEPARATOR = "."
_DIGEST_BYTES = 8


class LoopMarks:
    """The second part of our branches: what decided where a request goes (RFC 5393 §4.2.1).

    A request that comes back with the mark of what it carries now has changed nothing on its way:
    it loops. One that comes back with another Request-URI spirals, which is allowed. The mark is
    keyed, so nobody else's branch looks like ours.
    """

    __slots__ = ("_key",)

    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(secret, person=b"rcsops-loops").digest()

    def make(self, request: Request) -> str:
        """The mark of a request as it arrived; to be put behind the random part of the branch."""
        parts = (
            request.uri,
            request.from_tag,
            request.to_tag,
            request.get("Call-ID"),
            (request.get("CSeq") or "").partition(" ")[0],
            request.get("Route"),
        )
        text = "\n".join(part or "" for part in parts).encode("utf-8", "surrogateescape")
        digest = blake2b(text, key=self._key, digest_size=_DIGEST_BYTES).hexdigest()
        return _SEPARATOR + digest

    def found(self, mark: str, vias: Iterable[Via]) -> bool:
        """Whether one of the Vias carries the mark (RFC 5393 §4.2.2)."""
        return any((via.branch or "").lower().endswith(mark) for via in vias)


def breadth_of(request: Request) -> int:
    """The Max-Breadth of a request, never more than `MAX_BREADTH`; what cannot be read counts as
    not given."""
    text = (request.get("Max-Breadth") or "").strip()
    if not (text.isascii() and text.isdigit()):
        return MAX_BREADTH
    return MAX_BREADTH if len(text) > 3 else min(int(text), MAX_BREADTH)


def shares(breadth: int, count: int) -> list[int]:
    """``breadth`` shared out over ``count`` branches that are tried at once, none of which may get
    nothing: ``count`` is at most ``breadth``."""
    each, more = divmod(breadth, count)
    return [each + (number < more) for number in range(count)]
