"""What became of messages, for the history: noted together where it comes thick and fast."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

from rcsops.database import history as table
from rcsops.errors import DatabaseError
from rcsops.ua.history_queue import HistoryQueue
from rcsops.ua.receipts import MessageStatus, further, states_before

__all__ = ["HistoryNotes", "told"]

logger = logging.getLogger(__name__)

_GATHER_SECONDS = 0.02


class HistoryNotes:
    """States of our messages, and notifications that are owed no longer: no user waits for these.

    The first goes to the disk at once; what comes within 20 ms of that goes together, each message
    with one statement. So a flood of receipts takes few commits from the messages that somebody
    does wait for. Of what a process that is killed has not noted it hears again: a message without
    its 200 goes once more, and so does a notification that is owed, or that we have not answered.
    """

    __slots__ = (
        "_flushed_at",
        "_loop",
        "_queue",
        "_settled",
        "_states",
        "_timer",
        "_waiting",
        "_ways",
    )

    def __init__(self, queue: HistoryQueue) -> None:
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._flushed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # By peer and Message-ID: when it came to which state, and the way it went.
        self._states: dict[tuple[str, str], dict[str, float]] = {}
        self._ways: dict[tuple[str, str], str] = {}
        # Who is to be told when that is on the disk.
        self._waiting: dict[tuple[str, str], list[Callable[[], None]]] = {}
        # The kinds of notification, and when the last one was settled.
        self._settled: dict[tuple[str, str], tuple[int, float]] = {}

    def status(
        self,
        peer: str,
        message_id: str,
        status: MessageStatus,
        way: str,
        done: Callable[[], None] | None = None,
    ) -> None:
        """A message of ours has come as far as ``status``, which is not FAILED; calls ``done`` when
        that is on the disk, or cannot be."""
        key = peer, message_id
        self._states.setdefault(key, {}).setdefault(status.value, time.time())
        if way:
            self._ways[key] = way
        if done is not None:
            self._waiting.setdefault(key, []).append(done)
        self._wait()

    def settled(self, peer: str, message_id: str, kind: int) -> None:
        """A notification (`table.DELIVERY`, `DISPLAY`) is owed no longer."""
        kinds, at = self._settled.get((peer, message_id), (0, 0.0))
        if kind == table.DELIVERY:
            at = time.time()
        self._settled[peer, message_id] = kinds | kind, at
        self._wait()

    def _wait(self) -> None:
        if self._timer is None:
            due = self._flushed_at + _GATHER_SECONDS
            self._timer = self._loop.call_at(due, self.flush)

    def flush(self) -> None:
        """Hands all of it to the queue, before whatever must not overtake it."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._flushed_at = self._loop.time()
        states, self._states = self._states, {}
        ways, self._ways = self._ways, {}
        waiting, self._waiting = self._waiting, {}
        for key, times in states.items():
            last = further(times)
            if next(reversed(times)) != last:
                times[last] = times.pop(last)
            over = states_before(last)
            self._queue.put(
                partial(
                    table.progress,
                    peer=key[0],
                    message_id=key[1],
                    times=times,
                    over=over,
                    way=ways.get(key, ""),
                ),
                told(waiting[key]) if key in waiting else None,
            )
        settled, self._settled = self._settled, {}
        for (peer, message_id), (kinds, at) in settled.items():
            self._queue.put(
                partial(table.settle, peer=peer, message_id=message_id, kinds=kinds, at=at)
            )


def told(waiting: Iterable[Callable[[], None]]) -> Callable[[object], None]:
    """What tells all who wait for a note; that it could not be kept goes to the log."""

    def done(result: object) -> None:
        if isinstance(result, DatabaseError):
            logger.error("%s", result)
        for each in waiting:
            each()

    return done
