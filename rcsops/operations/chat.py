"""``rcsops chat``: one user's agent, driven by typed lines, telling what happens as notices.

It knows no terminal and no JSON: lines come from an async iterator, notices go to a function.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rcsops.errors import AgentError, InviteError, RcsopsError, RegistrationError, UsageError
from rcsops.operations.chat_events import Teller
from rcsops.sip import SipParseError, Uri
from rcsops.ua import Agent, Chat, FileOffer, Invitation, MessageStatus, Receipt, Transfer, events

__all__ = ["COMMANDS", "ChatRoom", "Notice"]

COMMANDS = {
    "/invite PEER": "start a session with PEER",
    "/accept": "accept the invitation or file that waits",
    "/decline": "decline it",
    "/send FILE": "send a file to the peer",
    "/who": "who you are, where you are registered, and who is in session with you",
    "/bye": "end the session and stay registered",
    "/register": "register again",
    "/help": "these commands; // at the start of a line sends a line that starts with /",
    "/quit": "end the session, unregister and leave (also Ctrl-C and Ctrl-D)",
}

# How long an ending waits for what was begun: receipts, a registration, the answer to an INVITE.
_RECEIPT_SECONDS = 10.0
_REGISTER_SECONDS = 15.0
# Of several lines typed while the peer's device rings.
_MAX_HELD = 1000


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened: ``event`` and ``data`` for programs, ``text`` for people.

    An empty ``text`` is nothing to show a person.
    """

    event: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


