"""``rcsops chat``: one user's agent, driven by typed lines, telling what happens as notices.

It knows no terminal and no JSON: lines come from an async iterator, or are obeyed one by one, and
notices go to a function. Plain lines and the full screen are two fronts of the same room.
"""

import asyncio
import contextlib
import difflib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from rcsops.errors import AgentError, DatabaseError, RcsopsError, UsageError
from rcsops.operations.chat_events import Teller, connection
from rcsops.operations.chat_files import FILE_COMMANDS, FileCommands
from rcsops.operations.chat_notices import Line, Narrator, Notice, Seen, Verbatim
from rcsops.operations.chat_talk import Talk
from rcsops.operations.chat_tasks import Tasks, unless
from rcsops.sip import Credential
from rcsops.ua import Agent, events

__all__ = ["COMMANDS", "ChatRoom"]

COMMANDS = {
    "/invite PEER": "start a session with PEER",
    "/message PEER": "write to PEER without a session",
    "/accept [N]": "accept the invitation or file that waits, or number N of several",
    "/decline [N]": "decline it",
    "/send FILE": "send a file to the peer",
    **FILE_COMMANDS,
    "/reply [N] TEXT": "answer the peer's last message, or the one N ago, and quote it",
    "/react [N] EMOJI": "say what you feel about it",
    "/location LAT LON [LABEL]": "send a place",
    "/who": "who you are and who is in session with you",
    "/bye": "end the session, or take your invitation back",
    "/register": "register again",
    "/help": "show these commands",
    "/quit": "end the session, unregister and leave (also Ctrl-C, Ctrl-D)",
}
# What these are called elsewhere, and so typed here.
_CALLED_ELSEWHERE = {
    "/file": "/send",
    "/sendfile": "/send",
    "/upload": "/send",
    "/attach": "/send",
    "/msg": "/message",
    "/query": "/message",
    "/chat": "/invite",
    "/call": "/invite",
    "/hangup": "/bye",
    "/close": "/bye",
    "/whois": "/who",
    "/commands": "/help",
    "/q": "/quit",
}
_MORE_HELP = "a line that begins with // is a message that begins with /"

# How long an ending waits for the server to say anything at all.
_REGISTER_SECONDS = 15.0
# After so long an ending says what it is waiting for.
_SLOW_SECONDS = 1.0
_IN_A_ROW = 10
# So many messages may wait to be called seen.
_MAX_UNSEEN = 1000


