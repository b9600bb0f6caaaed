"""What a user of ``rcsops chat`` sends, messages and files, until it is known to be there."""

import asyncio
import contextlib
import os
import shlex
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rcsops.errors import DatabaseError, RcsopsError, SessionClosed
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_letters import Letters
from rcsops.operations.chat_notices import Narrator
from rcsops.operations.file_way import goes_by_http
from rcsops.operations.places import Said, say, type_of, words_of
from rcsops.operations.wording import amount
from rcsops.ua import Agent, Chat, FileTransfer, MessageStatus, Receipt

__all__ = ["Outbox", "typed_path"]

# How long an ending waits for the receipts of what was sent.
_RECEIPT_SECONDS = 10.0
# Without a session a server may take as long as a transaction lasts.
_ANSWER_SECONDS = 33.0
# Of several lines typed while the peer's device rings.
_MAX_HELD = 1000
_MAX_TEXTS = 1000
_SNIPPET = 2000


@dataclass(eq=False, slots=True)
class _Held:
    """A message that waits for the session with ``peer``. ``kept``: the history has it, as the one
    that will go under ``message_id``, or could not keep it."""

    said: Said
    message_id: str
    peer: str
    kept: asyncio.Event = field(default_factory=asyncio.Event)


class Outbox:
    """Sends things of ``agent`` in the order in which they were typed, to the session that
    ``current`` gives, or without one.

    ``wake`` is called when there is none: whether one is being set up, for which they then wait.
    ``whom`` says with whom: an address, and the URI to which things go.
    """

    def __init__(
        self,
        agent: Agent,
        narrator: Narrator,
        teller: Teller,
        current: Callable[[], Chat | Letters | None],
        wake: Callable[[], bool],
        whom: Callable[[], tuple[str, str]],
    ) -> None:
        self._agent = agent
        self._narrator = narrator
        self._teller = teller
        self._current = current
        self._wake = wake
        self._whom = whom
        self._held: list[_Held] = []
        self._receipts: dict[str, Receipt] = {}
        # What was said, for what is told of it after it was delivered.
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._transfers: set[FileTransfer] = set()
        self._sending = asyncio.Lock()

    async def hold(self, said: Said) -> bool:
        """Keeps a message for the session that is being set up; False when there are too many.

        The history has it before it is told: also who is killed now loses nothing.
        """
        if len(self._held) >= _MAX_HELD:
            return False
        peer, address = self._whom()
        held = _Held(said, self._agent.tokens.imdn_id(), peer)
        self._held.append(held)
        try:
            await self._keep(held, address)
        except DatabaseError as error:
            if held in self._held:
                self._held.remove(held)
                self._refused(said, error)
        finally:
            held.kept.set()
        if held in self._held:
            self._narrator.say("held", "", message_id=held.message_id, text=words_of(said))
        return True

    async def _keep(self, held: _Held, address: str) -> None:
        if self._agent.history is not None:
            await self._agent.history.outgoing(
                held.peer,
                held.message_id,
                words_of(held.said),
                datetime.now(UTC),
                address=address,
                content_type=type_of(held.said),
            )

    @property
    def waiting(self) -> int:
        """How many messages are held."""
        return len(self._held)

    def drop(self) -> str:
        """There will be no session: what was held is lost. Says so; empty if nothing was held."""
        held, self._held = self._held, []
        if not held:
            return ""
        self._lost(held, "there was no session")
        return f"{len(held)} {'line' if len(held) == 1 else 'lines'} of yours not sent"

    async def release(self) -> None:
        """Sends what was held."""
        async with self._sending:
            # What is typed meanwhile is held as well.
            while self._held:
                held = self._held[0]
                await held.kept.wait()
                if held not in self._held:
                    continue
                self._held.remove(held)
                if not await self._send(held.said, held):
                    self._held.insert(0, held)
                    return

    async def send(self, said: Said) -> None:
        """Sends a message after those that were held."""
        async with self._sending:
            if not await self._send(said) and not await self.hold(said):
                self._lost([said], "too many wait for the session")

    async def _send(self, said: Said, held: _Held | None = None) -> bool:
        """Sends it, or tells why not; False when it is to wait for a session that is set up."""
        way = self._current()
        if way is None or (held is not None and way.peer != held.peer):
            if way is None and self._wake():
                return False
            self._lost([held or said], "there is no session")
            self._no_session()
            return True
        try:
            receipt = await say(way, said, message_id=None if held is None else held.message_id)
        except RcsopsError as error:
            if isinstance(error, SessionClosed) and self._current() is not way:
                # It ended at this moment, and there may be another way.
                return await self._send(said, held)
            self._refused(held or said, error)
            return True
        self._receipts[receipt.message_id] = receipt
        self._texts[receipt.message_id] = receipt.text[:_SNIPPET]
        if len(self._texts) > _MAX_TEXTS:
            self._texts.popitem(last=False)
        self._narrator.say(
            "status", "", message_id=receipt.message_id, status="queued", text=receipt.text
        )
        return True

    async def send_file(self, name: str) -> None:
        """Offers a file to the peer, or tells it where to fetch it from."""
        way = self._current()
        by_http = way is not None and goes_by_http(self._agent, way.peer)
        if way is None or not (by_http or isinstance(way, Chat)):
            self._no_session()
            return
        path = typed_path(name)
        peer = self._teller.short(way.peer)
        transfer: FileTransfer
        try:
            if isinstance(way, Chat) and not by_http:
                transfer = await way.send_file(path)
                text = f"offering {transfer.name} ({amount(transfer.size)}) to {peer}"
            else:
                chat = way if isinstance(way, Chat) else None
                uri = way.peer if chat is None else chat.remote_uri
                transfer = await self._agent.send_file_http(uri, path, chat=chat)
                text = f"uploading {transfer.name} ({amount(transfer.size)}) for {peer}"
        except RcsopsError as error:
            self._narrator.fail(f"not sent: {error}", hint=error.hint)
            return
        self._transfers.add(transfer)
        self._narrator.say(
            "file-offering",
            text,
            transfer_id=transfer.transfer_id,
            name=transfer.name,
            size=transfer.size,
            path=str(path),
            via=transfer.WAY,
            number=transfer.number,
        )

    def _refused(self, message: Said | _Held, error: RcsopsError) -> None:
        self._lost([message], str(error))
        self._narrator.fail(f"not sent: {error}", hint=error.hint)

    def _lost(self, messages: Sequence[Said | _Held], reason: str) -> None:
        texts: list[str] = []
        ids: list[str | None] = []
        for each in messages:
            held = each if isinstance(each, _Held) else None
            texts.append(words_of(each.said if isinstance(each, _Held) else each))
            ids.append(None if held is None else held.message_id)
            if held is not None and self._agent.history is not None:
                self._agent.history.status(held.peer, held.message_id, "failed", reason)
        self._narrator.say("dropped", "", texts=texts, message_ids=ids, reason=reason)

    def _no_session(self) -> None:
        self._narrator.fail("not sent: there is no session", hint="/invite PEER starts one")

    # --- what becomes of it ------------------------------------------------------------------

    def text_of(self, message_id: str) -> str:
        """The message of ours with this id, or its beginning; empty when it was not sent here, or
        long ago."""
        receipt = self._receipts.get(message_id)
        return receipt.text if receipt is not None else self._texts.get(message_id, "")

    def message_done(self, message_id: str) -> None:
        """A message is delivered or has failed."""
        self._receipts.pop(message_id, None)

    def file_done(self, transfer_id: str) -> None:
        """A file is there or has failed."""
        self._transfers = {each for each in self._transfers if each.transfer_id != transfer_id}

    async def confirmed(self) -> None:
        """Waits until everything is known to be there or not, and tells what nobody confirms."""
        async with self._sending:
            receipts, transfers = tuple(self._receipts.values()), tuple(self._transfers)
        await asyncio.gather(
            *(self._receipt(receipt) for receipt in receipts),
            *(self._through(transfer) for transfer in transfers),
        )

    async def _through(self, transfer: FileTransfer) -> None:
        if transfer.paused:
            # Nobody will let it go on any more here.
            return
        await _quietly(transfer.done())
        if transfer.receipt is not None:
            await self._receipt(transfer.receipt)

    async def _receipt(self, receipt: Receipt) -> None:
        await _quietly(receipt.stored(_ANSWER_SECONDS))
        if receipt.status is MessageStatus.STORED:
            # The server has it, and who it is for may be days away.
            return
        await _quietly(receipt.delivered(_RECEIPT_SECONDS))
        if receipt.status is MessageStatus.SENT:
            text = "a message was sent, but the peer has not confirmed it"
            self._narrator.note(text, message_id=receipt.message_id)
        elif receipt.status is MessageStatus.QUEUED:
            self._narrator.fail("a message was not sent", message_id=receipt.message_id)


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    # The agent's events tell what went wrong.
    with contextlib.suppress(RcsopsError):
        await work


def typed_path(text: str) -> Path:
    """A file name as people type it, or as a terminal quotes one that is dropped on it."""
    path = os.path.expanduser(text)
    if not os.path.exists(path):
        with contextlib.suppress(ValueError):
            words = shlex.split(text)
            if len(words) == 1:
                return Path(os.path.expanduser(words[0]))
    return Path(path)
