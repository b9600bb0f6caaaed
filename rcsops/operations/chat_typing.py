"""Telling a peer that the user types (RFC 3994 §3.2)."""

import asyncio

from rcsops.ua import Chat

__all__ = ["Typing"]

# Without a key for so long the user is taken for idle (RFC 3994 §3.2 recommends it).
_IDLE_SECONDS = 15.0
# The peer forgets an active state after two minutes; it is told again before.
_REFRESH_SECONDS = 60.0


class Typing:
    """Whether the peer of a chat believes that the user types.

    ``key`` is called for whatever changes the text, ``stopped`` when it was sent (which tells the
    peer as much) or taken away.
    """

    def __init__(self) -> None:
        self._chat: Chat | None = None
        self._told_at = 0.0
        self._idle: asyncio.TimerHandle | None = None

    def key(self, chat: Chat) -> None:
        """The user types to the peer of ``chat``."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._chat is not chat or now - self._told_at >= _REFRESH_SECONDS:
            chat.composing(True)
            self._chat = chat
            self._told_at = now
        if self._idle is not None:
            self._idle.cancel()
        self._idle = loop.call_later(_IDLE_SECONDS, self.stopped)

    def stopped(self, *, sent: bool = False) -> None:
        """The user has stopped, or ``sent`` what was typed."""
        chat, self._chat = self._chat, None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if chat is not None and not sent:
            chat.composing(False)
