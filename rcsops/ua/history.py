"""An agent's own history: every message is on the disk before it is shown or receipted."""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rcsops.database import Store, prepare_history
from rcsops.database import history as table
from rcsops.database.history_sessions import (
    RINGING,
    HistorySession,
    add_session,
    end_session,
    remove_ringing,
)
from rcsops.errors import DatabaseError
from rcsops.transport.turns import Turns
from rcsops.ua.history_notes import HistoryNotes, told
from rcsops.ua.history_queue import HistoryQueue
from rcsops.ua.notices import Notice
from rcsops.ua.ownership import Ownership
from rcsops.ua.receipts import MessageStatus, states_before

__all__ = ["History"]


class History:
    """The messages of one agent in an SQLite file; made by ``open``."""

    __slots__ = ("_notes", "_ownership", "_queue", "_store")

    def __init__(self, store: Store, ownership: Ownership, turns: Turns | None = None) -> None:
        self._store = store
        self._queue = HistoryQueue(store, turns)
        self._notes = HistoryNotes(self._queue)
        self._ownership = ownership

    @classmethod
    async def open(cls, path: str | os.PathLike[str], turns: Turns | None = None) -> "History":
        """Opens or makes the file, mode 0600; what it tells, it tells in ``turns``. Raises
        DatabaseError when it cannot be used."""
        return cls(*await asyncio.to_thread(_open, Path(path)), turns)

    async def close(self) -> None:
        """Commits what is waiting and closes the file."""
        self._hand_over()
        await asyncio.to_thread(self._store.close)
        self._queue.finish()
        self._ownership.close()

    def _hand_over(self) -> None:
        """Has the store come for all that was put, before what goes there by another way."""
        self._notes.flush()
        self._queue.hand_over()

    async def take_over(self, seconds: float) -> list[table.HistoryMessage]:
        """The texts that an earlier process had in hand when it ended, and that may not have
        arrived: the oldest first, none older than ``seconds``. From now on this one has them.

        Raises DatabaseError.
        """
        since = datetime.now(UTC).timestamp() - seconds
        owners = await self._store.read(table.owners)
        gone = [number for number in owners if self._ownership.outlived(number)]
        own = self._ownership.number
        self._hand_over()
        try:
            return await self._store.run(
                lambda connection: table.take_over(connection, gone, own, since)
            )
        finally:
            for number in gone:
                self._ownership.forget(number)

    def owing(self, done: Callable[[list[table.HistoryMessage]], None]) -> None:
        """Calls ``done`` with the messages about which this process still owes a notification."""
        own = self._ownership.number
        self._notes.flush()
        self._queue.put(
            lambda connection: table.owing(connection, own),
            lambda result: done([] if isinstance(result, DatabaseError) else result),
        )

    async def outgoing(
        self,
        peer: str,
        message_id: str,
        text: str,
        at: datetime,
        *,
        conversation_id: str = "",
        contribution_id: str = "",
        address: str = "",
        file: table.Attachment | None = None,
        content_type: str = "",
    ) -> None:
        """Stores a message that is about to be sent, to ``address``. Raises DatabaseError.

        Of one that has waited in the history it notes how it goes now.
        """
        entry = _entry(
            peer, "out", message_id, text, "queued", at, conversation_id, file, content_type
        )._replace(
            contribution_id=contribution_id,
            address=_storable(address),
            owner=self._ownership.number,
        )
        # What is known by now is on the disk before the message leaves: who has said of another
        # that it arrived gets this one again if its sender is killed, and others do not.
        self._notes.flush()
        await self._queue.run(lambda connection: table.add_or_go_on(connection, entry))

    def incoming(
        self,
        peer: str,
        message_id: str,
        text: str,
        at: datetime,
        *,
        conversation_id: str = "",
        file: table.Attachment | None = None,
        content_type: str = "",
        notice: Notice | None = None,
        done: Callable[[bool | DatabaseError], None],
    ) -> None:
        """Stores a message that has come and then calls ``done``, on the loop, in order.

        ``done(True)``: it is stored; ``done(False)``: it was there already, a resend;
        ``done(error)``: it could not be stored. ``notice`` is what its sender wants to be told; the
        delivery notification is owed from the same moment on.
        """
        entry = _entry(
            peer, "in", message_id, text, "received", at, conversation_id, file, content_type
        )
        if notice is not None:
            entry = entry._replace(
                contribution_id=_storable(notice.contribution_id),
                address=_storable(notice.address),
                date_time=_storable(notice.date_time),
                routes=_storable("\n".join(notice.routes)),
                wanted=notice.wanted,
                owner=self._ownership.number,
                owed=notice.wanted & table.DELIVERY,
            )

        def finished(result: int | DatabaseError | None) -> None:
            done(result if isinstance(result, DatabaseError) else result is not None)

        self._queue.put(lambda connection: table.add(connection, entry), finished)

    def seen(self, peer: str, message_id: str, *, owe: bool, done: Callable[[bool], None]) -> None:
        """Notes that our user has seen a message, which its sender is to be told if ``owe`` and it
        was asked for; then calls ``done`` with True, or False when it is not here or was seen
        before."""
        self._queue.put(
            lambda connection: table.see(connection, _storable(peer), _storable(message_id), owe),
            lambda result: done(result is True),
        )

    def find(
        self, peer: str, message_id: str, done: Callable[[table.HistoryMessage | None], None]
    ) -> None:
        """Calls ``done`` with a message that has come, None for one that is not here."""
        self._queue.put(
            lambda connection: table.find(connection, _storable(peer), _storable(message_id)),
            lambda result: done(None if isinstance(result, DatabaseError) else result),
        )

    async def file_arrived(self, peer: str, message_id: str, path: str, sha1: str) -> None:
        """Notes where the file of a message that has come is now. Raises DatabaseError."""
        await self._queue.run(
            lambda connection: table.file_arrived(
                connection, _storable(peer), _storable(message_id), _storable(path), sha1
            )
        )

    async def waiting_offers(self) -> list[table.HistoryMessage]:
        """The messages about files on content servers that the user has not answered, and that no
        other process has in hand: the oldest first; this one has them from now on.

        Raises DatabaseError.
        """
        own = self._ownership.number
        owners = await self._queue.run(table.offerers)
        outlived = [number for number in owners if number and self._ownership.outlived(number)]
        # Without a number: nothing was to be told about it, so that nobody had it in hand.
        gone = [0, *outlived]
        try:
            return await self._queue.run(
                lambda connection: table.take_offers(connection, gone, own)
            )
        finally:
            for number in outlived:
                self._ownership.forget(number)

    def offer_answered(self, peer: str, message_id: str, answer: str) -> None:
        """Notes what became of the offer of a file on a content server: "accepted", "declined",
        "expired"."""
        self._queue.put(
            lambda connection: table.answer_offer(
                connection, _storable(peer), _storable(message_id), answer
            )
        )

    def session_began(
        self, peer: str, chat_id: str, conversation_id: str, *, outgoing: bool
    ) -> None:
        """Notes that a session is open."""
        entry = HistorySession(
            _storable(peer),
            "out" if outgoing else "in",
            _storable(chat_id),
            datetime.now(UTC).timestamp(),
            _storable(conversation_id),
        )
        self._queue.put(lambda connection: add_session(connection, entry))

    def session_ended(self, chat_id: str, ended: str, reason: str) -> None:
        """Notes how an open session ended: `rcsops.database.schema` has the words."""
        at = datetime.now(UTC).timestamp()
        self._queue.put(
            lambda connection: end_session(
                connection, _storable(chat_id), at, ended, _storable(reason)
            )
        )

    def rings(
        self,
        peer: str,
        conversation_id: str,
        since: datetime,
        *,
        outgoing: bool,
        chat_id: str = "",
    ) -> None:
        """Notes an invitation, made at ``since``, until `rings_no_longer`: also who is killed finds
        it."""
        entry = HistorySession(
            _storable(peer),
            "out" if outgoing else "in",
            _storable(chat_id),
            since.timestamp(),
            _storable(conversation_id),
            ended=RINGING,
        )
        self._queue.put(lambda connection: add_session(connection, entry))

    def rings_no_longer(self, peer: str, since: datetime, *, chat_id: str = "") -> None:
        """Takes that back: what became of it is noted otherwise."""
        at = since.timestamp()
        self._queue.put(
            lambda connection: remove_ringing(connection, _storable(peer), _storable(chat_id), at)
        )

    def no_session(
        self,
        peer: str,
        conversation_id: str,
        since: datetime,
        ended: str,
        reason: str = "",
        *,
        outgoing: bool,
        chat_id: str = "",
    ) -> None:
        """Notes that no session came of an invitation, made at ``since``: ``ended`` as in
        `rcsops.database.schema`."""
        entry = HistorySession(
            _storable(peer),
            "out" if outgoing else "in",
            _storable(chat_id),
            since.timestamp(),
            _storable(conversation_id),
            datetime.now(UTC).timestamp(),
            ended,
            _storable(reason),
        )
        self._queue.put(lambda connection: add_session(connection, entry))

    def hasten(self) -> None:
        """Has what was noted go to the disk now: somebody who waits for it wants to go."""
        self._notes.flush()

    def settled(self, peer: str, message_id: str, kind: int) -> None:
        """Notes that a notification (`table.DELIVERY`, `DISPLAY`) is owed no longer."""
        self._notes.settled(_storable(peer), _storable(message_id), kind)

    def status(
        self,
        peer: str,
        message_id: str,
        status: str,
        reason: str = "",
        *,
        way: str = "",
        done: Callable[[], None] | None = None,
    ) -> None:
        """Notes what became of a message of ours, unless it is known to have come further: another
        device of the user's may have been told, which writes here as well. Calls ``done`` when it
        is on the disk, or cannot be, which the log then says."""
        state = MessageStatus(status)
        if state not in (MessageStatus.QUEUED, MessageStatus.FAILED):
            self._notes.status(_storable(peer), message_id, state, way, done)
            return
        over = states_before(state)
        self._notes.flush()
        self._queue.put(
            lambda connection: table.advance(
                connection,
                message_id,
                status,
                over=over,
                peer=_storable(peer),
                reason=_storable(reason),
                way=way,
            ),
            told((done,)) if done is not None else None,
        )

    async def advance(
        self, message_id: str, status: str, *, over: Sequence[str], peer: str | None, reason: str
    ) -> str | None:
        """Notes on the disk what a peer says of a message of ours, whenever that was sent.

        ``over`` are the states that it may follow on; ``peer`` None stands for any. Returns who
        the message went to, None when this is no news. Raises DatabaseError.
        """
        self._notes.flush()
        return await self._queue.run(
            lambda connection: table.advance(
                connection,
                _storable(message_id),
                status,
                over=over,
                peer=None if peer is None else _storable(peer),
                reason=_storable(reason),
            )
        )

    async def messages(
        self, peer: str | None = None, *, limit: int = 100
    ) -> list[table.HistoryMessage]:
        """The last messages, oldest first. Raises DatabaseError."""
        self._notes.flush()
        return await self._queue.run(
            lambda connection: table.load(connection, peer=peer, limit=limit)
        )


