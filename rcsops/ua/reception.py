"""What an agent does about an INVITE from outside a dialog."""

from typing import TYPE_CHECKING

from rcsops.errors import RemoteProtocolError, SdpParseError, SipParseError
from rcsops.rcs import FileOffer as OfferedFile
from rcsops.rcs import find_chat, read_file_offer, safe_name
from rcsops.sdp import MsrpMedia, SessionDescription
from rcsops.settings import FileVerdict
from rcsops.sip import Flow, Request
from rcsops.transport import wall_clock
from rcsops.ua import events
from rcsops.ua.incoming import CROSSED, UNKNOWN_TYPE, FileOffer, Invitation
from rcsops.ua.refusals import SIZE_EXCEEDED
from rcsops.ua.security import check_security
from rcsops.ua.sending import ALREADY_RECEIVED, serve
from rcsops.ua.session import MsrpCall, sdp_of
from rcsops.ua.taking import take

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["receive_invite"]

_SELECTOR = b"a=file-selector"


def receive_invite(agent: "AgentCore", request: Request, flow: Flow) -> None:
    """Makes an invitation or a file offer of it, or answers it with a refusal."""
    host = agent.host
    try:
        peer = agent.identity_of(request, flow)
        # Without a body it is a late offer: ours goes into the 200 (RFC 3261 §13.2.1).
        offer = sdp_of(request) if request.body else None
        file = None if offer is None or _SELECTOR not in request.body else _file_of(offer)
        chat = None if offer is None or file is not None else find_chat(offer)
        media = chat[1] if chat is not None else None if file is None else file.media
        if media is not None:
            check_security(agent.options.msrp_security, media)
    except SdpParseError as error:
        accept = [("Accept", "application/sdp")] if error.status == 415 else []
        host.refuse(request, flow, error.status or 488, str(error), accept)
        return
    except SipParseError as error:
        host.refuse(request, flow, 400, str(error))
        return
    if offer is not None and file is not None:
        _receive_file(agent, request, flow, peer, offer, file)
    else:
        _receive_chat(agent, request, flow, peer, offer, chat)


def _receive_chat(
    agent: "AgentCore",
    request: Request,
    flow: Flow,
    peer: str,
    offer: SessionDescription | None,
    found: tuple[int, MsrpMedia] | None,
) -> None:
    crossing = agent.inviting(peer)
    if crossing is not None and agent.aor < peer:
        # Of two INVITEs that cross, the one of the lower address-of-record goes on.
        agent.host.refuse(request, flow, 486, headers=[("Reason", CROSSED)])
        return
    # One that replaces a chat takes its place.
    if agent.is_busy() and crossing is None and not any(c.peer == peer for c in agent.chats):
        agent.host.refuse(request, flow, 486)
        if agent.history is not None:
            thread, call_id = request.get("Conversation-ID") or "", request.call_id
            agent.history.no_session(
                peer, thread, wall_clock(), "busy", outgoing=False, chat_id=call_id
            )
        return
    call = _ring(agent, request, flow)
    if call is None:
        return
    invitation = Invitation(agent, call, peer, offer, found)
    if crossing is not None:
        crossing.give_way(invitation)
        return
    agent.take_invitation(invitation)


def _receive_file(
    agent: "AgentCore",
    request: Request,
    flow: Flow,
    peer: str,
    description: SessionDescription,
    file: OfferedFile,
) -> None:
    host = agent.host
    chat = _chat_for(agent, peer, flow, request.get("Conversation-ID"))
    peer = peer if chat is None else chat.peer
    if not file.push:
        _receive_request(agent, request, flow, peer, description, file)
        return
    if agent.files.has_received(peer, file.transfer_id):
        _refuse_range(agent, request, flow, ALREADY_RECEIVED)
        return
    known = agent.files.resumed(peer, file)
    if known is not None:
        call = _ring(agent, request, flow)
        if call is not None:
            agent.host.spawn(take(agent, call, known, description, file))
        return
    if file.start != 1 or file.stop is not None:
        _refuse_range(agent, request, flow, "Nothing of that file is here")
        return
    if file.selector.size is None:
        host.refuse(request, flow, 488, "The size of the file is needed")
        return
    selector, size = file.selector, file.selector.size
    content_type = selector.type or UNKNOWN_TYPE
    refused = events.FileRefused(
        peer, request.call_id, safe_name(selector.name or "file"), size, content_type
    )
    if size > agent.options.max_file_size:
        host.refuse(request, flow, 403, headers=[("Warning", f'399 rcsops "{SIZE_EXCEEDED}"')])
        agent.publish(refused)
        return
    if agent.files.is_full:
        host.refuse(request, flow, 486)
        return
    verdict = agent.files.verdict(peer, content_type, size, chat=chat, flow=flow)
    if verdict is FileVerdict.REFUSE:
        host.refuse(request, flow, 603)
        agent.publish(refused)
        return
    call = _ring(agent, request, flow)
    if call is None:
        return
    offer = FileOffer(agent, call, peer, description, file, chat, verdict)
    agent.take_file_offer(offer)


def _receive_request(
    agent: "AgentCore",
    request: Request,
    flow: Flow,
    peer: str,
    description: SessionDescription,
    file: OfferedFile,
) -> None:
    """Somebody wants to fetch a file. With a server, only who comes by it is who it says."""
    vouched = agent.options.server is None or agent.is_from_server(flow)
    if agent.files.is_full:
        agent.host.refuse(request, flow, 486)
        return
    uri = peer if agent.options.server is not None else str(request.contacts[0].uri)
    transfer = agent.files.wanted(peer, uri, file) if vouched else None
    if transfer is None:
        _refuse_range(agent, request, flow, "No such file is shared with you")
        return
    call = _ring(agent, request, flow)
    if call is not None:
        agent.host.spawn(serve(agent, call, transfer, description, file))


def _refuse_range(agent: "AgentCore", request: Request, flow: Flow, why: str) -> None:
    agent.host.refuse(request, flow, 488, headers=[("Warning", f'399 rcsops "{why}"')])


def _ring(agent: "AgentCore", request: Request, flow: Flow) -> MsrpCall | None:
    call = agent.make_call(request, agent.contact_for(flow))
    session = MsrpCall(agent.host, call)
    call.received(flow, agent.response_headers(), agent.digest)
    try:
        call.ring()
    except RemoteProtocolError as error:
        call.reject(error.status, error.reason, call.refresh.refusal_headers(error.status))
        return None
    return session


def _file_of(offer: SessionDescription) -> OfferedFile | None:
    if not any(media.attribute("file-selector") is not None for media in offer.media):
        return None
    return read_file_offer(offer)


def _chat_for(
    agent: "AgentCore", peer: str, flow: Flow, conversation_id: str | None
) -> "Chat | None":
    """The open chat that a file belongs to, with the same peer.

    Without a server nobody vouches for any name, and the thread tells who it is as well. With one,
    an offer that does not come from there belongs to no chat, whoever it names as its sender: files
    of a chat may be taken without asking.
    """
    if agent.options.server is None:
        for chat in agent.chats:
            if conversation_id and chat.conversation_id == conversation_id:
                return chat
    elif not agent.is_from_server(flow):
        return None
    for chat in agent.chats:
        if chat.peer == peer:
            return chat
    return None
