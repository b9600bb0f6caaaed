"""SIP without I/O (RFC 3261): messages, URIs, digest, transactions, dialogs, registration."""

from rcsops.errors import LocalProtocolError, RemoteProtocolError, SipParseError
from rcsops.sip.auth import Challenge, Credentials
from rcsops.sip.digest import ALGORITHMS, Credential, digest_response, hash_a1
from rcsops.sip.digest_client import DigestClient
from rcsops.sip.digest_server import DigestServer, Verdict
from rcsops.sip.headers import CSeq, MediaType, NameAddr, Via
from rcsops.sip.message import Message, Request, Response
from rcsops.sip.names import REASON_PHRASES, reason_phrase
from rcsops.sip.parser import parse_message
from rcsops.sip.stream import StreamParser
from rcsops.sip.uri import Uri, escape, unescape
from rcsops.sip.validate import answerable, check_request, check_response

__all__ = [
    "ALGORITHMS",
    "REASON_PHRASES",
    "CSeq",
    "Challenge",
    "Credential",
    "Credentials",
    "DigestClient",
    "DigestServer",
    "LocalProtocolError",
    "MediaType",
    "Message",
    "NameAddr",
    "RemoteProtocolError",
    "Request",
    "Response",
    "SipParseError",
    "StreamParser",
    "Uri",
    "Verdict",
    "Via",
    "answerable",
    "check_request",
    "check_response",
    "digest_response",
    "escape",
    "hash_a1",
    "parse_message",
    "reason_phrase",
    "unescape",
]

from rcsops.sip.client_transaction import (
    ClientTransaction,
    InviteClientTransaction,
    NonInviteClientTransaction,
)
from rcsops.sip.dialog import Dialog, DialogId, DialogState
from rcsops.sip.events import (
    AckReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StrayResponse,
    Terminated,
    TimedOut,
    TransportFailed,
    UnreadableRequest,
)
from rcsops.sip.invite_client import (
    Accepted,
    AckAgain,
    CancelDue,
    ExtraFork,
    Failed,
    InviteClient,
    Progress,
)
from rcsops.sip.invite_server import (
    Acknowledged,
    AckTimeout,
    InviteCancelled,
    InviteServer,
    InviteServerState,
    Respond,
)
from rcsops.sip.layer import TransactionLayer
from rcsops.sip.registration import (
    Registered,
    Registration,
    RegistrationFailed,
    RegistrationState,
    Unregistered,
)
from rcsops.sip.server_transaction import (
    InviteServerTransaction,
    NonInviteServerTransaction,
    ServerTransaction,
)
from rcsops.sip.session_timer import RefreshDue, SessionExpired, SessionExpires, SessionTimer
from rcsops.sip.target import Flow, Target
from rcsops.sip.timers import Timers
from rcsops.sip.transaction import Arrow, On, State, Transaction

__all__ += [
    "Accepted",
    "AckAgain",
    "AckReceived",
    "AckTimeout",
    "Acknowledged",
    "Arrow",
    "CancelDue",
    "ClientTransaction",
    "Dialog",
    "DialogId",
    "DialogState",
    "Event",
    "ExtraFork",
    "Failed",
    "Flow",
    "InviteCancelled",
    "InviteClient",
    "InviteClientTransaction",
    "InviteServer",
    "InviteServerState",
    "InviteServerTransaction",
    "NonInviteClientTransaction",
    "NonInviteServerTransaction",
    "On",
    "Progress",
    "RefreshDue",
    "Registered",
    "Registration",
    "RegistrationFailed",
    "RegistrationState",
    "RequestReceived",
    "Respond",
    "ResponseReceived",
    "ServerTransaction",
    "SessionExpired",
    "SessionExpires",
    "SessionTimer",
    "State",
    "StrayResponse",
    "Target",
    "Terminated",
    "TimedOut",
    "Timers",
    "Transaction",
    "TransactionLayer",
    "TransportFailed",
    "UnreadableRequest",
    "Unregistered",
]
