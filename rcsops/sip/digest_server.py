"""The server's side of digest authentication (RFC 3261 §22.1, §22.3, RFC 7616, RFC 8760)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.auth import Credentials
from rcsops.sip.digest import ALGORITHMS, algorithm_of, digest_response
from rcsops.sip.grammar import quote
from rcsops.sip.uri import Uri
from rcsops.tokens import Tokens

_WINDOW = 64
_TIME_DIGITS = 12
_SALT_DIGITS = 32
_MARK_DIGITS = 8
_MAC_DIGITS = 32
_MAX_MARKS = 4096


class Verdict(Enum):
    """What the credentials of a request are worth."""

    OK = "ok"
    STALE = "stale"
    """Right, but for a nonce that is not valid any more: challenge again with stale=true."""
    REPLAY = "replay"
    """Right, but seen before: challenge again with stale=true."""
    WRONG = "wrong"
    """Not this user's, or not for this realm: challenge again, or 403."""
    MALFORMED = "malformed"
    """Something that must be there is not: 400."""


class _Used(NamedTuple):
    """A nonce in use: when it was issued, and which counts of it have been seen."""

    issued: int  # milliseconds
    highest: int
    seen: int  # bit n: highest - n


class DigestServer:
    """Issues nonces and judges credentials.

    A nonce carries its time and a MAC, so nothing is kept for one that is only issued. Used ones
    are remembered for their counts, at most ``max_used``. When that is not enough the oldest is
    forgotten and with it every nonce issued before it counts as stale: under a flood clients ask
    once more, and a replay never passes.

    A nonce can be made for one source address. Who brings it back from there can receive there: the
    address is not forged.
    """

    __slots__ = (
        "_algorithms",
        "_checked",
        "_floor",
        "_lifetime",
        "_marks",
        "_max_used",
        "_qop",
        "_secret",
        "_tokens",
        "_used",
        "opaque",
        "realm",
    )

    def __init__(
        self,
        realm: str,
        secret: bytes,
        tokens: Tokens,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        nonce_lifetime: float = 300,
        qop: tuple[str, ...] = ("auth",),
        max_used: int = 65536,
    ) -> None:
        """``algorithms`` in order of preference, -sess variants included; lifetime in seconds.

        Raises LocalProtocolError for an algorithm or qop that is not known.
        """
        for name in algorithms:
            if algorithm_of(name) is None:
                raise LocalProtocolError(f"digest algorithm {name} is not one of {ALGORITHMS}")
        if not qop or not set(qop) <= {"auth", "auth-int"}:
            raise LocalProtocolError(f"not a choice of qop: {qop}")
        self.realm = realm
        self._secret = secret
        self._tokens = tokens
        self._algorithms = algorithms
        self._lifetime = int(nonce_lifetime * 1000)
        self._qop = qop
        self._max_used = max_used
        self._used: dict[str, _Used] = {}
        self._floor = -1
        self._marks: dict[str, str] = {}
        # The newest nonce that was looked at, which is asked about more than once.
        self._checked: tuple[str, int | None] = ("", None)
        self.opaque = self._mac("opaque")

    def challenges(
        self,
        now: float,
        stale: bool = False,
        algorithms: tuple[str, ...] | None = None,
        source: str = "",
    ) -> list[str]:
        """The values of WWW-Authenticate, one for each algorithm (RFC 8760 §2.3).

        ``algorithms`` narrows the choice. ``now`` is in monotonic seconds.
        """
        start = f'Digest realm={quote(self.realm)}, nonce="{self.nonce(now, source)}"'
        start = f'{start}, opaque="{self.opaque}"'
        end = f'qop="{",".join(self._qop)}"{", stale=true" if stale else ""}'
        names = self._algorithms if algorithms is None else algorithms
        return [f"{start}, algorithm={name}, {end}" for name in names]

    def nonce(self, now: float, source: str = "") -> str:
        """A new nonce: time, salt and MAC; the salt ends in the mark of ``source``, if given."""
        text = f"{max(0, int(now * 1000)):0{_TIME_DIGITS}x}{self._tokens.nonce()}"
        if source:
            text = text[:-_MARK_DIGITS] + self._mark(source)
        return text + self._mac(text)

    def is_current(self, nonce: str, now: float, source: str) -> bool:
        """Whether a nonce was made here, for ``source``, and has not expired."""
        issued = self._issued(nonce)
        if issued is None or not 0 <= int(now * 1000) - issued <= self._lifetime:
            return False
        return nonce[:-_MAC_DIGITS].endswith(self._mark(source))

    def _mark(self, source: str) -> str:
        mark = self._marks.get(source)
        if mark is None:
            if len(self._marks) >= _MAX_MARKS:
                self._marks.clear()
            mark = self._marks[source] = self._mac(f"source:{source}")[:_MARK_DIGITS]
        return mark

    def verify(
        self,
        credentials: Credentials,
        method: str,
        body: bytes,
        ha1: Mapping[str, str],
        now: float,
        uri: str | None = None,
    ) -> Verdict:
        """Judge the credentials of a request. Never raises.

        ``ha1`` are the user's hashes by algorithm; pass {} for an unknown user, which takes the
        same time. With ``uri``, the Request-URI, the digest-uri must be equal to it.
        """
        known = algorithm_of(credentials.algorithm)
        nonce, cnonce, qop = credentials.nonce, credentials.cnonce, credentials.qop
        try:
            count = credentials.nonce_count
        except SipParseError:
            return Verdict.MALFORMED
        if not (credentials.is_digest and nonce and credentials.uri and credentials.response):
            return Verdict.MALFORMED
        if qop is not None and (count is None or not count or not cnonce):
            return Verdict.MALFORMED
        if known is None or credentials.realm != self.realm:
            return Verdict.WRONG
        if not self._offers(credentials.algorithm, qop):
            return Verdict.WRONG
        base = known[0]
        expected = digest_response(
            credentials.algorithm,
            ha1.get(base, "-"),
            method=method,
            uri=credentials.uri,
            nonce=nonce,
            qop=qop,
            nc=credentials.nc or "",
            cnonce=cnonce or "",
            body=body,
        )
        given = credentials.response.lower().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(expected.encode(), given) or base not in ha1:
            return Verdict.WRONG
        if uri is not None and not _same_uri(credentials.uri, uri):
            return Verdict.WRONG
        # Only who knows the password comes here, so strangers cannot fill the memory.
        # RFC 2069 has no count: such a nonce is good for one request.
        return self._use(nonce, count if qop is not None and count is not None else 1, now)

    def authentication_info(
        self,
        credentials: Credentials,
        ha1: Mapping[str, str],
        body: bytes = b"",
        nextnonce: str | None = None,
    ) -> str:
        """The value of Authentication-Info for the 2xx to verified credentials (RFC 7616 §3.5).

        ``body`` is that of the response, for auth-int.
        """
        known = algorithm_of(credentials.algorithm)
        if known is None or known[0] not in ha1:
            raise LocalProtocolError("credentials that were not verified")
        rspauth = digest_response(
            credentials.algorithm,
            ha1[known[0]],
            method="",
            uri=credentials.uri,
            nonce=credentials.nonce,
            qop=credentials.qop,
            nc=credentials.nc or "",
            cnonce=credentials.cnonce or "",
            body=body,
        )
        value = f'rspauth="{rspauth}"'
        if credentials.qop is not None:
            value = f"qop={credentials.qop}, {value}"
            value += f', cnonce="{credentials.cnonce}", nc={credentials.nc}'
        return value if nextnonce is None else f'nextnonce="{nextnonce}", {value}'

    @property
    def tracked(self) -> int:
        """How many nonces are remembered."""
        return len(self._used)

    def _offers(self, algorithm: str, qop: str | None) -> bool:
        if qop is not None and qop not in self._qop:
            return False
        return algorithm.lower() in (name.lower() for name in self._algorithms)

    def _mac(self, text: str) -> str:
        message = f"{text}:{self.realm}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._secret, message, sha256).hex()[:_MAC_DIGITS]

    def _issued(self, nonce: str) -> int | None:
        """When one of our nonces was issued, in milliseconds; None when it is none of ours."""
        if nonce != self._checked[0]:
            self._checked = (nonce, self._read(nonce))
        return self._checked[1]

    def _read(self, nonce: str) -> int | None:
        text, mac = nonce[:-_MAC_DIGITS], nonce[-_MAC_DIGITS:]
        if len(text) != _TIME_DIGITS + _SALT_DIGITS or not nonce.isascii():
            return None
        if not hmac.compare_digest(self._mac(text), mac):
            return None
        return int(text[:_TIME_DIGITS], 16)

    def _use(self, nonce: str, count: int, now: float) -> Verdict:
        issued = self._issued(nonce)
        moment = int(now * 1000)
        # A nonce from the future was made with another clock: by us, before a restart.
        if issued is None or not 0 <= moment - issued <= self._lifetime:
            return Verdict.STALE
        used = self._used.get(nonce)
        if used is None:
            if issued <= self._floor:
                return Verdict.STALE
            self._make_room(moment)
            self._used[nonce] = _Used(issued, count, 1)
            return Verdict.OK
        ahead = count - used.highest
        if ahead > 0:
            seen = (used.seen << ahead | 1) & (1 << _WINDOW) - 1 if ahead < _WINDOW else 1
            self._used[nonce] = _Used(issued, count, seen)
            return Verdict.OK
        # Requests of one user may overtake each other on UDP, so a gap may be filled later.
        bit = 1 << -ahead if -ahead < _WINDOW else used.seen
        if used.seen & bit:
            return Verdict.REPLAY
        self._used[nonce] = used._replace(seen=used.seen | bit)
        return Verdict.OK

    def _make_room(self, moment: int) -> None:
        used = self._used
        while used:
            oldest = next(iter(used))
            issued = used[oldest].issued
            expired = moment - issued > self._lifetime
            if not expired and len(used) < self._max_used:
                return
            if not expired:
                self._floor = max(self._floor, issued)
            del used[oldest]


def _same_uri(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return Uri.parse(one) == Uri.parse(other)
    except SipParseError:
        return False
