"""Writing to somebody in ``rcsops chat`` without a session: each line in a SIP MESSAGE."""

import contextlib
from collections.abc import Callable

from rcsops.errors import AgentError, InviteError, MsrpUnreachable
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_notices import Narrator
from rcsops.ua import Agent, Receipt, Service, events

__all__ = ["Letters"]

# The peer's device is not there, or not now: what is written can wait for it.
_ABSENT = frozenset({404, 408, 480})
# It is there, and takes no session, or none of this kind; it may take messages.
_NO_SESSIONS = frozenset({405, 415, 488, 501, 606})
_ASK_SECONDS = 2.0


class Letters:
    """Whom typed lines go to while there is no session, if to anybody.

    ``free`` says whether lines have no other way to go.
    """

    def __init__(
        self, agent: Agent, narrator: Narrator, teller: Teller, free: Callable[[], bool]
    ) -> None:
        self.peer = ""
        self.unused = False
        self._agent = agent
        self._narrator = narrator
        self._teller = teller
        self._free = free

    async def instead(self, peer: str, error: InviteError) -> bool:
        """A session with ``peer`` came to nothing: lines go without one, if that can help.

        ``unused`` is True from now on until a line is sent.
        """
        absent = error.status in _ABSENT or isinstance(error, MsrpUnreachable)
        if not absent and not (error.status in _NO_SESSIONS and await self._takes_letters(peer)):
            return False
        self._narrator.error(
            self._teller.refusal(peer, error), hint=error.hint, status=error.status, peer=peer
        )
        self.begin(peer)
        self.unused = True
        return True

    async def _takes_letters(self, peer: str) -> bool:
        with contextlib.suppress(AgentError):
            return (await self._agent.capabilities(peer, timeout=_ASK_SECONDS)).pager
        return False

    def takes_letters_alone(self, peer: str) -> bool:
        """Whether we know that the devices of ``peer`` take messages, and no sessions."""
        known = self._agent.known_capabilities(peer)
        return known is not None and known.pager and known.lacks(Service.CHAT)

    def begin(self, peer: str) -> None:
        """Lines go to ``peer``, an address, from now on."""
        self.peer = peer
        self.unused = False
        name = self._teller.short(peer)
        self._narrator.say(
            "pager",
            f"what you write goes to {name} without a session; /invite {name} starts one",
            peer=peer,
        )

    def end(self) -> str:
        """Lines go nowhere; whom they went to, for people."""
        name, self.peer = self._teller.short(self.peer), ""
        return name

    def received(self, event: events.TextReceived) -> None:
        """Somebody wrote without a session: answers go back the same way."""
        if event.pager and not self.peer and self._free():
            self.begin(event.peer)

    async def send(self, text: str, *, message_id: str | None = None) -> Receipt:
        """Sends a line; see `places.Way`. Raises RcsopsError."""
        receipt = await self._agent.send_message(self.peer, text, message_id=message_id, large=True)
        self.unused = False
        return receipt

    async def send_location(
        self,
        latitude: float,
        longitude: float,
        *,
        radius: float = 0.0,
        label: str = "",
        message_id: str | None = None,
    ) -> Receipt:
        """Sends a place. Raises RcsopsError."""
        receipt = await self._agent.send_location(
            self.peer, latitude, longitude, radius=radius, label=label, message_id=message_id
        )
        self.unused = False
        return receipt
