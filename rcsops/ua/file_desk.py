"""The files of one agent: which of a peer's are taken, and those that are on their way."""

from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import InviteError, TransferError
from rcsops.settings import FileVerdict
from rcsops.ua import events
from rcsops.ua.incoming import FileOffer

if TYPE_CHECKING:
    from rcsops.sip import Flow
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore
    from rcsops.ua.transfer import Transfer

__all__ = ["FileDesk"]

_MAX_FILES = 16


class FileDesk:
    """What an agent knows of files; made when the first one comes or goes."""

    __slots__ = ("_agent", "transfers")

    def __init__(self, agent: "AgentCore") -> None:
        self.transfers: tuple[Transfer, ...] = ()
        self._agent = agent

    @property
    def is_full(self) -> bool:
        """Whether no more offers are taken."""
        offers = sum(1 for each in self._agent.invitations if isinstance(each, FileOffer))
        return offers + len(self.transfers) >= _MAX_FILES

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
        except (InviteError, TransferError):
            # Told by an event already.
            return

    def add(self, transfer: "Transfer") -> None:
        """A file is on its way."""
        self.transfers = (*self.transfers, transfer)

    def forget(self, transfer: "Transfer") -> None:
        """It is through, or has failed."""
        self.transfers = tuple(other for other in self.transfers if other is not transfer)
