"""What a chat screen shows: conversations with their marks, and the rows of those that are open."""

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from rcsops.operations.chat_memory import Page, Remembered
from rcsops.operations.history import local_time
from rcsops.tui.rows import Row, later, merged, row_of

__all__ = ["Changes", "ChatState", "Conversation"]

# Of what is not in the history, so much is remembered for each conversation.
_MAX_NOTES = 200
_MAX_STATUSES = 2000
# Rows that a conversation holds at a time; older ones are read again when they are scrolled to.
MAX_ROWS = 1500
_KEPT_ROWS = 750
_MOST_ROWS = 12_000


@dataclass(slots=True)
class Conversation:
    """What is known of the talk with one peer, ``name`` for people.

    ``session`` is "" without one, "calling", "open", or "letters" where what is written goes
    without a session; ``security`` is its TLS, empty for plain TCP. ``rows`` are those that are
    loaded, None before the first; ``older`` and ``newer`` say whether the history has more before
    and after them.
    """

    peer: str
    name: str
    session: str = ""
    ends: str = ""
    security: str = ""
    unread: int = 0
    preview: str = ""
    preview_mine: bool = False
    last_at: datetime | None = None
    composing: bool = False
    asks: str = ""
    asks_number: int = 0
    rows: list[Row] | None = None
    older: bool = False
    newer: bool = False
    pruned: int = 0
    first_unread: str = ""
    index: dict[str, Row] = field(default_factory=dict)
    notes: deque[Row] = field(default_factory=lambda: deque(maxlen=_MAX_NOTES))
    statuses: OrderedDict[str, tuple[str, str, datetime]] = field(default_factory=OrderedDict)
    moving: dict[str, Row] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether anything was ever said; not so of a mere contact."""
        return self.last_at is not None or bool(self.session) or bool(self.asks)

    def show(
        self, page: Page, sender_of: Callable[[str], str], *, place: str = "last"
    ) -> list[Row]:
        """Takes a page of the history: the ``last``, ``older`` or ``newer`` than what is there, or
        one ``around`` a message, in place of all others. Returns the rows that are new."""
        got = [row_of(message, sender_of(message.direction)) for message in page.messages]
        for row in got:
            self._overlay(row)
        if place in ("last", "around") or self.rows is None:
            self.older, self.newer = page.older, page.newer
            keys = {row.key for row in got}
            # What was said while the page was read, and what moves.
            live = [row for row in [*(self.rows or ()), *self.moving.values()] if row.is_message]
            live = [row for row in live if row.key not in keys]
            notes = list(self.notes)
            if page.older and got:
                notes = [note for note in notes if note.time >= got[0].time]
            if page.newer and got:
                notes = [note for note in notes if note.time <= got[-1].time]
                live = []
            self.rows = merged(got, {row.key: row for row in [*notes, *live]}.values())
            self.index = {row.key: row for row in self.rows}
            return self.rows
        fresh = [row for row in got if row.key not in self.index]
        self.index.update((row.key, row) for row in fresh)
        if place == "older":
            self.older = page.older
            self.rows[:0] = fresh
            if len(self.rows) > _MOST_ROWS:
                # Who has gone back so far comes to the end by a key, which reads it anew.
                for row in self.rows[_MOST_ROWS:]:
                    del self.index[row.key]
                del self.rows[_MOST_ROWS:]
                self.newer = True
        else:
            self.newer = page.newer
            self.rows.extend(fresh)
        return fresh

    def _overlay(self, row: Row) -> None:
        told = self.statuses.get(row.message_id)
        if told is not None and row.kind == "out":
            row.advance(*told)

    def remember(self, message_id: str, status: str, reason: str, at: datetime) -> None:
        """What became of a message, for when its row is read from a history that lags behind."""
        known = self.statuses.get(message_id)
        if known is None or later(status, known[0]):
            self.statuses[message_id] = (status, reason, at)
            self.statuses.move_to_end(message_id)
            while len(self.statuses) > _MAX_STATUSES:
                self.statuses.popitem(last=False)

    def append(self, row: Row, *, watched: bool) -> bool:
        """A new row at the end; False when it is there, or the end is not what is loaded.

        While somebody has ``watched`` the end, old rows make room, which ``pruned`` counts; while
        not, new ones wait in the history once there are very many.
        """
        if self.rows is None or row.key in self.index or self.newer:
            return False
        if len(self.rows) >= MAX_ROWS and not watched:
            if len(self.rows) >= _MOST_ROWS and row.is_message:
                self.newer = True
                return False
        elif len(self.rows) >= MAX_ROWS:
            for old in self.rows[:-_KEPT_ROWS]:
                del self.index[old.key]
            self.pruned += len(self.rows) - _KEPT_ROWS
            del self.rows[:-_KEPT_ROWS]
            self.older = True
        self.rows.append(row)
        self.index[row.key] = row
        return True

    def clear(self) -> None:
        """Nothing is loaded; what is said from now on is a row."""
        self.rows, self.index = [], {}
        self.older = self.newer = False

    def forget(self) -> None:
        """Nobody looks at it: its rows are read anew when somebody does."""
        self.first_unread = ""
        self.clear()
        self.rows = None

    def last_incoming(self, count: int) -> list[str]:
        """The ids of so many of the peer's last messages."""
        came = (row.message_id for row in reversed(self.rows or ()) if row.kind == "in")
        return list(itertools.islice(came, count))

    def standing(self, row: Row | None) -> str:
        """The transfer id of the row's file if it stands still; empty when it does not."""
        if row is None or row.file is None or not row.file.pause:
            return ""
        return next((key for key, each in self.moving.items() if each is row), "")

    def mark_unread(self) -> None:
        """Notes which of the rows is the first that nobody has looked at."""
        left = self.unread
        for row in reversed(self.rows or ()):
            if row.kind == "in":
                left -= 1
                if left < 0:
                    return
                self.first_unread = row.key


