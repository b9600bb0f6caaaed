"""What goes to the terminal, for which nobody waits: it may stand still, be slow, or be gone."""

import os
import select
import threading
import time
from collections.abc import Callable

__all__ = ["TerminalOutput"]

# More than a large screen drawn whole; a slow line has caught up with it in some seconds.
_MOST_OCTETS = 256 << 10


class TerminalOutput:
    """A file that writes to the terminal ``fd`` in a thread of its own.

    `write` returns at once. When the terminal has not taken the last 256 KiB these are thrown away:
    once it takes octets again ``overtaken`` is called (in the thread), to draw the screen anew. A
    terminal that is gone takes everything and shows nothing.
    """

    def __init__(self, fd: int, overtaken: Callable[[], None]) -> None:
        self._fd = fd
        self._overtaken = overtaken
        self._wake = threading.Condition()
        self._waiting = bytearray()
        self._busy = self._skipped = self._gone = False
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> int:
        """Takes ``text``, to be written as UTF-8."""
        octets = text.encode("utf-8", "replace")
        with self._wake:
            if self._gone:
                return len(text)
            if len(self._waiting) + len(octets) > _MOST_OCTETS and self._waiting:
                self._waiting.clear()
                self._skipped = True
            self._waiting += octets
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="rcsops-terminal", daemon=True
                )
                self._thread.start()
            self._wake.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing: what was taken is on its way. `drain` waits for it."""

    def drain(self, seconds: float) -> bool:
        """Waits until all is written, for so long at most; whether it is."""
        end = time.monotonic() + seconds
        with self._wake:
            while (self._waiting or self._busy) and not self._gone:
                if not self._wake.wait(end - time.monotonic()) and time.monotonic() >= end:
                    return False
        return True

    def fileno(self) -> int:
        """The terminal's descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                overtaken = self._skipped and not self._waiting
                if overtaken:
                    self._skipped = False
                else:
                    self._wake.notify_all()
                    while not self._waiting:
                        self._wake.wait()
                    octets = bytes(self._waiting)
                    self._waiting.clear()
                    self._busy = True
            if overtaken:
                self._overtaken()
            elif not self._put(octets):
                with self._wake:
                    self._gone, self._busy = True, False
                    self._waiting.clear()
                    self._wake.notify_all()
                return

    def _put(self, octets: bytes) -> bool:
        left = memoryview(octets)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                # Somebody else who has this terminal open wants it so.
                select.select([], [self._fd], [])
            except OSError:
                return False
        return True
