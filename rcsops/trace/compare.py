"""Two messages beside each other: which header fields and lines are in one of them only."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rcsops.trace.dissect import Dissected, Header, dissect

# difflib takes quadratic time; what is longer is said to differ, and not how.
_MOST_LINES = 400


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of the comparison: ``same`` in both, ``removed`` (first only), ``added`` (second
    only), or ``changed``, whose two forms are ``first`` and ``second``.

    ``name`` is the name of the header, or "" for the start line and the body.
    """

    kind: Literal["same", "removed", "added", "changed"]
    name: str
    first: str
    second: str


def compare(protocol: str, first: bytes, second: bytes) -> list[Difference]:
    """The differences of two messages of one protocol, by header, in the order of the second."""
    before, after = dissect(protocol, first), dissect(protocol, second)
    found = [_pair("", before.start, after.start)]
    found += _headers(before, after)
    found += _bodies(before.body, after.body)
    return found


def _pair(name: str, first: str, second: str) -> Difference:
    return Difference("same" if first == second else "changed", name, first, second)


def _headers(before: Dissected, after: Dissected) -> list[Difference]:
    left: dict[str, list[Header]] = {}
    for header in before.headers:
        left.setdefault(header.key, []).append(header)
    # The fields of one name (Via, Record-Route) are a list whose order counts.
    found: list[Difference] = []
    done: set[str] = set()
    for header in after.headers:
        if header.key in done:
            continue
        done.add(header.key)
        values = [each.value for each in after.headers if each.key == header.key]
        earlier = [each.value for each in left.pop(header.key, [])]
        found += _values(header.name, earlier, values)
    for headers in left.values():
        found += [Difference("removed", each.name, each.value, "") for each in headers]
    return found


def _values(name: str, before: Sequence[str], after: Sequence[str]) -> list[Difference]:
    if len(before) == len(after) == 1:
        return [_pair(name, before[0], after[0])]
    return _sequence(name, before, after)


def _bodies(before: str, after: str) -> list[Difference]:
    if before == after:
        return [Difference("same", "", before, after)] if before else []
    first, second = before.split("\r\n"), after.split("\r\n")
    if len(first) > _MOST_LINES or len(second) > _MOST_LINES:
        return [Difference("changed", "", f"{len(before)} octets", f"{len(after)} octets")]
    return [each for each in _sequence("", first, second) if each.first or each.second]


def _sequence(name: str, before: Sequence[str], after: Sequence[str]) -> list[Difference]:
    found: list[Difference] = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            found += [Difference("same", name, value, value) for value in before[a:b]]
            continue
        if kind == "replace" and b - a == d - c:
            found += [
                Difference("changed", name, old, new)
                for old, new in zip(before[a:b], after[c:d], strict=True)
            ]
            continue
        found += [Difference("removed", name, value, "") for value in before[a:b]]
        found += [Difference("added", name, "", value) for value in after[c:d]]
    return found
