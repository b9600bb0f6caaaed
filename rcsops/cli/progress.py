"""One line on a terminal that says what is being done, and is gone when it is done."""

import sys
import time
from types import TracebackType
from typing import Protocol

from rcsops.cli.output import visible

_INTERVAL = 0.1
_SLOW = 0.5  # what takes less needs no line


class StepLike(Protocol):
    """What is being done, and how many rows of ``table`` it has come to."""

    @property
    def what(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def rows(self) -> int: ...


class Progress:
    """Shows steps on stderr while the block runs; nothing if ``quiet`` or nobody looks."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown_at = 0.0
        self._width = 0

    def step(self, step: StepLike) -> None:
        """Shows a step of an operation."""
        rows = f" {step.rows}" if step.rows else ""
        self.show(f"{step.what} {step.table}{rows}".rstrip())

    def count(self, what: str, done: int) -> None:
        """Shows how far something is."""
        self.show(f"{what} {done}")

    def show(self, text: str) -> None:
        """Shows a line in the place of the last."""
        now = time.monotonic()
        if self._quiet or now - self._started < _SLOW or now - self._shown_at < _INTERVAL:
            return
        self._shown_at = now
        line = visible(text)[:78]
        sys.stderr.write(f"\r{line:<{self._width}}")
        sys.stderr.flush()
        self._width = len(line)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._width:
            sys.stderr.write(f"\r{'':<{self._width}}\r")
            sys.stderr.flush()
