"""What goes in and out of ``rcsops chat``: lines that are obeyed, notices of what happens."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rcsops.errors import UsageError

__all__ = ["Line", "Narrator", "Notice", "Seen", "Verbatim"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened: ``event`` and ``data`` for programs, ``text`` for people.

    An empty ``text`` is nothing to show a person. ``about`` is the address of the peer whom it
    concerns, in a room where each has a conversation of its own; empty elsewhere.
    """

    event: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    about: str = ""


class Verbatim(str):
    """A message as it is to be sent, whatever it begins with."""

    __slots__ = ()


class Seen(str):
    """The Message-ID of a message that who reads the notices has seen."""

    __slots__ = ()


# A UsageError is input that could not be understood; it is told and counted.
Line = str | UsageError


@dataclass(slots=True)
class _Ledger:
    failures: int = 0
    lost: OSError | None = None


class Narrator:
    """Tells notices and counts failures.

    When a notice cannot be written (the reader of a pipe has gone), ``on_lost`` is called once,
    ``lost`` says why, and the rest is told to nobody.
    """

    def __init__(self, notify: Callable[[Notice], None], on_lost: Callable[[], None]) -> None:
        self._ledger = _Ledger()
        self._about = ""
        self._notify = notify
        self._on_lost = on_lost

    @property
    def failures(self) -> int:
        """How many things did not happen, whoever they were about."""
        return self._ledger.failures

    @property
    def lost(self) -> OSError | None:
        """Why notices cannot be told any more."""
        return self._ledger.lost

    def about(self, peer: str) -> "Narrator":
        """The same narrator, for what concerns one peer (an address)."""
        other = copy.copy(self)
        other._about = peer
        return other

    def say(self, event: str, text: str, /, **data: object) -> None:
        """Tells something."""
        if self._ledger.lost is not None:
            return
        try:
            self._notify(Notice(event, text, data, about=self._about))
        except OSError as error:
            self._ledger.lost = error
            self._on_lost()

    def note(self, text: str, **data: object) -> None:
        """Tells something beside."""
        self.say("note", text, note=text, **data)

    def error(self, text: str, *, hint: str = "", **data: object) -> None:
        """Tells what could not be done, and what to do next."""
        shown = text
        if hint:
            shown = f"{text}; {hint}" if text.endswith(")") else f"{text} ({hint})"
        self.say("error", shown, **{"error": text, "hint": hint, **data})

    def fail(self, text: str, *, hint: str = "", **data: object) -> None:
        """The same for what makes the exit code 1."""
        self.failed()
        self.error(text, hint=hint, **data)

    def failed(self) -> None:
        """Counts what has been told otherwise."""
        self._ledger.failures += 1
