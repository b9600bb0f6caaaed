"""What an examination finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rcsops.settings import Project

__all__ = ["Check", "Finding", "bad", "good", "note", "warn"]

Check = Callable[["Project"], Iterator["Finding"]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    ``subject`` is what, ``level`` "ok", "note", "warning" (it works, and may not for long) or
    "problem" (it does not), ``text`` what was seen and ``mend`` the command that mends it, or what
    a person has to do.
    """

    subject: str
    level: str
    text: str
    mend: str = ""


def good(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, "ok", text)


def note(subject: str, text: str, mend: str = "") -> Finding:
    """Worth knowing."""
    return Finding(subject, "note", text, mend)


def warn(subject: str, text: str, mend: str = "") -> Finding:
    """It works, and may not for long."""
    return Finding(subject, "warning", text, mend)


def bad(subject: str, text: str, mend: str = "") -> Finding:
    """It does not work."""
    return Finding(subject, "problem", text, mend)
