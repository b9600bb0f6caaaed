"""A file of a peer on its way to us, which it offered or which we fetch (RFC 5547)."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rcsops.errors import (
    DatabaseError,
    InviteError,
    RcsopsError,
    SdpParseError,
    TransferError,
)
from rcsops.msrp import BodyComplete, BodyReceived, MessageAborted, ReceiveLimits, SessionEvent
from rcsops.rcs import (
    CPM_FILE_TRANSFER,
    FileSelector,
    answered_start,
    file_accepted,
    file_offer,
    file_stream,
    safe_name,
    said_modified,
)
from rcsops.rcs import FileOffer as OfferedFile
from rcsops.sip import Target, Uri
from rcsops.transport import wall_clock
from rcsops.ua import events
from rcsops.ua.arrival import Arrival
from rcsops.ua.calling import dial
from rcsops.ua.file_transfer import TransferStatus
from rcsops.ua.files import check_room
from rcsops.ua.incoming_file import IncomingFile
from rcsops.ua.security import offer_securely
from rcsops.ua.session import MsrpCall
from rcsops.ua.transfer import CANCELLED, SUSPENDED, Break, Transfer
from rcsops.ua.transfer_store import Facts

if TYPE_CHECKING:
    from rcsops.ua.chat import Chat
    from rcsops.ua.core import AgentCore

__all__ = ["IncomingTransfer"]

logger = logging.getLogger(__name__)

_PARTING_SECONDS = 10.0
# What was on its way when a pause was agreed to comes within that.
_PIPE_SECONDS = 5.0
_NOT_KEPT = 'SIP;cause=500;text="File not kept"'
_NOT_PROMISED = 400
# What a request for a file is refused by for good.
_FINAL = frozenset({400, 403, 404, 405, 410, 413, 415, 488, 603, 604, 606})


class IncomingTransfer(Arrival, Transfer):
    """A file that comes: its octets gather out of sight and become a file when all is right.

    ``pulled``: our INVITEs ask for it; else the peer's offer it.
    """

    __slots__ = (
        "_base",
        "_committing",
        "_directory",
        "_early",
        "_file",
        "_heard_at",
        "_kept_as",
        "_stalled",
        "_watch",
        "pulled",
    )

    def __init__(
        self,
        agent: "AgentCore",
        directory: Path,
        *,
        peer: str,
        uri: str,
        chat: "Chat | None",
        transfer_id: str,
        conversation_id: str,
        selector: FileSelector,
        pulled: bool = False,
    ) -> None:
        super().__init__(
            agent,
            peer=peer,
            uri=uri,
            chat=chat,
            transfer_id=transfer_id,
            conversation_id=conversation_id,
            selector=selector,
            incoming=True,
        )
        self.pulled = pulled
        self._directory = directory
        self._file: IncomingFile | None = None
        self._base = 0
        self._committing = False
        self._stalled = False
        # When octets came last, by the loop's clock.
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        # Not the peer's own name for the transfer: one used twice would hide a file.
        self._kept_as = agent.tokens.imdn_id()
        # What comes over the connection before the session is open: None when that is so.
        self._early: list[SessionEvent] | None = None

    def describe(self, selector: FileSelector) -> None:
        super().describe(selector)
        self.name = safe_name(self.name)

    def make_file(self) -> None:
        check_room(self._directory, self.size, self._agent.options.disk_reserve)
        self._use(IncomingFile(self._directory, self.name, self.selector))

    @property
    def _promised(self) -> FileSelector:
        return self.selector

    def _use(self, file: IncomingFile) -> None:
        super()._use(file)
        file.on_written = self._written

    def dialled(self, call: MsrpCall) -> None:
        super().dialled(call)
        self._early = []

    def receive_from(self, start: int, modified: float | None) -> None:
        """A session is about to open, and the octets come from ``start`` on, counted from 1; the
        peer says when the file was ``modified``."""
        if self._file is not None:
            self._file.modified = modified
        self._base = start - 1
        self._committing = self._stalled = False
        self.started()
        self._heard_at = asyncio.get_running_loop().time()
        self._watch_for(self._agent.options.idle_timeout)
        early, self._early = self._early, None
        for event in early or ():
            self.session_event(event)
        if early and not self._stalled and self._call is not None and self._call.link is not None:
            self._call.link.resume_reading()

    async def break_off(self) -> None:
        """Ends the session that there may still be, to make place for another, and waits until all
        that came by it has been written."""
        if self._leg is not None and not self._leg.done():
            await self._break_off(Break("it goes on over another connection"), SUSPENDED)
        await self.settle()

    async def settle(self) -> None:
        """Waits until all that came has been written, and notes how much of it is in order."""
        file = self._file
        if file is not None and not self.over:
            try:
                await file.flush()
            except TransferError as error:
                self.failed(error)
                return
            self.octets = file.rewind()

    def failed(self, error: RcsopsError) -> None:
        """Nothing comes of it."""
        self._fail(str(error), error if isinstance(error, TransferError) else None)

    async def _cancel(self) -> None:
        if self._committing and not self.over:
            # All of it is here; whether it is right is decided in a moment.
            await asyncio.shield(self._outcome)
            return
        if not self.over:
            self._drop_kept()
            self._fail("cancelled")
            await self._refuse_rest("cancelled")

    async def suspend(self) -> None:
        if self._committing and not self.over:
            await asyncio.shield(self._outcome)
        await super().suspend()

    async def _suspend(self) -> None:
        call, file = self._call, self._file
        self._end_leg(None)
        if call is not None:
            await call.end("suspended", header=SUSPENDED, settle=False)
        await self.settle()
        if self.over:
            return
        self.interrupted("suspended", None)
        self._release()
        self._agent.files.forget(self)
        if file is not None:
            await file.suspend()

    # --- the sessions of a file that we fetch ------------------------------------------------

    async def _attempt(self, start: int) -> Break | None:
        try:
            if self.size and self._file is not None and start == 1 and self.octets:
                self.make_file_anew()
            await self._ask(start)
        except RcsopsError as error:
            if self._is_off:
                return None
            status = error.status if isinstance(error, InviteError) else 0
            if not self.begun and self.status is TransferStatus.INTERRUPTED:
                return Break(str(error), retry=False)
            if not self.octets and (not self.begun or status in _FINAL):
                self.failed(error)
                return None
            if isinstance(error, TransferError):
                self.failed(error)
                return None
            # What is here stays here: the peer may offer the rest another time.
            return Break(str(error), retry=status not in _FINAL)
        how = await self.leg()
        await self.settle()
        return how

    def make_file_anew(self) -> None:
        """What there is of it counts for nothing."""
        if self._file is not None:
            self._file.abort()
        self.make_file()

    async def _ask(self, start: int) -> None:
        """Invites the peer to send it."""
        agent = self._agent
        uri = agent.peer_uri(self.uri)
        targets = await agent.targets_for(uri)

        async def ask(secure: bool) -> None:
            await self._invite(uri, targets, start, secure=secure)

        await offer_securely(agent.options.msrp_security, targets[0].flow, ask)

    async def _invite(
        self, uri: Uri, targets: tuple[Target, ...], start: int, *, secure: bool
    ) -> None:
        agent = self._agent
        msrp = await agent.host.msrp(secure=secure)
        if self._is_off:
            raise TransferError("given up before it was asked for")
        path = msrp.new_path(agent.visible_host(targets[0].flow), secure=secure)
        stream = file_stream(
            path,
            send=False,
            can_listen=not agent.behind_nat,
            fingerprints=msrp.fingerprints(secure=secure),
        )
        pull = OfferedFile(False, self.selector, self.transfer_id, start=start)
        offer = file_offer(stream, pull, session_id=agent.sdp_session_id())
        headers = agent.service_headers(
            CPM_FILE_TRANSFER,
            conversation_id=self.conversation_id,
            contribution_id=agent.tokens.uuid(),
        )
        contact = agent.contact(targets[0])
        call = agent.make_call(agent.create_invite(uri, contact, headers, offer), contact)
        session = MsrpCall(agent.host, call)
        session.prepare(
            msrp,
            path,
            accept_types=stream.accept_types,
            direction=stream.direction,
            limits=ReceiveLimits(max_size=agent.options.max_file_size),
            stream_incoming=True,
        )
        session.describe(offer)
        self.dialled(session)
        try:
            response = await dial(agent, call, targets, self.peer, None)
        except InviteError:
            session.drop()
            raise
        agreement = await session.agree(response, lambda sdp: file_accepted(stream, sdp))
        try:
            begin = answered_start(agreement.remote)
            self._check_found(FileSelector.parse(agreement.remote.file_selector or ""), begin)
        except (SdpParseError, TransferError) as error:
            await session.end(str(error), header=CANCELLED)
            raise TransferError(str(error)) from error
        self.receive_from(begin, said_modified(agreement.remote))
        await session.open(msrp, agreement)

    def _check_found(self, found: FileSelector, begin: int) -> None:
        """What the peer says that it sends. Raises TransferError when that is not what we want."""
        if found.size is None:
            raise TransferError("the peer does not say how large the file is")
        if found.size > self._agent.options.max_file_size:
            raise TransferError(f"{found.size} octets are more than is taken (max_size)")
        if self._file is None:
            known = self.selector
            if not known.selects(found):
                raise TransferError("the peer has another file of that name")
            self.describe(found)
            self.make_file()
        elif (found.sha1 or "", found.size) != (self.sha1, self.size):
            raise TransferError(f"{self.name} has changed at the peer")
        if begin != self.octets + 1:
            if begin != 1:
                raise TransferError("the peer sends another part of the file")
            self.make_file_anew()

    # --- from the session --------------------------------------------------------------------

    def session_event(self, event: SessionEvent) -> None:
        file = self._file
        if self._early is not None:
            # The ACK, or the answer, goes by the server, and may be slower.
            self._early.append(event)
            if self._call is not None and self._call.link is not None:
                self._call.link.pause_reading()
            return
        if self._leg is None or self._leg.done() or self._committing or file is None:
            return
        if isinstance(event, BodyReceived):
            self._heard_at = asyncio.get_running_loop().time()
            try:
                file.write(self._base + event.offset, event.data)
            except TransferError as error:
                self._give_up(str(error), event.message_id)
                return
            if self._is_ignored:
                self._agent.host.spawn(self._break_off(Break("paused", retry=False), SUSPENDED))
            if file.is_full and not self._stalled and self._call is not None:
                link = self._call.link
                if link is not None:
                    self._stalled = True
                    link.pause_reading()
        elif isinstance(event, BodyComplete):
            self._committing = True
            self._agent.host.spawn(self._commit(event.message_id))
        elif isinstance(event, MessageAborted):
            self._give_up("the peer gave it up")

    @property
    def _is_ignored(self) -> bool:
        """Whether the peer agreed to a pause and goes on with it all the same."""
        since = self._held_since
        return since is not None and asyncio.get_running_loop().time() > since + _PIPE_SECONDS

    def _written(self) -> None:
        file, call = self._file, self._call
        if file is None or self.over:
            return
        self._progress(file.written)
        if self._stalled and file.has_room and call is not None and call.link is not None:
            self._stalled = False
            call.link.resume_reading()

    def _watch_for(self, seconds: float) -> None:
        if self._agent.options.idle_timeout:
            self._watch = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """A peer that has gone without a word, or sends nothing, is not waited for for ever."""
        now, seconds = asyncio.get_running_loop().time(), self._agent.options.idle_timeout
        if self.status is not TransferStatus.RUNNING or self._stalled or self._committing:
            self._heard_at = now
        left = self._heard_at + seconds - now
        if left > 0:
            self._watch_for(left)
        elif self._call is not None:
            self._call.lost(f"nothing came for {seconds:g} s")

    def _end_leg(self, how: Break | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        super()._end_leg(how)

    def session_ended(self, reason: str, *, by_peer: bool) -> None:
        if self._leg is None or self._leg.done() or self._committing:
            return
        if reason == "Cancelled":
            self._fail("the peer gave it up")
            return
        why = f"the session ended: {reason}" if reason else "the session ended"
        self._end_leg(Break(why, retry=not by_peer or reason.startswith("MSRP")))

    def _give_up(self, reason: str, message_id: str = "") -> None:
        self._fail(reason)
        self._agent.host.spawn(self._refuse_rest(reason, message_id))

    async def _refuse_rest(self, reason: str, message_id: str = "") -> None:
        call = self._call
        if call is None:
            return
        if call.link is not None and not call.ended:
            call.session.refuse_rest()
            call.link.pump()
        await call.end(reason, header=CANCELLED)

    # --- when all of it is here --------------------------------------------------------------

    async def _commit(self, message_id: str) -> None:
        file, call = self._file, self._call
        assert file is not None and call is not None
        try:
            path, sha1 = await file.commit()
        except TransferError as error:
            self._confirm(call, message_id, _NOT_PROMISED, "Not what was promised")
            await self._not_kept(error, call)
            return
        await self._arrived(path, sha1)
        self._confirm(call, message_id, 200, "OK")
        self._told()
        await self._see_off(call)

    async def _arrived(self, path: Path, sha1: str) -> None:
        self.path = path
        self.sha1 = sha1
        await self._keep()
        self._agent.files.note_received(self)

    def _confirm(self, call: MsrpCall, message_id: str, status: int, text: str) -> None:
        if call.link is not None and not call.ended:
            call.session.confirm(message_id, status, text)
            call.link.pump()

    async def _not_kept(self, error: TransferError, call: MsrpCall) -> None:
        """Of a file that came in parts, one may have been wrong: it has to come anew."""
        self._committing = False
        if self._base:
            try:
                self.make_file()
            except TransferError as full:
                error = full
            else:
                self._save(force=True)
                self._end_leg(Break(str(error), anew=True))
                await call.end(str(error), header=_NOT_KEPT)
                return
        self._fail(str(error), error)
        await call.end(str(error), header=_NOT_KEPT)

    async def _keep(self) -> None:
        history = self._agent.history
        if history is None:
            return
        kept: asyncio.Future[bool | DatabaseError] = asyncio.get_running_loop().create_future()
        history.incoming(
            self.peer,
            self._kept_as,
            "",
            wall_clock(),
            conversation_id=self.conversation_id,
            file=self._attachment(),
            done=lambda result: None if kept.done() else kept.set_result(result),
        )
        if isinstance(result := await kept, DatabaseError):
            # The file itself is here, which is what its sender wants to know.
            logger.warning("a received file is not in the history: %s", result)

    async def _see_off(self, call: MsrpCall) -> None:
        """The sender ends the session; one that does not is not kept for good."""
        link = call.link
        try:
            async with asyncio.timeout(_PARTING_SECONDS):
                if link is not None:
                    await link.wait_for(lambda: False)
        except TimeoutError:
            await call.end("received")

    def _finish(self, event: events.Event) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.abort()
            file.release()
        super()._finish(event)

    def _facts(self) -> Facts:
        return replace(super()._facts(), pulled=self.pulled)
