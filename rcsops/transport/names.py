"""Questions to the DNS, and a bounded memory of the answers (RFC 1034, 2308, 2782, 3403).

What a name server says is hostile until it has been cut down: no set is longer than
`MAX_RECORDS`, no chain of aliases longer than `MAX_ALIASES`, and only records of the name that was
asked for, or of what that is an alias of, count.
"""

import asyncio
import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rcsops.errors import AgentError, SipParseError, UsageError
from rcsops.sip import Uri

if TYPE_CHECKING:
    import dns.asyncresolver

__all__ = ["LookupFailed", "NameService", "Naptr", "Srv", "parse_nameserver"]

MAX_RECORDS = 64
"""What is kept of one set of records."""

MAX_ALIASES = 8
"""How many answers in a row may only point to another name; within one answer 16 may."""

_MAX_ENTRIES = 1024
_MAX_QUESTIONS = 256
_LONGEST = 86400.0
_LONGEST_NEGATIVE = 3600.0
# RFC 2308 §7 allows five minutes; a person who waits wants to be there sooner.
_FAILURE = 5.0
_SYSTEM = 10.0
_QUESTION_SECONDS = 3.0
_EDNS_PAYLOAD = 1232


class Naptr(NamedTuple):
    """A NAPTR record that leads on to SRV records (RFC 3263 §4.1)."""

    order: int
    preference: int
    service: str
    replacement: str


class Srv(NamedTuple):
    """An SRV record; ``target`` "" says that there is no such service."""

    priority: int
    weight: int
    port: int
    target: str


class LookupFailed(AgentError):
    """No name server gave an answer, neither records nor that there are none."""


