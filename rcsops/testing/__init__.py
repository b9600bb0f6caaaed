"""For tests, ours and yours: real servers and tools as processes of their own, ended by their id.

Nothing here uses a fixed port or waits for a fixed time: :func:`free_port` finds a port, and
:func:`wait_until` returns as soon as something is true.
"""

from rcsops.testing.capture import Capture, Frame, TsharkUnavailable
from rcsops.testing.embedded import EmbeddedServer
from rcsops.testing.kamailio import KamailioServer
from rcsops.testing.link import LossyLink
from rcsops.testing.mariadb import MariaDbServer
from rcsops.testing.nameserver import NameServer
from rcsops.testing.nat import NatNetwork
from rcsops.testing.process import ManagedProcess, children_of
from rcsops.testing.relay import TcpRelay
from rcsops.testing.sipp import SippResult, SippRunner
from rcsops.testing.waiting import eventually, free_port, wait_until

__all__ = [
    "Capture",
    "EmbeddedServer",
    "Frame",
    "KamailioServer",
    "LossyLink",
    "ManagedProcess",
    "MariaDbServer",
    "NameServer",
    "NatNetwork",
    "SippResult",
    "SippRunner",
    "TcpRelay",
    "TsharkUnavailable",
    "children_of",
    "eventually",
    "free_port",
    "wait_until",
]
