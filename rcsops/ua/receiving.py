"""Taking a file that a peer offers (RFC 5547 §8.3)."""

from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import AgentError, SdpParseError, TransferError
from rcsops.msrp import ReceiveLimits
from rcsops.rcs import file_answer, file_stream
from rcsops.ua.files import IncomingFile, check_room
from rcsops.ua.transfer import IncomingTransfer, Transfer

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore
    from rcsops.ua.incoming import FileOffer

__all__ = ["receive_file"]


def receive_file(agent: "AgentCore", offer: "FileOffer", directory: Path) -> Transfer:
    """Takes the file in the background; see ``FileOffer.accept``."""
    call = offer.call
    try:
        check_room(directory, offer.size, agent.options.disk_reserve)
        file = IncomingFile(directory, offer.name, offer.size, offer.sha1)
    except TransferError:
        call.reject(480)
        raise
    transfer = IncomingTransfer(
        agent,
        call,
        file,
        peer=offer.peer,
        chat=offer.chat,
        transfer_id=offer.transfer_id,
        name=offer.name,
        size=offer.size,
        sha1=offer.sha1,
    )
    agent.files.add(transfer)
    agent.host.spawn(_receive(agent, offer, transfer))
    return transfer


async def _receive(agent: "AgentCore", offer: "FileOffer", transfer: IncomingTransfer) -> None:
    call = offer.call
    try:
        secure = offer.file.media is not None and offer.file.media.secure
        msrp = await agent.host.msrp(secure=secure)
        path = msrp.new_path(agent.visible_host(call.call.flow), secure=secure)
        stream = file_stream(
            path,
            fingerprints=msrp.fingerprints(secure=secure),
            send=False,
            content_type=offer.content_type,
            max_size=offer.size,
            prefer=agent.answer_setup,
        )
        answer, agreement = file_answer(
            offer.description, offer.file, stream, session_id=agent.sdp_session_id()
        )
        call.prepare(
            msrp,
            path,
            accept_types=agreement.remote.accept_types,
            direction="recvonly",
            limits=ReceiveLimits(max_size=offer.size),
            stream_incoming=True,
        )
        body = bytes(answer)
        call.call.accept(body)
        call.describe(body)
        await call.acknowledged()
        await call.open(msrp, agreement)
        transfer.started()
    except SdpParseError as error:
        call.reject(error.status or 488)
        transfer.failed(error)
    except AgentError as error:
        call.reject(480)
        transfer.failed(error)
