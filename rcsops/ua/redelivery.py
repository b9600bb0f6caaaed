"""Messages that left and may not have arrived: they go again, in order, under the same Message-ID.

A session broke before the peer had acknowledged them, the server was gone, or the process that had
them in hand was killed. Who gets one twice knows it by its Message-ID.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rcsops.database.history import HistoryMessage
from rcsops.errors import AgentError, DeliveryError, InviteError, RcsopsError, UsageError
from rcsops.rcs import ChatCodec, Outgoing, fthttp
from rcsops.sip import Uri
from rcsops.transport import wall_clock
from rcsops.ua.receipts import MessageStatus, Receipt

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["Redelivery", "Unsure", "compose_again"]

logger = logging.getLogger(__name__)

# What a device has acknowledged, it is given so long to call delivered.
_GRACE_SECONDS = 3.0
_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE = 300.0
# An invitation that is answered so may succeed another time.
_NOT_NOW = frozenset({0, 408, 430, 480, 486, 487, 500, 503, 504, 600})


@dataclass(frozen=True, slots=True)
class Unsure:
    """A text of ours that may not have arrived; ``written`` is its DateTime."""

    peer: str
    address: str
    receipt: Receipt
    written: datetime
    conversation_id: str

    @classmethod
    def kept(cls, entry: HistoryMessage) -> "Unsure":
        """One that an earlier process has left in the history."""
        written = datetime.fromtimestamp(entry.sent_at, UTC)
        is_file = entry.content_type == fthttp.CONTENT_TYPE
        file = fthttp.read_file_text(entry.text) if is_file else None
        receipt = Receipt(entry.message_id, entry.text, written, file)
        if entry.status == MessageStatus.SENT:
            receipt.advance(MessageStatus.SENT)
        return cls(
            entry.peer,
            entry.address or entry.peer,
            receipt,
            written,
            entry.conversation_id,
        )


def compose_again(codec: ChatCodec, message: Unsure) -> Outgoing:
    """The same message once more."""
    receipt = message.receipt
    if receipt.file is not None:
        return codec.compose_file(receipt.file, message.written, message_id=receipt.message_id)
    return codec.compose_text(receipt.text, message.written, message_id=receipt.message_id)


class Redelivery:
    """Sends them, to each peer one after the other: in a session that is open, else in a MESSAGE,
    else, when it does not fit, in a session of its own; when the peer is away, in a large MESSAGE.

    With a server nothing goes before ``go``: it has to know us.
    """

    def __init__(self, agent: "AgentCore") -> None:
        self._agent = agent
        self._waiting: dict[str, deque[Unsure]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._drained: dict[str, asyncio.Event] = {}
        self._ready = agent.options.server is None or agent.registered
        self._closed = False

    def has(self, peer: str) -> bool:
        """Whether messages to a peer wait, which newer ones must not overtake."""
        return peer in self._waiting

    def take(self, messages: Iterable[Unsure], *, first: bool = False) -> None:
        """These are to go again, after those that wait, or ``first``."""
        for message in reversed(list(messages)) if first else messages:
            self._agent.pager.remember(message.peer, message.receipt)
            queue = self._waiting.get(message.peer)
            if queue is None:
                queue = self._waiting[message.peer] = deque()
                self._wake[message.peer] = asyncio.Event()
                self._drained[message.peer] = asyncio.Event()
                if self._ready:
                    self._agent.host.spawn(self._work(message.peer))
            elif any(each.receipt is message.receipt for each in queue):
                continue
            if first:
                queue.appendleft(message)
            else:
                queue.append(message)

    def go(self) -> None:
        """The server knows us, again perhaps."""
        if not self._ready:
            self._ready = True
            for peer in self._waiting:
                self._agent.host.spawn(self._work(peer))
        for event in self._wake.values():
            event.set()

    def session_opened(self, peer: str) -> None:
        """There is a session, by which what waits goes first."""
        if peer in self._wake:
            self._wake[peer].set()

    async def drained(self, peer: str) -> None:
        """Waits until nothing older waits for a peer."""
        self.session_opened(peer)
        if peer in self._drained:
            await self._drained[peer].wait()

    def close(self) -> None:
        """Nothing more goes; the next agent of the user finds the rest in the history."""
        self._closed = True
        for event in (*self._wake.values(), *self._drained.values()):
            event.set()

    async def _work(self, peer: str) -> None:
        queue = self._waiting[peer]
        failures = 0
        try:
            while queue and not self._closed:
                message = queue[0]
                if await self._send(message):
                    failures = 0
                    # Others may have come before it meanwhile.
                    queue.remove(message)
                elif not self._closed:
                    failures += 1
                    await self._pause(peer, failures)
        finally:
            del self._waiting[peer], self._wake[peer]
            self._drained.pop(peer).set()

    async def _pause(self, peer: str, failures: int) -> None:
        wake = self._wake[peer]
        wake.clear()
        try:
            async with asyncio.timeout(min(_PAUSE_SECONDS * 2**failures, _LONGEST_PAUSE)):
                await wake.wait()
        except TimeoutError:
            return

    async def _send(self, message: Unsure) -> bool:
        """Whether it needs no further try."""
        agent, receipt = self._agent, message.receipt
        if receipt.status is MessageStatus.SENT:
            try:
                await receipt.delivered(_GRACE_SECONDS)
            except AgentError:
                pass
        if receipt.is_final:
            return True
        if wall_clock() - message.written > timedelta(seconds=agent.options.resend_seconds):
            self._fail(message, DeliveryError("it could not be sent in time"))
            return True
        for chat in agent.chats:
            if chat.peer == message.peer and await chat.resend(message):
                return True
        if self._closed:
            return False
        try:
            uri = agent.peer_uri(message.address)
            return await agent.pager.resend(uri, message)
        except UsageError as error:
            self._fail(message, DeliveryError(str(error)))
            return True
        except DeliveryError:
            # Too long for a MESSAGE.
            return await self._by_session(uri, message)

    async def _by_session(self, uri: Uri, message: Unsure) -> bool:
        from rcsops.ua import dialing

        agent = self._agent
        try:
            chat = await dialing.invite(
                agent,
                uri,
                on_progress=None,
                subject="",
                conversation_id=message.conversation_id or None,
            )
        except InviteError as error:
            if agent.options.server is not None and error.status in _NOT_NOW:
                return await self._large(uri, message)
            self._fail(message, DeliveryError(str(error), status=error.status))
            return True
        except RcsopsError as error:
            logger.info("a message to %s waits: %s", message.peer, error)
            return False
        return await chat.resend(message)

    async def _large(self, uri: Uri, message: Unsure) -> bool:
        """Leaves a long text to the server, which keeps it for who is away."""
        try:
            return await self._agent.pager.resend(uri, message, large=True)
        except RcsopsError as error:
            logger.info("a message to %s waits: %s", message.peer, error)
            return False

    def _fail(self, message: Unsure, error: DeliveryError) -> None:
        self._agent.pager.fail(message.peer, message.receipt, error)
