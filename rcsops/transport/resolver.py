"""From a SIP URI to addresses to try, in order (RFC 3263).

Numeric hosts and explicit ports need no look-up; a name without a port is asked for SRV records,
then for its addresses.
"""

import asyncio
import ipaddress
import socket
from typing import NamedTuple

from rcsops.errors import AgentError
from rcsops.sip import Uri

__all__ = ["Candidate", "resolve", "resolve_numeric"]

_DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
_SRV_PREFIX = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
_DNS_SECONDS = 4.0


class Candidate(NamedTuple):
    """One address to try: transport in lower case, numeric host, port."""

    transport: str
    host: str
    port: int


def resolve_numeric(uri: Uri, *, transport: str | None = None) -> Candidate | None:
    """The address of a URI whose host is a number; None for a name (RFC 3263 §4.1, §4.2)."""
    host = _target_host(uri)
    if not _is_numeric(host):
        return None
    chosen = _transport_of(uri, transport) or ("tls" if uri.scheme == "sips" else "udp")
    return Candidate(chosen, host, uri.port or _DEFAULT_PORTS.get(chosen, 5060))


async def resolve(
    uri: Uri, *, transport: str | None = None, outbound: Uri | None = None
) -> tuple[Candidate, ...]:
    """The addresses at which to try a request for ``uri``, the best first (RFC 3263 §4).

    ``outbound`` is a proxy that everything goes through: then its addresses are found instead.
    ``transport`` overrides what the URI says. Raises AgentError when there is no address.
    """
    wanted = outbound if outbound is not None else uri
    numeric = resolve_numeric(wanted, transport=transport)
    if numeric is not None:
        return (numeric,)
    host = _target_host(wanted)
    if not host:
        raise AgentError(f"{wanted} does not say which host to ask")
    chosen = _transport_of(wanted, transport)
    if wanted.port is None and "." in host:
        candidates = await _by_srv(host, chosen, secure=wanted.scheme == "sips")
        if candidates:
            return candidates
    final = chosen or ("tls" if wanted.scheme == "sips" else "udp")
    port = wanted.port or _DEFAULT_PORTS.get(final, 5060)
    addresses = await _addresses(host)
    if not addresses:
        raise AgentError(
            f"the name {host!r} has no address",
            hint="check the spelling, or give the server's address as HOST:PORT",
        )
    return tuple(Candidate(final, address, port) for address in addresses)


def _target_host(uri: Uri) -> str:
    # RFC 3261 §19.1.1: maddr overrides the host as the address to go to.
    return (uri.param("maddr") or uri.host or "").strip("[]")


def _transport_of(uri: Uri, override: str | None) -> str | None:
    named = override or uri.param("transport")
    if not named:
        return None
    named = named.lower()
    return "tls" if named == "tcp" and uri.scheme == "sips" else named


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _by_srv(host: str, transport: str | None, *, secure: bool) -> tuple[Candidate, ...]:
    unsaid = ("tls",) if secure else ("udp", "tcp")
    found: list[Candidate] = []
    for name in unsaid if transport is None else (transport,):
        prefix = _SRV_PREFIX.get(name)
        if prefix is None:
            continue
        for target, port in await _srv(prefix + host):
            found += [Candidate(name, address, port) for address in await _addresses(target)]
        if found:
            break
    return tuple(found)


async def _srv(name: str) -> list[tuple[str, int]]:
    """Targets of an SRV record, by priority and then by weighted chance (RFC 2782)."""
    # dnspython is slow to import, and most addresses need no SRV look-up.
    import dns.asyncresolver
    import dns.exception
    import dns.rdtypes.IN.SRV

    try:
        answer = await dns.asyncresolver.resolve(name, "SRV", lifetime=_DNS_SECONDS)
    except (dns.exception.DNSException, OSError):
        return []
    rrset = answer.rrset
    if rrset is None:
        return []
    ordered = rrset.processing_order()
    return [
        (record.target.to_text(omit_final_dot=True), record.port)
        for record in ordered
        if isinstance(record, dns.rdtypes.IN.SRV.SRV) and record.target.to_text() != "."
    ]


async def _addresses(host: str) -> list[str]:
    if _is_numeric(host):
        return [host]
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
