"""MSRP without I/O (RFC 4975): frames, chunks, reports, sessions, connections.

Octets go in with the time, octets and events come out; sockets are ``rcsops.transport``'s.
"""

from rcsops.errors import MsrpParseError
from rcsops.msrp.connection import MsrpConnection, SessionTable
from rcsops.msrp.events import (
    BodyComplete,
    BodyReceived,
    CloseConnection,
    FrameSeen,
    MessageAborted,
    MessageFailed,
    MessageReceived,
    MessageSent,
    PeerBound,
    Progress,
    ProtocolFault,
    SessionEvent,
    SuccessReported,
)
from rcsops.msrp.frame import ByteRange, Frame, Request, Response
from rcsops.msrp.incoming import ReceiveLimits
from rcsops.msrp.parser import (
    ChunkData,
    ChunkEnd,
    ChunkStart,
    FrameLimits,
    FrameParser,
    parse_frame,
)
from rcsops.msrp.session import MsrpSession
from rcsops.msrp.uri import DEFAULT_PORT, MsrpUri, Path, format_path, parse_path

__all__ = [
    "DEFAULT_PORT",
    "BodyComplete",
    "BodyReceived",
    "ByteRange",
    "ChunkData",
    "ChunkEnd",
    "ChunkStart",
    "CloseConnection",
    "Frame",
    "FrameLimits",
    "FrameParser",
    "FrameSeen",
    "MessageAborted",
    "MessageFailed",
    "MessageReceived",
    "MessageSent",
    "MsrpConnection",
    "MsrpParseError",
    "MsrpSession",
    "MsrpUri",
    "Path",
    "PeerBound",
    "Progress",
    "ProtocolFault",
    "ReceiveLimits",
    "Request",
    "Response",
    "SessionEvent",
    "SessionTable",
    "SuccessReported",
    "format_path",
    "parse_frame",
    "parse_path",
]
