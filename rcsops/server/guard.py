"""Who sends too much, and who guesses passwords: told apart by source address, in bounded memory.

A source is an IPv4 address, or the first 64 bits of an IPv6 one, which one customer has all of.
Times are seconds of a monotonic clock that is handed in.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from rcsops.settings import Limits

__all__ = ["Ban", "Guard", "GuardLimits", "Standing", "source_of"]

_MAX_SOURCES = 20_000


class Standing(Enum):
    """What a source may expect."""

    GOOD = "good"
    OVER = "over its rate"
    FLOODING = "far over its rate"
    BANNED = "banned"


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """``rate`` requests a second from one source, ``burst`` at once. ``failures`` wrong passwords
    within ``failure_seconds`` ban it for ``ban_seconds``. 0 turns a limit off. ``trusted``
    networks have none."""

    rate: float = 100.0
    burst: int = 400
    failures: int = 10
    failure_seconds: float = 300.0
    ban_seconds: float = 300.0
    trusted: tuple[str, ...] = ("127.0.0.0/8", "::1/128")

    @classmethod
    def of(cls, limits: Limits) -> "GuardLimits":
        """Those of a project."""
        return cls(
            rate=limits.rate,
            burst=limits.burst,
            failures=limits.login_failures,
            failure_seconds=limits.failure_seconds,
            ban_seconds=limits.ban_seconds,
            trusted=limits.trusted,
        )


@dataclass(frozen=True, slots=True)
class Ban:
    """One source that is turned away; ``seconds`` are left of it."""

    source: str
    reason: str
    seconds: float


class _Source:
    """What is remembered of one source."""

    __slots__ = ("banned_until", "failed_since", "failures", "guess", "moment", "tokens", "trusted")

    def __init__(self, tokens: float, moment: float, trusted: bool) -> None:
        self.tokens = tokens
        self.moment = moment
        self.trusted = trusted
        self.failures = 0
        self.guess = ""
        self.failed_since = 0.0
        self.banned_until = 0.0


class Guard:
    """Keeps a bucket of tokens and a count of failures for each source.

    At most ``max_sources`` are remembered; the one that was longest silent is forgotten first, but
    no banned one while there are others.
    """

    def __init__(self, limits: GuardLimits, *, max_sources: int = _MAX_SOURCES) -> None:
        self._limits = limits
        self._max = max_sources
        self._trusted = [ipaddress.ip_network(each, strict=False) for each in limits.trusted]
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._banned: OrderedDict[str, _Source] = OrderedDict()

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._sources) + len(self._banned)

    def take(self, host: str, now: float) -> Standing:
        """Counts one request from an address, and says how its source stands."""
        key = source_of(host)
        if self._banned:
            banned = self._banned.get(key)
            if banned is not None:
                if banned.banned_until > now:
                    return Standing.BANNED
                del self._banned[key]
        source = self._find(key, now)
        rate = self._limits.rate
        if source.trusted or not rate:
            return Standing.GOOD
        burst = self._limits.burst
        tokens = min(burst, source.tokens + (now - source.moment) * rate) - 1.0
        source.moment = now
        # A debt is paid back: who never pauses does not get its rate for nothing.
        source.tokens = max(tokens, -float(burst))
        if tokens >= 0.0:
            return Standing.GOOD
        return Standing.OVER if tokens > -burst else Standing.FLOODING

    def failed(self, host: str, now: float, guess: str = "") -> bool:
        """Counts a wrong password; whether that bans the source. A ``guess`` that comes twice in a
        row, because a datagram is sent again, counts once."""
        limits = self._limits
        key = source_of(host)
        source = self._find(key, now)
        if source.trusted or not limits.failures or (guess and guess == source.guess):
            return False
        source.guess = guess
        if not source.failures or now - source.failed_since > limits.failure_seconds:
            source.failures, source.failed_since = 0, now
        source.failures += 1
        if source.failures < limits.failures:
            return False
        source.failures = 0
        source.banned_until = now + limits.ban_seconds
        self._sources.pop(key, None)
        self._banned[key] = source
        while len(self._banned) > self._max:
            self._banned.popitem(last=False)
        return True

    def succeeded(self, host: str) -> None:
        """A right password: what was mistyped before is forgiven."""
        source = self._sources.get(source_of(host))
        if source is not None:
            source.failures = 0

    def bans(self, now: float) -> list[Ban]:
        """Every source that is turned away now, the longest banned first."""
        found = [
            Ban(key, "wrong passwords", each.banned_until - now)
            for key, each in self._banned.items()
            if each.banned_until > now
        ]
        rate, burst = self._limits.rate, self._limits.burst
        for key, source in self._sources.items():
            if source.trusted or not rate:
                continue
            tokens = min(burst, source.tokens + (now - source.moment) * rate)
            if tokens < 0.0:
                found.append(Ban(key, "too many requests", -tokens / rate))
        return found

    def lift(self, host: str) -> bool:
        """Forgets what is held against a source; False when nothing is known of it."""
        key = source_of(host)
        known = self._banned.pop(key, None) or self._sources.pop(key, None)
        return known is not None

    def _find(self, key: str, now: float) -> _Source:
        source = self._sources.get(key)
        if source is None:
            source = _Source(float(self._limits.burst), now, self._is_trusted(key))
            self._sources[key] = source
            while len(self._sources) > self._max:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(key)
        return source

    def _is_trusted(self, key: str) -> bool:
        try:
            address = ipaddress.ip_address(key.partition("/")[0])
        except ValueError:
            return False
        return _within(address, self._trusted)


def _within(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def source_of(host: str) -> str:
    """The source that an address belongs to: itself, or its IPv6 network of 64 bits."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return str(address)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
