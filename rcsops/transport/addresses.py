"""Where an endpoint listens, and under which of its addresses a given peer can reach it."""

import ipaddress
import os
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from rcsops.errors import LocalProtocolError
from rcsops.sip.target import Flow, Target

__all__ = [
    "WILDCARDS",
    "Address",
    "AddressBook",
    "ListenAddress",
    "family_of",
    "host_port",
    "reason_of",
]

Address = tuple[str, int]

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
_MAX_SOURCES = 1024
_WEB_SOCKETS = frozenset({"ws", "wss"})
_NAMED = frozenset({"tls", "ws", "wss"})


class ListenAddress(NamedTuple):
    """Where an endpoint listens; prints as ``udp:127.0.0.1:5060``."""

    transport: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.transport}:{host_port(self.host, self.port)}"


class AddressBook:
    """The listeners of one endpoint, and the choice among them for each peer.

    ``dials`` are transports that it opens connections for without listening on them. Nobody can
    come back by those: a name that leads nowhere, ``nowhere``, stands for us on a WebSocket (RFC
    7118 §5.2), and the address of another listener on TLS.
    """

    __slots__ = ("_addresses", "_chosen", "_dials", "_names", "_nowhere", "_sources")

    def __init__(self, dials: Iterable[str] = (), nowhere: str = "") -> None:
        self._addresses: list[ListenAddress] = []
        self._sources: dict[str, str] = {}
        self._chosen: dict[tuple[str, str], ListenAddress] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._dials = frozenset(dials)
        self._nowhere = nowhere

    @property
    def addresses(self) -> tuple[ListenAddress, ...]:
        return tuple(self._addresses)

    def add(self, *addresses: ListenAddress) -> None:
        self._addresses += addresses
        self._chosen.clear()
        self._names.clear()

    def forget(self) -> None:
        """Forgets which of our addresses each peer sees: the network may have changed."""
        self._sources.clear()
        self._names.clear()

    def clear(self) -> None:
        self._addresses.clear()
        self._chosen.clear()
        self._names.clear()

    def target(self, transport: str, remote: Address, domain: str = "") -> Target:
        """The flow from the listener that fits ``remote`` best, and our name on it for the Via.

        ``domain`` is what was looked up to come to ``remote``. Raises LocalProtocolError when
        nothing here listens for that transport and family.
        """
        listener = self._chosen.get((transport, remote[0])) or self._listener(transport, remote)
        # Only there does the name matter, and two flows to one address must be equal.
        name = domain if transport in _NAMED else ""
        flow = Flow(transport, (listener.host, listener.port), remote, 0, name)
        return Target(
            flow, self.sent_by(transport, remote), transport == listener.transport == "tls"
        )

    def sent_by(self, transport: str, remote: Address) -> str:
        """Our name for the Via and the Contact, as ``remote`` can reach us.

        Raises LocalProtocolError as `target` does.
        """
        key = (transport, remote[0])
        found = self._names.get(key)
        if found is not None:
            return found
        listener = self._listener(transport, remote)
        if transport in _WEB_SOCKETS and listener.transport != transport:
            found = self._nowhere
        else:
            found = host_port(self._visible_host(listener, remote), listener.port)
        if len(self._names) >= _MAX_SOURCES:
            self._names.clear()
        self._names[key] = found
        return found

    def host_towards(self, transport: str, remote: Address) -> str:
        """Our address, as ``remote`` sees it; raises LocalProtocolError as `target` does."""
        return self._visible_host(self._listener(transport, remote), remote)

    def _listener(self, transport: str, remote: Address) -> ListenAddress:
        key = (transport, remote[0])
        found = self._chosen.get(key)
        if found is not None:
            return found
        found = self._best(transport, remote)
        if found is None and transport in self._dials:
            found = self._best("tcp", remote)
        if found is None:
            raise LocalProtocolError(f"nothing listens on {transport} for {remote[0]}")
        if len(self._chosen) >= _MAX_SOURCES:
            self._chosen.clear()
        self._chosen[key] = found
        return found

    def _best(self, transport: str, remote: Address) -> ListenAddress | None:
        found: ListenAddress | None = None
        for address in self._addresses:
            if address.transport != transport or family_of(address.host) != family_of(remote[0]):
                continue
            if address.host in WILDCARDS or is_loopback(address.host) == is_loopback(remote[0]):
                return address
            found = found or address
        return found

    def _visible_host(self, listener: ListenAddress, remote: Address) -> str:
        if listener.host not in WILDCARDS:
            return listener.host
        host = self._sources.get(remote[0])
        if host is None:
            host = _source_towards(remote) or listener.host
            if len(self._sources) >= _MAX_SOURCES:
                self._sources.clear()
            self._sources[remote[0]] = host
        return host


def host_port(host: str, port: int) -> str:
    """``host:port`` with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=1024)
def family_of(host: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6 of a numeric address; raises ValueError for anything else."""
    is_six = ipaddress.ip_address(host.partition("%")[0]).version == 6
    return socket.AF_INET6 if is_six else socket.AF_INET


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether a numeric address stays on this machine."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def reason_of(error: OSError) -> str:
    """What went wrong with a socket, in the system's words: "Connection refused"."""
    # asyncio puts addresses and its own words where the system's would be.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _source_towards(remote: Address) -> str:
    """The local address the system would send from; empty when there is no route."""
    try:
        with socket.socket(family_of(remote[0]), socket.SOCK_DGRAM) as probe:
            probe.connect((remote[0], remote[1] or 5060))
            return str(probe.getsockname()[0])
    except OSError:
        return ""
