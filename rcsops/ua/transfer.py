"""A file on its way, in either direction (RFC 5547)."""

import asyncio
import logging
import os
from copy import copy
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.database.history import Attachment
from rcsops.errors import DatabaseError, InviteError, RcsopsError, SessionClosed, TransferError
from rcsops.msrp import (
    BodyComplete,
    BodyReceived,
    MessageAborted,
    MessageFailed,
    MessageSent,
    Progress,
    SessionEvent,
    SuccessReported,
)
from rcsops.transport import wall_clock
from rcsops.ua import events
from rcsops.ua.files import IncomingFile, OutgoingFile
from rcsops.ua.receipts import MessageStatus
from rcsops.ua.session import MsrpCall, SessionUser

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["IncomingTransfer", "OutgoingTransfer", "Transfer", "TransferStatus"]

logger = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.1
_REPORT_SECONDS = 30.0
_PARTING_SECONDS = 10.0


class TransferStatus(StrEnum):
    """Where a transfer stands."""

    OFFERED = "offered"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Transfer(SessionUser):
    """A file that is sent or received; ``octets`` of ``size`` have got through so far.

    ``path`` is the file that is sent, or where the received one is, None until it is whole.
    """

    __slots__ = (
        "_agent",
        "_error",
        "_outcome",
        "_shown_at",
        "chat",
        "chat_id",
        "incoming",
        "name",
        "octets",
        "path",
        "peer",
        "sha1",
        "size",
        "status",
        "transfer_id",
    )

    def __init__(
        self,
        agent: "AgentCore",
        *,
        peer: str,
        chat: "Chat | None",
        transfer_id: str,
        name: str,
        size: int,
        sha1: str,
        incoming: bool,
    ) -> None:
        self.peer = peer
        self.chat = chat
        self.chat_id = chat.chat_id if chat is not None else ""
        self.transfer_id = transfer_id
        self.name = name
        self.size = size
        self.sha1 = sha1
        self.incoming = incoming
        self.octets = 0
        self.path: Path | None = None
        self.status = TransferStatus.OFFERED
        self._agent = agent
        self._error: RcsopsError | None = None
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shown_at = 0.0

    def __repr__(self) -> str:
        return f"<Transfer {self.name!r} {self.octets}/{self.size} {self.status}>"

    async def done(self, timeout: float | None = None) -> "Transfer":  # noqa: ASYNC109
        """Waits until the whole file is at the other side, or here; returns the transfer.

        Raises TransferError when it did not get through, or after ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._outcome)
        except TimeoutError as error:
            raise TransferError(f"{self.name} is not through after {timeout:g} s") from error
        if self._error is not None:
            # A copy: what is raised holds the frames it came through, and they this.
            raise copy(self._error)
        return self

    async def cancel(self) -> None:
        """Gives the transfer up; of an incoming file nothing is left."""
        raise NotImplementedError

    def _attachment(self) -> Attachment:
        path = os.path.abspath(self.path) if self.path is not None else ""
        return Attachment(self.name, path, self.size, self.sha1)

    def _running(self) -> None:
        self.status = TransferStatus.RUNNING

    def _progress(self, octets: int) -> None:
        if octets == self.octets:
            return
        self.octets = octets
        now = asyncio.get_running_loop().time()
        if now - self._shown_at >= _PROGRESS_SECONDS or octets == self.size:
            self._shown_at = now
            self._tell(
                events.FileProgress(
                    self.peer, self.chat_id, self.transfer_id, octets, self.size, self.incoming
                )
            )

    def _succeed(self, event: events.Event) -> None:
        if self._outcome.done():
            return
        self.status = TransferStatus.DONE
        self.octets = self.size
        self._outcome.set_result(None)
        self._agent.files.forget(self)
        self._tell(event)

    def _fail(self, reason: str, error: RcsopsError | None = None) -> None:
        if self._outcome.done():
            return
        self.status = TransferStatus.FAILED
        self._error = error if error is not None else TransferError(reason)
        self._outcome.set_result(None)
        self._agent.files.forget(self)
        self._tell(
            events.FileFailed(
                self.peer, self.chat_id, self.transfer_id, self.name, reason, self.incoming
            )
        )

    def _tell(self, event: events.Event) -> None:
        if self.chat is not None and not self.chat.ended:
            self.chat.publish(event)
        else:
            self._agent.publish(event)


class OutgoingTransfer(Transfer):
    """A push: our INVITE offers the file, MSRP carries it, our BYE ends it."""

    __slots__ = ("_call", "_file", "_message_id", "_patience", "_reported", "_sent")

    def __init__(
        self,
        agent: "AgentCore",
        file: OutgoingFile,
        *,
        peer: str,
        chat: "Chat | None",
        transfer_id: str,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            chat=chat,
            transfer_id=transfer_id,
            name=file.name,
            size=file.size,
            sha1=file.sha1,
            incoming=False,
        )
        self.path = file.path
        self._file = file
        self._call: MsrpCall | None = None
        self._message_id = ""
        self._sent = False
        self._patience: asyncio.TimerHandle | None = None
        self._reported: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def keep(self, conversation_id: str) -> None:
        """Puts the file into the history, as one that is about to be sent. Raises DatabaseError."""
        if self._agent.history is not None:
            await self._agent.history.outgoing(
                self.peer,
                self.transfer_id,
                "",
                wall_clock(),
                conversation_id=conversation_id,
                file=self._attachment(),
            )

    def offered(self, call: MsrpCall) -> None:
        """The INVITE is about to leave."""
        self._call = call
        call.bind(self)

    async def run(self) -> None:
        """Sends the file over the session that is open, and waits for its arrival."""
        call = self._call
        if call is None or call.link is None or self._outcome.done():
            return
        self._running()
        session = call.session
        self._message_id = session.send_stream(
            self._file.content_type, self.size, self._file.read, success_report=True
        )
        call.link.pump()
        try:
            await asyncio.shield(self._outcome)
        finally:
            self._file.close()

    def failed(self, error: RcsopsError) -> None:
        """The offer was refused, or there was no connection."""
        self._file.close()
        reason = str(error)
        status = error.status if isinstance(error, InviteError) else 0
        refused = status in (403, 603, 606)
        self._fail(
            f"the peer refused the file ({reason})" if refused else reason,
            TransferError(reason, status=status),
        )

    async def cancel(self) -> None:
        call = self._call
        if self._outcome.done():
            return
        self._fail("cancelled")
        self._file.close()
        if call is not None:
            if self._message_id and call.link is not None and not call.ended:
                call.session.abort(self._message_id)
                call.link.pump()
            await call.end("cancelled")

    def session_event(self, event: SessionEvent) -> None:
        if isinstance(event, Progress):
            self._progress(event.octets)
        elif isinstance(event, MessageFailed):
            self._fail(f"the peer refused the data: {event.status} {event.reason}".strip())
            self._end("failed")
        elif isinstance(event, MessageSent):
            self._sent = True
            # RFC 4975 lets a peer answer every chunk and yet send no report.
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_REPORT_SECONDS, self._arrived)
            if self._reported.done():
                self._arrived()
        elif isinstance(event, SuccessReported):
            if not self._reported.done():
                self._reported.set_result(None)
            if self._sent:
                self._arrived()

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        if self._sent:
            # A peer that counts the octets itself may end the session without a report.
            self._arrived()
        else:
            self._fail(f"the session ended: {reason}" if reason else "the session ended")

    def _fail(self, reason: str, error: RcsopsError | None = None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if not self._outcome.done():
            self._note(MessageStatus.FAILED, reason)
        super()._fail(reason, error)

    def _note(self, status: MessageStatus, reason: str = "") -> None:
        if self._agent.history is not None:
            self._agent.history.status(self.peer, self.transfer_id, status.value, reason)

    def _arrived(self) -> None:
        if self._outcome.done():
            return
        if self._patience is not None:
            self._patience.cancel()
        self._note(MessageStatus.DELIVERED)
        self._succeed(
            events.FileSent(
                self.peer, self.chat_id, self.transfer_id, self.name, self.size, self.sha1
            )
        )
        self._end("sent")

    def _end(self, reason: str) -> None:
        if self._call is not None:
            self._agent.host.spawn(self._call.end(reason))


class IncomingTransfer(Transfer):
    """A push by the peer: the octets gather out of sight and become a file when all is right."""

    __slots__ = ("_call", "_committing", "_file")

    def __init__(
        self,
        agent: "AgentCore",
        call: MsrpCall,
        file: IncomingFile,
        *,
        peer: str,
        chat: "Chat | None",
        transfer_id: str,
        name: str,
        size: int,
        sha1: str | None,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            chat=chat,
            transfer_id=transfer_id,
            name=name,
            size=size,
            sha1=sha1 or "",
            incoming=True,
        )
        self._call = call
        self._file = file
        self._committing = False
        call.bind(self)

    def started(self) -> None:
        """The connection is there."""
        self._running()

    def failed(self, error: RcsopsError) -> None:
        """There was no connection."""
        self._file.abort()
        self._fail(str(error), TransferError(str(error)))

    async def cancel(self) -> None:
        if self._committing:
            # All of it is here; whether it is right is decided in a moment.
            await asyncio.shield(self._outcome)
            return
        if self._outcome.done():
            return
        self._file.abort()
        self._fail("cancelled")
        await self._call.end("cancelled")

    def session_event(self, event: SessionEvent) -> None:
        if self._outcome.done() or self._committing:
            return
        if isinstance(event, BodyReceived):
            try:
                self._file.write(event.offset, event.data)
            except TransferError as error:
                self._give_up(str(error), event.message_id)
                return
            self._progress(min(self._file.written, self.size))
        elif isinstance(event, BodyComplete):
            self._committing = True
            self._agent.host.spawn(self._commit())
        elif isinstance(event, MessageAborted):
            self._give_up("the peer gave it up")

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        if not self._committing:
            self._file.abort()
            self._fail(f"the session ended: {reason}" if reason else "the session ended")

    def _give_up(self, reason: str, message_id: str = "") -> None:
        self._file.abort()
        self._fail(reason)
        try:
            if message_id:
                self._call.session.stop_receiving(message_id)
        except SessionClosed:
            pass
        self._agent.host.spawn(self._call.end(reason))

    async def _commit(self) -> None:
        try:
            path, sha1 = await self._file.commit()
        except TransferError as error:
            self._fail(str(error), error)
            await self._call.end(str(error), header='SIP;cause=500;text="File not kept"')
            return
        self.path = path
        self.sha1 = sha1
        await self._keep()
        self._succeed(
            events.FileReceived(
                self.peer, self.chat_id, self.transfer_id, self.name, path, self.size, sha1
            )
        )
        await self._see_off()

    async def _keep(self) -> None:
        history = self._agent.history
        if history is None:
            return
        kept: asyncio.Future[bool | DatabaseError] = asyncio.get_running_loop().create_future()
        history.incoming(
            self.peer,
            # Not the peer's own name for the transfer: one used twice would hide a file.
            self._agent.tokens.imdn_id(),
            "",
            wall_clock(),
            conversation_id=self.chat.conversation_id if self.chat is not None else "",
            file=self._attachment(),
            done=lambda result: None if kept.done() else kept.set_result(result),
        )
        if isinstance(result := await kept, DatabaseError):
            # The file itself is here, which is what its sender wants to know.
            logger.warning("a received file is not in the history: %s", result)

    async def _see_off(self) -> None:
        """The sender ends the session; one that does not is not kept for good."""
        link = self._call.link
        try:
            async with asyncio.timeout(_PARTING_SECONDS):
                if link is not None:
                    await link.wait_for(lambda: False)
        except TimeoutError:
            await self._call.end("received")
