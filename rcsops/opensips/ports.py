"""Who has a port. OpenSIPS itself does not notice a UDP port in use, and a TCP port only late."""

import contextlib
import errno
import socket

import psutil

from rcsops.errors import EngineError
from rcsops.settings import Listen

__all__ = ["accepts", "check_free", "holder"]


def check_free(address: Listen) -> None:
    """Raises `EngineError` when nobody can listen at ``address``, with who has it."""
    datagram = address.transport == "udp"
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if not datagram:
            # Connections of the server before us that are not quite gone are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise _cannot_listen(address, error) from error


def _cannot_listen(address: Listen, error: OSError) -> EngineError:
    if error.errno == errno.EADDRINUSE:
        who = holder(address)
        return EngineError(
            f"cannot listen at {address}: the port is in use{f' by {who}' if who else ''}",
            hint="stop that program, or choose another port: `listen` in rcsops.toml",
        )
    hint = "mend `listen` in rcsops.toml"
    if error.errno == errno.EACCES:
        hint = "ports below 1024 are root's: choose another one, or start the server as root"
    return EngineError(f"cannot listen at {address}: {error.strerror or error}", hint=hint)


def holder(address: Listen) -> str:
    """The process that has a port, as far as this user may know; "" otherwise."""
    kind = "udp" if address.transport == "udp" else "tcp"
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind):
            if not connection.laddr or connection.laddr.port != address.port:
                continue
            if connection.pid and (kind == "udp" or connection.status == psutil.CONN_LISTEN):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def accepts(address: Listen, timeout: float = 1.0) -> bool:
    """Whether somebody takes connections at a stream address."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(timeout)
        return probe.connect_ex((address.host, address.port)) == 0
