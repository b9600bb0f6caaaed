"""The files of one agent that go by a content server (RCC.07): uploads, offers, downloads."""

import asyncio
import contextlib
import logging
import os
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import AgentError, DeliveryError, InviteError, RcsopsError, TransferError
from rcsops.rcs import FileInfo, fthttp
from rcsops.settings import FileVerdict
from rcsops.sip import DigestClient, Uri
from rcsops.ua import events
from rcsops.ua.dialing import invite
from rcsops.ua.file_transfer import TransferStatus
from rcsops.ua.files import OutgoingFile, check_room, read_thumbnail
from rcsops.ua.http_client import ContentClient
from rcsops.ua.http_guard import Places
from rcsops.ua.http_transfer import (
    Deliver,
    HttpDownload,
    HttpTransfer,
    HttpUpload,
    stored_of,
)
from rcsops.ua.receipts import Receipt
from rcsops.ua.transfer_store import Facts

if TYPE_CHECKING:
    from rcsops.database.history import Attachment
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["HttpFiles", "HttpOffer"]

logger = logging.getLogger(__name__)

_MAX_OFFERS = 100
# As many messages as wait for one who was away, of which each may tell of a file. A few of these
# are fetched at a time (`http_client`), the others wait for their turn.
_MAX_DOWNLOADS = 200
_RECEIPT_SECONDS = 10.0
# Nobody there to take a session.
_ABSENT = frozenset({408, 480})


