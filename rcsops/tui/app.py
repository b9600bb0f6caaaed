"""The program around the chat screen: it runs the room beside it, and does what is asked of it."""

import asyncio
import signal
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from rcsops.errors import DatabaseError, RcsopsError
from rcsops.operations.chat import COMMANDS, ChatRoom
from rcsops.operations.chat_memory import ChatMemory
from rcsops.operations.chat_notices import Line, Notice, Verbatim
from rcsops.operations.history import HistoryMessage
from rcsops.operations.wording import amount
from rcsops.settings.chat import CHAT_KEYS
from rcsops.text import visible
from rcsops.transport.loop import settle_collector
from rcsops.tui.desk import AlertDesk
from rcsops.tui.exporting import EXPORT_COMMAND
from rcsops.tui.hearing import Ear
from rcsops.tui.keys import key_brief, keys_of, palette_binding, teach_terminal_keys
from rcsops.tui.paint import LINK, plain_text
from rcsops.tui.palette import Offer, Palette
from rcsops.tui.reader import Reader
from rcsops.tui.rows import Row
from rcsops.tui.screens.chat import ChatScreen
from rcsops.tui.screens.help import help_words
from rcsops.tui.screens.search import SearchScreen
from rcsops.tui.screens.words import WordsScreen
from rcsops.tui.security import Security, security_words
from rcsops.tui.state import ChatState, Conversation
from rcsops.tui.terminal import TerminalApp
from rcsops.tui.themes import NAMES, THEMES
from rcsops.tui.wire import Wire
from rcsops.ua import Invitation

__all__ = ["ChatApp", "ScreenSetup"]

# What comes within this time is drawn together; when very much comes, more of it, and more again
# while the person types: a key that comes just then waits for it.
_DRAW_SECONDS = 0.04
_BUSY_SECONDS = 0.2
_BUSY_NOTICES = 8
_TYPING_SECONDS = 0.4
_TYPES_SECONDS = 1.0
_SEEN_SECONDS = 1.0
_NOT_OFFERED = ("commands", "leave", "page-up", "page-down")
_OFFERED_PEERS = 200
_COMMANDS = {**COMMANDS, **EXPORT_COMMAND}


@dataclass(frozen=True, slots=True)
class ScreenSetup:
    """What a chat screen is made of. ``theme``, ``notifications``, ``mouse`` and ``keys`` are the
    settings ``chat.*``; ``wire`` is the agent's tap; ``server`` and ``transport`` are as a person
    names them."""

    memory: ChatMemory
    wire: Wire
    server: str
    transport: str
    theme: str = "dark"
    notifications: str = "desktop"
    mouse: str = "on"
    keys: Mapping[str, str] | None = None


