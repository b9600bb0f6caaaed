"""The files of one agent that go by a content server (RCC.07): uploads, offers, downloads."""

import asyncio
import logging
import mimetypes
import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import RcsopsError, TransferError
from rcsops.rcs import FileInfo, fthttp
from rcsops.settings import FileVerdict
from rcsops.sip import DigestClient, Uri
from rcsops.ua import events
from rcsops.ua.files import OutgoingFile, check_room
from rcsops.ua.http_client import ContentClient
from rcsops.ua.http_guard import Places
from rcsops.ua.http_transfer import HttpDownload, HttpTransfer, HttpUpload
from rcsops.ua.receipts import Receipt

if TYPE_CHECKING:
    from rcsops.database.history import Attachment
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["HttpFiles", "HttpOffer"]

logger = logging.getLogger(__name__)

_MAX_OFFERS = 100
_MAX_TRANSFERS = 16
_MAX_THUMBNAIL = 1 << 16


class HttpFiles:
    """What an agent knows of files on content servers; made when the first one comes or goes."""

    __slots__ = ("_agent", "_client", "_offers", "transfers")

    def __init__(self, agent: "AgentCore") -> None:
        self._agent = agent
        self.transfers: tuple[HttpTransfer, ...] = ()
        self._client: ContentClient | None = None
        self._offers: OrderedDict[str, HttpOffer] = OrderedDict()

    @property
    def client(self) -> ContentClient:
        """The way to the servers."""
        if self._client is None:
            agent = self._agent
            options = agent.options
            domain = agent.uri.host or ""
            self._client = ContentClient(
                options.content,
                Places(options.content, domain, options.content_hosts),
                # Not the one of SIP: each knows the nonces of its own server.
                DigestClient(agent.credential_for, agent.tokens, options.min_algorithm),
                agent.host.tls_options,
            )
        return self._client

    async def close(self) -> None:
        """Gives up what is under way, and closes the connections."""
        await asyncio.gather(*(each.cancel() for each in self.transfers))
        if self._client is not None:
            await self._client.close()

    async def send(
        self,
        uri: Uri,
        path: str | os.PathLike[str],
        *,
        chat: "Chat | None",
        thumbnail: str | os.PathLike[str] | None,
        conversation_id: str | None,
    ) -> HttpUpload:
        """Uploads a file and tells a peer of it; see ``Agent.send_file_http``."""
        pager = self._agent.pager

        async def deliver(info: FileInfo, file: "Attachment") -> Receipt:
            in_chat = chat is not None and not chat.ended
            if chat is not None and in_chat and chat.session.takes_wrapped(fthttp.CONTENT_TYPE):
                return await chat.send_file_info(info, file)
            return await pager.send(
                uri, info, conversation_id=conversation_id, message_id=None, file=file
            )

        small = None if thumbnail is None else await asyncio.to_thread(_thumbnail, Path(thumbnail))
        file = await OutgoingFile.open(path)
        upload = HttpUpload(self._agent, file, small, peer=uri.aor, chat=chat, deliver=deliver)
        self._start(upload)
        return upload

    def _start(self, transfer: HttpTransfer) -> None:
        self.transfers = (*self.transfers, transfer)
        transfer.start()

    def over(self, transfer: HttpTransfer) -> None:
        """It is through, or has failed."""
        self.transfers = tuple(other for other in self.transfers if other is not transfer)

    def announced(
        self, message: events.TextReceived, *, chat: "Chat | None", vouched: bool
    ) -> None:
        """A message with a file has been shown: offers the file, or takes it where that needs no
        question. ``vouched``: our server stands for the name of the sender."""
        info = message.file
        if info is None:
            return
        agent = self._agent
        options = agent.options
        tell = agent.publish if chat is None else chat.publish
        size, kind = info.file.size, info.file.content_type
        verdict = FileVerdict.ASK
        if options.file_rules is not None:
            verdict = options.file_rules.decide(message.peer, kind, size)
        elif options.downloads is not None and chat is not None:
            verdict = FileVerdict.ACCEPT
        if verdict is FileVerdict.REFUSE or size > options.max_file_size:
            refused = events.FileRefused(message.peer, message.chat_id, info.name, size, kind)
            tell(refused)
            return
        if verdict is FileVerdict.ACCEPT and not (vouched or chat is not None):
            verdict = FileVerdict.ASK
        offer = HttpOffer(agent, message, info, chat, verdict)
        self._offers[offer.transfer_id] = offer
        while len(self._offers) > _MAX_OFFERS:
            _, oldest = self._offers.popitem(last=False)
            oldest.reject(480)
        tell(
            events.FileOffered(
                offer.peer,
                message.chat_id,
                offer.transfer_id,
                offer.name,
                offer.size,
                offer.content_type,
                offer,
            )
        )
        if options.downloads is not None and verdict is FileVerdict.ACCEPT:
            agent.host.spawn(self._take(offer, options.downloads))

    def fetch(self, offer: "HttpOffer", directory: Path) -> HttpDownload:
        """Begins to fetch a file; see `HttpOffer.accept`."""
        if len(self.transfers) >= _MAX_TRANSFERS:
            raise TransferError("too many files are on their way; try again later")
        download = HttpDownload(
            self._agent,
            offer.info,
            directory,
            peer=offer.peer,
            chat=offer.chat,
            message_id=offer.transfer_id,
        )
        self._start(download)
        return download

    async def _take(self, offer: "HttpOffer", directory: Path) -> None:
        try:
            await offer.accept(directory)
        except RcsopsError as error:
            logger.info("%s: %s", offer.name, error)

    def forget(self, offer: "HttpOffer") -> None:
        """It has been answered."""
        self._offers.pop(offer.transfer_id, None)


