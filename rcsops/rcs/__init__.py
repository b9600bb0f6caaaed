"""What RCS adds to SIP and MSRP, without I/O: CPIM, notifications, typing, chats and files."""

from rcsops.errors import CpimParseError
from rcsops.rcs.capabilities import Capabilities, PeerState, Service
from rcsops.rcs.chat import (
    ChatCodec,
    ComposingReceived,
    ContentReceived,
    DeliveryReceived,
    Malformed,
    Outgoing,
    Received,
    TextReceived,
)
from rcsops.rcs.composing import Composing, make_composing, parse_composing
from rcsops.rcs.cpim import CpimMessage, format_date_time, parse_date_time
from rcsops.rcs.features import (
    CPM_FILE_TRANSFER,
    CPM_MESSAGE,
    CPM_SESSION,
    REGISTERED,
    feature_params,
    feature_text,
    read_features,
    service_headers,
)
from rcsops.rcs.filetransfer import (
    FileOffer,
    FileSelector,
    answered_start,
    file_accepted,
    file_answer,
    file_offer,
    file_stream,
    read_file_offer,
    safe_name,
    said_modified,
)
from rcsops.rcs.fthttp import FileInfo, StoredFile
from rcsops.rcs.geolocation import Location, make_location, parse_location
from rcsops.rcs.imdn import ImdnReport, make_imdn, parse_imdn
from rcsops.rcs.negotiation import Agreement, LocalStream
from rcsops.rcs.pager import MAX_REQUEST, PAGER_ACCEPT, pager_excess, read_message, write_message
from rcsops.rcs.quoting import quoted_reply, reaction_text
from rcsops.rcs.session import chat_accepted, chat_answer, chat_offer, chat_stream, find_chat

__all__ = [
    "CPM_FILE_TRANSFER",
    "CPM_MESSAGE",
    "CPM_SESSION",
    "MAX_REQUEST",
    "PAGER_ACCEPT",
    "REGISTERED",
    "Agreement",
    "Capabilities",
    "ChatCodec",
    "Composing",
    "ComposingReceived",
    "ContentReceived",
    "CpimMessage",
    "CpimParseError",
    "DeliveryReceived",
    "FileInfo",
    "FileOffer",
    "FileSelector",
    "ImdnReport",
    "LocalStream",
    "Location",
    "Malformed",
    "Outgoing",
    "PeerState",
    "Received",
    "Service",
    "StoredFile",
    "TextReceived",
    "answered_start",
    "chat_accepted",
    "chat_answer",
    "chat_offer",
    "chat_stream",
    "feature_params",
    "feature_text",
    "file_accepted",
    "file_answer",
    "file_offer",
    "file_stream",
    "find_chat",
    "format_date_time",
    "make_composing",
    "make_imdn",
    "make_location",
    "pager_excess",
    "parse_composing",
    "parse_date_time",
    "parse_imdn",
    "parse_location",
    "quoted_reply",
    "reaction_text",
    "read_features",
    "read_file_offer",
    "read_message",
    "safe_name",
    "said_modified",
    "service_headers",
    "write_message",
]
