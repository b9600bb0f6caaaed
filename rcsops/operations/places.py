"""A place as people type it, and as it goes where texts go."""

import re
from typing import Protocol

from rcsops.errors import UsageError
from rcsops.rcs import Location, geolocation
from rcsops.ua import Receipt

__all__ = ["Said", "Way", "say", "type_of", "typed_place", "words_of"]

Said = str | Location
"""What one message says."""

_TYPED = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*[,\s]\s*([+-]?\d+(?:\.\d+)?)(?:\s+(.*))?", re.S)


def typed_place(text: str, *, radius: float = 0.0, label: str = "") -> Location:
    """``48.2082,16.3738`` or ``48.2082 16.3738``, and a label behind it, unless ``label`` is given.

    Raises UsageError for what is no place.
    """
    match = _TYPED.fullmatch(text)
    if match is None or (label and match[3]):
        raise UsageError(
            f"{text.strip()!r} is no place: a latitude and a longitude in degrees are one",
            hint="as in 48.2082,16.3738; south and west are negative",
        )
    return Location(float(match[1]), float(match[2]), radius, label or match[3] or "")


class Way(Protocol):
    """Where a message can go: a chat, or letters without one. ``message_id`` is that of one that
    the history has already."""

    async def send(self, text: str, *, message_id: str | None = None) -> Receipt:
        """Sends a text."""

    async def send_location(
        self,
        latitude: float,
        longitude: float,
        *,
        radius: float = 0.0,
        label: str = "",
        message_id: str | None = None,
    ) -> Receipt:
        """Sends a place."""


def words_of(said: Said) -> str:
    """A text or a place in the words that a person sees."""
    if isinstance(said, Location):
        return said.text
    # Half of a surrogate pair is no character, and UTF-8 has nothing for it.
    return said.encode("utf-8", "replace").decode("utf-8")


def type_of(said: Said) -> str:
    """Its content type for the history; empty for a text."""
    return geolocation.CONTENT_TYPE if isinstance(said, Location) else ""


async def say(way: Way, said: Said, *, message_id: str | None = None) -> Receipt:
    """Sends a text or a place, under ``message_id`` where the history has it already. Raises
    RcsopsError."""
    if isinstance(said, Location):
        return await way.send_location(
            said.latitude,
            said.longitude,
            radius=said.radius,
            label=said.label,
            message_id=message_id,
        )
    return await way.send(words_of(said), message_id=message_id)
