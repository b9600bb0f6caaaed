"""From where an agent fetches files, and to whom it shows its password: against addresses that a
peer chose (SSRF)."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from rcsops.errors import TransferError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

__all__ = ["Places", "public_resolver"]

_PORTS = {"http": 80, "https": 443}
# Networks that lead elsewhere by an address within them: NAT64, 6to4, Teredo.
_TRANSLATED = tuple(
    ipaddress.ip_network(each) for each in ("64:ff9b::/96", "2002::/16", "2001::/32")
)


class Places:
    """Which addresses are fetched: those of our own content server at ``base``; and over https
    those of hosts of our ``domain``, and of the further ``hosts`` ("*" for any), as long as they
    are public ones."""

    def __init__(self, base: str, domain: str, hosts: Sequence[str]) -> None:
        self._own = _origin(urlsplit(base)) if base else None
        self._domain = domain.lower()
        self._hosts = frozenset(host.lower() for host in hosts)

    def is_own(self, url: str) -> bool:
        """Whether an address is at our own content server: scheme, host and port are the same."""
        return self._own is not None and _origin(urlsplit(url)) == self._own

    def check(self, url: str) -> None:
        """Raises TransferError for an address that is not fetched from."""
        if self.is_own(url):
            return
        parts = urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
        in_domain = host == self._domain or host.endswith(f".{self._domain}")
        if not (in_domain or host in self._hosts or "*" in self._hosts):
            raise TransferError(
                f"files are not fetched from {host}",
                hint="if you trust it, name it: content_hosts in [agent] of rcsops.toml",
            )
        if parts.scheme != "https":
            raise TransferError(f"{host} offers the file over http, which anybody can read")
        if _is_number(host) and not _is_public(host):
            raise TransferError(f"{host} is an address of a private network")


def public_resolver() -> "AbstractResolver":
    """Looks names up, and finds only public addresses: what a name leads to is known no earlier."""
    from aiohttp.abc import AbstractResolver, ResolveResult
    from aiohttp.resolver import ThreadedResolver

    class PublicResolver(AbstractResolver):
        def __init__(self) -> None:
            self._inner = ThreadedResolver(asyncio.get_running_loop())

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            found = await self._inner.resolve(host, port, family)
            public = [each for each in found if _is_public(each["host"])]
            if not public:
                raise OSError(f"{host} leads to an address of a private network")
            return public

        async def close(self) -> None:
            await self._inner.close()

    return PublicResolver()


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme, 0)


def _is_number(host: str) -> bool:
    # Also what only some resolvers take for a number (127.1, 0x7f000001): those are refused.
    return ":" in host or all(label[:1].isdigit() for label in host.split("."))


def _is_public(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not address.is_multicast
