"""Every message of a chat, on both sides, until it is over."""

import asyncio

from rcsops.loadgen.statistics import Statistics

__all__ = ["Ledger"]


class Ledger:
    """What was sent and what arrived in one chat, by Message-ID; the outcome goes into
    ``statistics`` with ``settle``."""

    __slots__ = ("_arrived", "_delivered", "_news", "_statistics")

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._arrived: set[str] = set()
        self._news = asyncio.Event()
        self._delivered: set[str] = set()

    def sent(self) -> None:
        """A message has gone."""
        self._statistics.sent += 1

    def delivered(self, message_id: str) -> None:
        """Its sender was told that it has arrived."""
        self._delivered.add(message_id)

    def arrived(self, message_id: str) -> None:
        """Its recipient has it."""
        if message_id in self._arrived:
            self._statistics.twice += 1
            return
        self._arrived.add(message_id)
        self._news.set()
        self._statistics.received += 1

    async def complete(self) -> None:
        """Waits until all that is said to have arrived has."""
        while not self._delivered <= self._arrived:
            self._news.clear()
            await self._news.wait()

    def settle(self) -> None:
        """The chat is over: what was said to have arrived and has not is lost."""
        self._statistics.lost += len(self._delivered - self._arrived)