class ChatApp(TerminalApp, inherit_bindings=False):
    """The chat screen of one user. ``make_room`` gets where notices go, and makes the room.

    ``run_async`` returns the exit code of the room.
    """

    TITLE = "rcsops chat"
    COMMANDS = {Palette}  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "help_quit", show=False),
        palette_binding(),
    ]
    CSS = """
    ToastRack { dock: top; align: right top; margin-top: 1; margin-bottom: 0; }
    Toast { width: auto; max-width: 54; padding: 0 1; margin-top: 0; }
    Input > .input--placeholder { color: $text-muted; }
    """

    def __init__(
        self,
        make_room: Callable[[Callable[[Notice], None]], ChatRoom],
        setup: ScreenSetup,
        *,
        peer: str | None = None,
    ) -> None:
        teach_terminal_keys()
        self._bound = dict(setup.keys or {})
        super().__init__()
        self.room = make_room(self._notify)
        self.turns = self.room.agent.host.turns
        self._setup = setup
        self._peer = peer
        teller = self.room.teller
        self.state = ChatState(teller.short(self.room.agent.aor), setup.server, teller.short)
        self._watched = ""
        self._ear = Ear(self.state, lambda peer: peer == self._watched)
        self._heard: list[Notice] = []
        self._draw_due = False
        self._drawn_at = 0.0
        self._pace = _DRAW_SECONDS
        self._desk = AlertDesk(self, setup.notifications)
        self._reader = Reader(setup.memory, self.state, lambda: self.view, self._complain)
        self._seen_due = False
        self.farewell = ""
        self._fault: Exception | None = None
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = NAMES[setup.theme]
        self.set_keymap(self._bound)

    def get_default_screen(self) -> Screen[None]:
        return ChatScreen(
            self.state,
            Security(self._setup.transport),
            wire=self._setup.wire,
            commands=_COMMANDS,
            keymap=self._bound,
        )

    @property
    def view(self) -> ChatScreen:
        """The chat screen, whatever is over it."""
        screen = self.screen_stack[0]
        assert isinstance(screen, ChatScreen)
        return screen

    # --- life --------------------------------------------------------------------------------

    def on_ready(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.leave)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        if self._setup.mouse == "off":
            self.toggle_mouse(quiet=True)
        self.run_worker(self._live(), exit_on_error=False)

    async def _live(self) -> None:
        code = 1
        try:
            await self._remember()
            await self.room.agent.start()
            # A look at every row that is loaded would be felt in the keys.
            settle_collector()
            self.collect_in_pauses()
            if self._peer:
                self.open(self.room.agent.peer_uri(self._peer).aor)
            elif self.state.ordered() and self.state.ordered()[0].known:
                self.open(self.state.ordered()[0].peer)
            code = await self.room.run(self._no_lines(), peer=self._peer)
            self._draw()
            await self._note_seen()
        except Exception as fault:
            self._fault = fault
        self.exit(code)

    def outcome(self, code: int | None) -> int:
        """The exit code; raises what ended the chat before its time."""
        if self._fault is not None:
            raise self._fault
        return 1 if code is None else code

    @staticmethod
    async def _no_lines() -> AsyncIterator[Line]:
        """What is typed is obeyed one by one; these end when the room stops."""
        await asyncio.Event().wait()
        yield ""

    def action_help_quit(self) -> None:
        """Ctrl-C, which copies what is marked, and by which nobody is to lose a session."""
        if self.screen.get_selected_text():
            self.screen.action_copy_text()
            self.notify("copied", timeout=2, markup=False)
        else:
            self.notify(f"{keys_of('quit', self._bound)} quits", timeout=3, markup=False)

    def leave(self) -> None:
        """Ends the chat with its good-byes; asked again, without."""
        self.room.stop()

    def _hang_up(self) -> None:
        """The terminal is gone: says the good-byes."""
        self.lose_terminal()
        self.leave()

    async def _remember(self) -> None:
        try:
            self.state.remembered(await self._setup.memory.conversations())
            self.state.contacts(await self._setup.memory.contacts())
        except DatabaseError as error:
            self._complain(error)
        self.view.tell()

    def get_key_display(self, binding: Binding) -> str:
        """A key as the line at the bottom has it."""
        return key_brief(binding.key)

    def _complain(self, error: RcsopsError) -> None:
        self.notify(visible(error.one_line), severity="error", timeout=10, markup=False)

    # --- what happens ------------------------------------------------------------------------

    def _notify(self, notice: Notice) -> None:
        self._heard.append(notice)
        if not self._draw_due and self.is_running:
            self._draw_due = True
            wait = self._drawn_at + self._pace - time.monotonic()
            self.set_timer(max(wait, 0.001), partial(self.turns.call, self._draw_if_there))

    def _draw_if_there(self) -> None:
        if self.is_running:
            self._draw()

    def _draw(self) -> None:
        self._draw_due = False
        self._drawn_at = time.monotonic()
        heard, self._heard = self._heard, []
        if len(heard) <= _BUSY_NOTICES:
            self._pace = _DRAW_SECONDS
        else:
            self._pace = _TYPING_SECONDS if self.was_busy(_TYPES_SECONDS) else _BUSY_SECONDS
        # Asked once: nothing moves meanwhile, and asking takes as long as hearing.
        self._watched = self.state.current if self._is_watched(self.state.current) else ""
        for notice in heard:
            self._ear.hear(notice)
            if notice.event == "ended":
                self.farewell = notice.text
        for peer in {notice.about for notice in heard if notice.about}:
            self._match(self.state.conversation(peer))
        changes, alerts = self._ear.take()
        if not self.state.current:
            self._open_first(heard)
        self.view.apply(changes)
        seen, self._ear.seen = self._ear.seen, []
        for message_id in seen:
            self.room.seen(message_id)
        self._desk.tell(alerts, shown=self.state.current)
        if any(alert.loud for alert in alerts):
            self._see_soon()

    def _open_first(self, heard: Iterable[Notice]) -> None:
        """Nobody was talked to before: the first who comes is shown."""
        for notice in heard:
            if notice.about and notice.event in ("session", "message", "invited", "inviting"):
                self.open(notice.about)
                return

    def _match(self, conversation: Conversation) -> None:
        """Says of a conversation what the room knows: what waits for an answer, and the session."""
        talk = self.room.talk(conversation.peer)
        number, waiting = next(iter(talk.door.waiting.items()), (0, None))
        if waiting is None:
            asks = ""
        elif isinstance(waiting, Invitation):
            asks = f"{conversation.name} invites you"
        else:
            asks = f"{conversation.name} sends {waiting.name} ({amount(waiting.size)})"
        if len(talk.door.waiting) > 1:
            asks = f"1 of {len(talk.door.waiting)}: {asks}"
        session = "calling" if talk.is_dialling else "letters" if talk.letters.peer else ""
        if talk.chat is not None:
            session = "open"
        now = (asks, number, session)
        if now != (conversation.asks, conversation.asks_number, conversation.session):
            conversation.asks, conversation.asks_number, conversation.session = now
            self._ear.changes.conversations = True

    def _is_watched(self, peer: str) -> bool:
        return (
            peer == self.state.current
            and self.app_focus
            and len(self.screen_stack) == 1
            and self.view.timeline.at_end
        )

    def looked(self) -> None:
        """The end of the shown conversation is in view: nothing of it is unread."""
        shown = self.state.shown
        if shown is None or not shown.unread or not self._is_watched(shown.peer):
            return
        for message_id in shown.last_incoming(shown.unread):
            self.room.seen(message_id, peer=shown.peer)
        shown.unread = 0
        self.view.tell()
        self._see_soon()

    def on_app_focus(self) -> None:
        self.call_after_refresh(self.looked)

    def _see_soon(self) -> None:
        if not self._seen_due:
            self._seen_due = True
            self.set_timer(_SEEN_SECONDS, self._note_seen)

    async def _note_seen(self) -> None:
        self._seen_due = False
        unread = {each.peer: each.unread for each in self.state.conversations.values()}
        try:
            await self._setup.memory.note_seen({peer: n for peer, n in unread.items() if n})
        except DatabaseError as error:
            self._complain(error)

    # --- conversations -----------------------------------------------------------------------

    def open(self, peer: str, *, place: HistoryMessage | None = None, sought: str = "") -> None:
        """Shows a conversation: its end, or the part around a message."""
        before = self.state.shown
        if before is None or before.peer != peer:
            if before is not None:
                self.room.talk(before.peer).typing(False)
                before.forget()
            self.view.turn(before.peer if before is not None else "", peer)
        self.state.current = peer
        self.state.conversation(peer).clear()
        self.view.timeline.sought = sought

        async def reading() -> None:
            if await self._reader.open(peer, place):
                self._match(self.state.conversation(peer))
                self.view.tell()
                self.call_after_refresh(self.looked)

        self.run_worker(reading(), group="open", exclusive=True)

    def load_more(self, *, older: bool) -> None:
        """Reads what comes before or after the rows that are loaded."""
        self.run_worker(self._reader.more(older=older), group="more", exclusive=True)

    def load_end(self, *, first: bool) -> None:
        """Goes to the very first or the very last message of the shown conversation."""
        if first:
            self.run_worker(self._reader.first(), group="open", exclusive=True)
        else:
            self.open(self.state.current)

    # --- what the person wants -----------------------------------------------------------------

    def obey(self, text: str) -> None:
        """Sends a message to the shown peer, or obeys a command."""
        if text.startswith("/") and "\n" not in text and not text.startswith("//"):
            word, _, argument = text.partition(" ")
            if word == "/help":
                self.show_help()
                return
            if word == "/export":
                self.view.protocol.export(argument)
                return
            if word in ("/quit", "/exit"):
                self.leave()
                return
            if word in ("/invite", "/message") and argument.strip():
                self._turn_to(argument.strip())
        self._obey(text, self.state.current)

    def _turn_to(self, name: str) -> None:
        try:
            self.open(self.room.agent.peer_uri(name).aor)
        except RcsopsError:
            # The room says what is wrong with it.
            return

    def _obey(self, line: Line, peer: str) -> None:
        if line == "/register" and self.state.registration == "refused":
            self.state.registration = "registering"

        async def obeying() -> None:
            await self.room.obey(line, to=peer)
            if peer:
                self._match(self.state.conversation(peer))
                self.view.tell()

        if not peer and not (isinstance(line, str) and line.startswith("/")):
            self.notify(
                "choose whom you write to, or type /invite PEER", severity="warning", markup=False
            )
            return
        self.room.spawn(obeying())

    def typing(self, active: bool) -> None:
        """The person has changed what is not sent yet."""
        if self.state.current:
            self.room.talk(self.state.current).typing(active)

    def send_file(self, path: Path) -> None:
        """Offers a file to the shown peer."""
        self._obey(f"/send {path}", self.state.current)

    def resend(self, row: Row | None) -> None:
        """Sends again what has failed; a file goes on, or is asked for again."""
        standing = self.state.conversation(self.state.current).standing(row)
        numbers = {each.transfer_id: each.number for each in self.room.agent.transfers}
        if standing in numbers:
            self._obey(f"/resume {numbers[standing]}", self.state.current)
        elif row is not None and row.lost_file:
            self._obey(f"/get {row.lost_file}", self.state.current)
        elif row is None or row.kind != "out" or row.status != "failed":
            self.notify("only what failed can be sent again", severity="warning", markup=False)
        elif row.file is not None and not row.text:
            if row.file.path is not None:
                self.send_file(row.file.path)
        else:
            self._obey(Verbatim(row.text), self.state.current)

    def yank(self, row: Row | None) -> None:
        """Puts the text of a message into the terminal's clipboard (OSC 52)."""
        if row is None:
            self.notify("mark a message first, with the arrow keys", markup=False)
            return
        self.copy_to_clipboard(plain_text(row))
        self.notify("copied", timeout=2, markup=False)

    def open_link(self, row: Row | None) -> None:
        """Opens the first link of a message, or its file, as the desktop does."""
        found = LINK.search(row.text) if row is not None else None
        if found is not None:
            webbrowser.open(found[0])
        elif row is not None and row.file is not None and row.file.path is not None:
            webbrowser.open(row.file.path.absolute().as_uri())
        else:
            self.notify("there is no link or file in it", markup=False)

    def search(self) -> None:
        """Searches the history, and goes to what was chosen."""

        async def look(text: str) -> list[HistoryMessage]:
            try:
                return await self._setup.memory.search(text, limit=200)
            except DatabaseError as error:
                self._complain(error)
                return []

        def chosen(found: tuple[HistoryMessage, str] | None) -> None:
            if found is not None:
                self.open(found[0].peer, place=found[0], sought=found[1])

        self.push_screen(SearchScreen(look, self.state.short, where="all conversations"), chosen)

    def show_help(self) -> None:
        """The keys and commands."""
        self.push_screen(WordsScreen("Help", partial(help_words, _COMMANDS, self._bound)))

    def show_security(self) -> None:
        """What is encrypted."""
        shown = self.state.shown
        session = shown.security if shown is not None and shown.session == "open" else ""
        words = security_words(Security(self._setup.transport), session)
        self.push_screen(WordsScreen("What is encrypted, and what is not", lambda _width: words))

    def next_theme(self) -> None:
        """The next of the themes."""
        names = list(NAMES.values())
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]

    # --- the palette ---------------------------------------------------------------------------

    def offers(self) -> Iterable[Offer]:
        """What the palette offers: the keys' actions, the commands, and everybody."""
        view = self.view
        for name, (_, what) in CHAT_KEYS.items():
            act = getattr(view, f"action_{name.replace('-', '_')}", None)
            if act is not None and name not in _NOT_OFFERED:
                yield Offer(_capital(what), keys_of(name, self._bound), act)
        for each in self.state.ordered()[:_OFFERED_PEERS]:
            name = visible(each.name)
            yield Offer(f"Go to {name}", "conversation", partial(self.open, each.peer))
        for command, what in _COMMANDS.items():
            word, _, argument = command.partition(" ")
            act = partial(view.composer.put_back, f"{word} ") if argument else None
            yield Offer(command, what, act or partial(self.obey, word))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
