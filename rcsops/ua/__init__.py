"""The user agent: registration, chats, files, history; the public Python API."""

from rcsops.rcs import Capabilities, Location, PeerState, Service
from rcsops.ua.agent import Agent
from rcsops.ua.chat import Chat
from rcsops.ua.events import (
    AgentEvent,
    Composing,
    Delivered,
    Displayed,
    Event,
    Failed,
    FileFailed,
    FileInterrupted,
    FileOffered,
    FilePaused,
    FileProgress,
    FileReceived,
    FileRefused,
    FileResumed,
    FileSent,
    FileUploaded,
    InviteCancelled,
    Invited,
    Registered,
    RegistrationLost,
    Ringing,
    Sent,
    SessionEnded,
    SessionOpened,
    Stored,
    TextReceived,
    Trying,
    Unregistered,
)
from rcsops.ua.file_transfer import FileTransfer, TransferStatus
from rcsops.ua.host import AgentHost
from rcsops.ua.http_files import HttpOffer
from rcsops.ua.http_transfer import HttpDownload, HttpUpload
from rcsops.ua.incoming import FileOffer, Invitation
from rcsops.ua.receipts import MessageStatus, Receipt
from rcsops.ua.snapshot import AgentSnapshot, take_snapshot
from rcsops.ua.transfer import Transfer

__all__ = [
    "Agent",
    "AgentEvent",
    "AgentHost",
    "AgentSnapshot",
    "Capabilities",
    "Chat",
    "Composing",
    "Delivered",
    "Displayed",
    "Event",
    "Failed",
    "FileFailed",
    "FileInterrupted",
    "FileOffer",
    "FileOffered",
    "FilePaused",
    "FileProgress",
    "FileReceived",
    "FileRefused",
    "FileResumed",
    "FileSent",
    "FileTransfer",
    "FileUploaded",
    "HttpDownload",
    "HttpOffer",
    "HttpUpload",
    "Invitation",
    "InviteCancelled",
    "Invited",
    "Location",
    "MessageStatus",
    "PeerState",
    "Receipt",
    "Registered",
    "RegistrationLost",
    "Ringing",
    "Sent",
    "Service",
    "SessionEnded",
    "SessionOpened",
    "Stored",
    "TextReceived",
    "Transfer",
    "TransferStatus",
    "Trying",
    "Unregistered",
    "take_snapshot",
]
