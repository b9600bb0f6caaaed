"""What stands on a call, as the call sees it."""

from enum import StrEnum

from rcsops.sip import Request

__all__ = ["CallState", "CallUser"]


class CallState(StrEnum):
    """Where a call stands."""

    SETTING_UP = "setting up"
    CONFIRMED = "confirmed"
    ENDED = "ended"


class CallUser:
    """What stands on a call and is told what the peer does. Each method has a harmless default."""

    __slots__ = ()

    def call_cancelled(self, reason: str) -> None:
        """The peer took its INVITE back, or nobody answered it in time."""

    def call_ended(self, reason: str, *, by_peer: bool) -> None:
        """The dialog is over, by a BYE of the peer or because it never acknowledged."""

    def call_acknowledged(self, ack: Request) -> None:
        """The ACK for our 200 is here; it carries the answer if our 200 carried the offer."""

    def call_offer(self, request: Request) -> tuple[int, bytes]:
        """A re-INVITE or UPDATE with an offer: status and answer. 488 leaves all as it was."""
        return 488, b""

    def call_description(self) -> bytes:
        """What we said of our side, to say it again in a re-INVITE."""
        return b""
