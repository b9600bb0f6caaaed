"""Two messages side by side: the names of the headers once, at the left, then both values."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rcsops.text import visible
from rcsops.trace.compare import Difference
from rcsops.trace.text import cell_width, fit

_LONGEST_NAME = 20
_NARROWEST = 10
_MIDDLE = 3
_MARKS = {"same": "│", "changed": "≠", "removed": "-", "added": "+"}
# A value is compared in words, parameters and what parts them.
_WORDS = re.compile(r"""([\s;,=<>"@:/]+)""")
# difflib takes quadratic time; of what is longer all differs.
_MOST_WORDS = 200
_BREAKS = frozenset(" ;,&")


class BesidePiece(NamedTuple):
    """A piece of a value; ``differs`` says that the other message has it not so."""

    text: str
    differs: bool


@dataclass(frozen=True, slots=True)
class BesideLine:
    """One line of the picture: ``name`` of the field, as wide as the longest (empty where a value
    goes on from the line above), what both messages have, and ``mark`` for between them: ``│`` the
    same, ``≠`` different, ``-`` in the first only, ``+`` in the second only."""

    kind: Literal["same", "removed", "added", "changed"]
    name: str
    first: tuple[BesidePiece, ...]
    mark: str
    second: tuple[BesidePiece, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """The lines, and how many columns the names and each of the two values have."""

    names: int
    values: int
    lines: tuple[BesideLine, ...]


def beside(differences: Sequence[Difference], width: int) -> Beside:
    """A comparison laid out for ``width`` columns, for which long values go on in further lines.

    Nothing in it is obeyed by a terminal: control characters are written out.
    """
    names = min(max((cell_width(visible(each.name)) for each in differences), default=0),
                _LONGEST_NAME)  # fmt: skip
    values = max((width - names - 2 - _MIDDLE) // 2, _NARROWEST)
    return Beside(names, values, tuple(_lines(differences, names, values)))


def _lines(differences: Sequence[Difference], names: int, values: int) -> Iterator[BesideLine]:
    headers = False
    for each in differences:
        headers = headers or bool(each.name)
        if headers and not each.name:
            # The empty line between the header and the body.
            headers = False
            yield BesideLine("same", "", (), _MARKS["same"], ())
        if each.kind == "same":
            for line in each.first.splitlines():
                piece = (BesidePiece(visible(line), False),)
                yield from _field("same", each.name, piece, piece, names, values)
            continue
        first, second = _compared(visible(each.first), visible(each.second))
        yield from _field(each.kind, each.name, first, second, names, values)


def _compared(first: str, second: str) -> tuple[tuple[BesidePiece, ...], tuple[BesidePiece, ...]]:
    """Both values, with the words marked that are not in the other."""
    before, after = _WORDS.split(first), _WORDS.split(second)
    if max(len(before), len(after)) > _MOST_WORDS:
        return (BesidePiece(first, True),), (BesidePiece(second, True),)
    left: list[BesidePiece] = []
    right: list[BesidePiece] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
        left.append(BesidePiece("".join(before[a:b]), kind != "equal"))
        right.append(BesidePiece("".join(after[c:d]), kind != "equal"))
    return tuple(each for each in left if each.text), tuple(each for each in right if each.text)


def _field(
    kind: Literal["same", "removed", "added", "changed"],
    name: str,
    first: Sequence[BesidePiece],
    second: Sequence[BesidePiece],
    names: int,
    values: int,
) -> Iterator[BesideLine]:
    left, right = list(_folded(first, values)), list(_folded(second, values))
    shown = fit(visible(name), names)
    for number in range(max(len(left), len(right), 1)):
        yield BesideLine(
            kind,
            "" if number else shown,
            left[number] if number < len(left) else (),
            _MARKS[kind],
            right[number] if number < len(right) else (),
        )


def _folded(pieces: Iterable[BesidePiece], columns: int) -> Iterator[tuple[BesidePiece, ...]]:
    """The pieces in lines of so many columns, which end behind a space or separator where there is
    one in their second half."""
    cells = [(character, piece.differs) for piece in pieces for character in piece.text]
    start = width = 0
    cut = 0
    for position, (character, _) in enumerate(cells):
        width += cell_width(character)
        if width > columns and position > start:
            end = cut if cut > start + columns // 2 else position
            yield _joined(cells[start:end])
            start = end
            width = sum(cell_width(each) for each, _ in cells[start : position + 1])
        if character in _BREAKS:
            cut = position + 1
    if start < len(cells):
        yield _joined(cells[start:])


def _joined(cells: Sequence[tuple[str, bool]]) -> tuple[BesidePiece, ...]:
    pieces: list[BesidePiece] = []
    for character, differs in cells:
        if pieces and pieces[-1].differs == differs:
            pieces[-1] = BesidePiece(pieces[-1].text + character, differs)
        else:
            pieces.append(BesidePiece(character, differs))
    return tuple(pieces)
