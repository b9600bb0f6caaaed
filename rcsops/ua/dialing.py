"""Inviting a peer: to a chat, or to take a file."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rcsops.errors import AgentError, InviteError, RcsopsError, TransferError
from rcsops.rcs import (
    CPM_FILE_TRANSFER,
    CPM_SESSION,
    FileOffer,
    FileSelector,
    chat_accepted,
    chat_offer,
    chat_stream,
    file_accepted,
    file_offer,
    file_stream,
)
from rcsops.sip import Response, Target, Uri
from rcsops.ua import events
from rcsops.ua.call import Call
from rcsops.ua.chat import Chat
from rcsops.ua.files import OutgoingFile
from rcsops.ua.incoming import Invitation
from rcsops.ua.reception import CROSSED
from rcsops.ua.redirection import Elsewhere
from rcsops.ua.security import offer_securely
from rcsops.ua.session import MsrpCall
from rcsops.ua.transfer import OutgoingTransfer, TransferStatus

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["Attempt", "invite", "send_file"]

ProgressCallback = Callable[[events.Event], None]

_CROSSING_SECONDS = 2.0


class Attempt:
    """An INVITE of ours that has no final answer; it may give way to one that crosses it."""

    __slots__ = ("_call", "_crossed", "_waiter", "peer")

    def __init__(self, peer: str, call: Call) -> None:
        self.peer = peer
        self._call = call
        self._crossed: Invitation | None = None
        self._waiter: asyncio.Future[None] | None = None

    def give_way(self, invitation: Invitation) -> None:
        """The peer's INVITE goes on instead of ours."""
        if self._crossed is not None:
            invitation.reject(486)
            return
        self._crossed = invitation
        self._call.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def refuse_crossed(self) -> None:
        """An INVITE of the peer that nothing came of must not ring for ever."""
        if self._crossed is not None:
            self._crossed.reject(486)

    async def crossed(self, error: InviteError, response: Response | None) -> Invitation | None:
        """The invitation that our INVITE gave way to; None when it just failed.

        The peer's refusal may be faster than its own INVITE, for which we then wait.
        """
        if self._crossed is not None:
            return self._crossed
        if error.status != 486 or response is None or response.get("Reason") != CROSSED:
            return None
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_CROSSING_SECONDS):
                await self._waiter
        except TimeoutError:
            return None
        return self._crossed


async def invite(
    agent: "AgentCore",
    uri: Uri,
    *,
    on_progress: ProgressCallback | None,
    subject: str,
    conversation_id: str | None,
) -> Chat:
    """Invites to a chat; see ``Agent.invite``."""
    thread = conversation_id or agent.tokens.uuid()
    targets = await agent.targets_for(uri)

    async def offer(secure: bool) -> Chat:
        return await _invite(
            agent,
            uri,
            targets,
            on_progress=on_progress,
            subject=subject,
            conversation_id=thread,
            secure=secure,
        )

    return await offer_securely(agent.options.msrp_security, targets[0].flow, offer)


async def _invite(
    agent: "AgentCore",
    uri: Uri,
    targets: tuple[Target, ...],
    *,
    on_progress: ProgressCallback | None,
    subject: str,
    conversation_id: str,
    secure: bool,
) -> Chat:
    peer = uri.aor
    contribution_id = agent.tokens.uuid()
    msrp = await agent.host.msrp(secure=secure)
    path = msrp.new_path(agent.visible_host(targets[0].flow), secure=secure)
    stream = chat_stream(
        path,
        max_size=agent.options.max_message_size,
        can_listen=not agent.behind_nat,
        fingerprints=msrp.fingerprints(secure=secure),
    )
    offer = bytes(chat_offer(stream, session_id=agent.sdp_session_id()))
    headers = agent.service_headers(
        CPM_SESSION, conversation_id=conversation_id, contribution_id=contribution_id
    )
    if subject:
        headers.append(("Subject", subject))
    contact = agent.contact(targets[0])
    request = agent.create_invite(uri, contact, headers, offer)
    call = agent.make_call(request, contact)
    session = MsrpCall(agent.host, call)
    session.prepare(msrp, path, accept_types=stream.accept_types, limits=agent.receive_limits())
    session.describe(offer)
    chat = agent.make_chat(
        session,
        peer=peer,
        remote_uri=str(uri),
        conversation_id=conversation_id,
        contribution_id=contribution_id,
        outgoing=True,
    )

    attempt = Attempt(peer, call)
    agent.add_attempt(attempt)
    try:
        try:
            response = await _dial(agent, call, targets, peer, on_progress)
        except InviteError as error:
            session.drop()
            agent.forget_chat(chat)
            invitation = await attempt.crossed(error, call.final)
            if invitation is None:
                raise
            return await invitation.accept()
        except asyncio.CancelledError:
            session.drop()
            agent.forget_chat(chat)
            raise
    finally:
        agent.remove_attempt(attempt)
        attempt.refuse_crossed()
    agent.peers.learn_of(peer, response)
    agreement = await session.agree(response, lambda sdp: chat_accepted(stream, sdp))
    await session.open(msrp, agreement)
    chat.opened()
    return chat


