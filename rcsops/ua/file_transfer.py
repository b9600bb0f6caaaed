"""A file on its way, in either direction, over MSRP or HTTP: what all have in common."""

import asyncio
import os
from copy import copy
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rcsops.database.history import Attachment
from rcsops.errors import RcsopsError, TransferError
from rcsops.ua import events
from rcsops.ua.transfer_store import Facts, Record, TransferStore, discard

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore
    from rcsops.ua.receipts import Receipt

__all__ = ["FileTransfer", "Patience", "TransferStatus"]

_PROGRESS_SECONDS = 0.1
_SAVE_OCTETS = 8 << 20
_SAVE_SECONDS = 1.0
_LONGEST_WAIT = 30.0
_MOST_FAULTS = 6


class TransferStatus(StrEnum):
    """Where a transfer stands. An interrupted one has no connection, and may be resumed."""

    OFFERED = "offered"
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    DONE = "done"
    FAILED = "failed"


class Patience:
    """How long a transfer is tried that broke off: with waits that grow, for the ``resume_seconds``
    of its agent after the last octet; less long when it fails by a fault of the other side."""

    __slots__ = ("_agent", "_faults", "_reached", "_since", "_tries")

    def __init__(self, agent: "AgentCore", octets: int) -> None:
        self._agent = agent
        self._tries = self._faults = 0
        self._reached = octets
        self._since = asyncio.get_running_loop().time()

    @property
    def left(self) -> float:
        """For so many seconds it is tried, unless an octet gets through."""
        waited = asyncio.get_running_loop().time() - self._since
        return max(0.0, self._agent.options.resume_seconds - waited)

    def wait(self, octets: int, *, fault: bool = False) -> float | None:
        """The seconds until the next try, now that so much is through; None for no more tries.
        ``fault``: the other side is there, and failed."""
        if octets > self._reached:
            self._tries = self._faults = 0
            self._reached, self._since = octets, asyncio.get_running_loop().time()
        self._faults = self._faults + 1 if fault else 0
        options = self._agent.options
        if not self.left or self._faults >= _MOST_FAULTS:
            return None
        spread = 0.75 + self._agent.tokens.fraction() / 2
        delay = min(options.retry_base * 2**self._tries, _LONGEST_WAIT) * spread
        self._tries += 1
        return float(delay)


