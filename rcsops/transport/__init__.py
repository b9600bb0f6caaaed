"""asyncio sockets under the protocol cores, the timer driver and the tap."""

from rcsops.transport.addresses import ListenAddress
from rcsops.transport.clock import Alarm, system_tokens, wall_clock
from rcsops.transport.endpoint import SipEndpoint, TransactionUser
from rcsops.transport.limits import EndpointLimits, EndpointStatistics
from rcsops.transport.tap import Tap, TapRecord
from rcsops.transport.tls import Tls, TlsOptions

__all__ = [
    "Alarm",
    "EndpointLimits",
    "EndpointStatistics",
    "ListenAddress",
    "SipEndpoint",
    "Tap",
    "TapRecord",
    "Tls",
    "TlsOptions",
    "TransactionUser",
    "system_tokens",
    "wall_clock",
]
