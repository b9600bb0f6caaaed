"""The sink behind ``--trace FILE``."""

import os
import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rcsops.errors import UsageError
from rcsops.trace.record import TraceEntry

if TYPE_CHECKING:
    from rcsops.transport.tap import TapRecord

# `response` and `rspauth` are hashes over the password: with the rest of the header, which stands
# beside them in the trace, a weak password could be guessed at leisure.
_SECRET = re.compile(rb'\b(response|rspauth)([ \t]*=[ \t]*")([^"\r\n]*)"', re.IGNORECASE)


def mask_secrets(data: bytes) -> bytes:
    """``data`` with each digest in its headers replaced by as many ``x``; the body stays."""
    head, separator, body = data.partition(b"\r\n\r\n")
    masked = _SECRET.sub(
        lambda found: b'%b%b%b"' % (found[1], found[2], b"x" * len(found[3])), head
    )
    return masked + separator + body


def tapped_line(record: "TapRecord", node: str, *, reveal: bool = False) -> bytes:
    """What a tap has seen as a line of a trace, with its line end; digests masked unless
    ``reveal``."""
    entry = TraceEntry(
        time=record.time,
        protocol=record.protocol,
        direction=record.direction,
        transport=record.transport,
        local=record.local,
        remote=record.remote,
        node=node,
        data=record.data if reveal else mask_secrets(record.data),
    )
    return entry.to_json().encode("utf-8") + b"\n"


class TraceWriter:
    """Writes each message that passes a tap as one line of JSON.

    ``TraceWriter(path, node)`` is called with a :class:`~rcsops.transport.tap.TapRecord`. The file
    is made readable to its owner only, and added to when it exists. Each line is written whole and
    at once, so that a process that dies leaves all it has seen. ``reveal=True`` leaves the digests
    readable.

    Writing never raises: a full disk must not end a call. The first failure stops the trace and
    stays in ``error``.
    """

    def __init__(self, path: Path | str, node: str, *, reveal: bool = False) -> None:
        self.path = Path(path)
        self.node = node
        self.error: OSError | None = None
        self._reveal = reveal
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    def __call__(self, record: "TapRecord") -> None:
        if self._file < 0 or self.error is not None:
            return
        line = memoryview(tapped_line(record, self.node, reveal=self._reveal))
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            self.error = error

    def close(self) -> None:
        """Ends the trace; what is called afterwards is not written."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "TraceWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
