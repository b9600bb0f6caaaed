"""Whether a port is free. OpenSIPS does not notice a UDP port in use, and a TCP port only late."""

import contextlib
import socket
import struct
from pathlib import Path

from rcsops.settings import Listen
from rcsops.transport.ports import cannot_listen

__all__ = ["check_free", "listens"]

_LISTENING = "0A"


def check_free(address: Listen, *, key: str = "listen") -> None:
    """Raises `EngineError` when nobody can listen at ``address``, with who has it; ``key`` is
    where it stands in rcsops.toml."""
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
            raise cannot_listen(address, error, key=key) from error


def listens(address: Listen) -> bool:
    """Whether somebody takes connections at a stream address, by the kernel's word: a TLS server
    would complain of a visitor who goes without a handshake."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
    except OSError:
        return False
    table = Path("/proc/net/tcp6" if family == socket.AF_INET6 else "/proc/net/tcp")
    wanted = {_in_table(family, str(place[0]), address.port) for *_, place in found}
    with contextlib.suppress(OSError):
        for line in table.read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] in wanted and words[3] == _LISTENING:
                return True
    return False


def _in_table(family: int, host: str, port: int) -> str:
    """As proc(5) writes it: words of 32 bits in the machine's own order."""
    words = struct.iter_unpack("=I", socket.inet_pton(family, host.partition("%")[0]))
    return "".join(f"{word:08X}" for (word,) in words) + f":{port:04X}"
