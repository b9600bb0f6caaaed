"""What an MSRP session and its connection tell their driver."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PeerBound:
    """The connection belongs to the session: the peer's first request, or the answer to ours."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole message; ``headers`` are the ones of its first chunk that has them."""

    message_id: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class BodyReceived:
    """The octets from ``offset`` (counted from 0) of a message that is not kept in memory.

    ``total`` is what the peer announced, None when it did not.
    """

    message_id: str
    content_type: str
    offset: int
    data: bytes = field(repr=False)
    total: int | None = None


@dataclass(frozen=True, slots=True)
class BodyComplete:
    """All ``total`` octets of that message have been handed on."""

    message_id: str
    content_type: str
    total: int


@dataclass(frozen=True, slots=True)
class MessageAborted:
    """The peer gave up a message that it was sending (the flag ``#``)."""

    message_id: str


@dataclass(frozen=True, slots=True)
class MessageSent:
    """Every chunk was answered 200; without Failure-Report ``yes``, every octet was sent."""

    message_id: str


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """A message did not get through: the peer's status, 408 for no answer, 0 for no connection."""

    message_id: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class SuccessReported:
    """REPORTs of the receiving endpoint cover the whole message (RFC 4975 §7.1.2)."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """So many octets of an outgoing stream were acknowledged (sent, where nobody acknowledges)."""

    message_id: str
    octets: int
    total: int


@dataclass(frozen=True, slots=True)
class ProtocolFault:
    """The session cannot go on: 481, 506, 408 for an unanswered empty SEND, 501."""

    status: int
    reason: str


SessionEvent = (
    PeerBound
    | MessageReceived
    | BodyReceived
    | BodyComplete
    | MessageAborted
    | MessageSent
    | MessageFailed
    | SuccessReported
    | Progress
    | ProtocolFault
)


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """The connection has to be closed once what is still to be sent has been sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """One complete frame for the tap.

    ``data`` is the frame as it was on the wire, but for ``omitted`` octets of its body that were
    streamed and are not kept; head and end-line are always whole.
    """

    direction: str
    data: bytes
    omitted: int = 0