async def send_file(
    agent: "AgentCore",
    uri: Uri,
    file: OutgoingFile,
    *,
    chat: Chat | None,
    conversation_id: str | None,
) -> OutgoingTransfer:
    """Offers a file and sends it in the background; see ``Agent.send_file``."""
    conversation_id = conversation_id or agent.tokens.uuid()
    transfer = OutgoingTransfer(
        agent,
        file,
        peer=chat.peer if chat is not None else uri.aor,
        chat=chat,
        transfer_id=agent.tokens.imdn_id(),
    )
    try:
        await transfer.keep(conversation_id)
    except BaseException:
        file.close()
        raise
    agent.files.add(transfer)
    agent.host.spawn(_send_file(agent, uri, file, transfer, conversation_id))
    return transfer


async def _send_file(
    agent: "AgentCore",
    uri: Uri,
    file: OutgoingFile,
    transfer: OutgoingTransfer,
    conversation_id: str,
) -> None:
    try:
        targets = await agent.targets_for(uri)

        async def offer(secure: bool) -> bool:
            return await _offer_file(
                agent, uri, targets, file, transfer, conversation_id, secure=secure
            )

        if await offer_securely(agent.options.msrp_security, targets[0].flow, offer):
            await transfer.run()
    except RcsopsError as error:
        transfer.failed(error)
    except asyncio.CancelledError:
        transfer.failed(TransferError("the agent was closed"))
        raise


async def _offer_file(
    agent: "AgentCore",
    uri: Uri,
    targets: tuple[Target, ...],
    file: OutgoingFile,
    transfer: OutgoingTransfer,
    conversation_id: str,
    *,
    secure: bool,
) -> bool:
    """Invites the peer to take a file; False when the transfer was cancelled meanwhile."""
    msrp = await agent.host.msrp(secure=secure)
    if transfer.status is TransferStatus.FAILED:
        # Cancelled before there was anything to cancel.
        return False
    path = msrp.new_path(agent.visible_host(targets[0].flow), secure=secure)
    stream = file_stream(
        path,
        send=True,
        content_type=file.content_type,
        can_listen=not agent.behind_nat,
        fingerprints=msrp.fingerprints(secure=secure),
    )
    selector = FileSelector(file.name, file.content_type, file.size, file.sha1)
    push = FileOffer(True, selector, transfer.transfer_id)
    offer = bytes(file_offer(stream, push, session_id=agent.sdp_session_id()))
    headers = agent.service_headers(
        CPM_FILE_TRANSFER,
        conversation_id=conversation_id,
        contribution_id=agent.tokens.uuid(),
    )
    contact = agent.contact(targets[0])
    request = agent.create_invite(uri, contact, headers, offer)
    call = agent.make_call(request, contact)
    session = MsrpCall(agent.host, call)
    session.prepare(msrp, path, accept_types=stream.accept_types, direction=stream.direction)
    session.describe(offer)
    transfer.offered(session)
    try:
        response = await _dial(agent, call, targets, transfer.peer, None)
    except InviteError:
        session.drop()
        raise
    agreement = await session.agree(response, lambda sdp: file_accepted(stream, sdp))
    await session.open(msrp, agreement)
    return True


async def _dial(
    agent: "AgentCore",
    call: Call,
    targets: tuple[Target, ...],
    peer: str,
    on_progress: ProgressCallback | None,
) -> Response:
    def progress(status: int, response: Response) -> None:
        if on_progress is None or status >= 200:
            return
        event: events.Event
        if status == 100:
            event = events.Trying(peer, call.call_id)
        else:
            event = events.Ringing(peer, call.call_id, status)
        on_progress(event)
        agent.publish(event)

    deadline = call.now + agent.options.invite_seconds
    elsewhere = Elsewhere(call.request.uri)
    while True:
        try:
            return await call.dial(
                targets,
                digest=agent.digest,
                time_limit=max(0.0, deadline - call.now),
                on_progress=progress,
            )
        except InviteError as error:
            final = call.final
            if final is None or call.now >= deadline:
                raise
            if final.status == 422 and call.refresh.timer.receive_422(final):
                call.try_again()
                continue
            uri = elsewhere.next(final)
            if uri is None:
                raise
            try:
                targets = await agent.targets_for(uri)
            except AgentError:
                raise error from None
            call.try_again(uri)
