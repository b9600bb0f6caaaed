"""The client's side of digest authentication (RFC 3261 §22.2, §22.3, RFC 7616, RFC 8760)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, RemoteProtocolError, SipParseError
from rcsops.sip.auth import Challenge, Credentials, parse_auth_params
from rcsops.sip.digest import ALGORITHMS, Credential, algorithm_of, digest_response
from rcsops.sip.grammar import quote, unquote
from rcsops.sip.message import Request, Response
from rcsops.tokens import Tokens

_HEADERS = (("WWW-Authenticate", "Authorization"), ("Proxy-Authenticate", "Proxy-Authorization"))

# A request may pass some proxies of other realms; more than these are a hostile peer's.
_MAX_SESSIONS = 16
# Requests of one user under way at a time; their answers come within seconds.
_MAX_AWAITED = 8


@dataclass(slots=True)
class _Session:
    """What is known of one realm behind one header: the nonce and how often it was used."""

    header: str
    username: str  # as on the wire, quoted
    ha1: str = field(repr=False)
    keeps_cnonce: bool
    realm: str  # as on the wire between its quotes
    nonce: str
    opaque: str | None
    algorithm: str | None  # as the challenge spells it
    qop: str | None
    uri: str  # the Request-URI that was challenged
    cnonce: str = ""
    count: int = 0
    answered: str = field(default="", repr=False)  # the response made last for a challenge


class _Awaited(NamedTuple):
    """A request whose answer may carry rspauth."""

    session: _Session
    nonce: str
    uri: str


class DigestClient:
    """Answers challenges. One object serves every request of one user."""

    __slots__ = ("_awaited", "_lookup", "_minimum", "_sessions", "_tokens")

    def __init__(
        self,
        credentials: Iterable[Credential] | Callable[[str], Credential | None],
        tokens: Tokens,
        min_algorithm: str = "MD5",
    ) -> None:
        """``credentials`` are searched by realm; a callable gets the realm and may say None.

        A challenge with an algorithm below ``min_algorithm`` is not answered. Raises
        LocalProtocolError when that is not one of `ALGORITHMS`.
        """
        if min_algorithm not in ALGORITHMS:
            raise LocalProtocolError(f"digest algorithm {min_algorithm} is not supported here")
        if callable(credentials):
            self._lookup = credentials
        else:
            self._lookup = {each.realm: each for each in credentials}.get
        self._tokens = tokens
        self._minimum = ALGORITHMS.index(min_algorithm)
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._awaited: dict[tuple[str, str], _Awaited] = {}

    def authorize(self, request: Request, response: Response) -> bool:
        """Put credentials on ``request`` for the challenges of a 401 or 407 to it (§22.2, §22.3).

        Credentials for other realms stay. The caller makes a new transaction: new branch, CSeq
        one up. False when no challenge can be answered, or when the credentials that this request
        carried were refused: asking again would not help.
        """
        answered = False
        for challenge_header, header in _HEADERS:
            for realm, challenges in _by_realm(response, challenge_header).items():
                session = self._choose(header, realm, challenges, request.uri)
                if session is None:
                    continue
                old = self._sessions.get((header, realm))
                stale = any(each.stale for each in challenges)
                if old is not None and not stale and _was_refused(request, old):
                    return False
                self._remember(realm, session)
                session.answered = self._put(request, session)
                answered = True
        return answered

    def preempt(self, request: Request) -> bool:
        """Put credentials on ``request`` with the last nonces, to save a round trip.

        Those for a proxy go on every request. Those for a user agent server (a registrar) go only
        to the Request-URI that asked for them: to anybody else they would be matter for guessing
        the password. False when there is no nonce that fits. ACK and CANCEL are never challenged
        (§22.1) and get none.
        """
        if request.method in ("ACK", "CANCEL"):
            return False
        fitting = [
            session
            for session in self._sessions.values()
            if session.header == "Proxy-Authorization" or session.uri == request.uri
        ]
        for session in fitting:
            self._put(request, session)
        return bool(fitting)

    def receive_info(self, response: Response) -> None:
        """Take ``nextnonce`` from, and check ``rspauth`` of, Authentication-Info (RFC 7616 §3.5).

        Raises RemoteProtocolError when rspauth is wrong: the answer is forged.
        """
        for name in ("Authentication-Info", "Proxy-Authentication-Info"):
            text = response.get(name)
            if text is None:
                continue
            params = parse_auth_params(text)
            key = (_inner(params.get("cnonce")), unquote(params.get("nc") or ""))
            awaited = self._awaited.pop(key, None)
            if awaited is None:
                continue
            session = awaited.session
            rspauth = unquote(params.get("rspauth") or "")
            if rspauth and not _rspauth_is_right(rspauth, awaited, key, response.body):
                raise RemoteProtocolError("the server does not know our password (rspauth)")
            if nextnonce := _inner(params.get("nextnonce")):
                session.nonce, session.count, session.cnonce = nextnonce, 0, ""

    def _choose(
        self, header: str, realm: str, challenges: list[Challenge], uri: str
    ) -> _Session | None:
        """The topmost challenge that is supported and allowed (RFC 8760 §2.4)."""
        credential = self._lookup(realm)
        if credential is None:
            return None
        for challenge in challenges:
            known = algorithm_of(challenge.algorithm)
            if known is None or known[0] not in credential.ha1 or not challenge.nonce:
                continue
            offered = challenge.qop
            qop = next((each for each in ("auth", "auth-int") if each in offered), None)
            # RFC 7616 §3.3: a challenge with only unknown qop values is one that we cannot answer.
            if ALGORITHMS.index(known[0]) < self._minimum or (offered and qop is None):
                continue
            # -sess needs a cnonce (RFC 7616 §3.4), and without qop there is none to send.
            if known[1] and qop is None:
                continue
            return _Session(
                header,
                quote(credential.username),
                credential.ha1[known[0]],
                known[1],
                challenge.inner("realm") or "",
                challenge.nonce,
                challenge.opaque,
                challenge.get("algorithm"),
                qop,
                uri,
            )
        return None

    def _remember(self, realm: str, session: _Session) -> None:
        sessions = self._sessions
        sessions.pop((session.header, realm), None)
        while len(sessions) >= _MAX_SESSIONS:
            del sessions[next(iter(sessions))]
        sessions[session.header, realm] = session

    def _put(self, request: Request, session: _Session) -> str:
        """Replace the credentials for the session's realm on the request; their response."""
        algorithm = session.algorithm or "MD5"
        uri = request.uri
        session.count += 1
        nc = f"{session.count:08x}"
        if not (session.keeps_cnonce and session.cnonce):
            # RFC 7616 §3.4.2: the session key is made with the cnonce of the first request.
            session.cnonce = self._tokens.cnonce()
        response = digest_response(
            algorithm,
            session.ha1,
            method=request.method,
            uri=uri,
            nonce=session.nonce,
            qop=session.qop,
            nc=nc,
            cnonce=session.cnonce,
            body=request.body,
        )
        value = (
            f'Digest username={session.username}, realm="{session.realm}", '
            f'nonce="{session.nonce}", uri="{uri}", response="{response}"'
        )
        if session.algorithm is not None:
            value += f", algorithm={algorithm}"
        if session.qop is not None:
            value += f', qop={session.qop}, nc={nc}, cnonce="{session.cnonce}"'
            awaited = self._awaited
            while len(awaited) >= _MAX_AWAITED:
                del awaited[next(iter(awaited))]
            awaited[session.cnonce, nc] = _Awaited(session, session.nonce, uri)
        if session.opaque is not None:
            value += f', opaque="{session.opaque}"'
        if not request.has(session.header):
            request.add(session.header, value)
            return response
        others = [
            line for line in request.get_all(session.header) if _inner_realm(line) != session.realm
        ]
        request.remove(session.header)
        for line in (*others, value):
            request.add(session.header, line)
        return response


