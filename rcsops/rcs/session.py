"""SDP of a chat session (OMA CPM, OMA SIMPLE IM over RFC 4975)."""

from rcsops.errors import SdpParseError
from rcsops.msrp import Path
from rcsops.rcs import composing, cpim, imdn
from rcsops.rcs.negotiation import (
    Agreement,
    LocalStream,
    accept_answer,
    answer_stream,
    choose_setup,
    offer_stream,
    offered_setup,
)
from rcsops.sdp import MsrpMedia, SessionDescription, find_msrp, reverse_direction

CHAT_TYPES = (cpim.CONTENT_TYPE, composing.CONTENT_TYPE)
CHAT_WRAPPED_TYPES = (
    "text/plain",
    imdn.CONTENT_TYPE,
    "application/vnd.gsma.rcs-ft-http+xml",
    "application/vnd.gsma.rcspushlocation+xml",
)
# What takes message/cpim.
_ENOUGH = frozenset({"*", "*/*", "message/*", cpim.CONTENT_TYPE})


def chat_stream(
    path: Path,
    *,
    max_size: int | None = None,
    can_listen: bool = True,
    prefer: str = "active",
    fingerprints: tuple[str, ...] = (),
) -> LocalStream:
    """Our side of a chat: CPIM and isComposing, with text, notifications and RCS types inside.

    A path of ``msrps`` URIs goes with the ``fingerprints`` of our certificate.
    """
    return LocalStream(
        path,
        CHAT_TYPES,
        CHAT_WRAPPED_TYPES,
        max_size,
        can_listen=can_listen,
        prefer=prefer,
        fingerprints=fingerprints,
        cema=True,
    )


def chat_offer(stream: LocalStream, *, session_id: int, version: int | None = None) -> bytes:
    """The offer of a chat. ``session_id`` is the number of the o= line, new for each session."""
    return offer_stream(stream.media(offered_setup(stream)), session_id, version)


def chat_answer(
    offer: SessionDescription,
    stream: LocalStream,
    *,
    session_id: int,
    version: int | None = None,
    found: tuple[int, MsrpMedia] | None = None,
) -> tuple[bytes, Agreement]:
    """Accept the chat that is offered; raise SdpParseError with the status to refuse it by (488).

    Other streams of the offer are refused by port 0. ``found`` is what `find_chat` gave for it, if
    that is known.
    """
    index, offered = find_chat(offer) if found is None else found
    media = stream.media(choose_setup(offered, stream))
    if offered.direction != "sendrecv":
        media = media._replace(direction=reverse_direction(offered.direction))
    return answer_stream(offer, index, offered, media, stream, session_id, version)


def chat_accepted(stream: LocalStream, answer: SessionDescription) -> Agreement:
    """What the answer to our offer agrees on; raise SdpParseError (488) when it is no chat."""
    agreement = accept_answer(stream, answer)
    _check_types(agreement.remote)
    return agreement


def find_chat(offer: SessionDescription) -> tuple[int, MsrpMedia]:
    """The stream of an offer that is a chat; raise SdpParseError (488) when there is none."""
    index, offered = find_msrp(offer)
    if offered.file_selector is not None:
        raise SdpParseError("a file is offered, not a chat", status=488)
    _check_types(offered)
    return index, offered


def _check_types(media: MsrpMedia) -> None:
    for kind in media.accept_types:
        if kind.lower() in _ENOUGH:
            return
    raise SdpParseError("the peer does not take message/cpim", status=488)
