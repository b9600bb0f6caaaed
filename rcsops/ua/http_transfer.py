"""One file on its way to or from a content server."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rcsops.database.history import Attachment
from rcsops.errors import DatabaseError, RcsopsError, TransferError
from rcsops.rcs import FileInfo, FileSelector
from rcsops.ua import events
from rcsops.ua.files import OutgoingFile
from rcsops.ua.incoming_file import IncomingFile
from rcsops.ua.receipts import Receipt
from rcsops.ua.transfer import TransferStatus

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["HttpDownload", "HttpTransfer", "HttpUpload"]

logger = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.1

Deliver = Callable[[FileInfo, Attachment], Awaitable[Receipt]]


class HttpTransfer:
    """A file on its way to or from a content server; ``octets`` of ``size`` have got through.

    ``path`` is the file that is sent, or where the received one is, None until it is whole.
    """

    __slots__ = (
        "_agent",
        "_error",
        "_outcome",
        "_shown_at",
        "_task",
        "chat",
        "chat_id",
        "name",
        "octets",
        "path",
        "peer",
        "sha1",
        "size",
        "status",
        "transfer_id",
    )
    incoming = False

    def __init__(
        self,
        agent: "AgentCore",
        *,
        peer: str,
        chat: "Chat | None",
        transfer_id: str,
        name: str,
        size: int,
        sha1: str = "",
    ) -> None:
        self.peer = peer
        self.chat = chat
        self.chat_id = chat.chat_id if chat is not None else ""
        self.transfer_id = transfer_id
        self.name = name
        self.size = size
        self.sha1 = sha1
        self.octets = 0
        self.path: Path | None = None
        self.status = TransferStatus.OFFERED
        self._agent = agent
        self._task: asyncio.Task[None] | None = None
        self._error: RcsopsError | None = None
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shown_at = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.octets}/{self.size} {self.status}>"

    @property
    def over(self) -> bool:
        """Whether it is through or has failed."""
        return self._outcome.done()

    async def done(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109
        """Waits for its end and returns the transfer.

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

    def start(self) -> None:
        """Begins."""
        self.status = TransferStatus.RUNNING
        self._task = self._agent.host.spawn(self._guarded())

    async def cancel(self) -> None:
        """Gives it up; of an incoming file nothing is left."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._fail("cancelled")

    async def _guarded(self) -> None:
        try:
            await self._run()
        except RcsopsError as error:
            self._fail(str(error), error)
        except asyncio.CancelledError:
            self._fail("cancelled")
            raise

    async def _run(self) -> None:
        raise NotImplementedError

    def _attachment(self) -> Attachment:
        path = os.path.abspath(self.path) if self.path is not None else ""
        return Attachment(self.name, path, self.size, self.sha1)

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
        self.octets = self.size
        self._end(TransferStatus.DONE, event)

    def _fail(self, reason: str, error: RcsopsError | None = None) -> None:
        if not self.over:
            self._error = error if error is not None else TransferError(reason)
        self._end(
            TransferStatus.FAILED,
            events.FileFailed(
                self.peer, self.chat_id, self.transfer_id, self.name, reason, self.incoming
            ),
        )

    def _end(self, status: TransferStatus, event: events.Event) -> None:
        if self.over:
            return
        self.status = status
        self._outcome.set_result(None)
        self._agent.http_files.over(self)
        self._tell(event)

    def _tell(self, event: events.Event) -> None:
        if self.chat is not None and not self.chat.ended:
            self.chat.publish(event)
        else:
            self._agent.publish(event)


class HttpUpload(HttpTransfer):
    """A file on its way to our content server, and its address to the peer: ``done`` returns when
    the message is on its way, and ``receipt`` is that message's."""

    __slots__ = ("_deliver", "_file", "_thumbnail", "info", "receipt")

    def __init__(
        self,
        agent: "AgentCore",
        file: OutgoingFile,
        thumbnail: tuple[str, bytes] | None,
        *,
        peer: str,
        chat: "Chat | None",
        deliver: Deliver,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            chat=chat,
            transfer_id=agent.tokens.uuid(),
            name=file.name,
            size=file.size,
            sha1=file.sha1,
        )
        self.path = file.path
        self.info: FileInfo | None = None
        self.receipt: Receipt | None = None
        self._file = file
        self._thumbnail = thumbnail
        self._deliver = deliver

    async def _run(self) -> None:
        try:
            self.info = await self._agent.http_files.client.upload(
                self.transfer_id, self._file, self._progress, thumbnail=self._thumbnail
            )
        finally:
            self._file.close()
        self.receipt = await self._deliver(self.info, self._attachment())
        self._succeed(
            events.FileUploaded(
                self.peer,
                self.chat_id,
                self.transfer_id,
                self.name,
                self.size,
                self.sha1,
                self.info.file.url,
                self.receipt.message_id,
            )
        )


class HttpDownload(HttpTransfer):
    """A file on its way from a content server; its ``transfer_id`` is the Message-ID of the message
    that told of it."""

    __slots__ = ("_incoming", "_stored")
    incoming = True

    def __init__(
        self,
        agent: "AgentCore",
        info: FileInfo,
        directory: Path,
        *,
        peer: str,
        chat: "Chat | None",
        message_id: str,
    ) -> None:
        """Raises TransferError when nothing can be written to the directory."""
        super().__init__(
            agent,
            peer=peer,
            chat=chat,
            transfer_id=message_id,
            name=info.name,
            size=info.file.size,
        )
        self._stored = info.file
        self._incoming = IncomingFile(directory, info.name, FileSelector(size=info.file.size))

    async def _run(self) -> None:
        try:
            await self._agent.http_files.client.download(
                self._stored, self._incoming, self._progress
            )
            self.path, self.sha1 = await self._incoming.commit()
        finally:
            self._incoming.abort()
        history = self._agent.history
        if history is not None:
            try:
                path = self._attachment().path
                await history.file_arrived(self.peer, self.transfer_id, path, self.sha1)
            except DatabaseError as error:
                # The file is there all the same.
                logger.error("where %s is could not be kept: %s", self.name, error)
        self._succeed(
            events.FileReceived(
                self.peer,
                self.chat_id,
                self.transfer_id,
                self.name,
                self.path,
                self.size,
                self.sha1,
            )
        )
