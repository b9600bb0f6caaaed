"""A file on its way to us, over MSRP or HTTP: what a restart needs to know of it."""

import asyncio
import contextlib
import logging
import os
from dataclasses import replace
from pathlib import Path

from rcsops.errors import TransferError
from rcsops.rcs import FileSelector
from rcsops.ua import events
from rcsops.ua.file_transfer import FileTransfer
from rcsops.ua.incoming_file import Checkpoint, IncomingFile, is_whole
from rcsops.ua.transfer_store import Facts

__all__ = ["Arrival"]

logger = logging.getLogger(__name__)


class Arrival(FileTransfer):
    """A file that comes, into ``_directory``: its octets gather out of sight, in ``_file``, and
    become a file when all is right. ``_kept_as`` is the Message-ID that the history knows it by.
    """

    __slots__ = ()
    _directory: Path
    _file: IncomingFile | None
    _kept_as: str

    @property
    def _promised(self) -> FileSelector:
        """What the whole file must be."""
        raise NotImplementedError

    def make_file(self) -> None:
        """Makes the place for what comes. Raises TransferError when there is none."""
        raise NotImplementedError

    def _use(self, file: IncomingFile) -> None:
        self._file = file  # type: ignore[misc]  # a slot of the subclass
        self.octets = file.written
        file.on_naming = self._named

    async def _claim(self) -> None:
        await super()._claim()
        if self._file is not None or self._record is None:
            return
        facts = self._record.facts
        if facts.final:
            final = Path(facts.final)
            if await asyncio.to_thread(is_whole, final, facts.size, facts.octets_sha1):
                # An earlier process gave it that name, and was ended before it told anybody.
                self._kept_as = facts.message_id  # type: ignore[misc]
                with contextlib.suppress(OSError):
                    os.unlink(facts.path)
                await self._arrived(final, facts.octets_sha1)
                self._told()
                return
        kept = Checkpoint(facts.octets, facts.octets_sha1)
        try:
            file = await IncomingFile.reopen(
                self._directory, self.name, self._promised, Path(facts.path), kept
            )
        except TransferError as error:
            # What there was of it is gone, or is not what it was: all of it has to come.
            logger.info("%s starts anew: %s", self.name, error)
            self.make_file()
            return
        self._use(file)

    async def _arrived(self, path: Path, sha1: str) -> None:
        """It has its name: the history is to have it before anybody is told."""
        raise NotImplementedError

    def _told(self) -> None:
        assert self.path is not None
        self._succeed(events.FileReceived(*self._who(), self.path, self.size, self.sha1))

    def _named(self, final: Path, sha1: str) -> None:
        # In a thread; nothing else is kept of it meanwhile. Who is killed behind this finds it so.
        if self._record is not None:
            whole = replace(
                self._facts(),
                octets=self.size,
                octets_sha1=sha1,
                final=str(final.absolute()),
                message_id=self._kept_as,
            )
            self._record.save(whole, sync=True)

    def _facts(self) -> Facts:
        file = self._file
        checkpoint = file.checkpoint if file is not None else Checkpoint(0, "")
        return replace(
            super()._facts(),
            path=str(file.partial.absolute()) if file is not None else "",
            directory=str(self._directory.absolute()),
            octets=checkpoint.octets,
            octets_sha1=checkpoint.sha1,
        )