class FileTransfer:
    """A file that is sent or received; ``octets`` of ``size`` have got through so far.

    ``path`` is the file that is sent, or where the received one is, None until it is whole.
    ``number`` tells the transfers of one agent apart. What is not through may be resumed where it
    broke off, also by a later agent of the user that keeps its transfers in the same directory.
    ``receipt`` is that of the message that tells of the file, None for one over MSRP.
    """

    __slots__ = (
        "_agent",
        "_claiming",
        "_error",
        "_outcome",
        "_record",
        "_saved",
        "_saved_at",
        "_shown_at",
        "_sleeper",
        "_suspended",
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
        "sha1",
        "sha256",
        "size",
        "status",
        "transfer_id",
        "uri",
    )
    WAY = ""
    """"msrp" or "http"."""
    receipt: "Receipt | None" = None

    def __init__(
        self,
        agent: "AgentCore",
        *,
        peer: str,
        uri: str,
        chat: "Chat | None",
        transfer_id: str,
        conversation_id: str,
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
        self.name = ""
        self.content_type = ""
        self.size = 0
        self.sha1 = self.sha256 = ""
        self.octets = 0
        self.path: Path | None = None
        self.status = TransferStatus.OFFERED
        self.paused = False
        self.begun = False
        """Whether it was on its way, since this agent was started."""
        self._agent = agent
        # What ends it while somebody claims it waits for that, as does who claims it as well.
        self._claiming = asyncio.Lock()
        self._record: Record | None = None
        # How much had come when the record was last written, and when that was.
        self._saved = 0
        self._saved_at = 0.0
        self._error: RcsopsError | None = None
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shown_at = 0.0
        self._sleeper: asyncio.Future[None] | None = None
        self._suspended = False

    def __repr__(self) -> str:
        place = f"{self.octets}/{self.size}"
        return f"<{type(self).__name__} {self.number} {self.name!r} {place} {self.status}>"

    # --- for the user ------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether it is through or has failed for good."""
        return self.status in (TransferStatus.DONE, TransferStatus.FAILED)

    async def done(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109
        """Waits until the whole file is at the other side, or here; returns the transfer. One that
        is sent over HTTP is through when the message that tells of it is on its way.

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
        """Lets it stand still. Raises TransferError when it is through or has failed."""
        raise NotImplementedError

    async def resume(self) -> None:
        """Goes on after a pause or an interruption. Raises TransferError when that is not to be."""
        raise NotImplementedError

    async def cancel(self) -> None:
        """Gives the transfer up; of an incoming file nothing is left."""
        async with self._claiming:
            pass
        await self._cancel()

    async def _cancel(self) -> None:
        """Ends what is under way, and what is kept of it."""
        raise NotImplementedError

    async def suspend(self) -> None:
        """Ends it for now: it may be resumed later, also by another agent of the user that keeps
        its transfers in the same directory."""
        async with self._claiming:
            pass
        if self.over:
            return
        if self._is_left_alone():
            self._agent.files.forget(self)
            return
        if self._record is None:
            await self.cancel()
            return
        self._suspended = True
        self._wake()
        await self._suspend()

    async def _suspend(self) -> None:
        """Ends what is under way; the record stays."""
        raise NotImplementedError

    # --- for those who drive it --------------------------------------------------------------

    def interrupted(
        self, reason: str, retry_in: float | None, gives_up_in: float | None = None
    ) -> None:
        """It goes on in so many seconds, or when somebody asks; that is tried for so long."""
        if self.over:
            return
        self.status = TransferStatus.INTERRUPTED
        self._save(force=True)
        if retry_in is None and not self._outcome.done():
            self._error = TransferError(
                f"interrupted at {self.octets} of {self.size} octets: {reason}"
            )
            self._outcome.set_result(None)
        self._tell(
            events.FileInterrupted(
                *self._who(), self.octets, self.size, self.incoming, reason, retry_in, gives_up_in
            )
        )

    def adopt(self, facts: Facts) -> None:
        """It was begun at an earlier time, and may be resumed."""
        self.octets = self._saved = facts.octets
        self.status = TransferStatus.INTERRUPTED

    def go_on(self, record: Record) -> None:
        """The same, with the record of it."""
        self._record = record
        self.adopt(record.facts)

    async def claim(self) -> None:
        """Makes sure that nobody else resumes it, and that what is kept of it is still good; one
        that turns out to be whole is then over.

        Raises TransferError when it cannot go on from where it was.
        """
        async with self._claiming:
            await self._claim()

    async def _claim(self) -> None:
        store = self._agent.files.store
        if self._record is not None or store is None or not self._is_claimable:
            return
        self._record = self._take(store)
        if self._record is None:
            raise TransferError(f"{self.name} is resumed by another process of yours")

    # --- helpers -----------------------------------------------------------------------------

    @property
    def _is_off(self) -> bool:
        """Whether nothing more is to be done for it here."""
        return self.over or self._suspended

    @property
    def _is_claimable(self) -> bool:
        """Whether it was begun at an earlier time, so that there must be a record of it."""
        return self.status is TransferStatus.INTERRUPTED and not self.begun

    def _check(self, what: str) -> None:
        if self.over:
            raise TransferError(f"there is nothing to {what}: {self.name} is {self.status}")
        if self._suspended:
            raise TransferError(f"{self.name} is left to whoever finds it in transfers")

    async def _sleep(self, seconds: float) -> None:
        """Waits for the next attempt, or until somebody does not want to wait."""
        self._sleeper = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._sleeper
        except TimeoutError:
            pass
        finally:
            self._sleeper = None

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def _begin_again(self) -> None:
        """It is tried anew: there is another outcome to wait for."""
        if self._outcome.done():
            self._error = None
            self._outcome = asyncio.get_running_loop().create_future()

    def _attachment(self) -> Attachment:
        path = os.path.abspath(self.path) if self.path is not None else ""
        return Attachment(self.name, path, self.size, self.sha1)

    def _facts(self) -> Facts:
        return Facts(
            incoming=self.incoming,
            peer=self.peer,
            uri=self.uri,
            transfer_id=self.transfer_id,
            conversation_id=self.conversation_id,
            name=self.name,
            content_type=self.content_type,
            size=self.size,
            sha1=self.sha1,
            sha256=self.sha256,
            path=os.path.abspath(self.path) if self.path is not None else "",
            octets=self.octets,
            way=self.WAY,
        )

    def _take(self, store: TransferStore) -> Record | None:
        return store.take(
            self.WAY, incoming=self.incoming, peer=self.peer, transfer_id=self.transfer_id
        )

    def _keep_facts(self) -> None:
        store = self._agent.files.store
        if self._record is None and store is not None:
            self._record = store.create(self._facts())

    def _save(self, *, force: bool = False) -> None:
        if self._record is None:
            return
        now = asyncio.get_running_loop().time()
        new = self.octets - self._saved
        if force or new >= _SAVE_OCTETS or (new > 0 and now - self._saved_at >= _SAVE_SECONDS):
            self._saved, self._saved_at = self.octets, now
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
            record = self._take(store)
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