class NameService:
    """Asks name servers; one question at a time for the same thing, and none that it remembers.

    ``servers`` are (host, port); without any, those of the system are asked, and addresses come
    from the system's own look-up, which knows its hosts file. ``now`` is a monotonic clock in
    seconds: setting the wall clock changes no lifetime.
    """

    def __init__(
        self, servers: Sequence[tuple[str, int]] = (), *, now: Callable[[], float]
    ) -> None:
        self._servers = tuple(servers)
        self._now = now
        self._client: dns.asyncresolver.Resolver | None = None
        self._memory: OrderedDict[tuple[str, str], _Memory] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Future[_Memory | None]] = {}

    def __len__(self) -> int:
        return len(self._memory)

    async def naptr(self, name: str) -> tuple[Naptr, ...]:
        """The NAPTR records of a name whose flag is "s"; raises LookupFailed."""
        return await self._find(name, "NAPTR", self._ask)

    async def srv(self, name: str) -> tuple[Srv, ...]:
        """The SRV records of a name, in no order; raises LookupFailed."""
        return await self._find(name, "SRV", self._ask)

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of a host, IPv6 first where it is the DNS that says; raises LookupFailed
        when it says nothing."""
        if not self._servers:
            return await self._find(host, "", self._ask_system)
        if host == "localhost":
            # RFC 6761 §6.3: no business of the DNS.
            return ("::1", "127.0.0.1")
        answers = await asyncio.gather(
            self._find(host, "AAAA", self._ask),
            self._find(host, "A", self._ask),
            return_exceptions=True,
        )
        found: list[str] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                if not isinstance(answer, LookupFailed):
                    raise answer
            else:
                found += answer
        for answer in answers:
            if not found and isinstance(answer, LookupFailed):
                raise answer
        return tuple(found)

    async def _find(
        self, name: str, kind: str, ask: Callable[[str, str], Awaitable["_Memory"]]
    ) -> tuple[Any, ...]:
        key = (name.lower().rstrip("."), kind)
        while True:
            known = self._memory.get(key)
            if known is not None and known.until > self._now():
                self._memory.move_to_end(key)
                return known.give()
            asking = self._asking.get(key)
            if asking is None:
                break
            # An answer with a lifetime of 0 still counts for those who waited for it.
            known = await asyncio.shield(asking)
            if known is not None:
                return known.give()
        if len(self._asking) >= _MAX_QUESTIONS:
            raise LookupFailed(f"too many names are being looked up; {key[0]} is one too many")
        self._asking[key] = asyncio.get_running_loop().create_future()
        found: _Memory | None = None
        try:
            found = await ask(*key)
            self._remember(key, found)
            return found.give()
        finally:
            # Without an answer, because the asker was cancelled, one of those who wait asks.
            self._asking.pop(key).set_result(found)

    def _remember(self, key: tuple[str, str], found: "_Memory") -> None:
        self._memory[key] = found
        self._memory.move_to_end(key)
        while len(self._memory) > _MAX_ENTRIES:
            self._memory.popitem(last=False)

    async def _ask_system(self, host: str, _: str) -> "_Memory":
        loop = asyncio.get_running_loop()
        now = self._now()
        try:
            infos = await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return _Memory(now + _FAILURE, failure=f"{host}: {reason}")
        found = dict.fromkeys(str(info[4][0]) for info in infos)
        # The system keeps the lifetime to itself; its own cache, where it has one, honours it.
        return _Memory(now + _SYSTEM, tuple(found)[:MAX_RECORDS])

    async def _ask(self, name: str, kind: str) -> "_Memory":
        # dnspython is slow to import, and most addresses are numbers.
        import dns.exception
        import dns.name
        import dns.resolver

        now = self._now()
        lifetime = _LONGEST
        try:
            client = self._client = self._client or _client(self._servers)
            asked = dns.name.from_text(name)
            for _ in range(MAX_ALIASES):
                chain = await _chain(client, asked, kind)
                lifetime = min(lifetime, float(chain.minimum_ttl))
                if chain.answer is not None:
                    records = _records(kind, chain.answer)
                    return _Memory(now + lifetime, records)
                if chain.canonical_name == asked:
                    return _Memory(now + min(lifetime, _LONGEST_NEGATIVE))
                asked = chain.canonical_name
            failure = f"{name} is an alias of aliases without end"
        except dns.exception.Timeout:
            failure = f"no DNS server answers ({kind} of {name})"
        except (dns.resolver.NoNameservers, dns.resolver.NoResolverConfiguration):
            failure = f"no DNS server has a usable answer ({kind} of {name})"
        except (dns.exception.DNSException, OSError, ValueError) as error:
            # ValueError: what the parser of dnspython makes of some broken answers.
            failure = f"the DNS cannot be asked for {name}: {type(error).__name__}"
        return _Memory(now + _FAILURE, failure=failure)


class _Memory:
    """An answer, or that there was none, until it is too old."""

    __slots__ = ("failure", "records", "until")

    def __init__(self, until: float, records: tuple[Any, ...] = (), failure: str = "") -> None:
        self.until = until
        self.records = records
        self.failure = failure

    def give(self) -> tuple[Any, ...]:
        if self.failure:
            raise LookupFailed(self.failure)
        return self.records


def parse_nameserver(text: str) -> tuple[str, int]:
    """``ADDR`` or ``ADDR:PORT`` of a name server; raises UsageError."""
    try:
        uri = Uri.parse(f"sip:{text}")
        ipaddress.ip_address(uri.host)
    except (SipParseError, ValueError):
        raise UsageError(
            f"{text!r} is not the address of a DNS server; write 192.0.2.53 or 192.0.2.53:5353"
        ) from None
    return uri.host, uri.port or 53


def _client(servers: Iterable[tuple[str, int]]) -> "dns.asyncresolver.Resolver":
    import dns.asyncresolver
    import dns.nameserver

    made = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        made.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
    made.use_edns(0, 0, _EDNS_PAYLOAD)
    return made


async def _chain(client: "dns.asyncresolver.Resolver", name: Any, kind: str) -> Any:
    """The records of a name as one answer gives them, with the aliases that it passes over."""
    import dns.resolver

    try:
        answer = await client.resolve(
            name, kind, raise_on_no_answer=False, lifetime=_QUESTION_SECONDS, search=False
        )
    except dns.resolver.NXDOMAIN as error:
        response: Any = error.kwargs["responses"][name]
        return response.resolve_chaining()
    return answer.chaining_result


def _records(kind: str, rrset: Any) -> tuple[Any, ...]:
    if kind == "NAPTR":
        found = [_naptr(each) for each in rrset if each.flags.lower() == b"s" and not each.regexp]
        return tuple(sorted(found)[:MAX_RECORDS])
    if kind == "SRV":
        services = (
            Srv(each.priority, each.weight, each.port, _text(each.target)) for each in rrset
        )
        return tuple(sorted(services)[:MAX_RECORDS])
    return tuple(str(each.address) for each in rrset)[:MAX_RECORDS]


def _naptr(record: Any) -> Naptr:
    service = record.service.decode("ascii", "replace").upper()
    return Naptr(record.order, record.preference, service, _text(record.replacement))


def _text(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).rstrip(".").lower()
