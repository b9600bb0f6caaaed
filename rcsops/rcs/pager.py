"""Pager mode: one message in one SIP MESSAGE, outside of any session (RFC 3428, OMA CPM)."""

from dataclasses import replace

from rcsops.errors import LocalProtocolError, RemoteProtocolError
from rcsops.rcs import cpim, fthttp, geolocation
from rcsops.rcs.chat import (
    ChatCodec,
    ContentReceived,
    DeliveryReceived,
    Malformed,
    Outgoing,
    TextReceived,
    media_type,
)
from rcsops.rcs.features import CPM_MESSAGE, service_headers
from rcsops.sip import Request

MAX_REQUEST = 1300
"""What a MESSAGE may have where nobody knows each hop to be safe from congestion (RFC 3428 §8)."""

PAGER_ACCEPT = (
    f"message/cpim, text/plain, message/imdn+xml, {geolocation.CONTENT_TYPE}, {fthttp.CONTENT_TYPE}"
)
"""What is taken in a MESSAGE, for the Accept header of a 415."""

_IMDN_NAMESPACE = cpim.IMDN_NAMESPACE.encode()

# What a hop adds to a request is its own affair; a first Via of ours has about this size.
_VIA = 110


def write_message(
    request: Request, message: Outgoing, *, conversation_id: str, contribution_id: str
) -> None:
    """Puts the headers of a CPM pager message and its body on a MESSAGE request.

    ``conversation_id`` names the thread with that peer, ``contribution_id`` this message. Raises
    LocalProtocolError for another method.
    """
    if request.method != "MESSAGE":
        raise LocalProtocolError(f"pager mode is a MESSAGE, not {request.method}")
    for name, value in service_headers(
        CPM_MESSAGE, conversation_id=conversation_id, contribution_id=contribution_id
    ):
        request.add(name, value)
    request.set_body(message.body, message.content_type)


def pager_excess(request: Request, *, body_alone: bool = False, most: int = MAX_REQUEST) -> int:
    """How many octets a MESSAGE without Via has too many for pager mode; 0 when it may go.

    ``body_alone`` is the rule of OMA CPM, which bounds the body: for the XML of RCS, which leaves
    no room for more in 1300 octets. ``most`` is what the request may have.

    Credentials are not counted: the server that they are for takes them off, and on the way there
    a request of more than 1300 octets goes by a stream (RFC 3261 §18.1.1).
    """
    if body_alone:
        return max(0, len(request.body) - most)
    return max(0, len(bytes(request)) + _VIA - most)


def read_message(
    codec: ChatCodec, request: Request
) -> TextReceived | DeliveryReceived | ContentReceived:
    """The text or notification in a MESSAGE, or what requires more than is known here.

    A message without a Message-ID of its own gets one of its Call-ID and CSeq, which a copy of the
    same request shares. Raises RemoteProtocolError with the status to answer with: 415 for what is
    not taken here, 400 for what is not what it says it is.
    """
    encoding = (request.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise RemoteProtocolError("a content encoding that is not known here", status=415)
    content_type = request.get("Content-Type") or ""
    message = codec.receive(content_type, request.body)
    if media_type(content_type) == "text/plain" and _IMDN_NAMESPACE in request.body:
        # Kamailio's msilo keeps message/cpim and hands it on as text/plain.
        wrapped = codec.receive(cpim.CONTENT_TYPE, request.body)
        if (
            isinstance(wrapped, TextReceived | DeliveryReceived | ContentReceived)
            and wrapped.message_id
        ):
            message = wrapped
    if isinstance(message, Malformed):
        raise RemoteProtocolError(message.reason, status=400)
    if isinstance(message, DeliveryReceived):
        return message
    if not isinstance(message, TextReceived | ContentReceived) or (
        isinstance(message, ContentReceived) and not message.not_understood
    ):
        raise RemoteProtocolError("neither a text nor a notification", status=415)
    if message.message_id:
        return message
    number = request.cseq.number
    return replace(message, message_id=f"{request.call_id};{number}")
