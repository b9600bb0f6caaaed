"""What an endpoint allows to strangers, and what it counts."""

from dataclasses import dataclass

from rcsops.limits import SIP_BODY, SIP_HEAD

__all__ = ["EndpointLimits", "EndpointStatistics"]


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Bounds of one endpoint; times in seconds, sizes in octets."""

    max_connections: int = 4096
    max_connections_per_source: int = 1024
    idle_seconds: float = 7200.0
    connect_seconds: float = 10.0
    handshake_seconds: float = 10.0
    """For TLS and WebSocket together, once the connection is there."""
    message_seconds: float = 30.0
    """From the first octet of a message to its last."""
    pong_seconds: float = 10.0
    linger_seconds: float = 10.0
    max_head: int = SIP_HEAD
    max_body: int = SIP_BODY
    max_buffered: int = 4 << 20
    max_queued_datagrams: int = 4096
    max_datagram_request: int = 1300
    """A request larger than this goes on a stream: so RFC 3261 §18.1.1 where the path MTU is not
    known; where it is, this may be the MTU less 200."""


@dataclass(slots=True)
class EndpointStatistics:
    """Counts since the endpoint was made."""

    received: int = 0
    sent: int = 0
    bad_datagrams: int = 0
    bad_streams: int = 0
    refused_connections: int = 0
    failed_handshakes: int = 0
    dropped_datagrams: int = 0
    send_errors: int = 0
    connections_opened: int = 0
    connections_accepted: int = 0
    idle_closed: int = 0
