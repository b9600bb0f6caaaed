"""Who sent this: digest authentication of requests (RFC 3261 §22)."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rcsops.server.accounts import Accounts, Known
from rcsops.server.guard import Guard
from rcsops.server.statistics import Statistics
from rcsops.settings import DIGEST_ALGORITHMS, Settings
from rcsops.sip import ALGORITHMS, DigestServer, Request, Response, SipParseError, Verdict

__all__ = ["Authenticator", "Judgement", "offered_algorithms"]

logger = logging.getLogger(__name__)

_NO_HASHES: dict[str, str] = {}


def offered_algorithms(settings: Settings) -> tuple[str, ...]:
    """Those of the settings that work here and are strong enough, in order of preference."""
    weakest = DIGEST_ALGORITHMS.index(settings.digest_min_algorithm)
    return tuple(
        name
        for name in settings.digest_algorithms
        if name in ALGORITHMS and DIGEST_ALGORITHMS.index(name) >= weakest
    )


class Judgement(NamedTuple):
    """The user whose credentials a request carries, or why there is none.

    ``status`` is 0 when ``user`` is authenticated, else what to answer.
    """

    user: str
    status: int = 0
    stale: bool = False
    failed: bool = False
    guess: str = ""


class Authenticator:
    """Challenges and judges; the realm is the domain of the user.

    ``make_digest(realm)`` is called once for each realm. Unknown users are challenged and refused
    exactly like known ones.
    """

    def __init__(
        self,
        make_digest: Callable[[str], DigestServer],
        accounts: Accounts,
        statistics: Statistics,
        guard: Guard,
    ) -> None:
        self._guard = guard
        self._make_digest = make_digest
        self._digests: dict[str, DigestServer] = {}
        self._accounts = accounts
        self._counts = statistics.counts

    def _digest_of(self, realm: str) -> DigestServer:
        digest = self._digests.get(realm)
        if digest is None:
            digest = self._digests[realm] = self._make_digest(realm)
        return digest

    def judge(
        self, request: Request, domain: str, now: float, known: Known, source: str
    ) -> Judgement:
        """Whose credentials a request to or from ``domain``, one of ours, carries.

        A nonce that was not issued to ``source`` counts as stale before the password is looked at:
        so each guess is made from an address that is not forged, and none is free.

        Raises `NeedsDatabase`; credentials that cannot be read are answered 400.
        """
        if known.user:
            return Judgement(known.user)
        is_register = request.method == "REGISTER"
        challenge = 401 if is_register else 407
        try:
            given = request.authorizations if is_register else request.proxy_authorizations
            for credentials in given:
                if credentials.is_digest and credentials.realm == domain:
                    break
            else:
                return Judgement("", challenge)
            username = credentials.username
        except SipParseError:
            return Judgement("", 400)
        digest = self._digest_of(domain)
        if credentials.nonce and not digest.is_current(credentials.nonce, now, source):
            return Judgement("", challenge, stale=True)
        account = self._accounts.get(username, domain, known)
        hashes = _NO_HASHES if account is None else account.ha1
        verdict = digest.verify(credentials, request.method, request.body, hashes, now)
        if verdict is Verdict.OK:
            known.user = username
            self._guard.succeeded(source)
            return Judgement(username)
        if verdict is Verdict.MALFORMED:
            return Judgement("", 400)
        if verdict is Verdict.WRONG:
            return Judgement("", challenge, failed=True, guess=credentials.response)
        return Judgement("", challenge, stale=True)

    def refuse(
        self,
        request: Request,
        domain: str,
        judgement: Judgement,
        tag: str,
        now: float,
        known: Known,
        source: tuple[str, int],
    ) -> Response:
        """The answer for a judgement without a user; ``source`` is for the log. Raises
        `NeedsDatabase`."""
        status = judgement.status
        if status == 400:
            return Response.to_request(request, 400, "Bad Credentials", tag)
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        algorithms = self._accounts.algorithms(domain, known)
        values = self._digest_of(domain).challenges(now, judgement.stale, algorithms, source[0])
        # Only now, since the way here may be gone twice.
        self._counts["auth:challenges"] += 1
        self._counts["auth:failures"] += judgement.failed
        self._counts["auth:stale"] += judgement.stale
        if judgement.failed:
            logger.info("wrong credentials from %s:%d", *source)
            if self._guard.failed(source[0], now, judgement.guess):
                self._counts["limits:bans"] += 1
                logger.warning("%s is banned: too many wrong passwords", source[0])
        return Response.to_request(
            request, status, "", tag, headers=[(name, value) for value in values]
        )

    def remove_credentials(self, request: Request, realms: Sequence[str]) -> None:
        """Takes the credentials for ``realms``, ours, off a request that goes on: they were for us
        alone."""
        given = request.get_all("Proxy-Authorization")
        if not given:
            return
        kept = [
            str(credentials)
            for credentials in request.proxy_authorizations
            if not (credentials.is_digest and credentials.realm in realms)
        ]
        request.remove("Proxy-Authorization")
        for value in kept:
            request.add("Proxy-Authorization", value)
