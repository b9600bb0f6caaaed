"""``rcsops chat``: one user's agent, driven by typed lines, telling what happens as notices.

It knows no terminal and no JSON: lines come from an async iterator, notices go to a function.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from rcsops.errors import AgentError, InviteError, RcsopsError, UsageError
from rcsops.operations.chat_door import Door
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_letters import Letters
from rcsops.operations.chat_notices import Line, Narrator, Notice, Verbatim
from rcsops.operations.chat_outbox import Outbox
from rcsops.operations.chat_tasks import Tasks, unless
from rcsops.sip import Credential, Uri
from rcsops.ua import Agent, Chat, events

__all__ = ["COMMANDS", "ChatRoom"]

COMMANDS = {
    "/invite PEER": "start a session with PEER",
    "/message PEER": "write to PEER without a session",
    "/accept": "accept the invitation or file that waits",
    "/decline": "decline it",
    "/send FILE": "send a file to the peer",
    "/who": "who you are and who is in session with you",
    "/bye": "end the session, or take your invitation back",
    "/register": "register again",
    "/help": "show these commands",
    "/quit": "end the session, unregister and leave (also Ctrl-C, Ctrl-D)",
}
_MORE_HELP = "a line that begins with // is a message that begins with /"

# How long an ending waits for the server to say anything at all.
_REGISTER_SECONDS = 15.0
# After so long an ending says what it is waiting for.
_SLOW_SECONDS = 1.0


class ChatRoom:
    """The agent of one user and the one chat that it has at a time.

    ``scripted`` is for input that is not a person: lines wait for what was asked before them, and
    at the end of the input what was begun is finished first. ``directory`` is where files go that
    peers send, up to ``max_file`` octets without a question. ``credential`` gives the user's secret
    as it is kept now, if it is, for one who registers again.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        notify: Callable[[Notice], None],
        server: str,
        domain: str,
        directory: Path,
        auto_accept: bool = True,
        scripted: bool = False,
        max_file: int = 100 << 20,
        credential: Callable[[], Credential | None] = lambda: None,
    ) -> None:
        self._agent = agent
        self._credential = credential
        self._scripted = scripted
        self._patient = scripted
        self._narrator = Narrator(notify, self.stop)
        self._tasks = Tasks(self.stop)
        self._teller = Teller(domain, server)
        self._door = Door(
            self._narrator,
            self._teller,
            busy=self._busy_for,
            not_opened=self._not_opened,
            spawn=self._tasks.spawn,
            directory=directory,
            auto_accept=auto_accept,
            max_file=max_file,
        )
        self._letters = Letters(agent, self._narrator, self._teller, self._is_free)
        self._outbox = Outbox(self._narrator, self._way)
        self._chat: Chat | None = None
        self._registering: asyncio.Task[None] | None = None
        self._refused = False
        self._lost = asyncio.Event()
        self._dialling: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()
        self._unregistered = False

    @property
    def peer(self) -> str:
        """Who the session is with, short; empty without one."""
        return self._teller.short(self._chat.peer) if self._chat is not None else ""

    @property
    def target(self) -> str:
        """Whom typed lines go to, for the prompt; empty for nobody."""
        if self._chat is None and self._letters.peer:
            return f"{self._teller.short(self._letters.peer)} (no session)"
        return self.peer

    def stop(self) -> None:
        """Ends `run` as the end of the input does, without its patience.

        Called again, it does not even wait for the goodbyes to the peer and the server.
        """
        if self._stopped.is_set():
            self._hurried.set()
        self._patient = False
        self._stopped.set()

    async def run(self, lines: AsyncIterator[Line], *, peer: str | None = None) -> int:
        """Registers, invites ``peer`` if there is one, and obeys the lines until they end.

        Returns the exit code: 1 when input that is not a person's asked for something that did not
        happen. Raises OSError when notices cannot be told any more.
        """
        follower = self._tasks.spawn(self._follow())
        try:
            self._registering = self._tasks.spawn(self._register(waits=peer is None))
            if peer is not None:
                self._dial(peer)
            while (line := await self._next(lines)) is not None:
                if not await unless(self._stopped, self._take(line)):
                    break
            await self._settle()
        finally:
            await self._tasks.cancel(but=follower)
            registered = self._agent.registered
            await self._leave()
            # What the closing has to say is still told; the stream ends with the agent.
            await asyncio.wait((follower,), timeout=0 if self._hurried.is_set() else 2.0)
            follower.cancel()
        if self._tasks.fault is not None:
            raise self._tasks.fault
        told = registered and self._unregistered
        words = "unregistered; good bye" if told else "good bye"
        self._narrator.say("ended", words, user=self._me, unregistered=told)
        if self._narrator.lost is not None:
            raise self._narrator.lost
        failed = self._narrator.failures or self._letters.unused
        return 1 if failed and self._scripted else 0

    async def _leave(self) -> None:
        """Says good-bye to the peer and the server, who may not be there any more."""
        self._narrator.say("ending", "")
        slow = asyncio.get_running_loop().call_later(
            _SLOW_SECONDS,
            self._narrator.note,
            "saying good-bye; Ctrl-C does not wait for it",
        )
        try:
            await unless(self._hurried, self._agent.close())
        finally:
            slow.cancel()

    # --- what is typed -----------------------------------------------------------------------

    async def _next(self, lines: AsyncIterator[Line]) -> Line | None:
        async def following() -> Line | None:
            return await anext(lines, None)

        return await unless(self._stopped, following())

    async def _take(self, line: Line) -> bool:
        """Obeys one line; False when it ends the chat."""
        if isinstance(line, UsageError):
            self._narrator.fail(str(line), hint=line.hint)
        elif isinstance(line, Verbatim):
            await self._send(str(line))
        elif line.startswith("//"):
            await self._send(line[1:])
        elif line.startswith("/") and "\n" not in line:
            word, _, rest = line.partition(" ")
            return await self._command(word, rest.strip())
        elif line.strip():
            await self._send(line)
        return True

    async def _command(self, word: str, argument: str) -> bool:
        if word in ("/quit", "/exit"):
            return False
        known: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "/invite": self._invite_command,
            "/message": self._message_command,
            "/accept": self._accept_command,
            "/decline": self._decline_command,
            "/send": self._send_file,
            "/who": self._who,
            "/bye": self._bye,
            "/register": self._register_command,
            "/help": self._help,
        }
        if word not in known:
            self._narrator.fail(
                f"there is no command {word}", hint="/help shows them; // sends a line with /"
            )
            return True
        try:
            await known[word](argument)
        except RcsopsError as error:
            self._narrator.fail(str(error), hint=error.hint)
        return True

    async def _help(self, _argument: str) -> None:
        width = max(map(len, COMMANDS))
        lines = [f"{name:<{width}}  {what}" for name, what in COMMANDS.items()]
        text = "\n".join(["what you type is a message to the peer, but for:", *lines, _MORE_HELP])
        self._narrator.say("help", text, commands=dict(COMMANDS))

    async def _who(self, _argument: str) -> None:
        registered = self._agent.registered
        server = self._teller.server
        where = f"registered at {server}" if registered else f"not registered at {server}"
        lines = [f"you are {self._teller.short(self._agent.aor)}, {where}"]
        chat = self._chat
        if chat is not None:
            lines.append(f"in session with {self.peer}: direct, {chat.local} <-> {chat.remote}")
        elif self._letters.peer:
            lines.append(f"writing to {self._teller.short(self._letters.peer)} without a session")
        else:
            lines.append("in session with nobody")
        self._narrator.say(
            "who",
            "\n".join(lines),
            user=self._me,
            registered=registered,
            server=server,
            peer=chat.peer if chat is not None else None,
            writing_to=self._letters.peer or None,
            local=chat.local if chat is not None else None,
            remote=chat.remote if chat is not None else None,
        )

    # --- registration ------------------------------------------------------------------------

    async def _register(self, *, waits: bool) -> None:
        self._refused = False
        try:
            await self._agent.register(retry=True)
        except RcsopsError as error:
            self._refused = True
            status = error.status if isinstance(error, AgentError) else 0
            again = "/register tries again"
            hint = f"{error.hint}; {again}" if error.hint else again
            self._narrator.fail(str(error), hint=hint, status=status)
            return
        if waits and self._chat is None and not self._is_dialling():
            self._narrator.say(
                "waiting", "waiting for an invitation; /invite PEER sends one, /help shows more"
            )

    async def _register_command(self, _argument: str) -> None:
        if self._registering is not None and not self._registering.done():
            self._narrator.note("still trying to register")
            return
        kept = self._credential()
        if kept is not None:
            self._agent.use_credential(kept)
        self._registering = self._tasks.spawn(self._register(waits=True))

    async def _registered(self) -> None:
        """Waits until the server has taken us or refused us."""
        if self._registering is not None:
            await asyncio.wait((self._registering,))

    # --- sessions ----------------------------------------------------------------------------

    async def _invite_command(self, argument: str) -> None:
        if not argument:
            raise UsageError("/invite whom?", hint="/invite bob")
        if self._scripted:
            await self._ready()
        self._dial(argument)

    async def _message_command(self, argument: str) -> None:
        if not argument:
            raise UsageError("/message whom?", hint="/message bob")
        if self._scripted:
            await self._ready()
        uri = self._whom(argument)
        if uri is not None:
            self._letters.begin(uri.aor)

    def _dial(self, peer: str) -> None:
        uri = self._whom(peer)
        if uri is not None:
            self._dialling = self._tasks.spawn(self._invite(uri))

    def _whom(self, peer: str) -> Uri | None:
        """Somebody else whom nothing keeps us from writing to; None when that has been told."""
        fail = self._narrator.fail
        if self._is_dialling():
            fail("another session is being set up", hint="/bye takes your invitation back")
            return None
        if self._chat is not None:
            fail(f"you are in a session with {self.peer}", hint="/bye ends it")
            return None
        try:
            uri = self._agent.peer_uri(peer)
        except UsageError as error:
            fail(str(error), hint="type bob or bob@rcs.example")
            return None
        if uri.aor == self._agent.aor:
            fail("that is you", hint="/invite somebody else")
            return None
        return uri

    async def _invite(self, uri: Uri) -> None:
        peer = uri.aor
        name = self._teller.short(peer)
        await self._registered()
        if self._refused:
            self._not_opened(f"{name} was not invited, because you are not registered", peer=peer)
            return
        self._narrator.say("inviting", f"inviting {name}", peer=peer)
        try:
            # Trying and ringing come among the agent's events.
            chat = await self._agent.invite(str(uri), on_progress=lambda _event: None)
        except InviteError as error:
            if self._letters.instead(peer, error):
                await self._outbox.release()
                return
            text = self._teller.refusal(peer, error)
            self._not_opened(text, hint=error.hint, status=error.status, peer=peer)
        except RcsopsError as error:
            self._not_opened(
                f"{name} was not invited: {error}",
                hint=error.hint,
                status=error.status if isinstance(error, AgentError) else 0,
                peer=peer,
            )
        else:
            async with self._news:
                await self._news.wait_for(lambda: self._chat is chat or chat.ended)

    def _not_opened(self, text: str, *, hint: str = "", **data: object) -> None:
        lost = self._outbox.drop()
        self._narrator.fail(f"{text}; {lost}" if lost else text, hint=hint, **data)

    def _is_dialling(self) -> bool:
        ringing = self._dialling is not None and not self._dialling.done()
        return ringing or self._door.opening is not None

    async def _ready(self) -> None:
        """Waits until a session that was asked for is there, or is not to be."""
        while tasks := [
            task
            for task in (self._dialling, self._door.opening)
            if task is not None and not task.done()
        ]:
            await asyncio.wait(tasks)

    def _busy_for(self, peer: str) -> str:
        if self._chat is not None and self._chat.peer != peer:
            return f"you are in a session with {self.peer}"
        return "a session is being set up" if self._is_dialling() else ""

    def _is_free(self) -> bool:
        return self._chat is None and not self._is_dialling()

    def _way(self) -> Chat | Letters | None:
        """Where typed lines go."""
        return self._chat or (self._letters if self._letters.peer else None)

    def _adopt(self, chat_id: str) -> None:
        """The chat is the one that typed lines go to."""
        chat = next((each for each in self._agent.chats if each.chat_id == chat_id), None)
        if chat is None:
            return
        self._chat = chat
        self._letters.end()
        self._letters.unused = False
        self._tasks.spawn(self._outbox.release())

    async def _bye(self, _argument: str) -> None:
        chat, self._chat = self._chat, None
        if self._dialling is not None and not self._dialling.done():
            self._dialling.cancel()
            await asyncio.wait((self._dialling,))
            lost = self._outbox.drop()
            text = "your invitation is taken back"
            self._narrator.note(f"{text}; {lost}" if lost else text)
        elif chat is None and self._letters.peer:
            self._narrator.note(f"you write no longer to {self._letters.end()}")
        elif chat is None:
            self._narrator.fail("there is no session to end")
        else:
            await chat.close()

    async def _accept_command(self, _argument: str) -> None:
        self._door.accept()

    async def _decline_command(self, _argument: str) -> None:
        self._door.decline()

    # --- messages and files ------------------------------------------------------------------

    async def _send(self, text: str) -> None:
        if self._scripted:
            await self._ready()
        elif self._chat is None and self._is_dialling() and self._outbox.hold(text):
            return
        await self._outbox.send(text)

    async def _send_file(self, argument: str) -> None:
        if not argument:
            raise UsageError("/send which file?", hint="/send picture.jpg")
        if self._scripted:
            await self._ready()
        await self._outbox.send_file(argument, self.peer)

    # --- what happens ------------------------------------------------------------------------

    async def _follow(self) -> None:
        async for event in self._agent.events():
            self._happened(event)
            async with self._news:
                self._news.notify_all()

    def _happened(self, event: events.Event) -> None:
        if isinstance(event, events.Invited):
            self._door.invited(event.invitation)
            return
        if isinstance(event, events.FileOffered):
            self._door.offered(event.offer)
            return
        if isinstance(event, events.InviteCancelled):
            self._door.taken_back(event)
            return
        text = self._outbox.text_of(getattr(event, "message_id", ""))
        told = self._teller.tell(event, text)
        if told is not None:
            name, words, data = told
            self._narrator.say(name, words, **data)
        self._note(event)

    def _note(self, event: events.Event) -> None:
        if isinstance(event, events.TextReceived):
            self._letters.received(event)
        elif isinstance(event, events.SessionOpened):
            self._adopt(event.chat_id)
        elif isinstance(event, events.SessionEnded):
            if self._chat is not None and self._chat.chat_id == event.chat_id:
                self._chat = None
        elif isinstance(event, events.Delivered | events.Failed):
            self._outbox.message_done(event.message_id)
        elif isinstance(event, events.FileSent | events.FileReceived | events.FileFailed):
            self._outbox.file_done(event.transfer_id)
            self._door.file_done(event.transfer_id)
        elif isinstance(event, events.RegistrationLost):
            self._lost.set()
        elif isinstance(event, events.Registered):
            self._lost.clear()
        elif isinstance(event, events.Unregistered):
            self._unregistered = True
        if isinstance(event, events.Failed | events.FileFailed):
            self._narrator.failures += 1

    # --- the end -----------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Finishes what was begun, when the input was not a person's."""
        if not self._patient:
            return
        await unless(self._stopped, self._finish())

    async def _finish(self) -> None:
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            if self._registering is not None:
                await asyncio.wait(
                    (self._registering, lost),
                    timeout=_REGISTER_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            lost.cancel()
        if self._registering is not None and not self._registering.done():
            # Nobody is here to wait until the server is back.
            self._not_opened("the server has not answered")
            return
        await self._ready()
        await asyncio.gather(self._outbox.confirmed(), self._door.settled())

    # --- helpers -----------------------------------------------------------------------------

    @property
    def _me(self) -> str:
        return self._agent.aor.removeprefix("sip:")
