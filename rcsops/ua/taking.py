"""Taking a file that a peer offers, for the first time or on from where it was (RFC 5547 §8.3)."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import AgentError, SdpParseError, TransferError
from rcsops.msrp import ReceiveLimits
from rcsops.rcs import FileOffer as OfferedFile
from rcsops.rcs import file_answer, file_stream
from rcsops.sdp import SessionDescription
from rcsops.ua.receiving import IncomingTransfer
from rcsops.ua.refusals import NOT_KEPT
from rcsops.ua.sending import ALREADY_RECEIVED
from rcsops.ua.session import MsrpCall
from rcsops.ua.transfer import Transfer

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore
    from rcsops.ua.incoming import FileOffer

__all__ = ["receive_file", "take"]


def receive_file(agent: "AgentCore", offer: "FileOffer", directory: Path) -> Transfer:
    """Takes the file in the background; see ``FileOffer.accept``."""
    call = offer.call
    transfer = IncomingTransfer(
        agent,
        directory,
        peer=offer.peer,
        uri=agent.reply_uri(call.call, offer.peer),
        chat=offer.chat,
        transfer_id=offer.transfer_id,
        conversation_id=call.call.request.get("Conversation-ID") or "",
        selector=offer.file.selector,
    )
    try:
        transfer.make_file()
    except TransferError:
        call.reject(500, headers=[("Warning", f'399 rcsops "{NOT_KEPT}"')])
        raise
    agent.files.add(transfer)
    agent.host.spawn(take(agent, call, transfer, offer.description, offer.file))
    return transfer


async def take(
    agent: "AgentCore",
    call: MsrpCall,
    transfer: IncomingTransfer,
    description: SessionDescription,
    offered: OfferedFile,
) -> None:
    """Takes what the INVITE of ``call`` offers, from where it was (RFC 5547 §8.3)."""
    try:
        await transfer.break_off()
        transfer.dialled(call)
        await transfer.claim()
        if transfer.over:
            call.reject(488, headers=[("Warning", f'399 rcsops "{ALREADY_RECEIVED}"')])
            return
        start = min(transfer.octets + 1, max(transfer.size, 1))
        if start < offered.start:
            # Not all that was acknowledged had been written. Of all, we say how much we have.
            warning = '399 rcsops "That much of the file is not here"'
            call.reject(488, headers=[("Warning", warning)])
            return
        if start <= transfer.octets:
            # All was here but for the end of it: what is sent again is written again.
            transfer.octets = start - 1
        secure = offered.media is not None and offered.media.secure
        msrp = await agent.host.msrp(secure=secure)
        path = msrp.new_path(agent.visible_host(call.call.flow), secure=secure)
        stream = file_stream(
            path,
            fingerprints=msrp.fingerprints(secure=secure),
            send=False,
            content_type=transfer.content_type,
            max_size=transfer.size,
            prefer=agent.answer_setup,
        )
        body, agreement = file_answer(
            description,
            replace(offered, start=start, stop=None),
            stream,
            session_id=agent.sdp_session_id(),
        )
        call.prepare(
            msrp,
            path,
            accept_types=agreement.remote.accept_types,
            direction="recvonly",
            limits=ReceiveLimits(max_size=transfer.size),
            stream_incoming=True,
        )
        call.call.accept(body)
        call.describe(body)
        await call.acknowledged()
        # The first octets may be here before the task goes on that has opened the session.
        transfer.receive_from(start, offered.modified)
        await call.open(msrp, agreement)
    except (AgentError, SdpParseError) as error:
        status = error.status if isinstance(error, SdpParseError) else 480
        call.reject(status or 488)
        if transfer.octets:
            transfer.interrupted(str(error), None)
        else:
            transfer.failed(error)
        return
    how = await transfer.leg()
    if how is None or not transfer.is_on(call):
        return
    await transfer.settle()
    if transfer.is_on(call):
        transfer.interrupted(how.reason, None)
