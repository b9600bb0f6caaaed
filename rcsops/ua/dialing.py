"""Inviting a peer to a chat."""

import asyncio
from typing import TYPE_CHECKING

from rcsops.errors import InviteError
from rcsops.rcs import CPM_SESSION, chat_accepted
from rcsops.sip import Response, Target, Uri
from rcsops.transport import wall_clock
from rcsops.ua.call import Call
from rcsops.ua.calling import ProgressCallback, dial
from rcsops.ua.chat import Chat
from rcsops.ua.incoming import CROSSED, Invitation
from rcsops.ua.own_side import make_next, take_own_side
from rcsops.ua.security import offer_securely
from rcsops.ua.session import MsrpCall

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["Attempt", "invite"]

_CROSSING_SECONDS = 2.0
# What the history calls an invitation of ours that is refused so.
_ENDED = {408: "no answer", 486: "busy", 600: "busy", 603: "declined"}


class Attempt:
    """An INVITE of ours that has no final answer; it may give way to one that crosses it."""

    __slots__ = ("_call", "_crossed", "_opened", "_waiter", "peer")

    def __init__(self, peer: str, call: Call) -> None:
        self.peer = peer
        self._call = call
        self._crossed: Invitation | None = None
        self._opened: Chat | None = None
        self._waiter: asyncio.Future[None] | None = None

    def give_way(self, invitation: Invitation) -> None:
        """The peer's INVITE goes on instead of ours."""
        if self._crossed is not None:
            invitation.reject(486)
            return
        self._crossed = invitation
        self._call.cancel()
        self._wake()

    def opened(self, chat: Chat) -> None:
        """The peer's INVITE was there before ours began, and has become a chat."""
        self._opened = chat
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def refuse_crossed(self) -> None:
        """An INVITE of the peer that nothing came of must not ring for ever."""
        if self._crossed is not None:
            # Ours may have been taken in spite of its CANCEL, and is then the session.
            self._crossed.reject_as_crossed()

    async def crossed(
        self, agent: "AgentCore", error: InviteError, response: Response | None
    ) -> Invitation | Chat | None:
        """The invitation that our INVITE gave way to, or what it has become; None when ours just
        failed.

        The peer's refusal may be faster than its own INVITE, for which we then wait; or its INVITE
        was here before ours left, and rings or has been accepted.
        """
        if self._crossed is not None:
            return self._crossed
        if error.status != 486 or response is None or response.get("Reason") != CROSSED:
            return None
        for pending in agent.invitations:
            if isinstance(pending, Invitation) and pending.peer == self.peer and pending.pending:
                return pending
        if self._opened is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_CROSSING_SECONDS):
                    await self._waiter
            except TimeoutError:
                return None
        return self._crossed or self._opened


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

    begun = wall_clock()

    def ended(how: str, reason: str = "") -> None:
        if agent.history is not None:
            agent.history.no_session(uri.aor, thread, begun, how, reason, outgoing=True)

    if agent.history is not None:
        agent.history.rings(uri.aor, thread, begun, outgoing=True)
    try:
        return await offer_securely(agent.options.msrp_security, targets[0].flow, offer)
    except InviteError as error:
        how = _ENDED.get(error.status, "not reached")
        rang = (wall_clock() - begun).total_seconds()
        if error.status == 487 and rang >= agent.options.invite_seconds:
            # We took it back, since it had rung for long enough.
            how = "no answer"
        ended(how, str(error))
        raise
    except asyncio.CancelledError:
        ended("cancelled")
        raise
    finally:
        if agent.history is not None:
            agent.history.rings_no_longer(uri.aor, begun)


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
    side = take_own_side(
        agent,
        msrp,
        targets[0].flow,
        secure=secure,
        can_listen=not agent.behind_nat,
        offering=True,
    )
    stream, offer = side.stream, side.offer
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
        session.prepare(
            msrp,
            stream.path,
            accept_types=stream.accept_types,
            limits=agent.receive_limits(),
            hold_answers=True,
        )
        session.describe(offer)
        chat = agent.make_chat(
            session,
            peer=peer,
            remote_uri=str(uri),
            conversation_id=conversation_id,
            contribution_id=contribution_id,
            outgoing=True,
        )
        make_next(agent, side)

    attempt = Attempt(peer, call)
    agent.add_attempt(attempt)
    try:
        try:
            response = await dial(agent, call, targets, peer, on_progress, on_sent=sent)
        except InviteError as error:
            session.drop()
            if chat is not None:
                agent.forget_chat(chat)
            crossed = await attempt.crossed(agent, error, call.final)
            if crossed is None:
                raise
            return crossed if isinstance(crossed, Chat) else await crossed.accept()
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