@dataclass(slots=True)
class Changes:
    """What has to be drawn anew: rows of the shown conversation, the list, the lines around.

    ``pruned`` is how many rows were taken away at the beginning, before any were ``appended``.
    """

    appended: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    removed: bool = False
    pruned: int = 0
    conversations: bool = False
    lines: bool = False

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return bool(
            self.appended or self.changed or self.removed or self.conversations or self.lines
        )


class ChatState:
    """All conversations of ``me``; ``short`` makes a name of an address."""

    def __init__(self, me: str, server: str, short: Callable[[str], str]) -> None:
        self.me = me
        self.server = server
        self.short = short
        self.conversations: dict[str, Conversation] = {}
        self.current = ""
        self.registration = "registering"
        self.registration_words = ""
        self.latency: float | None = None
        self.leaving = False

    def conversation(self, peer: str) -> Conversation:
        """The conversation with the peer of that address, which may be new."""
        found = self.conversations.get(peer)
        if found is None:
            found = self.conversations[peer] = Conversation(peer, self.short(peer))
        return found

    @property
    def shown(self) -> Conversation | None:
        """The conversation on the screen."""
        return self.conversations.get(self.current)

    @property
    def unread(self) -> int:
        """How many messages nobody has looked at, in all conversations."""
        return sum(each.unread for each in self.conversations.values())

    def remembered(self, known: Iterable[Remembered]) -> None:
        """Takes what the history has."""
        for each in known:
            conversation = self.conversation(each.peer)
            at = local_time(each.last.stored_at)
            if conversation.last_at is None or at > conversation.last_at:
                conversation.last_at = at
                file = each.last.attachment
                conversation.preview = file.name if file is not None else each.last.text
                conversation.preview_mine = each.last.direction == "out"
            conversation.unread += each.unread

    def contacts(self, peers: Iterable[str]) -> None:
        """Takes whom one could write to."""
        for peer in peers:
            self.conversation(peer)

    def ordered(self) -> list[Conversation]:
        """As the list shows them: where something was said, latest first, then contacts by name."""
        said = [each for each in self.conversations.values() if each.known]
        others = [each for each in self.conversations.values() if not each.known]
        # Something without a time has just begun.
        said.sort(key=lambda each: each.last_at.timestamp() if each.last_at else 1e18, reverse=True)
        others.sort(key=lambda each: each.name.casefold())
        return said + others

    def sender_of(self, peer: str) -> Callable[[str], str]:
        """Whose name stands over messages of a direction."""
        return lambda direction: self.short(peer) if direction == "in" else self.me
