"""Which URIs mean this server: its domain and its addresses (RFC 3261 §16.4, §16.5)."""

import socket
from collections.abc import Iterable

import psutil

from rcsops.sip import Uri
from rcsops.transport import ListenAddress

__all__ = ["LocalNames"]

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class LocalNames:
    """The names of one server."""

    def __init__(self, domain: str, addresses: Iterable[ListenAddress]) -> None:
        self.domain = domain.lower()
        self._addresses: set[tuple[str, int]] = set()
        for address in addresses:
            hosts = _machine_hosts() if address.host in _WILDCARDS else [address.host]
            self._addresses.update((host, address.port) for host in hosts)

    def is_local(self, uri: Uri) -> bool:
        """Whether this server answers for a URI."""
        return uri.host == self.domain or self.is_address(uri.host, uri.port)

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
