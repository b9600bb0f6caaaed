"""Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3), where its answer goes."""

from collections.abc import Hashable
from hashlib import blake2b
from ipaddress import ip_address

from rcsops.errors import SipParseError
from rcsops.sip.headers import Via
from rcsops.sip.message import Request
from rcsops.sip.target import Flow

Key = tuple[Hashable, ...]

COOKIE = "z9hg4bk"
DEFAULT_PORT = 5060


def server_key(request: Request, via: Via, method: str) -> Key:
    """The key of a server transaction for ``method`` (RFC 3261 §17.2.3).

    With the magic cookie: branch, sent-by and method. Without it, or with nothing behind it, the
    rules of RFC 2543: the fields that a retransmission, and a CANCEL, repeat.
    """
    branch = (via.branch or "").lower()
    if branch.startswith(COOKIE) and len(branch) > len(COOKIE):
        return (branch, via.host, via.port or DEFAULT_PORT, method)
    return ("", method, request.get("To"), *_repeated(request, via, branch))


def ack_key_2543(request: Request, via: Via) -> Key:
    """What an INVITE and its ACK share by RFC 2543: not the To, which has our tag in the ACK."""
    return _repeated(request, via, (via.branch or "").lower())


def _repeated(request: Request, via: Via, branch: str) -> Key:
    return (
        request.uri,
        request.get("From"),
        request.get("Call-ID"),
        (request.get("CSeq") or "").partition(" ")[0],
        (via.transport, via.host, via.port or DEFAULT_PORT, branch),
    )


def is_2543(key: Key) -> bool:
    """Whether a server key was made by the rules of RFC 2543."""
    return key[0] == ""


def client_key(branch: str | None, method: str) -> Key:
    """The key of a client transaction (RFC 3261 §17.1.3)."""
    return ((branch or "").lower(), method)


def merge_key(request: Request) -> Key | None:
    """What two copies of one request over different ways share (RFC 3261 §8.2.2.2).

    None for a request inside a dialog, and for one whose From or To cannot be read.
    """
    try:
        if request.to_tag is not None:
            return None
        return (request.from_tag, request.get("Call-ID"), request.get("CSeq"))
    except SipParseError:
        return None


def complete_via(request: Request, via: Via, flow: Flow) -> None:
    """Note on the top Via where a request really came from (RFC 3261 §18.2.1, RFC 3581 §4).

    ``via`` is the top Via as it came. What the sender claims about itself is overwritten.
    """
    host, port = flow.remote[0], flow.remote[1]
    text = str(via)
    lower = text.lower()
    if "received" in lower or '"' in text:
        params = {"received": host, "rport": str(port)} if via.has_rport else {"received": host}
        text = str(via.with_params(params))
    elif "rport" not in lower:
        if via.host == host:
            return
        text = f"{text};received={host}"
    elif text.endswith(";rport"):
        text = f"{text}={port};received={host}"
    elif ";rport;" in text:
        text = text.replace(";rport;", f";rport={port};received={host};", 1)
    elif via.has_rport:
        text = str(via.with_params(received=host, rport=port))
    elif via.host == host:
        return
    else:
        text = f"{text};received={host}"
    request.replace_first("Via", text)


def reply_flow(via: Via, flow: Flow) -> Flow:
    """Where the responses to a request go that came over ``flow`` (RFC 3261 §18.2.2, RFC 3581 §4).

    ``via`` is its top Via. Only a literal address is accepted as maddr.
    """
    if flow.transport != "udp":
        return flow
    port = via.port or DEFAULT_PORT
    text = str(via).lower()
    maddr = via.maddr if "maddr" in text else None
    if maddr and _is_address(maddr):
        return flow._replace(remote=(maddr, port))
    if port == flow.remote[1] or ("rport" in text and via.has_rport):
        return flow
    return flow._replace(remote=(flow.remote[0], port))


def reconnect_flow(sent_by_port: int | None, flow: Flow) -> Flow:
    """Where to open a connection for responses when theirs is gone (RFC 3261 §18.2.2)."""
    port = sent_by_port or (5061 if flow.transport in ("tls", "wss") else DEFAULT_PORT)
    return flow._replace(remote=(flow.remote[0], port), connection=0)


def stateless_tag(request: Request, secret: bytes) -> str:
    """A To tag for responses without a transaction: the same for each copy of the request.

    RFC 3261 §8.2.7 asks for that; the secret keeps strangers from foretelling it.
    """
    parts = (request.get("Via"), request.get("From"), request.get("Call-ID"), request.get("CSeq"))
    text = "\n".join(part or "" for part in parts)
    return blake2b(text.encode("utf-8", "surrogateescape"), key=secret, digest_size=8).hexdigest()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
