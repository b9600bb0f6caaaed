"""One file on its way to or from a content server."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.database.history import Attachment
from rcsops.errors import DatabaseError, RcsopsError, TransferError
from rcsops.rcs import FileInfo, FileSelector, StoredFile
from rcsops.ua import events
from rcsops.ua.arrival import Arrival
from rcsops.ua.file_transfer import FileTransfer, Patience, TransferStatus
from rcsops.ua.files import OutgoingFile, read_thumbnail
from rcsops.ua.http_answers import FAULT, Interrupted
from rcsops.ua.incoming_file import IncomingFile
from rcsops.ua.receipts import Receipt
from rcsops.ua.transfer_store import Facts, reopen

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["HttpDownload", "HttpTransfer", "HttpUpload", "stored_of"]

logger = logging.getLogger(__name__)

Deliver = Callable[[FileInfo, Attachment, str], Awaitable[Receipt]]


class HttpTransfer(FileTransfer):
    """A file on its way to or from a content server.

    The peer takes no part in it: what is paused, resumed or given up is so here alone.
    """

    __slots__ = ("_completing", "_task")
    WAY = "http"

    def __init__(
        self,
        agent: "AgentCore",
        *,
        peer: str,
        chat: "Chat | None",
        transfer_id: str,
        conversation_id: str,
        incoming: bool,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            uri="",
            chat=chat,
            transfer_id=transfer_id,
            conversation_id=conversation_id,
            incoming=incoming,
        )
        self._task: asyncio.Task[None] | None = None
        # All octets are through: what is left is too short to be broken off.
        self._completing = False

    def start(self) -> None:
        """Begins, or goes on."""
        self.status = TransferStatus.RUNNING
        self.begun = True
        self._keep_facts()
        self._save(force=True)
        self._task = self._agent.host.spawn(self._run())

    async def pause(self) -> None:
        self._check("pause")
        if self.paused:
            return
        self.paused = True
        await self._stop()
        if self.over:
            return
        if self.status is TransferStatus.RUNNING:
            self.status = TransferStatus.PAUSED
        self._save(force=True)
        self._tell_paused(by_peer=False)

    async def resume(self) -> None:
        self._check("resume")
        if self._sleeper is not None:
            self._wake()
            return
        if self._is_running:
            return
        was_paused, self.paused = self.paused, False
        try:
            await self.claim()
        except BaseException:
            self.paused = self.paused or was_paused
            raise
        # That may have taken long: the user may have paused it since, or asked for it twice.
        if self._is_off or self.paused or self._is_running:
            return
        self._begin_again()
        self.start()
        self._tell_resumed()

    async def _cancel(self) -> None:
        await self._stop()
        if not self.over:
            self._drop_kept()
            self._fail("cancelled")

    async def _suspend(self) -> None:
        await self._stop()
        if self.over:
            return
        if self.status is not TransferStatus.INTERRUPTED:
            self.interrupted("suspended", None)
        self._release()
        self._agent.files.forget(self)
        await self._let_go()

    @property
    def _is_running(self) -> bool:
        return self.status is TransferStatus.RUNNING

    async def _stop(self) -> None:
        """Breaks it off where it is, unless it is about to come to its end."""
        task = self._task
        if task is None or task.done():
            return
        if not self._completing:
            task.cancel()
        await asyncio.wait((task,))
        await self._settle()

    async def _run(self) -> None:
        try:
            if not await self._drive():
                return
            self._completing = True
            await self._complete()
        except RcsopsError as error:
            self._fail(str(error), error)
        except Exception:
            # A fault of ours: nobody is to wait for ever.
            self._fail("it failed for an unknown reason")
            raise
        finally:
            self._completing = False

    async def _drive(self) -> bool:
        """Tries to bring the octets over until they are; False when no more is tried."""
        patience = Patience(self._agent, self.octets)
        while True:
            try:
                await self._transfer()
            except Interrupted as error:
                await self._settle()
                delay = patience.wait(self.octets, fault=error.status == FAULT)
                self.interrupted(str(error), delay, None if delay is None else patience.left)
                if delay is None:
                    return False
                await self._sleep(delay)
                self.status = TransferStatus.RUNNING
                self._tell_resumed()
            else:
                return True

    async def _transfer(self) -> None:
        """Brings the octets over, from where they are; raises Interrupted when it is to be tried
        again."""
        raise NotImplementedError

    async def _complete(self) -> None:
        """What is to be done when they are through."""
        raise NotImplementedError

    def adopt(self, facts: Facts) -> None:
        super().adopt(facts)
        self.paused = facts.paused

    def _facts(self) -> Facts:
        return replace(super()._facts(), paused=self.paused)

    async def _settle(self) -> None:
        """It stands still: how far it has come is made sure of."""

    async def _let_go(self) -> None:
        """The file is closed; what there is of it stays."""


class HttpUpload(HttpTransfer):
    """A file on its way to our content server, and its address to the peer: ``done`` returns when
    the message is on its way, and ``receipt`` is that message's.

    Its ``transfer_id`` is what the content server knows it by. The Message-ID is made of that, so
    that a peer who is told twice, since this end was killed in between, knows it.
    """

    __slots__ = ("_deliver", "_file", "_thumbnail", "_tried", "info", "receipt", "thumbnail")

    def __init__(
        self,
        agent: "AgentCore",
        file: OutgoingFile | Facts,
        *,
        peer: str,
        chat: "Chat | None",
        transfer_id: str,
        conversation_id: str,
        thumbnail: Path | None,
        deliver: Deliver,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            chat=chat,
            transfer_id=transfer_id,
            conversation_id=conversation_id,
            incoming=False,
        )
        self.path = Path(file.path)
        self.name = file.name
        self.content_type = file.content_type
        self.size = file.size
        self.sha1, self.sha256 = file.sha1, file.sha256
        self.thumbnail = thumbnail
        self.info: FileInfo | None = None
        self.receipt: Receipt | None = None
        self._file = file if isinstance(file, OutgoingFile) else None
        self._deliver = deliver
        self._tried = False

    def adopt(self, facts: Facts) -> None:
        super().adopt(facts)
        self._tried = True

    async def _claim(self) -> None:
        await super()._claim()
        if self._file is None:
            self._file = await reopen(self._facts())

    async def _transfer(self) -> None:
        if self.info is not None:
            return
        assert self._file is not None
        begun, self._tried = self._tried, True
        small = None
        if self.thumbnail is not None:
            try:
                small = await asyncio.to_thread(read_thumbnail, self.thumbnail)
            except TransferError as error:
                # It was there when the file was first sent.
                logger.info("%s goes without its thumbnail: %s", self.name, error)
        self.info = await self._agent.http_files.client.upload(
            self.transfer_id, self._file, self._progress, thumbnail=small, begun=begun
        )

    async def _complete(self) -> None:
        assert self.info is not None
        message_id = self.transfer_id.replace("-", "")
        self.receipt = await self._deliver(self.info, self._attachment(), message_id)
        self._succeed(
            events.FileUploaded(
                *self._who(),
                self.size,
                self.sha1,
                self.info.file.url,
                self.receipt.message_id,
            )
        )

    async def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _finish(self, event: events.Event) -> None:
        if self._file is not None:
            self._file.close()
        super()._finish(event)

    def _facts(self) -> Facts:
        return replace(
            super()._facts(),
            thumbnail=str(self.thumbnail.absolute()) if self.thumbnail is not None else "",
        )


class HttpDownload(Arrival, HttpTransfer):
    """A file on its way from a content server; its ``transfer_id`` is the Message-ID of the message
    that told of it. ``validator`` is what the server calls this state of it (RFC 9110 §8.8)."""

    __slots__ = ("_directory", "_file", "_kept_as", "_stored", "validator")

    def __init__(
        self,
        agent: "AgentCore",
        stored: StoredFile,
        name: str,
        directory: Path,
        *,
        peer: str,
        chat: "Chat | None",
        message_id: str,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            chat=chat,
            transfer_id=message_id,
            conversation_id=chat.conversation_id if chat is not None else "",
            incoming=True,
        )
        self.name = name
        self.content_type = stored.content_type
        self.size = stored.size
        self.validator = ""
        self._stored = stored
        self._directory = directory
        self._file: IncomingFile | None = None
        self._kept_as = message_id

    def make_file(self) -> None:
        self.validator = self.sha256 = ""
        self._use(IncomingFile(self._directory, self.name, self._promised))

    @property
    def _promised(self) -> FileSelector:
        return FileSelector(size=self.size, sha256=self.sha256 or None)

    def adopt(self, facts: Facts) -> None:
        super().adopt(facts)
        self.validator, self.sha256 = facts.validator, facts.sha256

    # --- where the octets go -----------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether the disk is behind."""
        return self._file is not None and self._file.is_full

    async def begin(self, offset: int, validator: str, sha256: str) -> None:
        """See ``Target``."""
        assert self._file is not None
        if offset == 0:
            await self._file.restart()
            self.octets = 0
            self.validator = validator
            self.sha256 = sha256
        else:
            await self._file.flush()
            self.validator = validator or self.validator
            if self.sha256 and sha256 not in ("", self.sha256):
                raise TransferError("the content server gives another hash than before")
            self.sha256 = self.sha256 or sha256
        self._file.promise(self.sha256)
        self._save(force=True)

    def write(self, offset: int, data: bytes) -> None:
        """See ``Target``."""
        assert self._file is not None
        self._file.write(offset, data)

    async def flush(self) -> None:
        """See ``Target``."""
        assert self._file is not None
        await self._file.flush()

    # --- from the beginning to the end -------------------------------------------------------

    async def _transfer(self) -> None:
        await self._agent.http_files.client.download(
            self._stored, self, self._progress, reached=self.octets
        )

    async def _complete(self) -> None:
        assert self._file is not None
        await self._arrived(*await self._file.commit())
        self._told()

    async def _arrived(self, path: Path, sha1: str) -> None:
        self.path, self.sha1 = path, sha1
        history = self._agent.history
        if history is not None:
            try:
                await history.file_arrived(self.peer, self._kept_as, self._attachment().path, sha1)
            except DatabaseError as error:
                # The file is there all the same.
                logger.error("where %s is could not be kept: %s", self.name, error)

    async def _settle(self) -> None:
        if self._file is not None and not self.over:
            with contextlib.suppress(TransferError):
                await self._file.flush()
            self.octets = self._file.rewind()
            self._save(force=True)

    async def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            await file.suspend()

    def _finish(self, event: events.Event) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.abort()
        super()._finish(event)

    def _facts(self) -> Facts:
        until = self._stored.until
        return replace(
            super()._facts(),
            url=self._stored.url,
            until=0 if until is None else int(until.timestamp()),
            validator=self.validator,
        )


def stored_of(facts: Facts) -> StoredFile:
    """Where a file is that was being fetched at an earlier time."""
    until = datetime.fromtimestamp(facts.until, UTC) if facts.until else None
    return StoredFile(facts.url, facts.size, facts.content_type, until)
