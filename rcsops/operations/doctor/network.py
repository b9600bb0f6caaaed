"""The network: addresses and ports, the DNS, and whether others can come here at all."""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterator

import psutil

from rcsops.errors import AgentError, EngineError
from rcsops.opensips.ports import check_free, listens
from rcsops.operations.doctor.finding import Finding, bad, good, note, warn
from rcsops.operations.server import status
from rcsops.settings import Listen, Project, parse_listen
from rcsops.sip import SipParseError, Uri

__all__ = ["dns", "nat", "ports"]

_LOCAL_ENDS = (".example", ".test", ".invalid", ".localhost", ".local", ".internal", ".lan")
_LOOK_UP_SECONDS = 15.0


def ports(project: Project) -> Iterator[Finding]:
    """Whether the server has, or could have, the addresses of ``listen``."""
    running = status(project).running
    fine = True
    for address in project.settings.listen_addresses:
        if running:
            if address.transport != "udp" and address.port and not listens(address):
                fine = False
                yield bad(
                    "ports", f"the server runs and does not listen at {address}", "rcsops restart"
                )
            continue
        problem = _taken(address)
        if problem is not None:
            fine = False
            yield problem
    settings = project.settings
    if not running and settings.engine == "opensips" and settings.mi_transport == "http":
        problem = _taken(parse_listen(f"tcp:{settings.mi_http}"), key="mi.http")
        if problem is not None:
            fine = False
            yield problem
    if fine:
        listed = ", ".join(map(str, project.settings.listen_addresses))
        yield good("ports", f"{'listens at' if running else 'free:'} {listed}")


def _taken(address: Listen, *, key: str = "listen") -> Finding | None:
    try:
        check_free(address, key=key)
    except EngineError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL:
            ours = ", ".join(sorted(_addresses()))
            return bad(
                "ports",
                f"{address}: this machine has no address {address.host}; it has {ours}",
                "mend `listen` in rcsops.toml",
            )
        return bad("ports", str(error), error.hint)
    return None


def _addresses() -> set[str]:
    found = set()
    for each in psutil.net_if_addrs().values():
        found |= {a.address.partition("%")[0] for a in each if a.family in _FAMILIES}
    return found


_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def dns(project: Project) -> Iterator[Finding]:
    """Whether names lead where they should."""
    settings = project.settings
    named = settings.agent_server
    if named:
        yield _found(project, named, "the server of the agents ([agent] server)")
    elif _is_reached_from_outside(project) and not settings.domain.endswith(_LOCAL_ENDS):
        yield _found(project, settings.domain, "the domain, by which others look for this server")
    else:
        yield note("dns", "not needed: agents find the project's own server by its address")


def _found(project: Project, name: str, what: str) -> Finding:
    from rcsops.transport.resolver import Resolver

    try:
        uri = Uri.parse(name if name.lower().startswith(("sip:", "sips:")) else f"sip:{name}")
    except SipParseError as error:
        return bad("dns", f"{what} is {name!r}: {error}", "mend [agent] server in rcsops.toml")

    async def look_up() -> list[str]:
        now = asyncio.get_running_loop().time
        resolver = Resolver(project.settings.dns, now=now, fraction=lambda: 0.0)
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            return [f"{each.host}:{each.port}" for each in await resolver.resolve(uri)]

    try:
        found = asyncio.run(look_up())
    except (AgentError, TimeoutError) as error:
        reason = str(error) or "no answer in time"
        servers = ", ".join(project.settings.dns) or "the servers in /etc/resolv.conf"
        return bad(
            "dns",
            f"{what} is {name}, which is not to be found: {reason}",
            f"correct the name, its records (NAPTR, SRV, A, AAAA), or `dns`; asked: {servers}",
        )
    return good("dns", f"{name} is {', '.join(found)}")


def _is_reached_from_outside(project: Project) -> bool:
    return any(not _is_loopback(each.host) for each in project.settings.listen_addresses)


def nat(project: Project) -> Iterator[Finding]:
    """Who can reach the server from where it listens."""
    listen = project.settings.listen_addresses
    outside = [each for each in listen if not _is_loopback(each.host)]
    if not outside:
        yield note(
            "reach",
            "the server listens on loopback: nobody beyond this machine can reach it",
            "to open it to a network: rcsops init --listen udp:ADDRESS:5060 …",
        )
        return
    hosts = {each.host for each in outside}
    if hosts & {"0.0.0.0", "::"}:  # noqa: S104
        hosts = {each for each in _addresses() if not _is_loopback(each)}
    public = [each for each in hosts if _is_public(each)]
    if public:
        yield good("reach", f"listens at the public address {', '.join(sorted(public))}")
    else:
        shown = ", ".join(sorted(hosts)) or "none"
        yield warn(
            "reach",
            f"listens at private addresses alone ({shown}): from beyond a NAT nobody comes here",
            "forward the ports at the NAT, and let agents outside use its public address as "
            "--server; inside this network all is well",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False
