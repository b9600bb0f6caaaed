"""Listening addresses as rcsops.toml writes them: ``udp:127.0.0.1:5060``, ``tcp:[::1]:5060``."""

import ipaddress
import re
from typing import NamedTuple

from rcsops.errors import SettingsError

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?")
_FORM = re.compile(r"([A-Za-z]+):(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})")


class Listen(NamedTuple):
    """One address to listen at; ``host`` has no brackets, port 0 means any free one."""

    transport: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.transport}:{self.host_port}"

    @property
    def host_port(self) -> str:
        """``host:port``, with the brackets that an IPv6 address needs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def reachable(self) -> "Listen":
        """The address that a program on the same machine connects to: loopback for a wildcard."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return self._replace(host=loopback.get(self.host, self.host))


def parse_listen(text: str) -> Listen:
    """``transport:host:port`` as a value; raises `SettingsError` for anything else."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise SettingsError(
            f"{text!r} is not an address to listen at",
            hint='write it as "udp:127.0.0.1:5060" or "tcp:[::1]:5060"',
        )
    transport, host, port = match[1].lower(), match[2], int(match[3])
    if transport not in TRANSPORTS:
        raise SettingsError(
            f"{text!r}: no such transport as {match[1]!r}", hint=f"one of {', '.join(TRANSPORTS)}"
        )
    if port > 65535:
        raise SettingsError(f"{text!r}: {port} is not a port", hint="ports end at 65535")
    if host.startswith("["):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise SettingsError(f"{text!r}: {host!r} is not an IPv6 address") from None
    elif not _HOST.fullmatch(host):
        raise SettingsError(f"{text!r}: {host!r} is not a host")
    elif re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise SettingsError(f"{text!r}: {host!r} is not an IPv4 address") from None
    return Listen(transport, host, port)
