"""Where a message goes and where it came from.

A client transaction is made after resolution, for one target: its Via, its branch and the rule of
1300 bytes (RFC 3261 §18.1.1) depend on it.
"""

from typing import NamedTuple


class Flow(NamedTuple):
    """One way between two addresses, in the sense of RFC 5626 §2.

    ``transport`` is "udp", "tcp", "tls", "ws" or "wss". ``connection`` 0 is a datagram, or, on a
    stream, any connection to ``remote``, opened when needed; another number is exactly that
    connection. ``domain`` is what was looked up to come to ``remote``: over TLS the certificate of
    the other end must prove it (RFC 5922 §7.3); "" stands for the address itself.
    """

    transport: str
    local: tuple[str, int]
    remote: tuple[str, int]
    connection: int = 0
    domain: str = ""

    @property
    def reliable(self) -> bool:
        """Whether the transport resends by itself, so that the transactions need not."""
        return self.transport != "udp"


class Target(NamedTuple):
    """One address to try a request at: the flow, and ``sent_by`` ("host:port") for its Via.

    ``alias``: requests for ``sent_by`` may come back by the same connection (RFC 5923).
    """

    flow: Flow
    sent_by: str
    alias: bool = False
