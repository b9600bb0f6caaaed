"""A file on its way over MSRP, in either direction (RFC 5547): what both have in common."""

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from rcsops.errors import AgentError, RcsopsError, TransferError
from rcsops.rcs import FileSelector
from rcsops.ua import events
from rcsops.ua.file_transfer import FileTransfer, Patience, TransferStatus
from rcsops.ua.session import MsrpCall, SessionUser
from rcsops.ua.transfer_store import Facts

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["CANCELLED", "SUSPENDED", "Break", "Transfer"]

CANCELLED = 'SIP;cause=603;text="Cancelled"'
SUSPENDED = 'SIP;cause=480;text="Suspended"'
"""Reason headers of a BYE: the file is given up, or may come later."""

# The peer may have less than we think, and what it has may not be right: then all of it once more.
_MOST_ANEW = 2


class Break(NamedTuple):
    """How a session of a transfer ended that is not over: whether to ``retry`` by ourselves, and
    ``anew``, from the first octet."""

    reason: str
    retry: bool = True
    anew: bool = False


class Transfer(FileTransfer, SessionUser):
    """A file that is sent or received in MSRP sessions; it may take several, one after the other:
    it is resumed over a new one where the last one broke off."""

    __slots__ = ("_call", "_driving", "_held_by_peer", "_held_since", "_leg", "selector")
    WAY = "msrp"

    def __init__(
        self,
        agent: "AgentCore",
        *,
        peer: str,
        uri: str,
        chat: "Chat | None",
        transfer_id: str,
        conversation_id: str,
        selector: FileSelector,
        incoming: bool,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            uri=uri,
            chat=chat,
            transfer_id=transfer_id,
            conversation_id=conversation_id,
            incoming=incoming,
        )
        self.describe(selector)
        self._call: MsrpCall | None = None
        # Whether we make sessions for it, one after the other.
        self._driving = False
        self._held_by_peer = False
        # When the peer agreed to hold the session, while that is paused here.
        self._held_since: float | None = None
        # The session that is open: it ends with a Break, or with None when the transfer is over.
        self._leg: asyncio.Future[Break | None] | None = None

    # --- for the user ------------------------------------------------------------------------

    async def pause(self) -> None:
        """Lets it stand still, and tells the peer so.

        A peer that cannot hold its session has it ended; ``resume`` then makes a new one. Raises
        TransferError when the file is through or has failed.
        """
        self._check("pause")
        if self.paused:
            return
        self.paused = True
        self._hold()
        if self.status is TransferStatus.RUNNING:
            await self._stand_still()
        elif self.status is TransferStatus.INTERRUPTED:
            self._wake()
            self._tell_paused(by_peer=False)

    async def resume(self) -> None:
        """Goes on after a pause, or with a new session after an interruption.

        Raises TransferError when the file is through or has failed.
        """
        self._check("resume")
        was_paused, self.paused = self.paused, False
        if self.status is TransferStatus.PAUSED and self._call is not None:
            if not was_paused:
                raise TransferError(f"{self.name} is paused by the peer")
            self._hold()
            if not self._held_by_peer:
                self.status = TransferStatus.RUNNING
                self._tell_resumed()
            self._held_since = None
            with contextlib.suppress(AgentError):
                await self._call.hold(False)
        elif self.status is TransferStatus.INTERRUPTED:
            if self._sleeper is not None:
                self._wake()
            else:
                await self.claim()
                # Somebody may be at it already: the user asked twice, or the peer was faster.
                if self._is_off or self._driving or self._call is not None:
                    return
                self._begin_again()
                self._driving = True
                self._agent.host.spawn(self.drive())

    # --- for those who set sessions up -------------------------------------------------------

    def describe(self, selector: FileSelector) -> None:
        """What file it is."""
        self.selector = selector
        self.name = selector.name or "file"
        self.content_type = selector.type or "application/octet-stream"
        self.size = selector.size or 0
        self.sha1 = selector.sha1 or ""
        self.sha256 = selector.sha256 or ""

    def dialled(self, call: MsrpCall) -> None:
        """An INVITE is about to leave, or has come, for its next session."""
        self._call = call
        self._held_by_peer = False
        self._held_since = None
        call.bind(self)

    def _facts(self) -> Facts:
        # As the peer calls it, which may be by no name.
        return replace(super()._facts(), name=self.selector.name or "")

    def is_on(self, call: MsrpCall) -> bool:
        """Whether that is its present session, or the last that it had."""
        return self._call is call

    @property
    def call(self) -> MsrpCall | None:
        """Its present session, or the last that it had; None before, and between two."""
        return self._call

    def started(self) -> None:
        """The session is open."""
        resumed = self.status is not TransferStatus.OFFERED
        self._begin_again()
        self.begun = True
        self._leg = asyncio.get_running_loop().create_future()
        self.status = TransferStatus.RUNNING
        if resumed:
            self._tell_resumed()
        self._keep_facts()
        if self.paused:
            self._agent.host.spawn(self._stand_still())
        elif self._held_by_peer:
            self.status = TransferStatus.PAUSED
            self._tell_paused(by_peer=True)

    async def leg(self) -> Break | None:
        """How the session ends; None when there is nothing more to do."""
        assert self._leg is not None
        return await asyncio.shield(self._leg)

    def interrupted(
        self, reason: str, retry_in: float | None, gives_up_in: float | None = None
    ) -> None:
        if not self.over:
            self._call = None
        super().interrupted(reason, retry_in, gives_up_in)

    def failed(self, error: RcsopsError) -> None:
        """Nothing comes of it."""
        raise NotImplementedError

    async def drive(self) -> None:
        """Makes one session after the other until it is through, with growing waits between them
        where the connection breaks."""
        self._driving = True
        try:
            await self._drive()
        finally:
            self._driving = False

    async def _drive(self) -> None:
        anew = 0
        patience = Patience(self._agent, self.octets)
        while not self._is_off:
            how = await self._attempt(1 if anew else self.octets + 1)
            if how is None or self._is_off:
                return
            if how.anew:
                anew += 1
                if anew > _MOST_ANEW:
                    self.failed(TransferError(how.reason))
                    return
                continue
            anew = 0
            delay = patience.wait(self.octets)
            if not how.retry or self.paused or delay is None:
                self.interrupted(how.reason, None)
                return
            self.interrupted(how.reason, delay, patience.left)
            await self._sleep(delay)
            if self._is_off or self.status is not TransferStatus.INTERRUPTED:
                # The peer was faster.
                return
            if self.paused:
                self.interrupted("paused", None)
                return

    async def _attempt(self, start: int) -> Break | None:
        """One session, from octet ``start`` on; None when nothing more is to be done."""
        raise NotImplementedError

    # --- from the session --------------------------------------------------------------------

    def session_held(self, held: bool) -> bool:
        if self.over:
            return False
        if self.status not in (TransferStatus.RUNNING, TransferStatus.PAUSED):
            # The peer knows sooner than we that the session is open.
            self._held_by_peer = held
            return True
        if held != self._held_by_peer:
            self._held_by_peer = held
            self._hold()
            if held:
                self.status = TransferStatus.PAUSED
                self._tell_paused(by_peer=True)
            elif not self.paused:
                self.status = TransferStatus.RUNNING
                self._tell_resumed()
        return True

    # --- helpers -----------------------------------------------------------------------------

    async def _stand_still(self) -> None:
        """Tells the peer, whose session is open or about to be, that it is paused."""
        call = self._call
        if call is None or not self.paused:
            return
        self.status = TransferStatus.PAUSED
        self._tell_paused(by_peer=False)
        try:
            await call.hold(True)
        except AgentError:
            # The sender holds its chunks whatever the peer knows of it.
            if self.incoming and self.paused and self.is_on(call) and not call.ended:
                await self._break_off(Break("paused", retry=False), SUSPENDED)
        else:
            self._held_since = asyncio.get_running_loop().time() if self.paused else None

    def _hold(self) -> None:
        """Lets the octets stop or flow, as ``paused`` and the peer say."""

    def _end_leg(self, how: Break | None) -> None:
        if self._leg is not None and not self._leg.done():
            self._leg.set_result(how)

    async def _break_off(self, how: Break, header: str) -> None:
        call = self._call
        self._end_leg(how)
        if call is not None:
            await call.end(how.reason, header=header, settle=False)

    def _finish(self, event: events.Event) -> None:
        self._end_leg(None)
        super()._finish(event)