def _open(path: Path) -> tuple[Store, Ownership]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"{path.parent} cannot be made: {error.strerror}") from error
    store = Store.open(
        f"sqlite:///{path.absolute()}", create=True, prepare=prepare_history, watched=False
    )
    try:
        return store, Ownership(path.with_name(f"{path.name}-owners"))
    except OSError as error:
        store.close()
        raise DatabaseError(
            f"{path}-owners cannot be locked: {error.strerror}",
            hint="keep the history on a file system that has locks",
        ) from error


def _entry(
    peer: str,
    direction: str,
    message_id: str,
    text: str,
    status: str,
    at: datetime,
    conversation_id: str,
    file: table.Attachment | None,
    content_type: str,
) -> table.HistoryMessage:
    if file is not None:
        file = file._replace(name=_storable(file.name), path=_storable(file.path))
    return table.HistoryMessage(
        peer=_storable(peer),
        direction=direction,
        message_id=_storable(message_id),
        text=_storable(text),
        status=status,
        sent_at=at.timestamp(),
        stored_at=datetime.now(UTC).timestamp(),
        content_type=content_type or _content_type(file),
        conversation_id=_storable(conversation_id),
        attachment=file,
    )


def _content_type(file: table.Attachment | None) -> str:
    return "text/plain" if file is None else "application/octet-stream"


def _storable(text: str) -> str:
    # What a peer's header held that was no UTF-8 stands in a string as half of a surrogate pair,
    # which no database takes.
    return text.encode("utf-8", "replace").decode()
