"""A message as lines of coloured pieces, for a page or a screen: what each piece is, not how it
looks."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal[
    "text", "method", "version", "status", "uri", "name", "parameter", "string", "number", "tag",
    "end",
]  # fmt: skip

_PIECES = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<uri>\b(?:sips?|msrps?|tel|urn|https?):[^\s<>\";,]+)"
    r"|(?P<parameter>(?<=[;,?&\s])[\w.+%!*-]+(?==))"
    r"|(?P<number>(?<![\w.%+-])\d+(?![\w.%+-]))"
)
_XML = re.compile(r"</?[\w:.-]+[^<>]*>|<\?[^<>]*\?>|<!--.*?-->")
_SDP_LINE = re.compile(r"[a-z]=")
_HEADER = re.compile(r"([\w.!%*+'`~-]+)([ \t]*:)(.*)", re.DOTALL)
# Nobody reads more of a line in colours, and expressions must not be given it.
_LONGEST = 4096


class Piece(NamedTuple):
    """Text of one line, and what it is."""

    text: str
    kind: Kind


def highlight(data: bytes) -> Iterator[list[Piece]]:
    """The lines of a message, without their line ends; the texts joined are the message.

    A byte that is not UTF-8 stands as a lone surrogate: show the pieces through
    `rcsops.text.visible`.
    """
    lines = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    in_head = started = False
    for line in lines:
        if len(line) > _LONGEST:
            yield [Piece(line, "text")]
        elif not started:
            yield _start(line)
            started = in_head = bool(line)
        elif line.startswith("-------"):
            yield [Piece(line, "end")]
        elif in_head:
            in_head = bool(line)
            yield _header(line)
        else:
            yield _body(line)


def _start(line: str) -> list[Piece]:
    words = line.split(" ", 2)
    if words[0].startswith("SIP/") and len(words) > 1:
        return _spaced((words[0], "version"), (" ".join(words[1:]), "status"))
    if words[0] == "MSRP" and len(words) == 3:
        kind: Kind = "status" if words[2][:1].isdigit() else "method"
        return _spaced((words[0], "version"), (words[1], "text"), (words[2], kind))
    if len(words) == 3:
        return _spaced((words[0], "method"), (words[1], "uri"), (words[2], "version"))
    return [Piece(line, "text")] if line else []


def _spaced(*words: tuple[str, Kind]) -> list[Piece]:
    pieces: list[Piece] = []
    for text, kind in words:
        if pieces:
            pieces.append(Piece(" ", "text"))
        pieces.append(Piece(text, kind))
    return pieces


def _header(line: str) -> list[Piece]:
    found = _HEADER.fullmatch(line)
    if found is None:
        return _values(line)
    return [Piece(found[1], "name"), Piece(found[2], "text"), *_values(found[3])]


def _body(line: str) -> list[Piece]:
    if _SDP_LINE.match(line):
        return [Piece(line[:2], "name"), *_values(line[2:])]
    if "<" in line:
        return _matched(line, _XML, "tag")
    found = _HEADER.fullmatch(line)
    if found is not None and (found[3].startswith(" ") or not found[3]):
        return [Piece(found[1], "name"), Piece(found[2], "text"), *_values(found[3])]
    return [Piece(line, "text")] if line else []


def _values(text: str) -> list[Piece]:
    return _matched(text, _PIECES, "text")


def _matched(text: str, expression: re.Pattern[str], kind: Kind) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    for found in expression.finditer(text):
        if found.start() > at:
            pieces.append(Piece(text[at : found.start()], "text"))
        pieces.append(Piece(found[0], found.lastgroup or kind))  # type: ignore[arg-type]
        at = found.end()
    if at < len(text):
        pieces.append(Piece(text[at:], "text"))
    return pieces