class HttpOffer:
    """A file of a peer on a content server: ``name`` (safe to use), ``size`` in octets,
    ``content_type``, and ``info`` with all that was said of it.

    It can be fetched by `accept`, or left where it is. ``verdict`` is what the agent's rules say.
    """

    __slots__ = ("_agent", "chat", "chat_id", "info", "peer", "pending", "transfer_id", "verdict")

    def __init__(
        self,
        agent: "AgentCore",
        message: events.TextReceived,
        info: FileInfo,
        chat: "Chat | None",
        verdict: FileVerdict,
    ) -> None:
        self._agent = agent
        self.peer = message.peer
        self.chat = chat
        self.chat_id = message.chat_id
        # The Message-ID: what the history knows the file by.
        self.transfer_id = message.message_id
        self.info = info
        self.verdict = verdict
        self.pending = True

    @property
    def name(self) -> str:
        """The name to save it under."""
        return self.info.name

    @property
    def size(self) -> int:
        """In octets."""
        return self.info.file.size

    @property
    def content_type(self) -> str:
        """Its media type."""
        return self.info.file.content_type

    async def accept(self, directory: str | os.PathLike[str]) -> HttpDownload:
        """Fetches the file into ``directory`` and returns at once; ``await transfer.done()``.

        It appears there when it is whole, under a safe name that no other file has. Raises
        TransferError when it was answered before, when the directory cannot be written to, or the
        disk has no room; what fails later is an event.
        """
        if not self.pending:
            raise TransferError("the offer has been answered already")
        self._answered()
        agent = self._agent
        check_room(Path(directory), self.size, agent.options.disk_reserve)
        return agent.http_files.fetch(self, Path(directory))

    def reject(self, status: int = 603) -> bool:
        """Leaves the file where it is: the sender learns nothing of it; False when the offer was
        answered before."""
        was_pending = self.pending
        self._answered()
        return was_pending

    def _answered(self) -> None:
        self.pending = False
        self._agent.http_files.forget(self)


def _thumbnail(path: Path) -> tuple[str, bytes]:
    kind = mimetypes.guess_type(path.name)[0] or ""
    if not kind.startswith("image/"):
        raise TransferError(f"{path} is no image that a peer could show")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_THUMBNAIL + 1)
    except OSError as error:
        raise TransferError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_THUMBNAIL:
        raise TransferError(f"a thumbnail has at most {_MAX_THUMBNAIL} octets")
    return kind, data
