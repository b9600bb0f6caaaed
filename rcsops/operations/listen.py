"""``rcsops listen``: takes what comes for a user, tells it, and lets a command answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rcsops.errors import AgentError, RcsopsError
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_notices import Notice
from rcsops.operations.chat_tasks import Tasks, unless
from rcsops.operations.listen_bot import Bot
from rcsops.operations.send import Posting
from rcsops.operations.wording import amount
from rcsops.settings import FileVerdict
from rcsops.ua import Agent, FileOffer, HttpOffer, Invitation, TextReceived, events

__all__ = ["Listener"]

# What a server may take to answer a MESSAGE, and a little more.
_ANSWERED_SECONDS = 35.0


class Listener:
    """Listens as ``agent``, which it starts and closes.

    ``tell`` gets each message and received file, ``note`` in words what happens beside. ``command``
    is run for each message and what it prints is sent back (`Bot`); it may take
    ``command_seconds``. Files are refused without a ``directory`` for them, and where the agent's
    rules do not accept them, for nobody is asked. After ``count`` messages it ends, once the files
    on content servers that these told of are there or have failed; further ones are left to the
    server, and those that have come over the same session with the last are told too. ``watched``:
    what is told is seen by a person; with a ``command``, what that has taken counts as seen.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        teller: Teller,
        tell: Callable[[Notice], None],
        note: Callable[[str], None],
        command: str = "",
        command_seconds: float = 60.0,
        directory: Path | None = None,
        watched: bool = False,
        count: int | None = None,
    ) -> None:
        self._agent = agent
        self._teller = teller
        self._tell = tell
        self._note = note
        self._directory = directory
        self._watched = watched
        self._count = count
        self._heard = 0
        # The messages whose file is to be fetched, and is not there yet.
        self._due: set[str] = set()
        self._failed = False
        self._lost = ""
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()
        self._tasks = Tasks(self.stop)
        self._bot: Bot | None = None
        if command:
            self._bot = Bot(
                command,
                answer=self._answer,
                done=agent.mark_displayed,
                note=note,
                seconds=command_seconds,
            )

    def stop(self) -> None:
        """Ends `run` in order; called again, without waiting for the goodbyes."""
        if self._stopped.is_set():
            self._hurried.set()
        self._stopped.set()

    async def run(self, seconds: float | None = None) -> bool:
        """Registers and listens, for ``seconds`` at most; False when ``count`` was not reached,
        or a file of these messages was still on its way or has failed. Downloads that an earlier
        listener left go on.

        Raises RegistrationError when the server does not take our user, at first or later; OSError
        when what comes cannot be told any more.
        """
        agent = self._agent
        agent.intake = self._count
        feed = agent.events()
        done = False
        await agent.start()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    done = await unless(self._stopped, self._listen(feed)) is True
        finally:
            if self._bot is not None:
                await self._bot.close()
            await unless(self._hurried, agent.close())
            await self._tasks.cancel()
        # The feed has ended with the agent, but for a hurried end.
        if not self._hurried.is_set():
            async for event in feed:
                self._show(event)
        if self._tasks.fault is not None:
            raise self._tasks.fault
        if self._lost:
            raise AgentError(self._lost, hint="start it again when that is mended")
        return self._count is None or (done and not self._failed)

    async def _listen(self, feed: AsyncIterator[events.Event]) -> bool:
        await self._agent.register()
        if self._directory is not None:
            self._due.update(each.transfer_id for each in await self._agent.resume_downloads())
        announced = ""
        async for event in feed:
            self._show(event)
            if isinstance(event, TextReceived):
                if event.file is not None:
                    # What our rules say of it is the next event.
                    self._due.add(event.message_id)
                    announced = event.message_id
                await self._heard_of(event)
            elif isinstance(event, events.FileRefused):
                self._due.discard(announced)
            elif isinstance(event, events.FileReceived):
                self._due.discard(event.transfer_id)
            elif isinstance(event, events.FileFailed | events.FileInterrupted):
                if isinstance(event, events.FileFailed) or event.retry_in is None:
                    self._failed |= event.transfer_id in self._due
                    self._due.discard(event.transfer_id)
            elif isinstance(event, events.Invited):
                self._tasks.spawn(self._accept(event.invitation))
            elif isinstance(event, events.FileOffered):
                if isinstance(event.offer, HttpOffer):
                    # It asks no peer, and whether it is fetched is known at once.
                    if not await self._take_file(event.offer):
                        self._due.discard(event.transfer_id)
                else:
                    self._tasks.spawn(self._take_offered(event.offer))
            elif isinstance(event, events.RegistrationLost) and event.retry_in is None:
                self._lost = f"not registered any more: {event.reason}"
                return False
            if self._count is not None and self._heard >= self._count and not self._due:
                break
        self._agent.intake = 0
        if self._bot is not None:
            await self._bot.finished()
        return True

    def _show(self, event: events.Event) -> None:
        told = self._teller.tell(event, "")
        if told is None:
            return
        name, words, data = told
        if isinstance(event, TextReceived | events.FileReceived):
            self._tell(Notice(name, words, data))
            if self._watched and self._bot is None and isinstance(event, TextReceived):
                self._agent.mark_displayed(event)
        elif isinstance(
            event,
            events.Registered
            | events.RegistrationLost
            | events.NotRead
            | events.FileRefused
            | events.FileFailed
            | events.FileInterrupted
            | events.FileResumed
            | events.SessionOpened,
        ):
            self._note(words)

    # --- what peers ask ----------------------------------------------------------------------

    async def _accept(self, invitation: Invitation) -> None:
        try:
            await invitation.accept()
        except AgentError as error:
            self._note(f"no session with {self._teller.short(invitation.peer)}: {error}")

    async def _take_offered(self, offer: FileOffer) -> None:
        await self._take_file(offer)

    async def _take_file(self, offer: FileOffer | HttpOffer) -> bool:
        """Whether it is on its way."""
        what = f"{self._teller.short(offer.peer)} sends {offer.name} ({amount(offer.size)})"
        # Over HTTP nobody waits: a person is asked by the next chat.
        refusal = 480 if isinstance(offer, HttpOffer) else 603
        if self._directory is None:
            offer.reject(refusal)
            self._note(f"{what}: refused, for there is no --files DIR")
        elif offer.verdict is not FileVerdict.ACCEPT:
            offer.reject(refusal)
            self._note(f"{what}: refused, for no rule of [files] accepts it")
        else:
            try:
                await offer.accept(self._directory)
            except RcsopsError as error:
                self._failed |= offer.transfer_id in self._due
                self._note(f"{offer.name} not received: {error}")
            else:
                return True
        return False

    # --- the bot -----------------------------------------------------------------------------

    async def _heard_of(self, message: TextReceived) -> None:
        self._heard += 1
        if self._bot is None:
            return
        written = message.sent_at or message.received_at
        variables = {
            "RCSOPS_FROM": message.peer,
            "RCSOPS_TO": self._agent.aor,
            "RCSOPS_MESSAGE_ID": message.message_id,
            "RCSOPS_CHAT_ID": message.chat_id,
            "RCSOPS_SENT_AT": written.astimezone().isoformat(timespec="milliseconds"),
            "RCSOPS_TEXT": message.text,
        }
        await self._bot.take(message, self._teller.short(message.peer), variables)

    async def _answer(self, message: TextReceived, text: str) -> None:
        peer = message.peer
        chat = None
        if not message.pager:
            chat = next((each for each in self._agent.chats if each.peer == peer), None)
        posting = Posting(self._agent, peer, chat=chat)
        try:
            async with asyncio.timeout(_ANSWERED_SECONDS):
                receipt = await posting.send(text)
                await receipt.stored()
        except TimeoutError:
            name = self._teller.short(peer)
            self._note(f"no answer to {name}: not sent within {_ANSWERED_SECONDS:g} s")
        finally:
            await posting.close()
