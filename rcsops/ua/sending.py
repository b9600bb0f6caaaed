"""A file of ours on its way to a peer, which we offered or which the peer fetches (RFC 5547)."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from rcsops.errors import InviteError, RcsopsError, TransferError
from rcsops.msrp import MessageFailed, MessageSent, Progress, SessionEvent, SuccessReported
from rcsops.rcs import (
    CPM_FILE_TRANSFER,
    FileSelector,
    answered_start,
    file_accepted,
    file_answer,
    file_offer,
    file_stream,
)
from rcsops.rcs import FileOffer as OfferedFile
from rcsops.sdp import SessionDescription
from rcsops.sip import Target, Uri
from rcsops.transport import wall_clock
from rcsops.ua import events
from rcsops.ua.calling import dial
from rcsops.ua.file_transfer import TransferStatus
from rcsops.ua.files import OutgoingFile
from rcsops.ua.receipts import MessageStatus
from rcsops.ua.refusals import NOT_KEPT, SIZE_EXCEEDED
from rcsops.ua.security import offer_securely
from rcsops.ua.session import MsrpCall
from rcsops.ua.transfer import CANCELLED, SUSPENDED, Break, Transfer
from rcsops.ua.transfer_store import reopen

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["ALREADY_RECEIVED", "OutgoingTransfer", "serve"]

ALREADY_RECEIVED = "File already received"
"""The warning by which an offer is refused whose file is here: its success report was lost."""

_REPORT_SECONDS = 30.0
_LOST = ("MSRP connection lost", "MSRP connect failed")
"""What the BYE of a peer says that would rather have gone on."""
# What Warning headers of refusals say (GSMA RCC.07, and ours).
_SAID = {
    SIZE_EXCEEDED: "the file is larger than the peer takes",
    NOT_KEPT: "the peer has no place for the file",
}
# What an offer is refused by for good (RFC 3261 §21).
_FINAL = frozenset({400, 403, 404, 405, 410, 413, 415, 488, 603, 604, 606})


class OutgoingTransfer(Transfer):
    """A file that goes: MSRP carries it, our BYE ends the session.

    ``pushed``: our INVITEs offer it; else the peer's ask for it.
    """

    __slots__ = (
        "_base",
        "_disposition",
        "_fault",
        "_file",
        "_message_id",
        "_patience",
        "_sent",
        "pushed",
    )

    def __init__(
        self,
        agent: "AgentCore",
        file: OutgoingFile | None,
        *,
        peer: str,
        uri: str,
        chat: "Chat | None",
        transfer_id: str,
        conversation_id: str,
        selector: FileSelector,
        disposition: str = "attachment",
        pushed: bool = True,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            uri=uri,
            chat=chat,
            transfer_id=transfer_id,
            conversation_id=conversation_id,
            selector=selector,
            incoming=False,
        )
        self.path = file.path if file is not None else None
        self.pushed = pushed
        self._file = file
        self._disposition = disposition
        self._message_id = ""
        self._base = 0
        self._sent = False
        # Why our own side could not go on with what it was sending.
        self._fault = ""
        self._patience: asyncio.TimerHandle | None = None

    async def keep(self) -> None:
        """Puts the file into the history, as one that is about to be sent. Raises DatabaseError."""
        if self._agent.history is not None:
            await self._agent.history.outgoing(
                self.peer,
                self.transfer_id,
                "",
                wall_clock(),
                conversation_id=self.conversation_id,
                file=self._attachment(),
            )

    @property
    def modified(self) -> float | None:
        """When the file was changed last, in seconds since 1970; None without one."""
        return None if self._file is None else self._file.modified

    def reads(self, file: OutgoingFile) -> bool:
        """Whether that is the file it sends."""
        return self._file is file

    async def _claim(self) -> None:
        await super()._claim()
        if self._file is None and self.path is not None:
            self._file = await reopen(self._facts())

    def send_from(self, start: int, stop: int | None = None) -> None:
        """Sends the octets from ``start`` on, counted from 1, over the session that is open."""
        call, file = self._call, self._file
        if call is None or call.link is None or file is None:
            raise TransferError("the session ended")
        if not file.unchanged:
            raise TransferError(f"{file.path} has changed since it was offered")
        self._base = min(start, max(self.size, 1)) - 1
        self._sent = False
        self._fault = ""
        self.octets = self._base
        self.started()
        session = call.session
        self._message_id = session.send_stream(
            file.content_type,
            min(stop or self.size, self.size) - self._base,
            file.reader(self._base),
            success_report=True,
            chunk_size=self._agent.options.file_chunk,
        )
        self._hold()
        call.link.pump()

    def failed(self, error: RcsopsError) -> None:
        """The offer was refused, or there was no connection."""
        reason = str(error)
        status = error.status if isinstance(error, InviteError) else 0
        said = next((meaning for text, meaning in _SAID.items() if text in reason), "")
        refused = status in (403, 603, 606) and not said
        self._fail(
            f"the peer refused the file ({reason})" if refused else said or reason,
            error
            if isinstance(error, TransferError)
            else TransferError(said or reason, status=status),
        )

    async def _cancel(self) -> None:
        call = self._call
        if self.over:
            return
        self._drop_kept()
        self._fail("cancelled")
        if call is not None:
            if self._message_id and call.link is not None and not call.ended:
                call.session.abort(self._message_id)
                call.link.pump()
            await call.end("cancelled", header=CANCELLED)

    async def _suspend(self) -> None:
        call = self._call
        self.interrupted("suspended", None)
        self._end_leg(None)
        self._release()
        self._agent.files.forget(self)
        if call is not None:
            await call.end("suspended", header=SUSPENDED, settle=False)
        self._close_file()

    # --- sessions ----------------------------------------------------------------------------

    async def _attempt(self, start: int) -> Break | None:
        try:
            begin = await self._offer(start)
            if self._is_off:
                return None
            self.send_from(begin)
        except RcsopsError as error:
            if self._is_off:
                return None
            status = error.status if isinstance(error, InviteError) else 0
            if ALREADY_RECEIVED in str(error):
                self._arrived()
                return None
            if status == 488 and start > 1:
                return Break("the peer has nothing of it", anew=True)
            if not self.begun and self.status is TransferStatus.INTERRUPTED:
                return Break(str(error), retry=False)
            if not self.begun or status in _FINAL or isinstance(error, TransferError):
                self.failed(error)
                return None
            return Break(str(error))
        except asyncio.CancelledError:
            if not self.begun:
                self.failed(TransferError("the agent was closed"))
            raise
        return await self.leg()

    async def _offer(self, start: int) -> int:
        """Invites the peer to take it; the octet that it wants to begin with."""
        agent = self._agent
        uri = agent.peer_uri(self.uri)
        targets = await agent.targets_for(uri)

        async def offer(secure: bool) -> int:
            return await self._invite(uri, targets, start, secure=secure)

        return await offer_securely(agent.options.msrp_security, targets[0].flow, offer)

    async def _invite(
        self, uri: Uri, targets: tuple[Target, ...], start: int, *, secure: bool
    ) -> int:
        agent = self._agent
        msrp = await agent.host.msrp(secure=secure)
        if self._is_off:
            # Cancelled before there was anything to cancel.
            return start
        path = msrp.new_path(agent.visible_host(targets[0].flow), secure=secure)
        stream = file_stream(
            path,
            send=True,
            content_type=self.content_type,
            can_listen=not agent.behind_nat,
            fingerprints=msrp.fingerprints(secure=secure),
        )
        start = min(start, max(self.size, 1))
        push = OfferedFile(
            True,
            self.selector,
            self.transfer_id,
            self._disposition,
            start,
            modified=self.modified,
        )
        offer = file_offer(stream, push, session_id=agent.sdp_session_id())
        headers = agent.service_headers(
            CPM_FILE_TRANSFER,
            conversation_id=self.conversation_id,
            contribution_id=agent.tokens.uuid(),
        )
        contact = agent.contact(targets[0])
        call = agent.make_call(agent.create_invite(uri, contact, headers, offer), contact)
        session = MsrpCall(agent.host, call)
        session.prepare(msrp, path, accept_types=stream.accept_types, direction=stream.direction)
        session.describe(offer)
        self.dialled(session)
        try:
            response = await dial(agent, call, targets, self.peer, None)
        except InviteError:
            session.drop()
            raise
        agreement = await session.agree(response, lambda sdp: file_accepted(stream, sdp))
        begin = answered_start(agreement.remote)
        await session.open(msrp, agreement)
        return begin

    def _hold(self) -> None:
        call = self._call
        if not self._message_id or call is None or call.link is None or call.ended:
            return
        if self.paused or self._held_by_peer:
            call.session.pause(self._message_id)
        else:
            call.session.resume(self._message_id)
            call.link.pump()

    def session_event(self, event: SessionEvent) -> None:
        if self._leg is None or self._leg.done():
            return
        if isinstance(event, Progress):
            self._progress(self._base + event.octets)
        elif isinstance(event, MessageFailed):
            self._refused(event)
        elif isinstance(event, MessageSent):
            self._sent = True
            # RFC 4975 lets a peer answer every chunk and yet send no report.
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_REPORT_SECONDS, self._arrived)
        elif isinstance(event, SuccessReported):
            self._arrived()

    def _refused(self, event: MessageFailed) -> None:
        if event.status == 0:
            # The end of the session, which tells more, comes next.
            self._fault = event.reason
            return
        if event.status == 408:
            how = Break("the peer does not answer")
        elif self._sent and self._base:
            how = Break(f"the peer has not got what it should: {event.reason}", anew=True)
        else:
            refused = f"the peer refused the data: {event.status} {event.reason}".strip()
            self._fail(self._own_fault or refused)
            self._end("failed")
            return
        self._agent.host.spawn(self._break_off(how, SUSPENDED))

    @property
    def _own_fault(self) -> str:
        """Why the peer could not take it, where that lies with us; else empty."""
        if self._file is not None and not self._file.unchanged:
            return f"{self.name} was changed while it was sent"
        return self._fault

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        if self._leg is None or self._leg.done():
            return
        if reason == "Cancelled":
            self._fail(self._own_fault or "the peer gave it up")
        elif reason == "File not kept":
            if self._base:
                self._end_leg(Break("the peer has not got what it should", anew=True))
            else:
                self._fail(self._own_fault or "the peer did not keep the file")
        elif self._sent and by_peer and reason not in _LOST:
            # A peer that counts the octets itself may end the session without a report.
            self._arrived()
        else:
            why = f"the session ended: {reason}" if reason else "the session ended"
            self._end_leg(Break(why, retry=not by_peer or reason in _LOST))

    def _arrived(self) -> None:
        if self.over:
            return
        self._note(MessageStatus.DELIVERED)
        self._succeed(
            events.FileSent(
                self.peer, self.chat_id, self.transfer_id, self.name, self.size, self.sha1
            )
        )
        self._end("sent")

    def _fail(self, reason: str, error: RcsopsError | None = None) -> None:
        if not self.over:
            self._note(MessageStatus.FAILED, reason)
        super()._fail(reason, error)

    def _end_leg(self, how: Break | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super()._end_leg(how)

    def _finish(self, event: events.Event) -> None:
        if self.status is TransferStatus.DONE and self._file is not None:
            # Who has got it may fetch it again.
            self._agent.files.lend(self.peer, self._file)
            self._file = None
        self._close_file()
        super()._finish(event)

    def _note(self, status: MessageStatus, reason: str = "") -> None:
        if self._agent.history is not None and self.pushed:
            self._agent.history.status(self.peer, self.transfer_id, status.value, reason)

    def _end(self, reason: str) -> None:
        if self._call is not None:
            self._agent.host.spawn(self._call.end(reason))

    def _close_file(self) -> None:
        if self._file is not None and not self._agent.files.is_lent(self._file):
            self._file.close()

    def _keep_facts(self) -> None:
        if self.pushed:
            super()._keep_facts()


async def serve(
    agent: "AgentCore",
    call: MsrpCall,
    transfer: OutgoingTransfer,
    description: SessionDescription,
    wanted: OfferedFile,
) -> None:
    """Sends what the INVITE of ``call`` asks for (RFC 5547 §8.3)."""
    transfer.dialled(call)
    try:
        await transfer.claim()
        secure = wanted.media is not None and wanted.media.secure
        msrp = await agent.host.msrp(secure=secure)
        path = msrp.new_path(agent.visible_host(call.call.flow), secure=secure)
        stream = file_stream(
            path,
            send=True,
            content_type=transfer.content_type,
            prefer=agent.answer_setup,
            fingerprints=msrp.fingerprints(secure=secure),
        )
        found = replace(
            wanted,
            selector=transfer.selector,
            start=min(wanted.start, max(transfer.size, 1)),
            modified=transfer.modified,
        )
        body, agreement = file_answer(description, found, stream, session_id=agent.sdp_session_id())
        call.prepare(msrp, path, accept_types=stream.accept_types, direction="sendonly")
        call.call.accept(body)
        call.describe(body)
        await call.acknowledged()
        await call.open(msrp, agreement)
        transfer.send_from(found.start, found.stop)
    except RcsopsError as error:
        call.reject(488)
        await call.end(str(error))
        how: Break | None = Break(str(error))
    else:
        how = await transfer.leg()
    if how is None or not transfer.is_on(call):
        return
    if transfer.pushed:
        transfer.interrupted(how.reason, None)
    else:
        transfer.failed(TransferError(how.reason))
