"""The files of one agent: those that peers offer, those that they may fetch, and those on their
way."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import InviteError, TransferError
from rcsops.rcs import FileOffer as OfferedFile
from rcsops.rcs import FileSelector
from rcsops.settings import FileVerdict
from rcsops.ua import events
from rcsops.ua.file_transfer import FileTransfer, TransferStatus
from rcsops.ua.files import OutgoingFile
from rcsops.ua.http_transfer import HttpTransfer
from rcsops.ua.incoming import FileOffer
from rcsops.ua.receiving import IncomingTransfer
from rcsops.ua.sending import OutgoingTransfer
from rcsops.ua.transfer import Transfer
from rcsops.ua.transfer_store import Facts, TransferStore

if TYPE_CHECKING:
    from rcsops.sip import Flow, Uri
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["FileDesk"]

_MAX_FILES = 16
_MAX_STANDING = 32
_MAX_LENT = 32
_MAX_RECEIVED = 256


class FileDesk:
    """What an agent knows of files; made when the first one comes or goes."""

    __slots__ = ("_agent", "_lent", "_numbers", "_received", "store", "transfers")

    def __init__(self, agent: "AgentCore") -> None:
        directory = agent.options.transfers
        self.store = TransferStore(directory) if directory is not None else None
        # Over MSRP and over HTTP.
        self.transfers: tuple[FileTransfer, ...] = ()
        self._agent = agent
        self._numbers = 0
        # What peers may fetch: (peer, file), the oldest first.
        self._lent: list[tuple[str, OutgoingFile]] = []
        self._received: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Whether no more files are taken or given over MSRP, where each has a session."""
        offers = sum(1 for each in self._agent.invitations if isinstance(each, FileOffer))
        running = sum(
            1
            for each in self.transfers
            if isinstance(each, Transfer) and each.status is not TransferStatus.INTERRUPTED
        )
        return offers + running >= _MAX_FILES

    def add(self, transfer: FileTransfer) -> None:
        """A file is on its way."""
        self._numbers += 1
        transfer.number = self._numbers
        self.transfers = (*self.transfers, transfer)
        # Peers who begin files and never end them must not pile them up here.
        standing = [
            each
            for each in self.transfers
            if each.begun and each.status is TransferStatus.INTERRUPTED
        ]
        if len(standing) > _MAX_STANDING:
            self._agent.host.spawn(standing[0].suspend())

    def forget(self, transfer: FileTransfer) -> None:
        """It is through, or has failed."""
        self.transfers = tuple(other for other in self.transfers if other is not transfer)

    # --- what peers offer --------------------------------------------------------------------

    def verdict(
        self, peer: str, content_type: str, size: int, *, chat: "Chat | None", flow: "Flow"
    ) -> FileVerdict:
        """What the rules say of a file. Only a peer that somebody vouches for, or who is in a chat
        with us, is spared the question."""
        options = self._agent.options
        if options.file_rules is None:
            taken = options.downloads is not None and chat is not None
            return FileVerdict.ACCEPT if taken else FileVerdict.ASK
        verdict = options.file_rules.decide(peer, content_type, size)
        known = chat is not None or self._agent.is_from_server(flow)
        if verdict is FileVerdict.ACCEPT and not known:
            return FileVerdict.ASK
        return verdict

    def offered(self, offer: FileOffer) -> None:
        """Tells of an offer, and takes it when that needs no question."""
        event = events.FileOffered(
            offer.peer,
            offer.chat.chat_id if offer.chat is not None else offer.chat_id,
            offer.transfer_id,
            offer.name,
            offer.size,
            offer.content_type,
            offer,
        )
        if offer.chat is not None:
            offer.chat.publish(event)
        else:
            self._agent.publish(event)
        downloads = self._agent.options.downloads
        if downloads is not None and offer.verdict is FileVerdict.ACCEPT:
            self._agent.host.spawn(self._take(offer, downloads))

    async def _take(self, offer: FileOffer, directory: Path) -> None:
        try:
            await offer.accept(directory)
        except InviteError:
            # Told by an event already.
            return
        except TransferError as error:
            tell = self._agent.publish if offer.chat is None else offer.chat.publish
            tell(
                events.FileFailed(
                    offer.peer,
                    offer.chat.chat_id if offer.chat is not None else offer.chat_id,
                    offer.transfer_id,
                    offer.name,
                    str(error),
                    True,
                )
            )

    def resumed(self, peer: str, file: OfferedFile) -> IncomingTransfer | None:
        """The transfer that an offer goes on with: it has been accepted before."""
        if not file.transfer_id:
            return None
        selector = file.selector
        for transfer in self._all(peer, file.transfer_id):
            if isinstance(transfer, IncomingTransfer):
                same = (transfer.selector.sha1, transfer.size) == (selector.sha1, selector.size)
                return transfer if same and selector.sha1 else None
        return None

    def note_received(self, transfer: Transfer) -> None:
        """A file is here, whole."""
        self._received[transfer.peer, transfer.transfer_id] = None
        if len(self._received) > _MAX_RECEIVED:
            self._received.popitem(last=False)

    def has_received(self, peer: str, transfer_id: str) -> bool:
        """Whether it is here already."""
        return (peer, transfer_id) in self._received

    # --- what peers may fetch ----------------------------------------------------------------

    def lend(self, peer: str, file: OutgoingFile) -> None:
        """``peer`` may fetch a file from now on; the oldest such permission may end by that."""
        before = self._lent
        others = [each for each in before if each[1].sha1 != file.sha1 or each[0] != peer]
        self._lent = [*others, (peer, file)][-_MAX_LENT:]
        for _, old in before:
            if not (self.is_lent(old) or self._is_sent(old)):
                old.close()

    def is_lent(self, file: OutgoingFile) -> bool:
        """Whether it must stay open for those who may fetch it."""
        return any(each is file for _, each in self._lent)

    def _is_sent(self, file: OutgoingFile) -> bool:
        # Who sends it closes it at the end.
        return any(
            isinstance(each, OutgoingTransfer) and each.reads(file) for each in self.transfers
        )

    def wanted(self, peer: str, uri: str, file: OfferedFile) -> OutgoingTransfer | None:
        """What a peer may fetch of what it asks for: a file of ours that is not through to it, or
        that was shared with it."""
        wanted = file.selector
        if file.transfer_id:
            for transfer in self._all(peer, file.transfer_id):
                if isinstance(transfer, OutgoingTransfer) and transfer.pushed:
                    free = transfer.status is TransferStatus.INTERRUPTED
                    return transfer if free and wanted.selects(transfer.selector) else None
        for lent_to, found in reversed(self._lent):
            if lent_to == peer and found.unchanged and wanted.selects(found.selector):
                made = OutgoingTransfer(
                    self._agent,
                    found,
                    peer=peer,
                    uri=uri,
                    chat=None,
                    transfer_id=file.transfer_id or self._agent.tokens.imdn_id(),
                    conversation_id="",
                    selector=found.selector,
                    pushed=False,
                )
                self.add(made)
                return made
        return None

    # --- what goes and comes -----------------------------------------------------------------

    async def send(
        self,
        uri: "Uri",
        path: str | os.PathLike[str],
        *,
        chat: "Chat | None",
        conversation_id: str | None,
        disposition: str,
    ) -> OutgoingTransfer:
        """Offers a file, or goes on with one that was not through; see ``Agent.send_file``."""
        agent = self._agent
        peer = chat.peer if chat is not None else uri.aor
        file = await OutgoingFile.open(path)
        record = None
        if self.store is not None:
            record = self.store.take(
                OutgoingTransfer.WAY, incoming=False, peer=peer, sha1=file.sha1, size=file.size
            )
        known = record.facts if record is not None else None
        transfer = OutgoingTransfer(
            agent,
            file,
            peer=peer,
            uri=str(uri),
            chat=chat,
            transfer_id=known.transfer_id if known else agent.tokens.imdn_id(),
            conversation_id=conversation_id or agent.tokens.uuid(),
            selector=file.selector,
            disposition=disposition,
        )
        if record is not None:
            transfer.go_on(record)
        else:
            try:
                await transfer.keep()
            except BaseException:
                file.close()
                raise
        self.add(transfer)
        agent.host.spawn(transfer.drive())
        return transfer

    def fetch(
        self, uri: "Uri", selector: FileSelector, directory: Path, *, chat: "Chat | None"
    ) -> IncomingTransfer:
        """Asks a peer for a file; see ``Agent.fetch_file``."""
        agent = self._agent
        transfer = IncomingTransfer(
            agent,
            directory,
            peer=chat.peer if chat is not None else uri.aor,
            uri=str(uri),
            chat=chat,
            transfer_id=agent.tokens.imdn_id(),
            conversation_id=chat.conversation_id if chat is not None else agent.tokens.uuid(),
            selector=selector,
            pulled=True,
        )
        self.add(transfer)
        agent.host.spawn(transfer.drive())
        return transfer

    def find_unfinished(self) -> None:
        """Puts the transfers that were begun at an earlier time, and that no other process of the
        user goes on with, among ``transfers``."""
        if self.store is None:
            return
        known = {(each.WAY, each.incoming, each.peer, each.transfer_id) for each in self.transfers}
        for record in self.store.free():
            facts = record.facts
            record.close()
            if (facts.way, facts.incoming, facts.peer, facts.transfer_id) not in known:
                self._adopt(facts)

    def _all(self, peer: str, transfer_id: str) -> list[Transfer]:
        """The transfers of that name: those under way, else those begun at an earlier time."""

        def found() -> list[Transfer]:
            return [
                each
                for each in self.transfers
                if isinstance(each, Transfer)
                and (each.peer, each.transfer_id) == (peer, transfer_id)
            ]

        if not found():
            self.find_unfinished()
        return found()

    def _adopt(self, facts: Facts) -> None:
        if facts.way == HttpTransfer.WAY:
            self.add(self._agent.http_files.restored(facts))
            return
        transfer: Transfer
        if facts.incoming:
            transfer = IncomingTransfer(
                self._agent,
                Path(facts.directory),
                peer=facts.peer,
                uri=facts.uri,
                chat=None,
                transfer_id=facts.transfer_id,
                conversation_id=facts.conversation_id,
                selector=facts.selector,
                pulled=facts.pulled,
            )
        else:
            transfer = OutgoingTransfer(
                self._agent,
                None,
                peer=facts.peer,
                uri=facts.uri,
                chat=None,
                transfer_id=facts.transfer_id,
                conversation_id=facts.conversation_id,
                selector=facts.selector,
            )
            transfer.path = Path(facts.path)
        transfer.adopt(facts)
        self.add(transfer)

    def close(self) -> None:
        """Nothing can be fetched any more."""
        lent, self._lent = self._lent, []
        for _, file in lent:
            file.close()
