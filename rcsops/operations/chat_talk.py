"""What a user of ``rcsops chat`` has with a peer: a session or none, and what is on its way."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from rcsops.errors import AgentError, InviteError, RcsopsError, UsageError
from rcsops.operations.chat_door import Door
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_letters import Letters
from rcsops.operations.chat_notices import Narrator
from rcsops.operations.chat_outbox import Outbox
from rcsops.operations.chat_typing import Typing
from rcsops.operations.places import Said, typed_place
from rcsops.rcs import geolocation, quoted_reply, reaction_text
from rcsops.sip import Uri
from rcsops.ua import Agent, Chat, Invitation, events

__all__ = ["Household", "Talk"]

# How far back a reply may reach, messages of both sides counted.
_LOOK_BACK = 500
_FILES_OVER = events.FileSent | events.FileUploaded | events.FileReceived | events.FileFailed


class Household(Protocol):
    """What the talks of one user share."""

    @property
    def agent(self) -> Agent:
        """The user's agent."""

    @property
    def teller(self) -> Teller:
        """Who says what events mean."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs something beside."""

    async def admitted(self) -> bool:
        """Waits until the server has taken the user or refused; False when it has refused."""


class Talk:
    """One peer at a time: the session, letters without one, what waits for an answer.

    ``only`` is the address of the peer whom it is about for good; what is written to that one
    invites it where there is no session. Without it the user turns to one peer after the other.
    Files go to ``directory``. ``scripted``: lines wait for what was asked before them.
    """

    def __init__(
        self,
        household: Household,
        narrator: Narrator,
        *,
        directory: Path,
        auto_accept: bool,
        scripted: bool,
        only: str = "",
    ) -> None:
        self.only = only
        self.chat: Chat | None = None
        self._resting: Chat | None = None
        self.narrator = narrator
        self._home = household
        self._teller = household.teller
        self._scripted = scripted
        self.door = Door(
            narrator,
            self._teller,
            busy=self._busy_for,
            resumes=self._resumes,
            unreached=self._unreached,
            spawn=household.spawn,
            directory=directory,
            auto_accept=auto_accept,
        )
        self.letters = Letters(household.agent, narrator, self._teller, self._is_free)
        self.outbox = Outbox(
            household.agent, narrator, self._teller, self._way, self._wake, self._whose
        )
        self._typing = Typing()
        self._dialling: asyncio.Task[None] | None = None
        self._dialled: Uri | None = None
        self._news = asyncio.Condition()

    @property
    def peer(self) -> str:
        """Who the session is with, short; empty without one."""
        return self._teller.short(self.chat.peer) if self.chat is not None else ""

    @property
    def target(self) -> str:
        """Whom typed lines go to, for the prompt; empty for nobody."""
        if self.chat is None and self.letters.peer:
            return f"{self._teller.short(self.letters.peer)} (no session)"
        if self.resting:
            return f"{self._teller.short(self.resting)} (resting)"
        return self.peer

    @property
    def resting(self) -> str:
        """The address of the peer with whom the session ended because nobody used it: what is
        written opens it again; empty for none."""
        self._notice_rest()
        return self._resting.peer if self._resting is not None else ""

    def _notice_rest(self) -> None:
        # The chat may be over before its last event comes by.
        if self.chat is not None and self.chat.idle and self.chat.ended:
            self.chat, self._resting = None, self.chat

    @property
    def is_dialling(self) -> bool:
        """Whether a session is being set up, from either side."""
        ringing = self._dialling is not None and not self._dialling.done()
        return ringing or self.door.opening is not None

    # --- what is typed -----------------------------------------------------------------------

    async def invite(self, peer: str) -> None:
        """``/invite PEER``."""
        peer = peer or self.only
        if not peer:
            raise UsageError("/invite whom?", hint="/invite bob")
        if self._scripted:
            await self.ready()
        self.dial(peer)

    async def message(self, peer: str) -> None:
        """``/message PEER``: what is written goes there without a session."""
        peer = peer or self.only
        if not peer:
            raise UsageError("/message whom?", hint="/message bob")
        if self._scripted:
            await self.ready()
        uri = self._whom(peer)
        if uri is not None:
            self._resting = None
            self.letters.begin(uri.aor)

    async def bye(self) -> None:
        """``/bye``: ends what there is."""
        self._notice_rest()
        chat, self.chat = self.chat, None
        resting, self._resting = self._resting, None
        if self._dialling is not None and not self._dialling.done():
            self._dialling.cancel()
            await asyncio.wait((self._dialling,))
            lost = self.outbox.drop()
            text = "your invitation is taken back"
            self.narrator.note(f"{text}; {lost}" if lost else text)
        elif chat is None and self.letters.peer:
            self.narrator.note(f"you write no longer to {self.letters.end()}")
        elif chat is None and resting is not None:
            self.narrator.note(f"the session with {self._teller.short(resting.peer)} is over")
        elif chat is None:
            self.narrator.fail("there is no session to end")
        else:
            await chat.close()

    async def send(self, text: Said) -> None:
        """A message to the peer."""
        if self._scripted:
            await self.ready()
            if self.resting:
                self._reach_out()
                await self.ready()
        else:
            self._typing.stopped(sent=True)
            self._notice_rest()
            self._reach_out()
            if self.chat is None and self.is_dialling and await self.outbox.hold(text):
                return
        await self.outbox.send(text)

    async def send_location(self, argument: str) -> None:
        """``/location LAT LON [LABEL]``."""
        await self.send(typed_place(argument))

    async def reply(self, argument: str) -> None:
        """``/reply [N] TEXT``: quotes the last message of the peer, or the one N messages ago."""
        number, text = _counted(argument)
        if not text:
            raise UsageError("/reply what?", hint="/reply nine is fine")
        await self.send(quoted_reply(await self._heard(number), text))

    async def react(self, argument: str) -> None:
        """``/react [N] EMOJI``: says what the user feels about a message of the peer's."""
        number, emoji = _counted(argument)
        await self.send(reaction_text(emoji, await self._heard(number)))

    async def _heard(self, number: int) -> str:
        """The text that the peer sent ``number`` messages ago, 1 the last."""
        if self._scripted:
            await self.ready()
        peer = self.chat.peer if self.chat is not None else self.letters.peer or self.only
        history = self._home.agent.history
        if not peer or history is None:
            raise UsageError("nobody has written to you here", hint="/invite PEER starts a session")
        texts = [
            # The links of a place say no more than its first line.
            each.text.partition("\n")[0]
            if each.content_type == geolocation.CONTENT_TYPE
            else each.text
            for each in await history.messages(peer, limit=_LOOK_BACK)
            if each.direction == "in" and each.attachment is None and each.text.strip()
        ]
        if not 1 <= number <= len(texts):
            some = f"{len(texts)} messages" if texts else "no message"
            raise UsageError(f"there is {some} of {self._teller.short(peer)} to answer")
        return texts[-number]

    async def send_file(self, argument: str) -> None:
        """``/send FILE``."""
        if not argument:
            raise UsageError("/send which file?", hint="/send picture.jpg")
        if self._scripted:
            await self.ready()
        self._reach_out()
        if self.is_dialling and (self._scripted or self.only or self.resting):
            await self.ready()
        await self.outbox.send_file(argument)

    def typing(self, active: bool) -> None:
        """The user has changed what is not sent yet, or has taken it away."""
        if not active:
            self._typing.stopped()
        elif self.chat is not None:
            self._typing.key(self.chat)

    # --- sessions ----------------------------------------------------------------------------

    def dial(self, peer: str) -> None:
        """Invites a peer, unless something is in the way, which is then told."""
        uri = self._whom(peer)
        if uri is not None:
            self._dialled = uri
            self._dialling = self._home.spawn(self._invite(uri))

    def _reach_out(self) -> None:
        """Invites the one peer that there can be, unless there is a way to it."""
        peer = self.resting or self.only
        if peer and self._way() is None and not self.is_dialling:
            self.dial(peer)

    def _wake(self) -> bool:
        """The session that a message was for is over: whether one is being set up for it."""
        if self.resting:
            self._reach_out()
        return self.is_dialling

    def _resumes(self, invitation: Invitation) -> bool:
        """Whether a peer goes on with a session that rests, or whose end it knows before we do:
        our own user need not say yes again."""
        rest = self.chat or self._resting
        return (
            rest is not None
            and invitation.peer == rest.peer
            and invitation.conversation_id == rest.conversation_id
        )

    def _whom(self, peer: str) -> Uri | None:
        """Somebody else whom nothing keeps us from writing to; None when that has been told."""
        fail = self.narrator.fail
        if self.is_dialling:
            fail("another session is being set up", hint="/bye takes your invitation back")
            return None
        if self.chat is not None:
            fail(f"you are in a session with {self.peer}", hint="/bye ends it")
            return None
        try:
            uri = self._home.agent.peer_uri(peer)
        except UsageError as error:
            fail(str(error), hint="type bob or bob@rcs.example")
            return None
        if uri.aor == self._home.agent.aor:
            fail("that is you", hint="/invite somebody else")
            return None
        return uri

    async def _invite(self, uri: Uri) -> None:
        peer = uri.aor
        name = self._teller.short(peer)
        if not await self._home.admitted():
            self.not_opened(f"{name} was not invited, because you are not registered", peer=peer)
            return
        if self.letters.takes_letters_alone(peer):
            self.narrator.note(f"{name}'s devices take no sessions", peer=peer)
            self.letters.begin(peer)
            await self.outbox.release()
            return
        self.narrator.say("inviting", f"inviting {name}", peer=peer)
        try:
            # Trying and ringing come among the agent's events.
            chat = await self._home.agent.invite(
                str(uri), on_progress=lambda _event: None, conversation_id=self._thread(peer)
            )
        except InviteError as error:
            if await self._goes_without(peer, error):
                return
            text = self._teller.refusal(peer, error)
            self.not_opened(text, hint=error.hint, status=error.status, peer=peer)
        except RcsopsError as error:
            self.not_opened(
                f"{name} was not invited: {error}",
                hint=error.hint,
                status=error.status if isinstance(error, AgentError) else 0,
                peer=peer,
            )
        else:
            async with self._news:
                await self._news.wait_for(lambda: self.chat is chat or chat.ended)

    async def _unreached(self, peer: str, error: AgentError) -> None:
        """What the peer invited us to, and we accepted, did not come about."""
        if not (isinstance(error, InviteError) and await self._goes_without(peer, error)):
            self.not_opened(f"no session with {self._teller.short(peer)}: {error}")

    async def _goes_without(self, peer: str, error: InviteError) -> bool:
        """What was held for a session that came to nothing goes without one, if that can help."""
        if not await self.letters.instead(peer, error):
            return False
        await self.outbox.release()
        return True

    def _thread(self, peer: str) -> str | None:
        """The Conversation-ID of the session with ``peer`` that rests."""
        rest = self._resting
        return rest.conversation_id if rest is not None and rest.peer == peer else None

    def not_opened(self, text: str, *, hint: str = "", **data: object) -> None:
        """A session did not come about, and what was held for it is lost."""
        lost = self.outbox.drop()
        self.narrator.fail(f"{text}; {lost}" if lost else text, hint=hint, **data)

    async def ready(self) -> None:
        """Waits until a session that was asked for is there, or is not to be."""
        while tasks := [
            task
            for task in (self._dialling, self.door.opening)
            if task is not None and not task.done()
        ]:
            await asyncio.wait(tasks)

    def _busy_for(self, peer: str) -> str:
        if self.chat is not None and self.chat.peer != peer:
            return f"you are in a session with {self.peer}"
        return "a session is being set up" if self.is_dialling else ""

    def _is_free(self) -> bool:
        return self.chat is None and not self.is_dialling and not self.resting

    def _way(self) -> Chat | Letters | None:
        """Where typed lines go."""
        self._notice_rest()
        return self.chat or (self.letters if self.letters.peer else None)

    def _whose(self) -> tuple[str, str]:
        """With whom a session is being set up: the address, and the URI that things go to."""
        if self.door.opening is not None or self._dialled is None:
            return self.door.opening_to, self.door.opening_to
        return self._dialled.aor, str(self._dialled)

    def _adopt(self, chat_id: str) -> None:
        """The chat is the one that typed lines go to."""
        chat = next((each for each in self._home.agent.chats if each.chat_id == chat_id), None)
        if chat is None:
            return
        self.chat, self._resting = chat, None
        self.letters.end()
        self.letters.unused = False
        self._home.spawn(self.outbox.release())

    # --- what happens ------------------------------------------------------------------------

    def note(self, event: events.Event) -> None:
        """Something has happened, and has been told."""
        if isinstance(event, events.TextReceived):
            self.letters.received(event)
        elif isinstance(event, events.SessionOpened):
            self._adopt(event.chat_id)
        elif isinstance(event, events.SessionEnded):
            if self.chat is not None and self.chat.chat_id == event.chat_id:
                self.chat, self._resting = None, self.chat if event.idle else None
        elif isinstance(event, events.Delivered | events.Failed):
            self.outbox.message_done(event.message_id)
        elif isinstance(event, _FILES_OVER):
            self.outbox.file_done(event.transfer_id)
            self.door.file_done(event.transfer_id)

    async def noted(self) -> None:
        """Wakes who waits for what has happened."""
        async with self._news:
            self._news.notify_all()

    async def confirmed(self) -> None:
        """Waits until what went and came is known to be there or not."""
        await self.outbox.release()
        await self.ready()
        await self.outbox.release()
        await asyncio.gather(self.outbox.confirmed(), self.door.settled())


def _counted(argument: str) -> tuple[int, str]:
    """``N`` and what is behind it; 1 where no number stands before words."""
    first, _, rest = argument.partition(" ")
    if first.isascii() and first.isdigit() and len(first) < 5 and rest.strip():
        return int(first), rest.strip()
    return 1, argument