class ChatRoom:
    """The agent of one user and the one chat that it has at a time.

    ``patient`` is for input that is not a person: at its end, what was begun is finished first.
    ``directory`` is where files go that peers send, up to ``max_file`` octets without a question.
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
        patient: bool = False,
        max_file: int = 100 << 20,
    ) -> None:
        self.failures = 0
        self._agent = agent
        self._notify = notify
        self._server = server
        self._domain = domain
        self._directory = directory
        self._auto_accept = auto_accept
        self._patient = patient
        self._max_file = max_file
        self._teller = Teller(domain)
        self._chat: Chat | None = None
        self._waiting: Invitation | FileOffer | None = None
        self._held: list[str] = []
        self._receipts: dict[str, Receipt] = {}
        self._transfers: set[Transfer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._registering: asyncio.Task[None] | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    @property
    def peer(self) -> str:
        """Who the session is with, short; empty without one."""
        return self._teller.short(self._chat.peer) if self._chat is not None else ""

    def stop(self) -> None:
        """Ends `run` as the end of the input does, without its patience."""
        self._patient = False
        self._stopped.set()

    async def run(self, lines: AsyncIterator[str], *, peer: str | None = None) -> int:
        """Registers, invites ``peer`` if there is one, and obeys the lines until they end.

        Returns the exit code: 1 when something that was asked for did not happen.
        """
        follower = asyncio.create_task(self._follow())
        try:
            self._registering = self._spawn(self._register(peer))
            while (line := await self._next(lines)) is not None:
                if not await self._take(line):
                    break
            await self._settle()
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._agent.close()
            # What the closing has to say is still told; the stream ends with the agent.
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(follower, 2.0)
        self._say("ended", "unregistered; good bye", user=self._me)
        return 1 if self.failures else 0

    # --- what is typed -----------------------------------------------------------------------

    async def _next(self, lines: AsyncIterator[str]) -> str | None:
        reading = asyncio.ensure_future(anext(lines, None))
        stopping = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else None
        finally:
            for task in (reading, stopping):
                task.cancel()
            await asyncio.gather(reading, stopping, return_exceptions=True)

    async def _take(self, line: str) -> bool:
        """Obeys one line; False when it ends the chat."""
        if line.startswith("//"):
            await self._send(line[1:])
        elif line.startswith("/"):
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
            "/accept": self._accept_command,
            "/decline": self._decline_command,
            "/send": self._send_file,
            "/who": self._who,
            "/bye": self._bye,
            "/register": self._register_command,
            "/help": self._help,
        }
        if word not in known:
            self._error(f"there is no command {word}", hint="/help shows them all")
            return True
        try:
            await known[word](argument)
        except RcsopsError as error:
            self._error(str(error), hint=error.hint)
        return True

    async def _help(self, _argument: str) -> None:
        width = max(map(len, COMMANDS))
        text = "\n".join(f"{name:<{width}}  {what}" for name, what in COMMANDS.items())
        self._say("help", text, commands=dict(COMMANDS))

    async def _who(self, _argument: str) -> None:
        registered = self._agent.registered
        where = f"registered at {self._server}" if registered else "not registered"
        lines = [f"you are {self._teller.short(self._agent.aor)}, {where}"]
        chat = self._chat
        if chat is not None:
            lines.append(f"in session with {self.peer}: {chat.local} <-> {chat.remote}, direct")
        else:
            lines.append("no session")
        self._say(
            "who",
            "\n".join(lines),
            user=self._me,
            registered=registered,
            server=self._server,
            peer=chat.peer if chat is not None else None,
            local=chat.local if chat is not None else None,
            remote=chat.remote if chat is not None else None,
        )

    # --- registration ------------------------------------------------------------------------

    async def _register(self, peer: str | None = None) -> None:
        try:
            await self._agent.register(retry=True)
        except RegistrationError as error:
            hint = error.hint or "/register tries again"
            self._fail(str(error), hint=hint, status=error.status)
            if peer:
                self._error(f"{peer} was not invited, because you are not registered")
            return
        if peer:
            self._dial(peer)
        else:
            self._say("waiting", "waiting for an invitation; /help shows what you can type")

    async def _register_command(self, _argument: str) -> None:
        if self._registering is not None and not self._registering.done():
            self._say("note", "still registering")
            return
        self._registering = self._spawn(self._register())

    # --- sessions ----------------------------------------------------------------------------

    async def _invite_command(self, argument: str) -> None:
        if not argument:
            raise UsageError("/invite whom?", hint="/invite bob")
        self._dial(argument)

    def _dial(self, peer: str) -> None:
        if self._dialling is not None and not self._dialling.done():
            self._error("an invitation of yours is still on its way", hint="/bye takes it back")
            return
        if self._chat is not None:
            self._error(f"you are in a session with {self.peer}", hint="/bye ends it")
            return
        try:
            uri = self._uri(peer)
        except UsageError as error:
            self._fail(str(error), hint=error.hint)
            return
        self._dialling = self._spawn(self._invite(uri))

    async def _invite(self, uri: Uri) -> None:
        peer = uri.aor
        self._say("inviting", f"inviting {self._teller.short(peer)}", peer=peer)
        try:
            chat = await self._agent.invite(str(uri), on_progress=self._progress)
        except InviteError as error:
            held, self._held = len(self._held), []
            lost = f"; {held} of your lines not sent" if held else ""
            text = f"{self._teller.refusal(peer, error)}{lost}"
            self._fail(text, hint=error.hint, status=error.status, peer=peer)
        except AgentError as error:
            self._held.clear()
            self._fail(str(error), hint=error.hint, status=error.status, peer=peer)
        else:
            await self._adopt(chat)

    def _progress(self, event: events.Event) -> None:
        """Trying and ringing are told by the agent's events as well."""

    async def _adopt(self, chat: Chat) -> None:
        """The chat is the one that typed lines go to."""
        if chat.ended:
            return
        self._chat = chat
        held, self._held = self._held, []
        for text in held:
            await self._send(text)

    async def _bye(self, _argument: str) -> None:
        chat, self._chat = self._chat, None
        if self._dialling is not None and not self._dialling.done():
            self._dialling.cancel()
            self._held.clear()
            self._say("note", "your invitation is taken back")
        elif chat is None:
            self._error("there is no session to end")
        else:
            await chat.close()

    def _invited(self, invitation: Invitation) -> None:
        peer = self._teller.short(invitation.peer)
        busy = self._chat is not None and self._chat.peer != invitation.peer
        if busy or self._waiting is not None:
            invitation.reject(486)
            with_whom = f"you are in a session with {self.peer}" if busy else "another waits"
            self._say(
                "refused", f"{peer} invites you, but {with_whom}: told busy", peer=invitation.peer
            )
        elif self._auto_accept:
            self._say("invited", f"{peer} invites you: accepted", peer=invitation.peer)
            self._spawn(self._accept(invitation))
        else:
            self._waiting = invitation
            self._say("invited", f"{peer} invites you: /accept or /decline", peer=invitation.peer)

    async def _accept(self, invitation: Invitation) -> None:
        try:
            chat = await invitation.accept()
        except AgentError as error:
            self._error(f"no session with {self._teller.short(invitation.peer)}: {error}")
        else:
            await self._adopt(chat)

    async def _accept_command(self, _argument: str) -> None:
        waiting, self._waiting = self._waiting, None
        if isinstance(waiting, Invitation):
            await self._accept(waiting)
        elif isinstance(waiting, FileOffer):
            await self._accept_file(waiting)
        else:
            self._error("nothing waits for an answer")

    async def _decline_command(self, _argument: str) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or not waiting.reject(603):
            self._error("nothing waits for an answer")
        else:
            self._say("declined", f"declined {self._teller.short(waiting.peer)}", peer=waiting.peer)

    # --- messages and files ------------------------------------------------------------------

    async def _send(self, text: str) -> None:
        chat = self._chat
        if chat is None:
            if self._is_dialling() and len(self._held) < _MAX_HELD:
                self._held.append(text)
            else:
                self._fail("not sent: there is no session", hint="/invite PEER starts one")
            return
        try:
            receipt = await chat.send(text)
        except RcsopsError as error:
            self._fail(f"not sent: {error}", hint=error.hint)
            return
        self._receipts[receipt.message_id] = receipt
        self._say("status", "", message_id=receipt.message_id, status="queued", text=text)

    def _is_dialling(self) -> bool:
        # A line that comes while the registration still runs belongs to the invitation after it.
        tasks = (self._dialling, self._registering)
        return any(task is not None and not task.done() for task in tasks)

    async def _send_file(self, argument: str) -> None:
        if not argument:
            raise UsageError("/send which file?", hint="/send picture.jpg")
        await self._dialled()
        if self._chat is None:
            self._fail("not sent: there is no session", hint="/invite PEER starts one")
            return
        try:
            transfer = await self._chat.send_file(_typed_path(argument))
        except RcsopsError as error:
            self._fail(f"not sent: {error}", hint=error.hint)
            return
        self._transfers.add(transfer)
        text = f"offering {transfer.name}, {transfer.size} octets"
        self._say("file-offering", text, transfer_id=transfer.transfer_id, name=transfer.name)

    async def _dialled(self) -> None:
        """A program's file waits for the session that was asked for before it."""
        if not self._patient:
            return
        if self._registering is not None:
            await asyncio.wait((self._registering,))
        # Made by the registration, so looked up after it.
        if self._dialling is not None:
            await asyncio.wait((self._dialling,))

    def _file_offered(self, offer: FileOffer) -> None:
        what = f"{self._teller.short(offer.peer)} sends {offer.name}, {offer.size} octets"
        data = {"peer": offer.peer, "name": offer.name, "size": offer.size}
        if self._auto_accept and offer.size <= self._max_file:
            self._say("file-offered", what, **data)
            self._spawn(self._accept_file(offer))
        elif self._waiting is not None:
            offer.reject(486)
            self._say("refused", f"{what}: refused, because another question waits", **data)
        else:
            self._waiting = offer
            self._say("file-offered", f"{what}: /accept or /decline", **data)

    async def _accept_file(self, offer: FileOffer) -> None:
        try:
            self._transfers.add(await offer.accept(self._directory))
        except RcsopsError as error:
            self._error(f"{offer.name} not received: {error}", hint=error.hint)

    # --- what happens ------------------------------------------------------------------------

    async def _follow(self) -> None:
        async for event in self._agent.events():
            self._happened(event)

    def _happened(self, event: events.Event) -> None:
        if isinstance(event, events.Invited):
            self._invited(event.invitation)
            return
        if isinstance(event, events.FileOffered):
            self._file_offered(event.offer)
            return
        if isinstance(event, events.InviteCancelled) and self._waiting is not None:
            if not self._waiting.pending:
                self._waiting = None
        elif isinstance(event, events.SessionEnded):
            if self._chat is not None and self._chat.chat_id == event.chat_id:
                self._chat = None
        elif isinstance(event, events.Failed) or (
            isinstance(event, events.FileFailed) and not event.incoming
        ):
            self.failures += 1
        text_of = self._receipts.get(getattr(event, "message_id", ""))
        told = self._teller.tell(event, text_of.text if text_of is not None else "")
        if told is not None:
            self._notify(Notice(*told))

    # --- the end -----------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Finishes what was begun, when the input was not a person's."""
        if not self._patient:
            return
        for task, seconds in ((self._registering, _REGISTER_SECONDS), (self._dialling, None)):
            if task is not None and not task.done():
                await self._unless_stopped(asyncio.wait((task,), timeout=seconds))
        if self._registering is not None and not self._registering.done():
            self._fail("the server has not answered")
        waits = [self._receipt(receipt) for receipt in self._receipts.values()]
        waits += [_quietly(transfer.done()) for transfer in self._transfers]
        if waits:
            await self._unless_stopped(asyncio.gather(*waits))

    async def _receipt(self, receipt: Receipt) -> None:
        await _quietly(receipt.delivered(_RECEIPT_SECONDS))
        if not receipt.has_reached(MessageStatus.SENT):
            self._fail(f"not sent: {receipt.text[:60]}")

    async def _unless_stopped(self, work: "Coroutine[Any, Any, Any] | asyncio.Future[Any]") -> None:
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)

    # --- helpers -----------------------------------------------------------------------------

    @property
    def _me(self) -> str:
        return self._agent.aor.removeprefix("sip:")

    def _uri(self, peer: str) -> Uri:
        text = peer if peer.lower().startswith(("sip:", "sips:")) else f"sip:{peer}"
        if "@" not in text:
            text = f"{text}@{self._domain}"
        try:
            return Uri.parse(text)
        except SipParseError as error:
            raise UsageError(
                f"{peer!r} is no SIP address: {error}", hint="type bob or bob@rcs.example"
            ) from error

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _say(self, event: str, text: str, /, **data: object) -> None:
        self._notify(Notice(event, text, data))

    def _error(self, text: str, *, hint: str = "", **data: object) -> None:
        shown = f"{text} ({hint})" if hint else text
        self._notify(Notice("error", shown, {"error": text, "hint": hint, **data}))

    def _fail(self, text: str, *, hint: str = "", **data: object) -> None:
        self.failures += 1
        self._error(text, hint=hint, **data)


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    # The agent's events have told it.
    with contextlib.suppress(RcsopsError):
        await work


def _typed_path(text: str) -> Path:
    return Path(text).expanduser()
