"""A file on its way, in either direction (RFC 5547): what both have in common."""

import asyncio
import contextlib
import os
from copy import copy
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rcsops.database.history import Attachment
from rcsops.errors import AgentError, RcsopsError, TransferError
from rcsops.rcs import FileSelector
from rcsops.ua import events
from rcsops.ua.session import MsrpCall, SessionUser
from rcsops.ua.transfer_store import Facts, Record, discard

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["CANCELLED", "SUSPENDED", "Break", "Transfer", "TransferStatus"]

CANCELLED = 'SIP;cause=603;text="Cancelled"'
SUSPENDED = 'SIP;cause=480;text="Suspended"'
"""Reason headers of a BYE: the file is given up, or may come later."""

_PROGRESS_SECONDS = 0.1
_LONGEST_WAIT = 30.0
# The peer may have less than we think, and what it has may not be right: then all of it once more.
_MOST_ANEW = 2
_SAVE_OCTETS = 8 << 20


class TransferStatus(StrEnum):
    """Where a transfer stands. An interrupted one has no connection, and may be resumed."""

    OFFERED = "offered"
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    DONE = "done"
    FAILED = "failed"


class Break(NamedTuple):
    """How a session of a transfer ended that is not over: whether to ``retry`` by ourselves, and
    ``anew``, from the first octet."""

    reason: str
    retry: bool = True
    anew: bool = False