class ChatRoom:
    """The agent of one user, and what it has with peers: a `Talk`, one peer at a time.

    ``several``: a talk for each peer, as a screen with many conversations has them. A line is then
    for the peer that it is ``to``, and a notice says whom it is ``about``.

    ``scripted`` is for input that is not a person: lines wait for what was asked before them, and
    at the end of the input what was begun is finished first. ``directory`` is where files go that
    peers send. ``watched``: a person sees each notice as it is told; without it, `seen` says which
    messages were seen. ``credential`` gives the user's secret as it is kept now, if it is, for one
    who registers again.
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
        several: bool = False,
        watched: bool = False,
        credential: Callable[[], Credential | None] = lambda: None,
    ) -> None:
        self.agent = agent
        self.teller = Teller(domain, server)
        self._files = FileCommands(agent, self.teller, directory)
        self._credential = credential
        self._scripted = scripted
        self._patient = scripted
        self._several = several
        self._watched = watched
        self._unseen: OrderedDict[str, events.TextReceived] = OrderedDict()
        self._narrator = Narrator(notify, self.stop)
        self._tasks = Tasks(self.stop)
        self._make_talk = partial(
            Talk,
            self,
            directory=directory,
            auto_accept=auto_accept,
            scripted=scripted,
        )
        # In a room of several, what is typed to nobody has a talk of its own: of commands alone.
        self._talks = {"": self._make_talk(self._narrator)}
        self._registering: asyncio.Task[None] | None = None
        self._refused = False
        self._lost = asyncio.Event()
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()
        self._unregistered = False

    @property
    def target(self) -> str:
        """Whom typed lines go to, for the prompt; empty for nobody."""
        return self._talks[""].target

    def talk(self, peer: str) -> Talk:
        """What there is with the peer of that address: in a room that is not of ``several``, the
        one talk that there is."""
        key = peer if self._several else ""
        talk = self._talks.get(key)
        if talk is None:
            talk = self._talks[key] = self._make_talk(self._narrator.about(key), only=key)
        return talk

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs something beside; a fault in it ends the chat."""
        return self._tasks.spawn(work)

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
        follower = self.spawn(self._follow())
        try:
            await self._offer_again()
            self._registering = self.spawn(self._register(waits=peer is None))
            if peer is not None:
                self._talk_of(peer).dial(peer)
            while (line := await self._next(lines)) is not None:
                if not await unless(self._stopped, self.obey(line)):
                    break
            await self._settle()
        finally:
            await self._tasks.cancel(but=follower)
            registered = self.agent.registered
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
        unused = any(talk.letters.unused for talk in self._talks.values())
        return 1 if (self._narrator.failures or unused) and self._scripted else 0

    async def _leave(self) -> None:
        """Says good-bye to the peer and the server, who may not be there any more."""
        self._narrator.say("ending", "")
        waiting = sum(talk.outbox.waiting for talk in self._talks.values())
        if waiting:
            what = "a line of yours has" if waiting == 1 else f"{waiting} lines of yours have"
            self._narrator.note(f"{what} not gone yet: the next rcsops chat sends what waits")
        slow = asyncio.get_running_loop().call_later(
            _SLOW_SECONDS,
            self._narrator.note,
            "saying good-bye; Ctrl-C does not wait for it",
        )
        try:
            await unless(self._hurried, self.agent.close())
        finally:
            slow.cancel()

    async def _offer_again(self) -> None:
        """Files that waited for an answer when an earlier process ended wait again."""
        try:
            offers = await self.agent.waiting_offers()
        except DatabaseError as error:
            self._narrator.note(f"files that wait for an answer are not known: {error}")
            return
        for offer in offers:
            self.talk(offer.peer).door.offered_before(offer)

    # --- what is typed -----------------------------------------------------------------------

    async def _next(self, lines: AsyncIterator[Line]) -> Line | None:
        async def following() -> Line | None:
            return await anext(lines, None)

        return await unless(self._stopped, following())

    async def obey(self, line: Line, *, to: str = "") -> bool:
        """Obeys one line, typed to the peer of that address; False when it ends the chat."""
        talk = self.talk(to)
        if isinstance(line, UsageError):
            talk.narrator.fail(str(line), hint=line.hint)
        elif isinstance(line, Seen):
            if not self.seen(line):
                talk.narrator.fail("no message with that id waits to be seen")
        elif isinstance(line, Verbatim):
            await talk.send(str(line))
        elif line.startswith("//"):
            await talk.send(line[1:])
        elif line.startswith("/") and "\n" not in line:
            word, _, rest = line.partition(" ")
            return await self._command(talk, word, rest.strip())
        elif line.strip():
            await talk.send(line)
        return True

    async def _command(self, talk: Talk, word: str, argument: str) -> bool:
        if word in ("/quit", "/exit"):
            return False
        known: dict[str, Callable[[Talk, str], Coroutine[Any, Any, None]]] = {
            "/invite": self._invite,
            "/message": self._message,
            "/accept": self._accept,
            "/decline": self._decline,
            "/send": self._send_file,
            **self._files.known,
            "/reply": self._reply,
            "/react": self._react,
            "/location": self._send_location,
            "/who": self._who,
            "/bye": self._bye,
            "/register": self._register_command,
            "/help": self._help,
        }
        if word not in known:
            hint = f"{_meant(word)}/help shows them; // sends a line with /"
            talk.narrator.fail(f"there is no command {word}", hint=hint)
            return True
        try:
            await known[word](talk, argument)
        except RcsopsError as error:
            talk.narrator.fail(str(error), hint=error.hint)
        return True

    async def _invite(self, talk: Talk, argument: str) -> None:
        await self._talk_of(argument, talk).invite(argument)

    async def _message(self, talk: Talk, argument: str) -> None:
        await self._talk_of(argument, talk).message(argument)

    async def _accept(self, talk: Talk, argument: str) -> None:
        talk.door.accept(argument)

    async def _decline(self, talk: Talk, argument: str) -> None:
        talk.door.decline(argument)

    async def _send_file(self, talk: Talk, argument: str) -> None:
        await talk.send_file(argument)

    async def _reply(self, talk: Talk, argument: str) -> None:
        await talk.reply(argument)

    async def _react(self, talk: Talk, argument: str) -> None:
        await talk.react(argument)

    async def _send_location(self, talk: Talk, argument: str) -> None:
        await talk.send_location(argument)

    async def _bye(self, talk: Talk, _argument: str) -> None:
        await talk.bye()

    def _talk_of(self, typed: str, otherwise: Talk | None = None) -> Talk:
        """The talk with a peer as a person names it."""
        if typed:
            with contextlib.suppress(UsageError):
                return self.talk(self.agent.peer_uri(typed).aor)
        return otherwise or self.talk("")

    async def _help(self, talk: Talk, _argument: str) -> None:
        width = max(map(len, COMMANDS))
        lines = [f"{name:<{width}}  {what}" for name, what in COMMANDS.items()]
        text = "\n".join(["what you type is a message to the peer, but for:", *lines, _MORE_HELP])
        talk.narrator.say("help", text, commands=dict(COMMANDS))

    async def _who(self, talk: Talk, _argument: str) -> None:
        registered = self.agent.registered
        server = self.teller.server
        where = f"registered at {server}" if registered else f"not registered at {server}"
        lines = [f"you are {self.teller.short(self.agent.aor)}, {where}"]
        chat = talk.chat
        if chat is not None:
            way = connection(chat.local, chat.remote, chat.security)
            lines.append(f"in session with {talk.peer}: {way}")
        elif talk.letters.peer:
            lines.append(f"writing to {self.teller.short(talk.letters.peer)} without a session")
        elif talk.resting:
            resting = self.teller.short(talk.resting)
            lines.append(f"the session with {resting} rests; what you write goes on with it")
        else:
            lines.append("in session with nobody")
        talk.narrator.say(
            "who",
            "\n".join(lines),
            user=self._me,
            registered=registered,
            server=server,
            peer=chat.peer if chat is not None else None,
            writing_to=talk.letters.peer or None,
            resting=talk.resting or None,
            local=chat.local if chat is not None else None,
            remote=chat.remote if chat is not None else None,
        )

    # --- registration ------------------------------------------------------------------------

    async def _register(self, *, waits: bool) -> None:
        self._refused = False
        try:
            await self.agent.register(retry=True)
        except RcsopsError as error:
            self._refused = True
            status = error.status if isinstance(error, AgentError) else 0
            again = "/register tries again"
            hint = f"{error.hint}; {again}" if error.hint else again
            self._narrator.fail(str(error), hint=hint, status=status)
            return
        for transfer in await self.agent.resume_downloads():
            self.talk(transfer.peer).door.expect(transfer)
        if waits and not any(each.chat or each.is_dialling for each in self._talks.values()):
            self._narrator.say(
                "waiting", "waiting for an invitation; /invite PEER sends one, /help shows more"
            )

    async def _register_command(self, talk: Talk, _argument: str) -> None:
        if self._registering is not None and not self._registering.done():
            talk.narrator.note("still trying to register")
            return
        kept = self._credential()
        if kept is not None:
            self.agent.use_credential(kept)
        self._registering = self.spawn(self._register(waits=True))

    async def admitted(self) -> bool:
        """Waits until the server has taken us or refused us; False when it has refused."""
        if self._registering is not None:
            await asyncio.wait((self._registering,))
        return not self._refused

    # --- what happens ------------------------------------------------------------------------

    async def _follow(self) -> None:
        told = 0
        async for event in self.agent.events():
            talk = self.talk(getattr(event, "peer", ""))
            self._happened(talk, event)
            await talk.noted()
            told += 1
            if told % _IN_A_ROW == 0:
                # However much waits to be told, keys are not to wait for all of it.
                await self.agent.host.turns.wait()

    def _happened(self, talk: Talk, event: events.Event) -> None:
        if isinstance(event, events.Invited):
            talk.door.invited(event.invitation)
            return
        if isinstance(event, events.FileOffered):
            talk.door.offered(event.offer)
            return
        if isinstance(event, events.InviteCancelled):
            talk.door.taken_back(event)
            return
        text = talk.outbox.text_of(getattr(event, "message_id", ""))
        told = self.teller.tell(event, text)
        if told is not None:
            name, words, data = told
            talk.narrator.say(name, words, **data)
        if isinstance(event, events.TextReceived):
            self._shown(event)
        talk.note(event)
        if isinstance(event, events.RegistrationLost):
            self._lost.set()
        elif isinstance(event, events.Registered):
            self._lost.clear()
        elif isinstance(event, events.Unregistered):
            self._unregistered = True
        stuck = isinstance(event, events.FileInterrupted) and event.retry_in is None
        if stuck or isinstance(event, events.Failed | events.FileFailed):
            self._narrator.failed()

    def _shown(self, message: events.TextReceived) -> None:
        if self._watched and self._narrator.lost is None:
            self.agent.mark_displayed(message)
            return
        self._unseen[message.message_id] = message
        if len(self._unseen) > _MAX_UNSEEN:
            self._unseen.popitem(last=False)

    def seen(self, message_id: str, *, peer: str = "") -> bool:
        """A message that was told of has been seen; False for one that was before, or is not
        known. With its ``peer``, its sender is told of one that came to an earlier process too."""
        message = self._unseen.pop(message_id, None)
        if message is not None:
            self.agent.mark_displayed(message)
        elif peer:
            self.agent.notifier.seen(peer, message_id)
        return message is not None

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
        talks = tuple(self._talks.values())
        if self._registering is not None and not self._registering.done():
            # Nobody is here to wait until the server is back.
            for talk in talks:
                talk.not_opened("the server has not answered")
            return
        for talk in talks:
            await talk.ready()
        await asyncio.gather(*(talk.confirmed() for talk in talks))

    # --- helpers -----------------------------------------------------------------------------

    @property
    def _me(self) -> str:
        return self.agent.aor.removeprefix("sip:")


def _meant(word: str) -> str:
    """Which command somebody may mean who types one that there is not; "" for nobody knows."""
    name = _CALLED_ELSEWHERE.get(word.lower())
    names = [command.partition(" ")[0] for command in COMMANDS]
    near = [name] if name else difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.8)
    shown = [command for command in COMMANDS if command.partition(" ")[0] in near]
    return f"{shown[0]}: {COMMANDS[shown[0]]}; " if shown else ""
