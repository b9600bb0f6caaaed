"""The user agent: registration, chats, files, history; the public Python API."""

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
    FileOffered,
    FileProgress,
    FileReceived,
    FileSent,
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
from rcsops.ua.host import AgentHost
from rcsops.ua.incoming import FileOffer, Invitation
from rcsops.ua.receipts import MessageStatus, Receipt
from rcsops.ua.transfer import Transfer, TransferStatus

__all__ = [
    "Agent",
    "AgentEvent",
    "AgentHost",
    "Chat",
    "Composing",
    "Delivered",
    "Displayed",
    "Event",
    "Failed",
    "FileFailed",
    "FileOffer",
    "FileOffered",
    "FileProgress",
    "FileReceived",
    "FileSent",
    "Invitation",
    "InviteCancelled",
    "Invited",
    "MessageStatus",
    "Receipt",
    "Registered",
    "RegistrationLost",
    "Ringing",
    "Sent",
    "SessionEnded",
    "SessionOpened",
    "Stored",
    "TextReceived",
    "Transfer",
    "TransferStatus",
    "Trying",
    "Unregistered",
]
