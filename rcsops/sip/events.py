"""What the transaction layer tells its user (the TU of RFC 3261 §17)."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rcsops.sip.client_transaction import ClientTransaction
    from rcsops.sip.message import Request, Response
    from rcsops.sip.server_transaction import InviteServerTransaction, ServerTransaction
    from rcsops.sip.target import Flow
    from rcsops.sip.transaction import Transaction


class RequestReceived(NamedTuple):
    """A new request. Answer it with ``accept`` and ``respond``, or with ``reply_stateless``.

    ``flow`` is where it came from. For a CANCEL, ``invite`` is the INVITE transaction that it
    matches (RFC 3261 §9.2); None means that the answer is 481.
    """

    request: "Request"
    flow: "Flow"
    invite: "InviteServerTransaction | None" = None


class UnreadableRequest(NamedTuple):
    """A request whose top Via cannot be read: no transaction can be made of it.

    ``reply_stateless`` answers it to where it came from (RFC 4475 §3.1.2.1).
    """

    request: "Request"
    flow: "Flow"


class AckReceived(NamedTuple):
    """An ACK that acknowledges a 2xx, or nothing that we know: for the dialog, or to be dropped."""

    request: "Request"
    flow: "Flow"


class ResponseReceived(NamedTuple):
    """A response to a request of ours; retransmissions of a 2xx to an INVITE come each time."""

    response: "Response"
    transaction: "ClientTransaction"
    flow: "Flow"


class StrayResponse(NamedTuple):
    """A response without a transaction: to be dropped, never forwarded (RFC 6026 §7.3)."""

    response: "Response"
    flow: "Flow"


class TimedOut(NamedTuple):
    """No final response came (timer B or F), or no ACK for ours (timer H)."""

    transaction: "Transaction"


class TransportFailed(NamedTuple):
    """A message of the transaction could not be sent (RFC 3261 §17.1.4, §17.2.4)."""

    transaction: "ClientTransaction | ServerTransaction"
    error: str


class Terminated(NamedTuple):
    """The transaction is over and forgotten."""

    transaction: "Transaction"


Event = (
    RequestReceived
    | UnreadableRequest
    | AckReceived
    | ResponseReceived
    | StrayResponse
    | TimedOut
    | TransportFailed
    | Terminated
)
