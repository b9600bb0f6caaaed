"""``rcsops send``: one text or one file to one peer, and what became of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rcsops.errors import (
    AgentError,
    DatabaseError,
    DeliveryError,
    InviteError,
    MsrpUnreachable,
    UsageError,
)
from rcsops.operations.chat_events import Teller
from rcsops.operations.file_way import goes_by_http
from rcsops.operations.places import Said, say
from rcsops.rcs import Location
from rcsops.ua import (
    Agent,
    Chat,
    FileTransfer,
    MessageStatus,
    Receipt,
    Service,
    TransferStatus,
    events,
)

__all__ = ["Courier", "Outcome", "Posting"]

# Without a wish, a peer that has the message is given so long to say so.
_RECEIPT_SECONDS = 5.0
_LAST_EVENTS_SECONDS = 2.0
# What is told of one that is not over: for people what they would not expect, for programs all.
_TOLD = (events.TextReceived, events.FileProgress, events.FileInterrupted, events.FileResumed)
_TOLD_TO_PROGRAMS = (
    *_TOLD,
    events.Registered,
    events.RegistrationLost,
    events.Trying,
    events.Ringing,
    events.SessionOpened,
    events.SessionEnded,
    events.Stored,
    events.Sent,
    events.Delivered,
    events.Displayed,
    events.Failed,
    events.FilePaused,
    events.FileUploaded,
    events.FileSent,
    events.FileFailed,
)
# So many characters of any script go in a MESSAGE.
_SURELY_FITS = 80
# A peer that does not say for so long what it can do gets the message all the same.
_ASK_SECONDS = 2.0
_LOOK_SECONDS = 0.25
_LOOK_BACK = 100
_ARRIVED = frozenset({"delivered", "displayed"})
# The peer, or its server, takes no MESSAGE, or not of this kind or size: a session may do.
_NO_MESSAGE = frozenset({405, 413, 415, 501, 513})
# Nobody there to take a session.
_ABSENT = frozenset({408, 480})


class Posting:
    """A text or place on its way to ``peer``, by the way that there is for it.

    In ``chat`` while that is open; else in a SIP MESSAGE, which asks nobody to pick up, ends no
    session that another device of ours has with the peer, and is kept for one who is away; and in a
    session of its own, which ``close`` ends, when it does not fit or ``session`` is wished for. A
    long text to one who is away goes in a large MESSAGE.
    ``way`` is "session" or "message", ``receipt`` None until the text is under way.
    """

    def __init__(
        self, agent: Agent, peer: str, *, chat: Chat | None = None, session: bool = False
    ) -> None:
        self.way = ""
        self.receipt: Receipt | None = None
        self._agent = agent
        self._peer = peer
        self._chat = chat
        self._session = session
        self._own: Chat | None = None

    async def send(self, said: Said) -> Receipt:
        """Returns when the server or the peer has it, or it is on its way in a session.

        Raises AgentError when it does not get through, DatabaseError for the history.
        """
        if self._chat is not None and not self._chat.ended:
            self.way = "session"
            self.receipt = await say(self._chat, said)
            return self.receipt
        known = self._agent.known_capabilities(self._peer)
        sessions_alone = known is not None and known.chat and known.lacks(Service.PAGER)
        refused = False
        if not self._session and not sessions_alone:
            try:
                self.receipt = await say(_Letterbox(self._agent, self._peer), said)
            except DeliveryError as error:
                # Too long for it.
                self.receipt = None
                if known is not None and known.lacks(Service.CHAT):
                    raise DeliveryError(
                        f"{error}, and the peer's devices take no sessions",
                        hint="send it in pieces",
                    ) from error
            else:
                self.way = "message"
                try:
                    await self.receipt.stored()
                except DeliveryError as error:
                    if error.status not in _NO_MESSAGE:
                        raise
                    refused = True
                else:
                    return self.receipt
        self.way = "session"
        try:
            # How that goes is told to all who follow the agent.
            self._own = await self._agent.invite(self._peer, on_progress=_nobody)
        except InviteError as error:
            unreached = error.status in _ABSENT or isinstance(error, MsrpUnreachable)
            if self._session or refused or not unreached:
                raise
            self.way = "message"
            self.receipt = await say(_Letterbox(self._agent, self._peer, large=True), said)
            await self.receipt.stored()
            return self.receipt
        self.receipt = await say(self._own, said)
        return self.receipt

    async def close(self) -> None:
        """Ends the session that was made for the text, if one was."""
        if self._own is not None:
            await self._own.close()


class _Letterbox(NamedTuple):
    """The way to a peer without a session."""

    agent: Agent
    peer: str
    large: bool = False

    async def send(self, text: str, *, message_id: str | None = None) -> Receipt:
        return await self.agent.send_message(
            self.peer, text, message_id=message_id, large=self.large
        )

    async def send_location(
        self,
        latitude: float,
        longitude: float,
        *,
        radius: float = 0.0,
        label: str = "",
        message_id: str | None = None,
    ) -> Receipt:
        return await self.agent.send_location(
            self.peer, latitude, longitude, radius=radius, label=label, message_id=message_id
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a text or file.

    ``status`` is how far it came: "queued", "stored", "sent", "delivered", "displayed",
    "interrupted" (a file that can be gone on with) or "failed"; ``done``: as far as was asked for.
    If not, ``error``, ``hint`` and ``code`` (SIP or MSRP, 0 without) say why. ``reference`` is the
    Message-ID, or the file-transfer-id.
    """

    status: str
    done: bool
    way: str = ""
    reference: str = ""
    error: str = ""
    hint: str = ""
    code: int = 0


