"""Flow tokens: the way to a user agent, written into a URI of ours (RFC 5626 §5.2).

A request of the dialog brings the token back in its Route, and goes over the very flow that it
names. Nothing is kept for it here, and nobody else can make one.
"""

import base64
import binascii
import hmac
import ipaddress
import struct
from hashlib import blake2b

from rcsops.sip import Flow

__all__ = ["PARAMETER", "FlowTokens"]

PARAMETER = "flow"
_TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
_HEAD = struct.Struct("!BBQHH")
_MAC_BYTES = 9
_LONGEST = 128


class FlowTokens:
    """Makes and reads tokens with a secret that outlives a restart.

    ``boot`` is different in each process: the numbers of connections begin anew with it, so a token
    of a connection is worth nothing to the next process. That of a UDP flow stays good.
    """

    __slots__ = ("_boot", "_key")

    def __init__(self, secret: bytes, boot: bytes) -> None:
        self._key = blake2b(secret, digest_size=32, person=b"rcsops-flow").digest()
        self._boot = boot

    def make(self, flow: Flow) -> str:
        """The token of a flow."""
        local, remote = (_packed(address[0]) for address in (flow.local, flow.remote))
        head = _HEAD.pack(
            _TRANSPORTS.index(flow.transport),
            len(local),
            flow.connection,
            flow.local[1],
            flow.remote[1],
        )
        data = head + local + remote
        sealed = data + self._mac(data, flow.transport)
        return base64.urlsafe_b64encode(sealed).decode("ascii").rstrip("=")

    def read(self, text: str) -> Flow | None:
        """The flow of a token; None for what this server did not make, or did before it started
        anew."""
        if len(text) > _LONGEST:
            return None
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            data, mac = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
            number, size, connection, local_port, remote_port = _HEAD.unpack_from(data)
            transport = _TRANSPORTS[number]
        except (binascii.Error, ValueError, struct.error, IndexError):
            return None
        if not hmac.compare_digest(self._mac(data, transport), mac):
            return None
        hosts = data[_HEAD.size :]
        local, remote = (str(ipaddress.ip_address(part)) for part in (hosts[:size], hosts[size:]))
        return Flow(transport, (local, local_port), (remote, remote_port), connection)

    def _mac(self, data: bytes, transport: str) -> bytes:
        bound = data if transport == "udp" else data + self._boot
        return blake2b(bound, key=self._key, digest_size=_MAC_BYTES).digest()


def _packed(host: str) -> bytes:
    # A link-local address has its interface with it, which the other side cannot name.
    return ipaddress.ip_address(host.partition("%")[0]).packed
