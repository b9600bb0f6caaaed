"""How every process of rcsops writes a log entry: on one line, whatever a peer put into it."""

import contextlib
import logging
from collections.abc import Iterator

from rcsops.text import visible

__all__ = ["SafeFormatter", "log_to", "log_to_stderr"]


class SafeFormatter(logging.Formatter):
    """Writes control characters out, so that nobody can forge a line or reach the terminal.

    The lines of a traceback follow with a bar in front.
    """

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        head = record.getMessage().count("\n")
        first = "\\n".join(lines[: head + 1])
        return "\n".join([visible(first), *(f"  | {visible(each)}" for each in lines[head + 1 :])])


def log_to_stderr(level: str) -> None:
    """Sends what is logged from ``level`` on to stderr; a log that goes somewhere already stays."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


@contextlib.contextmanager
def log_to(handler: logging.Handler) -> Iterator[None]:
    """Sends what is logged to a handler instead of stderr, as long as the block lasts."""
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = [handler]
    try:
        yield
    finally:
        root.handlers[:] = before
