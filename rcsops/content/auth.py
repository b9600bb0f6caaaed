"""Who asks the content server: digest authentication over HTTP (RFC 7616), with the hashes that
the SIP server has as well; the realm is the domain of the user."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from rcsops.database import SubscriberCache
from rcsops.errors import SipParseError
from rcsops.server.guard import Guard, Standing
from rcsops.sip import DigestServer, Verdict
from rcsops.sip.auth import Credentials

__all__ = ["ContentAuth", "Judgement"]

logger = logging.getLogger(__name__)

_NO_HASHES: dict[str, str] = {}


class Judgement(NamedTuple):
    """The user (``user@domain``) that a request is from; without one ``status`` says what to
    answer, and ``challenges`` are the values of WWW-Authenticate for a 401."""

    user: str
    status: int = 0
    challenges: tuple[str, ...] = ()


class ContentAuth:
    """Challenges and judges. A source with too many wrong passwords is turned away for a while,
    by the same limits as at the SIP server; ``now`` is the loop's clock."""

    def __init__(
        self,
        make_digest: Callable[[str], DigestServer],
        cache: SubscriberCache,
        algorithms: tuple[str, ...],
        guard: Guard,
        now: Callable[[], float],
    ) -> None:
        self._make_digest = make_digest
        self._digests: dict[str, DigestServer] = {}
        self._cache = cache
        self._algorithms = algorithms
        self._guard = guard
        self._now = now

    def admits(self, source: str) -> bool:
        """Whether a source may ask at all; False for one that is banned or asks too often."""
        return self._guard.take(source, self._now()) is Standing.GOOD

    async def judge(
        self, method: str, target: str, authorization: str, domain: str, source: str
    ) -> Judgement:
        """Whose credentials a request for ``target``, as it stands in the request line, carries.

        Raises `DatabaseError`.
        """
        digest = self._digest_of(domain)
        if not authorization:
            return await self._challenge(domain, source)
        try:
            credentials = Credentials.parse(authorization)
            # Reads the count, which may be no number.
            complete = credentials.is_digest and credentials.nonce_count is not None
        except SipParseError:
            return Judgement("", 400)
        if not credentials.is_digest or credentials.realm != domain:
            return await self._challenge(domain, source)
        now = self._now()
        if not digest.is_current(credentials.nonce, now, source):
            return await self._challenge(domain, source, stale=True)
        account = await self._cache.get(credentials.username, domain)
        hashes = _NO_HASHES if account is None else account.ha1
        verdict = digest.verify(credentials, method, b"", hashes, now, target)
        if verdict is Verdict.OK and complete:
            self._guard.succeeded(source)
            return Judgement(f"{credentials.username}@{domain}")
        if verdict is Verdict.MALFORMED:
            return Judgement("", 400)
        if verdict is Verdict.WRONG:
            logger.info("wrong credentials from %s", source)
            if self._guard.failed(source, now, credentials.response):
                logger.warning("%s is banned: too many wrong passwords", source)
            return await self._challenge(domain, source)
        return await self._challenge(domain, source, stale=True)

    def _digest_of(self, realm: str) -> DigestServer:
        digest = self._digests.get(realm)
        if digest is None:
            digest = self._digests[realm] = self._make_digest(realm)
        return digest

    async def _challenge(self, domain: str, source: str, *, stale: bool = False) -> Judgement:
        cache = self._cache
        found = cache.algorithms(domain, self._algorithms)
        if not isinstance(found, tuple):
            found = await cache.refresh_algorithms(domain, self._algorithms)
        names = found or self._algorithms
        values = self._digest_of(domain).challenges(self._now(), stale, names, source)
        return Judgement("", 401, tuple(values))
