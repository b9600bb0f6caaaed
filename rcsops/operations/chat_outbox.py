"""What a user of ``rcsops chat`` sends, messages and files, until it is known to be there."""

import asyncio
import contextlib
import os
import shlex
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rcsops.errors import RcsopsError, SessionClosed
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_letters import Letters
from rcsops.operations.chat_notices import Narrator
from rcsops.operations.file_way import goes_by_http
from rcsops.operations.places import Said, say, words_of
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


class Outbox:
    """Sends things of ``agent`` in the order in which they were typed, to the session that
    ``current`` gives, or without one.

    ``wake`` is called when there is none: whether one is being set up, for which they then wait.
    """

    def __init__(
        self,
        agent: Agent,
        narrator: Narrator,
        teller: Teller,
        current: Callable[[], Chat | Letters | None],
        wake: Callable[[], bool],
    ) -> None:
        self._agent = agent
        self._narrator = narrator
        self._teller = teller
        self._current = current
        self._wake = wake
        self._held: list[Said] = []
        self._receipts: dict[str, Receipt] = {}
        # What was said, for what is told of it after it was delivered.
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._transfers: set[FileTransfer] = set()
        self._sending = asyncio.Lock()

    def hold(self, said: Said) -> bool:
        """Keeps a message for the session that is being set up; False when there are too many."""
        if len(self._held) >= _MAX_HELD:
            return False
        self._held.append(said)
        self._narrator.say("held", "", text=words_of(said))
        return True

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
                said = self._held.pop(0)
                if not await self._send(said):
                    self._held.insert(0, said)
                    return

    async def send(self, said: Said) -> None:
        """Sends a message after those that were held."""
        async with self._sending:
            if not await self._send(said) and not self.hold(said):
                self._lost([said], "too many wait for the session")

    async def _send(self, said: Said) -> bool:
        """Sends it, or tells why not; False when it is to wait for a session that is set up."""
        way = self._current()
        if way is None:
            if self._wake():
                return False
            self._lost([said], "there is no session")
            self._no_session()
            return True
        try:
            receipt = await say(way, said)
        except RcsopsError as error:
            if isinstance(error, SessionClosed) and self._current() is not way:
                # It ended at this moment, and there may be another way.
                return await self._send(said)
            self._lost([said], str(error))
            self._narrator.fail(f"not sent: {error}", hint=error.hint)
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

    def _lost(self, texts: list[Said], reason: str) -> None:
        self._narrator.say("dropped", "", texts=[words_of(said) for said in texts], reason=reason)

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
