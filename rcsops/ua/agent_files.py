"""What programs do with files by an agent: over MSRP, from device to device, and over HTTP, by way
of a content server."""

import os
from pathlib import Path

from rcsops.errors import UsageError
from rcsops.rcs import FileSelector
from rcsops.ua.chat import Chat
from rcsops.ua.core import AgentCore
from rcsops.ua.file_transfer import FileTransfer
from rcsops.ua.files import OutgoingFile
from rcsops.ua.http_files import HttpOffer
from rcsops.ua.http_transfer import HttpDownload, HttpUpload
from rcsops.ua.transfer import Transfer

__all__ = ["FileAgent"]


class FileAgent(AgentCore):
    """The part of :class:`~rcsops.ua.agent.Agent` that is about files; programs use that one."""

    __slots__ = ()

    async def send_file(
        self,
        peer: str,
        path: str | os.PathLike[str],
        *,
        chat: Chat | None = None,
        conversation_id: str | None = None,
        disposition: str = "attachment",
    ) -> Transfer:
        """Offers a file to ``peer`` and sends it once accepted; see ``Chat.send_file``.

        One that was not through when it was last sent to that peer goes on where it was, if the
        agent keeps ``transfers``. ``disposition`` "render" is for what is to be shown at once.
        """
        self.check_open()
        return await self.files.send(
            self.peer_uri(peer),
            path,
            chat=chat,
            conversation_id=conversation_id,
            disposition=disposition,
        )

    async def share(self, peer: str, path: str | os.PathLike[str]) -> str:
        """Lets ``peer``, and nobody else, fetch a file from now on; returns its SHA-1.

        So may be fetched, besides, what was sent to that peer. The last 32 are kept. Raises
        TransferError when the file cannot be read.
        """
        self.check_open()
        file = await OutgoingFile.open(path)
        self.files.lend(self.peer_uri(peer).aor, file)
        return file.sha1

    async def fetch_file(
        self,
        peer: str,
        directory: str | os.PathLike[str],
        *,
        name: str | None = None,
        sha1: str | None = None,
        chat: Chat | None = None,
    ) -> Transfer:
        """Asks ``peer`` for a file that it has shared with us, by name, SHA-1 (hex) or both.

        Returns at once; ``await transfer.done()`` raises TransferError when there is none. Raises
        UsageError when it is not said which file.
        """
        self.check_open()
        if not name and not sha1:
            raise UsageError("which file? say its name or its SHA-1")
        selector = FileSelector(name, sha1=sha1.lower() if sha1 else None)
        return self.files.fetch(self.peer_uri(peer), selector, Path(directory), chat=chat)

    @property
    def transfers(self) -> tuple[FileTransfer, ...]:
        """The files that are on their way, or that were interrupted, also at an earlier time."""
        self.files.find_unfinished()
        return self.files.transfers

    async def send_file_http(
        self,
        peer: str,
        path: str | os.PathLike[str],
        *,
        chat: Chat | None = None,
        thumbnail: str | os.PathLike[str] | None = None,
        conversation_id: str | None = None,
    ) -> HttpUpload:
        """Uploads a file to the content server, and sends ``peer`` its address as a message: in
        ``chat`` while that is open, else without a session, so that it waits for who is away.

        Returns as soon as the file has been read through; ``await upload.done()`` until the message
        is on its way, whose receipt is ``upload.receipt``. A broken upload goes on by itself, and
        one that was not through when it was last sent to that peer where it was, if the agent keeps
        ``transfers``; ``cancel`` gives it up. ``thumbnail`` is an image of 64 KiB at most. Raises
        TransferError when a file cannot be read.
        """
        self.check_open()
        uri = self.peer_uri(peer)
        return await self.http_files.send(
            uri, path, chat=chat, thumbnail=thumbnail, conversation_id=conversation_id
        )

    async def resume_downloads(self) -> list[HttpDownload]:
        """Goes on with the downloads from content servers that an earlier agent of the user, with
        the same ``transfers``, had begun and not paused; no peer would do it. Returns them."""
        self.check_open()
        return await self.http_files.go_on()

    async def waiting_offers(self) -> list[HttpOffer]:
        """The files on content servers that peers told an earlier agent of the user of, by the
        same ``history``, and that were neither accepted nor declined; the oldest first. Those the
        rules refuse now are left out; ``expired`` says which are not there any more.

        Raises DatabaseError when the history cannot be read.
        """
        self.check_open()
        return await self.http_files.waiting()
