"""What a peer asks of us: a chat, or to take a file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import InviteError, SdpParseError
from rcsops.rcs import Agreement, chat_accepted, chat_answer, safe_name
from rcsops.rcs import FileOffer as OfferedFile
from rcsops.sdp import MsrpMedia, SessionDescription
from rcsops.settings import FileVerdict
from rcsops.transport import wall_clock
from rcsops.ua import events
from rcsops.ua.own_side import make_next, take_own_side
from rcsops.ua.refusals import ELSEWHERE
from rcsops.ua.security import is_secured
from rcsops.ua.session import MsrpCall, SessionUser
from rcsops.ua.taking import receive_file

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore
    from rcsops.ua.transfer import Transfer

__all__ = ["CROSSED", "UNKNOWN_TYPE", "FileOffer", "Invitation", "Pending"]

CROSSED = 'SIP;cause=491;text="Crossing INVITE"'
"""Reason header of the 486 to an INVITE that crossed ours, which we keep."""
UNKNOWN_TYPE = "application/octet-stream"
"""The type of a file whose sender names none."""


class Pending(SessionUser):
    """An INVITE that rings: accepted or rejected once, or taken back by the peer."""

    __slots__ = ("_agent", "_answered", "_cancelled", "call", "peer", "subject")

    def __init__(self, agent: "AgentCore", call: MsrpCall, peer: str) -> None:
        self.peer = peer
        self.call = call
        self.subject = call.call.request.get("Subject") or ""
        self._agent = agent
        self._answered = False
        self._cancelled = ""
        call.bind(self)

    @property
    def chat_id(self) -> str:
        """The SIP Call-ID."""
        return self.call.call.call_id

    @property
    def pending(self) -> bool:
        """Whether it can still be answered."""
        return not self._answered and not self._cancelled

    def reject(self, status: int = 603, reason: str = "") -> bool:
        """Refuses with a SIP status: 486 busy, 480 not now, 603 declined (the default).

        False when it has been answered, or taken back by the peer, before.
        """
        if not self.pending:
            return False
        self._answered = True
        self.call.reject(status, reason)
        self._agent.forget_pending(self)
        return True

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        self._cancelled = reason or "taken back"
        self._agent.forget_pending(self)
        if not self._answered:
            self._agent.publish(events.InviteCancelled(self.peer, self.chat_id, reason))

    def _take(self) -> None:
        if not self.pending:
            raise InviteError(self._cancelled or "it has been answered already", status=487)
        self._answered = True


class Invitation(Pending):
    """Somebody invites us to a chat; ``peer`` is who, ``subject`` the Subject header if any.

    The peer hears it ringing until it is accepted or rejected.
    """

    __slots__ = ("_found", "_invited_at", "_offer", "contribution_id", "conversation_id")

    def __init__(
        self,
        agent: "AgentCore",
        call: MsrpCall,
        peer: str,
        offer: SessionDescription | None,
        found: tuple[int, MsrpMedia] | None,
    ) -> None:
        """``found`` is the stream of ``offer`` that is a chat, with its index."""
        super().__init__(agent, call, peer)
        request = call.call.request
        self._offer = offer
        self._found = found
        self._invited_at = wall_clock()
        self.conversation_id = request.get("Conversation-ID") or agent.tokens.uuid()
        self.contribution_id = request.get("Contribution-ID") or agent.tokens.uuid()
        if agent.history is not None:
            agent.history.rings(
                peer,
                self.conversation_id,
                self._invited_at,
                outgoing=False,
                chat_id=self.chat_id,
            )

    def reject(self, status: int = 603, reason: str = "") -> bool:
        refused = super().reject(status, reason)
        if refused:
            # An agent that is closed has not asked its user.
            declined = "missed" if self._agent.is_closing else "declined"
            self._note("busy" if status in (486, 600) else declined)
        return refused

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        if not self._answered:
            self._note("elsewhere" if reason == ELSEWHERE else "missed", reason)
        super().session_ended(reason, by_peer=by_peer)

    def _take(self) -> None:
        super()._take()
        self._rings_no_longer()

    def _rings_no_longer(self) -> None:
        if self._agent.history is not None:
            self._agent.history.rings_no_longer(self.peer, self._invited_at, chat_id=self.chat_id)

    def _note(self, ended: str, reason: str = "") -> None:
        """No session comes of it."""
        self._rings_no_longer()
        if self._agent.history is not None:
            self._agent.history.no_session(
                self.peer,
                self.conversation_id,
                self._invited_at,
                ended,
                reason,
                outgoing=False,
                chat_id=self.chat_id,
            )

    def reject_as_crossed(self) -> None:
        """Refuses it, unless it has been answered, because an INVITE of ours is the session."""
        if self.pending:
            self._answered = True
            self._rings_no_longer()
            self.call.reject(486, headers=[("Reason", CROSSED)])
            self._agent.forget_pending(self)

    async def accept(self) -> "Chat":
        """Answers 200, makes the MSRP connection and returns the chat.

        Raises InviteError when the peer took the invitation back, or when there is no connection
        in time, and AgentError when the port for MSRP cannot be had.
        """
        self._take()
        try:
            return await self._accept()
        except BaseException as error:
            if isinstance(error, InviteError):
                self._note("not reached", str(error))
            # Unless it has been answered: the peer must not hear it ring for ever.
            self.call.reject(500)
            raise
        finally:
            self._agent.forget_pending(self)

    async def _accept(self) -> "Chat":
        agent, call = self._agent, self.call
        if self._found is None:
            secure = is_secured(agent.options.msrp_security, call.call.flow)
        else:
            secure = self._found[1].secure
        msrp = await agent.host.msrp(secure=secure)
        side = take_own_side(
            agent,
            msrp,
            call.call.flow,
            secure=secure,
            # To who offers to connect, nothing is left but to try.
            can_listen=self._offer is not None or not agent.behind_nat,
            offering=self._offer is None,
        )
        stream, body = side.stream, side.offer
        agreement: Agreement | None = None
        try:
            if self._offer is not None:
                body, agreement = chat_answer(
                    self._offer, stream, session_id=agent.sdp_session_id(), found=self._found
                )
        except SdpParseError as error:
            call.reject(error.status or 488)
            raise InviteError(str(error), status=error.status) from error
        call.call.accept(body)
        # The peer waits for the 200; it cannot connect before the loop goes on.
        call.prepare(
            msrp,
            stream.path,
            accept_types=stream.accept_types,
            limits=agent.receive_limits(),
            direction="sendrecv" if agreement is None else agreement.direction,
            hold_answers=True,
        )
        call.describe(body)
        chat = agent.make_chat(
            call,
            peer=self.peer,
            remote_uri=agent.reply_uri(call.call, self.peer),
            conversation_id=self.conversation_id,
            contribution_id=self.contribution_id,
            outgoing=False,
        )
        make_next(agent, side)
        ack = await call.acknowledged()
        if agreement is None:
            agreement = await call.agree(ack, lambda sdp: chat_accepted(stream, sdp))
        await call.open(msrp, agreement)
        chat.opened()
        return chat


class FileOffer(Pending):
    """A peer wants to send a file: ``name`` (safe to use), ``size`` in octets, ``content_type``.

    ``sha1`` is what the peer promises, in lower-case hex, or None. ``verdict`` is what the agent's
    rules say of it, never that it is refused.
    """

    __slots__ = ("chat", "content_type", "description", "file", "name", "sha1", "size", "verdict")

    def __init__(
        self,
        agent: "AgentCore",
        call: MsrpCall,
        peer: str,
        description: SessionDescription,
        file: OfferedFile,
        chat: "Chat | None",
        verdict: FileVerdict = FileVerdict.ASK,
    ) -> None:
        super().__init__(agent, call, peer)
        self.verdict = verdict
        self.description = description
        self.file = file
        self.chat = chat
        self.name = safe_name(file.selector.name or "file")
        self.size = file.selector.size or 0
        self.sha1 = file.selector.sha1
        self.content_type = file.selector.type or UNKNOWN_TYPE

    @property
    def transfer_id(self) -> str:
        """The file-transfer-id (RFC 5547 §6), or the Call-ID when the peer gave none."""
        return self.file.transfer_id or self.chat_id

    async def accept(self, directory: str | os.PathLike[str]) -> "Transfer":
        """Takes the file into ``directory`` and returns at once; ``await transfer.done()``.

        The file appears there when it is whole and has the promised hash, under a safe name that
        no other file has. Raises InviteError when the peer took the offer back, TransferError when
        the directory cannot be written to.
        """
        self._take()
        try:
            return receive_file(self._agent, self, Path(directory))
        finally:
            self._agent.forget_pending(self)
