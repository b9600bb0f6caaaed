"""What an agent and its chats tell: frozen values, in the order in which things happened.

``peer`` is the other side's address of record ("sip:alex@rcs.example"); ``chat_id`` tells the
sessions of one agent apart and is the SIP Call-ID, empty for messages outside of any session.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.rcs import FileInfo, Location

if TYPE_CHECKING:
    from rcsops.ua.http_files import HttpOffer
    from rcsops.ua.incoming import FileOffer, Invitation

__all__ = [
    "AgentEvent",
    "Composing",
    "Delivered",
    "Displayed",
    "Event",
    "Failed",
    "FileFailed",
    "FileInterrupted",
    "FileOffered",
    "FilePaused",
    "FileProgress",
    "FileReceived",
    "FileRefused",
    "FileResumed",
    "FileSent",
    "FileUploaded",
    "InviteCancelled",
    "Invited",
    "NotRead",
    "Registered",
    "RegistrationLost",
    "Ringing",
    "Sent",
    "SessionEnded",
    "SessionOpened",
    "Stored",
    "TextReceived",
    "Trying",
    "Unregistered",
    "burden",
]


class Event:
    """Base of all events."""

    __slots__ = ()


class AgentEvent(Event):
    """Base of the events that belong to the agent and to no chat."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Registered(AgentEvent):
    """The registrar has our contact for ``expires`` seconds.

    ``again`` is True when a registration that was lost is back. Refreshes are not told.
    """

    aor: str
    expires: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class RegistrationLost(AgentEvent):
    """The registration is gone or could not be refreshed; a new attempt follows in ``retry_in``
    seconds, or none when that is None. ``hint`` says what a person can do, where that is known."""

    aor: str
    status: int
    reason: str
    retry_in: float | None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Unregistered(AgentEvent):
    """Our contact has been removed as we asked."""

    aor: str


@dataclass(frozen=True, slots=True)
class Invited(AgentEvent):
    """Somebody invites us; ``invitation`` can be accepted or rejected."""

    peer: str
    chat_id: str
    invitation: "Invitation"


@dataclass(frozen=True, slots=True)
class InviteCancelled(AgentEvent):
    """An invitation to us was taken back before it was answered; with the ``reason`` "Call
    completed elsewhere" another device of our user has answered it (RFC 3326)."""

    peer: str
    chat_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trying(Event):
    """The INVITE is on its way (100)."""

    peer: str
    chat_id: str


@dataclass(frozen=True, slots=True)
class Ringing(Event):
    """The peer's device has the INVITE (``status`` 180 to 183)."""

    peer: str
    chat_id: str
    status: int = 180


@dataclass(frozen=True, slots=True)
class SessionOpened(Event):
    """The MSRP connection is there; ``local`` and ``remote`` are its "host:port" ends.

    ``security`` is its TLS, "TLSv1.3"; empty for plain TCP.
    """

    peer: str
    chat_id: str
    local: str
    remote: str
    security: str = ""


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """The session is over; the last event of a chat. ``by_peer``: the peer ended it.

    ``idle``: nobody used it any more, and whoever has something to say opens it again.
    """

    peer: str
    chat_id: str
    reason: str
    by_peer: bool = False
    idle: bool = False


@dataclass(frozen=True, slots=True)
class TextReceived(Event):
    """A message, stored in the history when there is one; ``sent_at`` by the sender's clock.

    ``pager``: it came in a SIP MESSAGE, outside of any session, just now or after the server had
    kept it; ``chat_id`` is then empty. A pushed ``location``, and a ``file`` on a content server,
    have their words and links as ``text``; what becomes of the file is told by further events.
    """

    peer: str
    chat_id: str
    message_id: str
    text: str
    sent_at: datetime | None
    received_at: datetime
    pager: bool = False
    location: Location | None = None
    file: FileInfo | None = None


@dataclass(frozen=True, slots=True)
class Stored(Event):
    """The server keeps the message for the peer, who is not there (202)."""

    peer: str
    chat_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Sent(Event):
    """The peer's device has acknowledged the message (200, by MSRP or SIP)."""

    peer: str
    chat_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Delivered(Event):
    """The peer's device has the message (IMDN positive-delivery)."""

    peer: str
    chat_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Displayed(Event):
    """The peer has seen the message (IMDN display)."""

    peer: str
    chat_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The message did not get through; ``status`` is the MSRP or SIP status, 0 if none came.

    ``incoming``: one of the peer's came and could not be kept.
    """

    peer: str
    chat_id: str
    message_id: str
    status: int
    reason: str
    incoming: bool = False


@dataclass(frozen=True, slots=True)
class NotRead(Event):
    """A message came that requires what is not known here (RFC 3862 §4.7): ``reason`` says what.

    It is neither shown nor kept, and no notification says that it was delivered.
    """

    peer: str
    chat_id: str
    message_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Composing(Event):
    """The peer types (``active``) or has stopped, or has not said for as long as it said, or for
    two minutes, that it still types (RFC 3994 §3.3). A message from it says that it has stopped."""

    peer: str
    chat_id: str
    active: bool


@dataclass(frozen=True, slots=True)
class FileOffered(Event):
    """The peer wants to send a file; ``offer`` can be accepted or rejected."""

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    size: int
    content_type: str
    offer: "FileOffer | HttpOffer"


@dataclass(frozen=True, slots=True)
class FileRefused(Event):
    """A file that a peer offered was refused by our rules (603)."""

    peer: str
    chat_id: str
    name: str
    size: int
    content_type: str


@dataclass(frozen=True, slots=True)
class FileProgress(Event):
    """So many octets of ``total`` have gone or come (``incoming``)."""

    peer: str
    chat_id: str
    transfer_id: str
    octets: int
    total: int
    incoming: bool


@dataclass(frozen=True, slots=True)
class FilePaused(Event):
    """A file stands still because we, or the peer (``by_peer``), wish it so."""

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    incoming: bool
    by_peer: bool


@dataclass(frozen=True, slots=True)
class FileResumed(Event):
    """A file goes on, after a pause or over a new connection; ``octets`` of it are through."""

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    octets: int
    total: int
    incoming: bool


@dataclass(frozen=True, slots=True)
class FileInterrupted(Event):
    """The connection broke; ``octets`` are through and need not come again.

    A new attempt is made in ``retry_in`` seconds; None: when we or the peer resume it. Unless more
    gets through, attempts are made for ``gives_up_in`` seconds.
    """

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    octets: int
    total: int
    incoming: bool
    reason: str
    retry_in: float | None
    gives_up_in: float | None = None


@dataclass(frozen=True, slots=True)
class FileSent(Event):
    """The peer has the whole file and has not complained about it."""

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    size: int
    sha1: str


@dataclass(frozen=True, slots=True)
class FileUploaded(Event):
    """A file is on the content server, and the message ``message_id`` that says so on its way."""

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    size: int
    sha1: str
    url: str
    message_id: str


@dataclass(frozen=True, slots=True)
class FileReceived(Event):
    """A file is there, whole and with the hash that was offered."""

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    path: Path
    size: int
    sha1: str


@dataclass(frozen=True, slots=True)
class FileFailed(Event):
    """A file did not get through; of an incoming one nothing is left."""

    peer: str
    chat_id: str
    transfer_id: str
    name: str
    reason: str
    incoming: bool


def burden(event: Event) -> int:
    """What an event weighs that a peer can make as many and as large of as it likes: 1, and 1 for
    each KiB. 0 for the others, which need not be held back."""
    if isinstance(event, TextReceived):
        return 1 + (len(event.text) >> 10)
    return int(isinstance(event, Composing | NotRead))