def _by_realm(response: Response, header: str) -> dict[str, list[Challenge]]:
    """The Digest challenges of a response, by realm, in their order; broken ones left out."""
    realms: dict[str, list[Challenge]] = {}
    for line in response.get_all(header):
        try:
            challenge = Challenge.parse(line)
        except SipParseError:
            continue
        # RFC 3261 §22: Basic is forbidden, it would give the password away.
        if challenge.is_digest:
            realms.setdefault(challenge.realm, []).append(challenge)
    return realms


def _was_refused(request: Request, session: _Session) -> bool:
    """Whether the request carried the answer to this realm's last challenge.

    Credentials made ahead with an older nonce may fail only because the server has restarted.
    """
    if not session.answered:
        return False
    for line in request.get_all(session.header):
        try:
            if Credentials.parse(line).response == session.answered:
                return True
        except SipParseError:
            continue
    return False


def _inner_realm(line: str) -> str | None:
    try:
        return Credentials.parse(line).inner("realm")
    except SipParseError:
        return None


def _inner(value: str | None) -> str:
    if value is None:
        return ""
    return value[1:-1] if value[:1] == '"' else value


def _rspauth_is_right(rspauth: str, awaited: _Awaited, key: tuple[str, str], body: bytes) -> bool:
    session = awaited.session
    expected = digest_response(
        session.algorithm or "MD5",
        session.ha1,
        method="",
        uri=awaited.uri,
        nonce=awaited.nonce,
        qop=session.qop,
        nc=key[1],
        cnonce=key[0],
        body=body,
    )
    return compare_digest(expected.encode(), rspauth.lower().encode("utf-8", "surrogateescape"))
