"""Where an INVITE goes after a 3xx (RFC 3261 §8.1.3.4)."""

from rcsops.errors import SipParseError
from rcsops.sip import NameAddr, Response, Uri

__all__ = ["Elsewhere"]

_MAX_PLACES = 5


class Elsewhere:
    """The places that redirections named, each tried once, the more wanted (q) first.

    At most 5 in all, so that two proxies cannot send us to and fro. ``first`` is the URI that was
    tried before any.
    """

    def __init__(self, first: str) -> None:
        self._known = {first}
        self._places: list[Uri] = []
        self._count = 0

    def next(self, final: Response) -> Uri | None:
        """Where to try next after this refusal; None when there is nowhere, or it is meant for
        good (6xx)."""
        if final.status >= 600:
            return None
        if 300 <= final.status < 400:
            self._places = self._named(final) + self._places
        if not self._places or self._count >= _MAX_PLACES:
            return None
        self._count += 1
        return self._places.pop(0)

    def _named(self, final: Response) -> list[Uri]:
        try:
            contacts = sorted(final.contacts, key=_q, reverse=True)
            uris = [contact.uri for contact in contacts if contact.uri.is_sip and contact.uri.host]
        except SipParseError:
            return []
        fresh = []
        for uri in (uri.without_headers() for uri in uris):
            if str(uri) not in self._known:
                self._known.add(str(uri))
                fresh.append(uri)
        return fresh[:_MAX_PLACES]


def _q(contact: NameAddr) -> float:
    try:
        return float(contact.param("q") or 1.0)
    except ValueError:
        return 0.0