class Transfer(SessionUser):
    """A file that is sent or received; ``octets`` of ``size`` have got through so far.

    ``path`` is the file that is sent, or where the received one is, None until it is whole.
    ``number`` tells the transfers of one agent apart. It may take several sessions, one after the
    other: it is resumed over a new one where the last one broke off.
    """

    __slots__ = (
        "_agent",
        "_call",
        "_error",
        "_held_by_peer",
        "_held_since",
        "_leg",
        "_outcome",
        "_record",
        "_saved_at",
        "_shown_at",
        "_sleeper",
        "begun",
        "chat",
        "chat_id",
        "content_type",
        "conversation_id",
        "incoming",
        "name",
        "number",
        "octets",
        "path",
        "paused",
        "peer",
        "selector",
        "sha1",
        "sha256",
        "size",
        "status",
        "transfer_id",
        "uri",
    )

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
        self.peer = peer
        self.uri = uri
        self.chat = chat
        self.chat_id = chat.chat_id if chat is not None else ""
        self.conversation_id = conversation_id
        self.transfer_id = transfer_id
        self.incoming = incoming
        self.number = 0
        self.describe(selector)
        self.octets = 0
        self.path: Path | None = None
        self.status = TransferStatus.OFFERED
        self.paused = False
        self.begun = False
        """Whether a session was open, since this agent was started."""
        self._agent = agent
        self._call: MsrpCall | None = None
        self._held_by_peer = False
        # When the peer agreed to hold the session, while that is paused here.
        self._held_since: float | None = None
        # The session that is open: it ends with a Break, or with None when the transfer is over.
        self._leg: asyncio.Future[Break | None] | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._record: Record | None = None
        self._saved_at = 0
        self._error: RcsopsError | None = None
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shown_at = 0.0

    def __repr__(self) -> str:
        return f"<Transfer {self.number} {self.name!r} {self.octets}/{self.size} {self.status}>"

    # --- for the user ------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether it is through or has failed for good."""
        return self.status in (TransferStatus.DONE, TransferStatus.FAILED)

    async def done(self, timeout: float | None = None) -> "Transfer":  # noqa: ASYNC109
        """Waits until the whole file is at the other side, or here; returns the transfer.

        Raises TransferError when it did not get through, when it was interrupted and nothing is
        tried any more to resume it, or after ``timeout`` seconds.
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
                self._begin_again()
                self._agent.host.spawn(self.drive())

    async def cancel(self) -> None:
        """Gives the transfer up; of an incoming file nothing is left."""
        raise NotImplementedError

    async def suspend(self) -> None:
        """Ends its session for now: it may be resumed later, also by another agent of the user
        that keeps its transfers in the same directory."""
        raise NotImplementedError

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

    def interrupted(self, reason: str, retry_in: float | None) -> None:
        """There is no session; the next one is tried in so many seconds, or when somebody asks."""
        if self.over:
            return
        self.status = TransferStatus.INTERRUPTED
        self._call = None
        self._save(force=True)
        if retry_in is None and not self._outcome.done():
            self._error = TransferError(
                f"interrupted at {self.octets} of {self.size} octets: {reason}"
            )
            self._outcome.set_result(None)
        self._tell(
            events.FileInterrupted(
                *self._who(), self.octets, self.size, self.incoming, reason, retry_in
            )
        )

    async def sleep(self, seconds: float) -> None:
        """Waits for the next attempt, or until somebody does not want to wait."""
        self._sleeper = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._sleeper
        except TimeoutError:
            pass
        finally:
            self._sleeper = None

    def failed(self, error: RcsopsError) -> None:
        """Nothing comes of it."""
        raise NotImplementedError

    def adopt(self, facts: Facts) -> None:
        """It was begun at an earlier time, and may be resumed."""
        self.octets = self._saved_at = facts.octets
        self.status = TransferStatus.INTERRUPTED

    def go_on(self, record: Record) -> None:
        """The same, with the record of it."""
        self._record = record
        self.adopt(record.facts)

    async def claim(self) -> None:
        """Makes sure that nobody else resumes it, and that what is kept of it is still good.

        Raises TransferError when it cannot go on from where it was.
        """
        store = self._agent.files.store
        if self._record is not None or store is None or not self._is_claimable:
            return
        self._record = store.take(
            incoming=self.incoming, peer=self.peer, transfer_id=self.transfer_id
        )
        if self._record is None:
            raise TransferError(f"{self.name} is resumed by another process of yours")

    async def drive(self) -> None:
        """Makes one session after the other until it is through, with growing waits between them
        where the connection breaks."""
        options = self._agent.options
        loop = asyncio.get_running_loop()
        anew = 0
        tries, reached, since = 0, self.octets, loop.time()
        while not self.over:
            how = await self._attempt(1 if anew else self.octets + 1)
            if how is None or self.over:
                return
            if how.anew:
                anew += 1
                if anew > _MOST_ANEW:
                    self.failed(TransferError(how.reason))
                    return
                continue
            anew = 0
            if self.octets > reached:
                tries, reached, since = 0, self.octets, loop.time()
            late = loop.time() - since > options.resume_seconds
            if not how.retry or self.paused or late:
                self.interrupted(how.reason, None)
                return
            spread = 0.75 + self._agent.tokens.fraction() / 2
            delay = min(options.retry_base * 2**tries, _LONGEST_WAIT) * spread
            tries += 1
            self.interrupted(how.reason, delay)
            await self.sleep(delay)
            if self.status is not TransferStatus.INTERRUPTED:
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

    @property
    def _is_claimable(self) -> bool:
        """Whether it was begun at an earlier time, so that there must be a record of it."""
        return self.status is TransferStatus.INTERRUPTED and not self.begun

    def _check(self, what: str) -> None:
        if self.over:
            raise TransferError(f"there is nothing to {what}: {self.name} is {self.status}")

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def _begin_again(self) -> None:
        """It is tried anew: there is another outcome to wait for."""
        if self._outcome.done():
            self._error = None
            self._outcome = asyncio.get_running_loop().create_future()

    def _end_leg(self, how: Break | None) -> None:
        if self._leg is not None and not self._leg.done():
            self._leg.set_result(how)

    async def _break_off(self, how: Break, header: str) -> None:
        call = self._call
        self._end_leg(how)
        if call is not None:
            await call.end(how.reason, header=header, settle=False)

    def _attachment(self) -> Attachment:
        path = os.path.abspath(self.path) if self.path is not None else ""
        return Attachment(self.name, path, self.size, self.sha1)

    def _facts(self) -> Facts:
        raise NotImplementedError

    def _keep_facts(self) -> None:
        store = self._agent.files.store
        if self._record is None and store is not None:
            self._record = store.create(self._facts())

    def _save(self, *, force: bool = False) -> None:
        if self._record is not None and (force or self.octets - self._saved_at >= _SAVE_OCTETS):
            self._saved_at = self.octets
            self._record.save(self._facts())

    def _forget_facts(self) -> None:
        if self._record is not None:
            self._record.remove()
            self._record = None

    def _is_left_alone(self) -> bool:
        """Whether it was begun at an earlier time and nobody has gone on with it here."""
        return self._is_claimable and self._record is None

    def _drop_kept(self) -> None:
        """What was kept of it from an earlier time is given up."""
        store = self._agent.files.store
        if store is not None and self._is_left_alone():
            record = store.take(
                incoming=self.incoming, peer=self.peer, transfer_id=self.transfer_id
            )
            if record is not None:
                discard(record)

    def _release(self) -> None:
        """Somebody else may resume it."""
        if self._record is not None:
            self._record.close()
            self._record = None

    def _progress(self, octets: int) -> None:
        if octets == self.octets:
            return
        self.octets = octets
        self._save()
        now = asyncio.get_running_loop().time()
        if now - self._shown_at >= _PROGRESS_SECONDS or octets == self.size:
            self._shown_at = now
            self._tell(
                events.FileProgress(
                    self.peer, self.chat_id, self.transfer_id, octets, self.size, self.incoming
                )
            )

    def _succeed(self, event: events.Event) -> None:
        if self.over:
            return
        self.status = TransferStatus.DONE
        self.octets = self.size
        self._forget_facts()
        self._finish(event)

    def _fail(self, reason: str, error: RcsopsError | None = None) -> None:
        if self.over:
            return
        self.status = TransferStatus.FAILED
        self._error = error if error is not None else TransferError(reason)
        self._forget_facts()
        self._finish(events.FileFailed(*self._who(), reason, self.incoming))

    def _finish(self, event: events.Event) -> None:
        if not self._outcome.done():
            self._outcome.set_result(None)
        self._wake()
        self._end_leg(None)
        self._agent.files.forget(self)
        self._tell(event)

    def _who(self) -> tuple[str, str, str, str]:
        return self.peer, self.chat_id, self.transfer_id, self.name

    def _tell_paused(self, *, by_peer: bool) -> None:
        self._tell(events.FilePaused(*self._who(), self.incoming, by_peer))

    def _tell_resumed(self) -> None:
        self._tell(events.FileResumed(*self._who(), self.octets, self.size, self.incoming))

    def _tell(self, event: events.Event) -> None:
        if self.chat is not None and not self.chat.ended:
            self.chat.publish(event)
        else:
            self._agent.publish(event)