class HttpFiles:
    """What an agent knows of files on content servers; made when the first one comes or goes."""

    __slots__ = ("_agent", "_client", "_offers")

    def __init__(self, agent: "AgentCore") -> None:
        self._agent = agent
        self._client: ContentClient | None = None
        # By peer and Message-ID, which is the peer's to choose.
        self._offers: OrderedDict[tuple[str, str], HttpOffer] = OrderedDict()

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
        """Closes the connections, once all that was under way stands still."""
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
        """Uploads a file and tells a peer of it, or goes on with one that was not through; see
        ``Agent.send_file_http``."""
        agent = self._agent
        picture = None if thumbnail is None else Path(thumbnail)
        if picture is not None:
            await asyncio.to_thread(read_thumbnail, picture)
        file = await OutgoingFile.open(path)
        store = agent.files.store
        record = None
        if store is not None:
            record = store.take(
                HttpUpload.WAY, incoming=False, peer=uri.aor, sha1=file.sha1, size=file.size
            )
        known = record.facts if record is not None else None
        conversation_id = conversation_id or (known.conversation_id if known is not None else "")
        upload = HttpUpload(
            agent,
            file,
            peer=uri.aor,
            chat=chat,
            transfer_id=known.transfer_id if known is not None else agent.tokens.uuid(),
            conversation_id=conversation_id,
            thumbnail=picture,
            deliver=self._delivery(uri, chat, conversation_id),
        )
        if record is not None:
            upload.go_on(record)
            upload.paused = False
        self._start(upload)
        return upload

    def _delivery(self, uri: Uri, chat: "Chat | None", conversation_id: str) -> Deliver:
        """How the peer is told where a file is."""
        pager = self._agent.pager

        async def deliver(info: FileInfo, file: "Attachment", message_id: str) -> Receipt:
            in_chat = chat is not None and not chat.ended
            if chat is not None and in_chat and chat.session.takes_wrapped(fthttp.CONTENT_TYPE):
                return await chat.send_file_info(info, file, message_id)

            async def letter(*, large: bool) -> Receipt:
                return await pager.send(
                    uri,
                    info,
                    conversation_id=conversation_id or None,
                    message_id=message_id,
                    large=large,
                    file=file,
                )

            try:
                return await letter(large=False)
            except DeliveryError as error:
                logger.debug("where %s is goes in a session: %s", info.name, error)
            try:
                own = await invite(
                    self._agent,
                    uri,
                    on_progress=None,
                    subject="",
                    conversation_id=conversation_id or None,
                )
            except InviteError as error:
                if error.status not in _ABSENT:
                    raise
                return await letter(large=True)
            try:
                if not own.session.takes_wrapped(fthttp.CONTENT_TYPE):
                    raise DeliveryError("the peer's session takes no files over HTTP")
                receipt = await own.send_file_info(info, file, message_id)
            except BaseException:
                await own.close()
                raise
            self._agent.host.spawn(_see_off(own, receipt))
            return receipt

        return deliver

    def _start(self, transfer: HttpTransfer) -> None:
        self._agent.files.add(transfer)
        transfer.start()

    def restored(self, facts: Facts) -> HttpTransfer:
        """A transfer that was begun at an earlier time."""
        agent = self._agent
        made: HttpTransfer
        if facts.incoming:
            made = HttpDownload(
                agent,
                stored_of(facts),
                facts.name,
                Path(facts.directory),
                peer=facts.peer,
                chat=None,
                message_id=facts.transfer_id,
            )
        else:
            uri = agent.peer_uri(facts.peer)
            made = HttpUpload(
                agent,
                facts,
                peer=facts.peer,
                chat=None,
                transfer_id=facts.transfer_id,
                conversation_id=facts.conversation_id,
                thumbnail=Path(facts.thumbnail) if facts.thumbnail else None,
                deliver=self._delivery(uri, None, facts.conversation_id),
            )
        made.adopt(facts)
        return made

    async def go_on(self) -> list[HttpDownload]:
        """Goes on with the downloads that an earlier agent of the user left, but for those that
        were paused; see ``Agent.resume_downloads``."""
        files = self._agent.files
        files.find_unfinished()
        resumed = []
        for transfer in files.transfers:
            left = transfer.status is TransferStatus.INTERRUPTED and not transfer.begun
            if isinstance(transfer, HttpDownload) and left and not transfer.paused:
                try:
                    await transfer.resume()
                except TransferError as error:
                    logger.info("%s does not go on: %s", transfer.name, error)
                else:
                    if not transfer.over:
                        resumed.append(transfer)
        return resumed

    async def waiting(self) -> list["HttpOffer"]:
        """The offers of an earlier time; see ``Agent.waiting_offers``."""
        agent = self._agent
        if agent.history is None:
            return []
        kept = await agent.history.waiting_offers()
        agent.files.find_unfinished()
        under_way = {
            (each.peer, each.transfer_id) for each in agent.files.transfers if each.incoming
        }
        found = []
        for entry in kept:
            info = fthttp.read_file_text(entry.text)
            known = (entry.peer, entry.message_id) in self._offers
            if info is None or known or (entry.peer, entry.message_id) in under_way:
                continue
            if self._verdict(entry.peer, info, in_chat=False) is FileVerdict.REFUSE:
                continue
            # Who vouched for the sender is not known any more.
            offer = HttpOffer(agent, entry.peer, "", entry.message_id, info, None, FileVerdict.ASK)
            self._keep(offer)
            found.append(offer)
        return found

    def _verdict(self, peer: str, info: FileInfo, *, in_chat: bool) -> FileVerdict:
        options = self._agent.options
        size = info.file.size
        if size > options.max_file_size:
            return FileVerdict.REFUSE
        if options.file_rules is not None:
            return options.file_rules.decide(peer, info.file.content_type, size)
        if options.downloads is not None and in_chat:
            return FileVerdict.ACCEPT
        return FileVerdict.ASK

    def _keep(self, offer: "HttpOffer") -> None:
        self._offers[offer.peer, offer.transfer_id] = offer
        while len(self._offers) > _MAX_OFFERS:
            _, oldest = self._offers.popitem(last=False)
            oldest.reject(480)

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
        verdict = self._verdict(message.peer, info, in_chat=chat is not None)
        if verdict is FileVerdict.REFUSE:
            refused = events.FileRefused(message.peer, message.chat_id, info.name, size, kind)
            tell(refused)
            return
        if verdict is FileVerdict.ACCEPT and not (vouched or chat is not None):
            verdict = FileVerdict.ASK
        offer = HttpOffer(
            agent, message.peer, message.chat_id, message.message_id, info, chat, verdict
        )
        self._keep(offer)
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
        running = sum(
            1
            for each in self._agent.files.transfers
            if isinstance(each, HttpDownload) and each.status is not TransferStatus.INTERRUPTED
        )
        if running >= _MAX_DOWNLOADS:
            raise TransferError("too many files are on their way; try again later")
        download = HttpDownload(
            self._agent,
            offer.info.file,
            offer.name,
            directory,
            peer=offer.peer,
            chat=offer.chat,
            message_id=offer.transfer_id,
        )
        download.make_file()
        self._start(download)
        return download

    async def _take(self, offer: "HttpOffer", directory: Path) -> None:
        try:
            await offer.accept(directory)
        except TransferError as error:
            tell = self._agent.publish if offer.chat is None else offer.chat.publish
            who = (offer.peer, offer.chat_id, offer.transfer_id, offer.name)
            tell(events.FileFailed(*who, str(error), True))
        except AgentError:
            # The agent was closed meanwhile: the next one is asked about it.
            return

    def forget(self, offer: "HttpOffer") -> None:
        """It has been answered."""
        self._offers.pop((offer.peer, offer.transfer_id), None)


