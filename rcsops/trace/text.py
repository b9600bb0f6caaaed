"""How wide text is on a terminal, and cutting it to a width."""

import unicodedata

# Emoji are joined and varied with these two, which take no column.
_JOINERS = frozenset("\u200d\ufe0f")


def cell_width(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or character in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, width: int, *, ellipsis: str = "…") -> str:
    """``text`` cut to at most ``width`` columns, with ``ellipsis`` where something was left out."""
    if cell_width(text) <= width:
        return text
    if width <= len(ellipsis):
        return ellipsis[:width]
    kept: list[str] = []
    left = width - len(ellipsis)
    for character in text:
        left -= _width(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + ellipsis
