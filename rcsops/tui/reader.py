"""Parts of conversations, read from the history as the person turns to them."""

from collections.abc import Awaitable, Callable

from rcsops.errors import DatabaseError
from rcsops.operations.chat_memory import ChatMemory, Page
from rcsops.operations.history import HistoryMessage
from rcsops.tui.rows import message_key
from rcsops.tui.screens.chat import ChatScreen
from rcsops.tui.state import ChatState

__all__ = ["Reader"]

_PAGE = 200
_MOST_UNREAD = 2000


class Reader:
    """Loads rows into ``state`` and shows them in ``view``; ``complain`` is told of a history that
    cannot be read."""

    def __init__(
        self,
        memory: ChatMemory,
        state: ChatState,
        view: Callable[[], ChatScreen],
        complain: Callable[[DatabaseError], None],
    ) -> None:
        self._memory = memory
        self._state = state
        self._view = view
        self._complain = complain

    async def open(self, peer: str, place: HistoryMessage | None) -> bool:
        """Shows the end of a conversation, or the part around a message; False when somebody has
        turned elsewhere meanwhile."""
        conversation = self._state.conversation(peer)
        if place is None:
            limit = _PAGE + min(conversation.unread, _MOST_UNREAD)
            page = await self._load(self._memory.page(peer, limit=limit))
        else:
            page = await self._load(self._memory.around(peer, place.id, limit=_PAGE))
        if self._state.current != peer:
            return False
        where = "last" if place is None else "around"
        conversation.show(page, self._state.sender_of(peer), place=where)
        if place is None:
            conversation.mark_unread()
        key = message_key(place.direction, place.message_id) if place is not None else ""
        view = self._view()
        view.show(conversation, place=key)
        if key:
            view.timeline.focus()
        return True

    async def more(self, *, older: bool) -> None:
        """Loads what comes before the first row of the shown conversation, or after the last."""
        conversation = self._state.shown
        if conversation is None or not conversation.rows:
            return
        peer = conversation.peer
        kept = [row for row in conversation.rows if row.is_message and row.message_id]
        if not kept:
            return
        edge = kept[0] if older else kept[-1]

        async def read() -> Page:
            number: int | None = edge.number
            if not number:
                number = await self._memory.number_of(peer, edge.kind, edge.message_id)
            if number is None:
                return Page()
            if older:
                return await self._memory.page(peer, before=number, limit=_PAGE)
            return await self._memory.page(peer, after=number, limit=_PAGE)

        page = await self._load(read())
        if self._state.current != peer or conversation.rows is None:
            return
        place = "older" if older else "newer"
        fresh = conversation.show(page, self._state.sender_of(peer), place=place)
        timeline = self._view().timeline
        timeline.older, timeline.newer = conversation.older, conversation.newer
        if older:
            timeline.prepended(len(fresh))
        else:
            timeline.appended()

    async def first(self) -> None:
        """Shows the beginning of the shown conversation."""
        conversation = self._state.shown
        if conversation is None:
            return
        page = await self._load(self._memory.page(conversation.peer, after=0, limit=_PAGE))
        if self._state.current != conversation.peer:
            return
        conversation.show(page, self._state.sender_of(conversation.peer), place="around")
        conversation.older = False
        rows = conversation.rows
        self._view().show(conversation, place=rows[0].key if rows else "")

    async def _load(self, reading: Awaitable[Page]) -> Page:
        try:
            return await reading
        except DatabaseError as error:
            self._complain(error)
            return Page()