async def _see_off(chat: "Chat", receipt: Receipt) -> None:
    """Ends a session that was made for one message, once it has done its work."""
    with contextlib.suppress(RcsopsError):
        await receipt.delivered(_RECEIPT_SECONDS)
    await chat.close()


class HttpOffer:
    """A file of a peer on a content server: ``name`` (safe to use), ``size`` in octets,
    ``content_type``, and ``info`` with all that was said of it.

    It can be fetched by `accept`, or left where it is. ``verdict`` is what the agent's rules say.
    """

    __slots__ = ("_agent", "chat", "chat_id", "info", "peer", "pending", "transfer_id", "verdict")

    def __init__(
        self,
        agent: "AgentCore",
        peer: str,
        chat_id: str,
        message_id: str,
        info: FileInfo,
        chat: "Chat | None",
        verdict: FileVerdict,
    ) -> None:
        self._agent = agent
        self.peer = peer
        self.chat = chat
        self.chat_id = chat_id
        # What the history knows the file by.
        self.transfer_id = message_id
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

    @property
    def expired(self) -> str:
        """Until when the content server kept the file, in words, if that is over; else empty."""
        until = self.info.file.until
        if until is None or until > datetime.now(UTC):
            return ""
        return f"the file was kept until {until:%Y-%m-%d %H:%M} UTC"

    async def accept(self, directory: str | os.PathLike[str]) -> HttpDownload:
        """Fetches the file into ``directory`` and returns at once; ``await transfer.done()``.

        It appears there when it is whole, under a safe name that no other file has. Raises
        TransferError when it was answered before, has expired, when the directory cannot be written
        to, the disk has no room, or too many files are on their way: but for the first two it may
        be accepted again then. Raises AgentError after ``close``. What fails later is an event.
        """
        self._agent.check_open()
        if not self.pending:
            raise TransferError("the offer has been answered already")
        if expired := self.expired:
            self._answered("expired")
            raise TransferError(expired)
        agent = self._agent
        check_room(Path(directory), self.size, agent.options.disk_reserve)
        download = agent.http_files.fetch(self, Path(directory))
        # What a restart goes on with is on the disk: nobody is to be asked again.
        self._answered("accepted")
        return download

    def reject(self, status: int = 603) -> bool:
        """Leaves the file where it is: the sender learns nothing of it; False when the offer was
        answered before. With a ``status`` below 600 the user is asked again at the next start."""
        was_pending = self.pending
        declined = "declined" if status >= 600 else ""
        self._answered(("expired" if self.expired else declined) if was_pending else "")
        return was_pending

    def _answered(self, answer: str = "") -> None:
        self.pending = False
        self._agent.http_files.forget(self)
        history = self._agent.history
        if answer and history is not None:
            history.offer_answered(self.peer, self.transfer_id, answer)
