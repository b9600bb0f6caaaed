"""Which URIs mean this server: its domains and its addresses (RFC 3261 §16.4, §16.5)."""

import socket
from collections.abc import Iterable, Sequence

import psutil

from rcsops.sip import Uri
from rcsops.transport import ListenAddress
from rcsops.transport.resolver import default_port

__all__ = ["LocalNames"]

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class LocalNames:
    """The names of one server.

    Each of ``domain`` and ``domains`` has accounts and a realm of its own. ``aliases`` and the
    addresses that the server listens at are other names of ``domain``.
    """

    def __init__(
        self,
        domain: str,
        addresses: Iterable[ListenAddress],
        *,
        domains: Sequence[str] = (),
        aliases: Sequence[str] = (),
    ) -> None:
        self.domain = domain.lower()
        self.domains: tuple[str, ...] = ()
        self.aliases: tuple[str, ...] = ()
        self._canonical: dict[str, str] = {}
        self._addresses: set[tuple[str, int]] = set()
        for address in addresses:
            hosts = _machine_hosts() if address.host in _WILDCARDS else [address.host]
            self._addresses.update((host, address.port) for host in hosts)
        self.set_names(domains, aliases)

    def set_names(self, domains: Sequence[str], aliases: Sequence[str]) -> None:
        """Takes other domains beside the first one, and other aliases."""
        self.domains = tuple(dict.fromkeys((self.domain, *domains)))
        self.aliases = tuple(dict.fromkeys(aliases))
        self._canonical = dict.fromkeys(self.aliases, self.domain)
        self._canonical.update((domain, domain) for domain in self.domains)

    def domain_of(self, uri: Uri) -> str:
        """The domain that a URI belongs to, "" when it is none of ours."""
        found = self._canonical.get(uri.host)
        if found is not None:
            return found
        return self.domain if self.is_address(uri.host, uri.port or default_port(uri)) else ""

    def is_local(self, uri: Uri) -> bool:
        """Whether this server answers for a URI."""
        return uri.host in self._canonical or self.is_address(
            uri.host, uri.port or default_port(uri)
        )

    def is_address(self, host: str, port: int | None) -> bool:
        """Whether a host and port are where this server listens."""
        return (host, port or 5060) in self._addresses


def _machine_hosts() -> list[str]:
    return [
        address.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in _FAMILIES
    ]
