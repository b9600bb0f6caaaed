"""From a SIP URI to addresses to try, in order (RFC 3263).

Numeric hosts need no look-up. For a name, the transport comes from the URI, from NAPTR or from
which SRV records there are (§4.1); port and addresses from SRV, or from the name itself (§4.2).
"""

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rcsops.errors import AgentError
from rcsops.sip import Uri
from rcsops.transport.avoidance import Avoidance
from rcsops.transport.names import LookupFailed, NameService, Naptr, Srv, parse_nameserver

__all__ = ["Candidate", "Resolver", "default_port", "is_numeric", "order_srv", "resolve_numeric"]

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")

_DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
_SRV_PREFIX = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
# RFC 3263 §4.1, RFC 7118 §8: the services of NAPTR. SCTP (D2S) is not spoken here.
_SERVICES = {
    "SIP+D2U": "udp",
    "SIP+D2T": "tcp",
    "SIPS+D2T": "tls",
    "SIP+D2W": "ws",
    "SIPS+D2W": "wss",
}
_SECURE = frozenset({"tls", "wss"})
_MAX_SERVICES = 8
_MAX_HOSTS = 16
_MAX_ADDRESSES = 16
_MAX_CANDIDATES = 32
_LOOKUP_SECONDS = 10.0
_LONGEST_ADDRESS = 64  # 39 characters of IPv6, "%", the name of an interface


class Candidate(NamedTuple):
    """One address to try: transport in lower case, numeric host, port.

    ``name`` is the host of the URI, whatever the DNS made of it: what a certificate has to show
    (RFC 5922 §7.2).
    """

    transport: str
    host: str
    port: int
    name: str = ""


class _Service(NamedTuple):
    """A transport and the name under which its SRV records stand, "" for none."""

    transport: str
    srv_name: str


def resolve_numeric(uri: Uri, *, transport: str | None = None) -> Candidate | None:
    """The address of a URI whose host is a number; None for a name (RFC 3263 §4.1, §4.2)."""
    host = _target_host(uri)
    if not is_numeric(host):
        return None
    chosen = _transport_of(uri, transport) or _default_transport(uri)
    return Candidate(chosen, host, uri.port or _DEFAULT_PORTS.get(chosen, 5060), uri.host)


def default_port(uri: Uri) -> int:
    """The port of a URI that names none (RFC 3261 §19.1.2, RFC 7118 §5)."""
    return _DEFAULT_PORTS.get(_transport_of(uri, None) or _default_transport(uri), 5060)


def order_srv(records: Iterable[Srv], fraction: Callable[[], float]) -> list[Srv]:
    """SRV records as they are to be tried: by priority, within one by weighted chance (RFC 2782).

    ``fraction()`` gives a random number in [0, 1).
    """
    groups: dict[int, list[Srv]] = {}
    for record in records:
        groups.setdefault(record.priority, []).append(record)
    ordered: list[Srv] = []
    for priority in sorted(groups):
        # Those with weight 0 stand in front: so they have a small chance to be the first.
        left = sorted(groups[priority], key=lambda record: record.weight > 0)
        while left:
            drawn = int(fraction() * (sum(record.weight for record in left) + 1))
            for record in left:
                drawn -= record.weight
                if drawn <= 0:
                    break
            left.remove(record)
            ordered.append(record)
    return ordered


