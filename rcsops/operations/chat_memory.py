"""What a front of ``rcsops chat`` shows of the time before: conversations, pages of them, contacts.

Everything is read in a thread, from the history's file beside the agent that writes it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from rcsops.errors import DatabaseError, SettingsError
from rcsops.operations.history import HistoryMessage, HistoryReader, Place, Wanted, reading_history
from rcsops.operations.names import UserName
from rcsops.operations.users import list_users
from rcsops.settings import Project
from rcsops.settings.private_file import PrivateFile

__all__ = ["ChatMemory", "Page", "Remembered"]

_T = TypeVar("_T")

_MAX_CONVERSATIONS = 2000
_SEEN_FILE = "seen.json"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A conversation: its peer's address, its last message, and how many of the peer's messages
    nobody has seen."""

    peer: str
    last: HistoryMessage
    unread: int


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of one conversation in their order; whether there are more before and after."""

    messages: list[HistoryMessage] = field(default_factory=list)
    older: bool = False
    newer: bool = False


class ChatMemory:
    """What ``user`` of a project has kept. Its methods raise DatabaseError."""

    def __init__(self, project: Project, user: UserName) -> None:
        self._project = project
        self._user = user
        self._seen = PrivateFile(
            project.agent_dir(str(user)) / _SEEN_FILE,
            unusable=lambda reason: SettingsError(f"what was seen is not known: {reason}"),
            valid=lambda value: isinstance(value, int) and not isinstance(value, bool),
            holds="numbers of messages",
        )

    async def conversations(self) -> list[Remembered]:
        """Everybody whom there are messages with, the one of the last message first."""
        seen = await asyncio.to_thread(self._read_seen)

        def work(reader: HistoryReader) -> list[Remembered]:
            return [
                Remembered(
                    last.peer,
                    last,
                    # Who was never looked at here was looked at elsewhere, in plain lines.
                    reader.newer_incoming(last.peer, seen.get(last.peer, last.id)),
                )
                for last in reader.last_of_each(limit=_MAX_CONVERSATIONS)
            ]

        return await self._read(work)

    async def page(
        self, peer: str, *, before: int | None = None, after: int | None = None, limit: int = 200
    ) -> Page:
        """Messages with ``peer`` before or after a number; without one, the last."""

        def work(reader: HistoryReader) -> Page:
            found = reader.page(peer, Place(before, after), limit=limit + 1)
            more = len(found) > limit
            if after is not None:
                return Page(found[:limit], older=True, newer=more)
            return Page(found[-limit:], older=more, newer=before is not None)

        return await self._read(work)

    async def around(self, peer: str, number: int, *, limit: int = 200) -> Page:
        """Messages with ``peer`` on both sides of a number, and the one that has it."""
        half = limit // 2
        before = await self.page(peer, before=number + 1, limit=half)
        after = await self.page(peer, after=number, limit=half)
        return Page(before.messages + after.messages, before.older, after.newer)

    async def number_of(self, peer: str, direction: str, message_id: str) -> int | None:
        """The number of a message by its id; None when it is not kept."""
        return await self._read(lambda reader: reader.number_of(peer, direction, message_id))

    async def search(
        self, text: str, *, peer: str | None = None, limit: int = 100
    ) -> list[HistoryMessage]:
        """The last messages that hold ``text``, in whatever case, newest first."""

        def work(reader: HistoryReader) -> list[HistoryMessage]:
            return [*reader.messages(Wanted(peer=peer, text=text), limit=limit)][::-1]

        return await self._read(work)

    async def contacts(self, begins: str = "", *, limit: int = 500) -> list[str]:
        """Addresses of the project's own accounts but the user's; none where its database is not
        at hand, as with a server elsewhere."""

        def work() -> list[str]:
            try:
                pattern = f"{begins}*" if begins else ""
                page = list_users(self._project, pattern=pattern, limit=limit)
            except DatabaseError:
                return []
            own = str(self._user)
            return [f"sip:{each.user}" for each in page.users if each.user != own]

        return await asyncio.to_thread(work)

    async def note_seen(self, unread: Mapping[str, int]) -> None:
        """Notes that everything was seen, but for so many of the last messages of some peers."""

        def work(reader: HistoryReader) -> dict[str, int]:
            seen = {}
            for last in reader.last_of_each(limit=_MAX_CONVERSATIONS):
                seen[last.peer] = last.id
                if count := unread.get(last.peer, 0):
                    first = reader.incoming_number(last.peer, from_last=count)
                    seen[last.peer] = (first or 1) - 1
            return seen

        def write(seen: Mapping[str, int]) -> None:
            try:
                with self._seen.changing() as known:
                    known.update(seen)
            except SettingsError as error:
                raise DatabaseError(str(error)) from error

        await asyncio.to_thread(write, await self._read(work))

    def _read_seen(self) -> dict[str, int]:
        try:
            return self._seen.read()
        except SettingsError:
            return {}

    async def _read(self, work: Callable[[HistoryReader], _T]) -> _T:
        def reading() -> _T:
            with reading_history(self._project, self._user) as reader:
                return work(reader)

        return await asyncio.to_thread(reading)
