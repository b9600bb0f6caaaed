"""What the palette of commands offers. Nothing of a peer's name is read as markup in it."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.fuzzy import FuzzySearch

__all__ = ["Offer", "Palette"]


class Offer(NamedTuple):
    """Something that can be done: its name, a word about it, and the doing."""

    title: str
    help: str
    act: Callable[[], object]


class Offering(Protocol):
    """An app that has offers."""

    def offers(self) -> Iterable[Offer]:
        """What can be done now, in the order of the palette."""


class Palette(Provider):
    """The offers of the app."""

    @property
    def _offers(self) -> Iterable[Offer]:
        return cast(Offering, self.app).offers()

    async def discover(self) -> Hits:
        """All of them."""
        for title, words, act in self._offers:
            yield DiscoveryHit(Content(title), act, text=title, help=words)

    async def search(self, query: str) -> Hits:
        """Those that match what is typed."""
        search = FuzzySearch(case_sensitive=False)
        for title, words, act in self._offers:
            score, offsets = search.match(query, title)
            if score:
                shown = Content(title)
                for offset in offsets:
                    shown = shown.stylize("bold underline", offset, offset + 1)
                yield Hit(score, shown, act, text=title, help=words)
