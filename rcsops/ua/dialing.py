"""Inviting a peer to a chat."""

import asyncio
from typing import TYPE_CHECKING

from rcsops.errors import InviteError
from rcsops.rcs import (
    CPM_SESSION,
    chat_accepted,
    chat_offer,
    chat_stream,
)
from rcsops.sip import Response, Target, Uri
from rcsops.ua.call import Call
from rcsops.ua.calling import ProgressCallback, dial
from rcsops.ua.chat import Chat
from rcsops.ua.incoming import Invitation
from rcsops.ua.reception import CROSSED
from rcsops.ua.security import offer_securely
from rcsops.ua.session import MsrpCall

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["Attempt", "invite"]

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
    chat: Chat | None = None

    def sent() -> None:
        # What only the answer needs is made while the INVITE is on its way.
        nonlocal chat
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
            response = await dial(agent, call, targets, peer, on_progress, on_sent=sent)
        except InviteError as error:
            session.drop()
            if chat is not None:
                agent.forget_chat(chat)
            invitation = await attempt.crossed(error, call.final)
            if invitation is None:
                raise
            return await invitation.accept()
        except asyncio.CancelledError:
            session.drop()
            if chat is not None:
                agent.forget_chat(chat)
            raise
    finally:
        agent.remove_attempt(attempt)
        attempt.refuse_crossed()
    agent.peers.learn_of(peer, response)
    agreement = await session.agree(response, lambda sdp: chat_accepted(stream, sdp))
    await session.open(msrp, agreement)
    assert chat is not None
    chat.opened()
    return chat