class Courier:
    """Sends one thing as ``agent``, which it starts and closes, to ``peer``.

    The agent takes no messages, invitations or files meanwhile, which are for those devices of the
    user that somebody looks at; what the peer writes in the session made for the text is told.
    ``tell`` gets that, as TextReceived, and how a file goes; with ``thorough``, for a program, all
    steps of either. ``seconds`` bounds the whole.
    """

    def __init__(
        self,
        agent: Agent,
        peer: str,
        *,
        teller: Teller,
        tell: Callable[[events.Event], None],
        seconds: float | None,
        thorough: bool = False,
    ) -> None:
        uri = agent.peer_uri(peer)
        if uri.aor == agent.aor:
            raise UsageError("that is you", hint="send to somebody else")
        self._agent = agent
        self._uri = str(uri)
        self._aor = uri.aor
        self._teller = teller
        self._tell = tell
        self._seconds = seconds
        self._told = _TOLD_TO_PROGRAMS if thorough else _TOLD

    @property
    def peer(self) -> str:
        """The address that it goes to, "sip:bob@rcs.example"."""
        return self._aor

    async def text(self, said: Said, *, wait: str = "", session: bool = False) -> Outcome:
        """Sends a text or a place, and waits until it is ``wait``: "stored", "sent", "delivered" or
        "displayed".

        Without that, the server that keeps it is enough, and the delivery notification of a peer
        who is there is waited for a little. Raises RegistrationError when the server does not take
        our user, AgentError and DatabaseError when nothing can be sent at all.
        """
        posting = Posting(self._agent, self._uri, session=session)
        async with self._started():
            try:
                async with asyncio.timeout(self._seconds):
                    await self._agent.register()
                    # Who wishes for a session gets one, or is told why not.
                    if not session and (isinstance(said, Location) or len(said) > _SURELY_FITS):
                        await self._ask()
                    receipt = await posting.send(said)
                    async with self._news_of(receipt):
                        await _reach(receipt, wait)
            except TimeoutError:
                error: AgentError | None = AgentError(
                    f"the message was not {wait or 'sent'} within {self._seconds:g} s"
                )
            except AgentError as failure:
                if posting.way == "":
                    raise
                error = failure
            else:
                error = None
            outcome = self._outcome(posting, error)
            await posting.close()
            return outcome

    async def _ask(self, *, fresh: bool = False) -> None:
        """Learns what the peer's devices can do, where a MESSAGE may not be the way."""
        with contextlib.suppress(AgentError):
            await self._agent.capabilities(self._uri, fresh=fresh, timeout=_ASK_SECONDS)

    @contextlib.asynccontextmanager
    async def _news_of(self, receipt: Receipt) -> AsyncIterator[None]:
        """Learns what the peer told another device of ours in the session that it has with it: the
        devices of a user on one machine share the history."""

        async def watch() -> None:
            history = self._agent.history
            while history is not None:
                await asyncio.sleep(_LOOK_SECONDS)
                for each in await history.messages(self._aor, limit=_LOOK_BACK):
                    if each.message_id == receipt.message_id and each.status in _ARRIVED:
                        receipt.advance(MessageStatus(each.status))

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError, DatabaseError):
                await watcher

    def _outcome(self, posting: Posting, error: AgentError | None) -> Outcome:
        receipt = posting.receipt
        # Without a receipt the session that it needs did not come about.
        status = MessageStatus.FAILED if receipt is None else receipt.status
        reference = "" if receipt is None else receipt.message_id
        if error is None:
            return Outcome(status.value, True, posting.way, reference)
        text, hint = str(error), error.hint
        if receipt is None and posting.way == "session" and error.status:
            text = self._teller.refusal(self._aor, error)
            hint = hint or "a text of more than some 350 octets needs a session"
        return Outcome(status.value, False, posting.way, reference, text, hint, error.status)

    async def file(self, path: Path, *, via: str = "msrp", wait: str = "") -> Outcome:
        """Sends a file by ``via``: "msrp", "http", or "auto", which is HTTP where a content server
        is known, unless a device of the peer is there and does not do that (RCC.07).

        Over HTTP it waits until the message about it is ``wait``, as `text` does. Raises as that
        does, TransferError when the file cannot be read, UsageError for a name that no peer could
        read.
        """
        async with self._started():
            by_http = via != "msrp"
            transfer: FileTransfer | None = None
            error: AgentError | None
            receipt: Receipt | None = None
            try:
                async with asyncio.timeout(self._seconds):
                    await self._agent.register()
                    if via == "auto":
                        if self._agent.options.content:
                            # A device that left within the last minute would take no file.
                            await self._ask(fresh=True)
                        by_http = goes_by_http(self._agent, self._uri)
                    send = self._agent.send_file_http if by_http else self._agent.send_file
                    transfer = await send(self._uri, path)
                    await transfer.done()
                    receipt = transfer.receipt
                    if receipt is not None:
                        async with self._news_of(receipt):
                            await _reach(receipt, wait)
            except TimeoutError:
                error = AgentError(f"the file was not through within {self._seconds:g} s")
            except AgentError as failure:
                error = failure
            else:
                error = None
            if transfer is None:
                assert error is not None
                raise error
            way, reference = "http" if by_http else "session", transfer.transfer_id
            if error is None:
                status = "delivered" if receipt is None else receipt.status.value
                return Outcome(status, True, way, reference)
            await transfer.suspend()
            status, text, hint = "failed", str(error), error.hint
            if receipt is not None:
                status = receipt.status.value
            elif transfer.status is TransferStatus.INTERRUPTED:
                status, hint = "interrupted", "the same command goes on from there"
            elif not by_http and error.status in (404, 408, 480, 486):
                text = self._teller.refusal(self._aor, error)
            return Outcome(status, False, way, reference, text, hint, error.status)

    @contextlib.asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        self._agent.intake = 0
        feed = self._agent.events()

        async def follow() -> None:
            async for event in feed:
                if isinstance(event, self._told):
                    self._tell(event)

        follower = asyncio.create_task(follow())
        try:
            async with self._agent:
                yield
        finally:
            await asyncio.wait((follower,), timeout=_LAST_EVENTS_SECONDS)
            follower.cancel()


def _nobody(event: events.Event) -> None:
    """Waits for no news of its own."""


async def _reach(receipt: Receipt, wait: str) -> None:
    if wait == "displayed":
        await receipt.displayed()
    elif wait == "delivered":
        await receipt.delivered()
    elif wait == "sent":
        await receipt.sent()
    else:
        await receipt.stored()
        if not wait and receipt.status is MessageStatus.SENT:
            # A peer that sends no notifications has it all the same.
            with contextlib.suppress(AgentError):
                await receipt.delivered(_RECEIPT_SECONDS)