class Resolver:
    """Finds the addresses of URIs, and remembers which of them have failed.

    ``servers`` name the DNS servers to ask ("192.0.2.53", "192.0.2.53:5353"); without any, those of
    the system. ``now`` is a monotonic clock in seconds, ``fraction`` a source of random numbers in
    [0, 1) for the weights. Raises UsageError for a server that is no address.
    """

    def __init__(
        self,
        servers: Sequence[str] = (),
        *,
        now: Callable[[], float],
        fraction: Callable[[], float],
    ) -> None:
        self.names = NameService([parse_nameserver(text) for text in servers], now=now)
        self.avoidance = Avoidance(now)
        self._fraction = fraction

    async def resolve(
        self,
        uri: Uri,
        *,
        transport: str | None = None,
        outbound: Uri | None = None,
        supported: Sequence[str] = TRANSPORTS,
    ) -> tuple[Candidate, ...]:
        """The addresses at which to try a request for ``uri``, the best first (RFC 3263 §4).

        ``outbound`` is a proxy that everything goes through: then its addresses are found instead.
        ``transport`` overrides what the URI says; ``supported`` are those that we can use. Raises
        AgentError when there is no address.
        """
        wanted = outbound if outbound is not None else uri
        numeric = resolve_numeric(wanted, transport=transport)
        if numeric is not None:
            return (numeric,)
        if not _target_host(wanted):
            raise AgentError(f"{wanted} does not say which host to ask")
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                found = await self._resolve(wanted, transport, supported)
        except TimeoutError:
            raise LookupFailed(f"the look-up of {_target_host(wanted)} took too long") from None
        avoided = self.avoidance.is_avoided
        found.sort(key=lambda each: avoided(each.transport, (each.host, each.port)))
        return tuple(found[:_MAX_CANDIDATES])

    async def _resolve(
        self, uri: Uri, override: str | None, supported: Sequence[str]
    ) -> list[Candidate]:
        host = _target_host(uri)
        transport = _transport_of(uri, override)
        if uri.port is not None:
            transport = transport or _default_transport(uri)
            return await self._addresses(uri, transport, host, uri.port)
        services = [] if "." not in host else await self._services(uri, transport, supported)
        targets, refused = await self._targets(services)
        if targets:
            return await self._addresses_of(uri, targets)
        if refused:
            raise AgentError(f"{host} says in the DNS that there is no SIP service")
        if transport is None:
            transport = services[0].transport if services else _default_transport(uri)
        return await self._addresses(uri, transport, host, _DEFAULT_PORTS.get(transport, 5060))

    async def _services(
        self, uri: Uri, transport: str | None, supported: Sequence[str]
    ) -> list[_Service]:
        """The transports to use for a name without a port (§4.1), the best first."""
        host = _target_host(uri)
        if transport is not None:
            prefix = _SRV_PREFIX.get(transport)
            return [] if prefix is None else [_Service(transport, prefix + host)]
        secure = uri.scheme == "sips"
        try:
            records = await self.names.naptr(host)
        except LookupFailed:
            # Some networks let nothing of so rare a kind pass.
            records = ()
        services = _by_naptr(records, supported, secure=secure)
        if services:
            return services
        # §4.1: one question for each transport that we have.
        asked = ("tls",) if secure else ("tcp", "udp")
        wanted = [_Service(name, _SRV_PREFIX[name] + host) for name in asked if name in supported]
        found = await asyncio.gather(*(self._srv(each.srv_name) for each in wanted))
        return [service for service, records in zip(wanted, found, strict=True) if records]

    async def _targets(
        self, services: Sequence[_Service]
    ) -> tuple[list[tuple[str, str, int]], bool]:
        """Transport, host and port of every server that SRV names, in the order to try; and whether
        there were records, none of which leads anywhere."""
        answers = await asyncio.gather(*(self._srv(service.srv_name) for service in services))
        targets: list[tuple[str, str, int]] = []
        for service, records in zip(services, answers, strict=True):
            targets += [
                (service.transport, record.target, record.port)
                for record in order_srv(records, self._fraction)
                # RFC 2782: the target "." says that the service is decidedly not there.
                if record.target and record.port
            ]
        refused = not targets and any(answers)
        return targets[:_MAX_HOSTS], refused

    async def _srv(self, name: str) -> tuple[Srv, ...]:
        try:
            return await self.names.srv(name) if name else ()
        except LookupFailed:
            return ()

    async def _addresses_of(
        self, uri: Uri, targets: Sequence[tuple[str, str, int]]
    ) -> list[Candidate]:
        answers = await asyncio.gather(
            *(self._addresses(uri, *target) for target in targets), return_exceptions=True
        )
        found: dict[Candidate, None] = {}
        failure: AgentError | None = None
        for answer in answers:
            if isinstance(answer, AgentError):
                failure = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.update(dict.fromkeys(answer))
        if not found and failure is not None:
            raise failure
        return list(found)

    async def _addresses(self, uri: Uri, transport: str, host: str, port: int) -> list[Candidate]:
        if is_numeric(host):
            return [Candidate(transport, host, port, uri.host)]
        try:
            addresses = await self.names.addresses(host)
        except LookupFailed as error:
            raise _unknown(host, str(error)) from error
        if not addresses:
            raise _unknown(host, "")
        return [
            Candidate(transport, address, port, uri.host) for address in addresses[:_MAX_ADDRESSES]
        ]


def _by_naptr(
    records: Iterable[Naptr], supported: Sequence[str], *, secure: bool
) -> list[_Service]:
    """What NAPTR says of the transports that we have; ``records`` are in order."""
    found: dict[_Service, None] = {}
    order: int | None = None
    for record in records:
        transport = _SERVICES.get(record.service)
        if transport is None or transport not in supported or not record.replacement:
            continue
        if secure and transport not in _SECURE:
            # §4.1: for a sips URI everything but SIPS is discarded.
            continue
        if order is not None and record.order != order:
            # RFC 3403 §4.1: what has a higher order than the first match is not considered.
            break
        order = record.order
        found[_Service(transport, record.replacement)] = None
    return list(found)[:_MAX_SERVICES]


def _unknown(host: str, reason: str) -> AgentError:
    return LookupFailed(
        f"the name {host!r} has no address{f': {reason}' if reason else ''}",
        hint="check the spelling, or give the server's address as HOST:PORT",
    )


def _target_host(uri: Uri) -> str:
    # RFC 3261 §19.1.1: maddr overrides the host as the address to go to.
    return (uri.param("maddr") or uri.host or "").strip("[]").rstrip(".")


def _transport_of(uri: Uri, override: str | None) -> str | None:
    named = override or uri.param("transport")
    if not named:
        return None
    named = named.lower()
    if uri.scheme == "sips":
        # RFC 3261 §26.2.2, RFC 7118 §5: transport=tcp in a sips URI is TLS over TCP.
        return {"tcp": "tls", "ws": "wss"}.get(named, named)
    return named


def _default_transport(uri: Uri) -> str:
    return "tls" if uri.scheme == "sips" else "udp"


@lru_cache(maxsize=1024)
def is_numeric(host: str) -> bool:
    """Whether a host is an address, and needs no look-up."""
    # No longer one is remembered: a peer chooses what stands there.
    return len(host) <= _LONGEST_ADDRESS and _is_address(host)


@lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
