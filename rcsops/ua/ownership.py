"""Which process has which messages of a shared history in hand, even after it was killed.

Each process has a number, and holds a lock on that octet of a file beside the history for as long
as it lives. Who gets the lock of another number knows that nobody is there any more.
"""

import contextlib
import fcntl
import os
import secrets
import struct
from pathlib import Path

__all__ = ["Ownership"]

_LARGEST = 1 << 62
# Locks of an open file, not of the process (fcntl(2)): two agents of one process have two.
_SET_LOCK = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)


class Ownership:
    """The number of this process, taken when it is made; raises OSError when that cannot be."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self.number = 1 + secrets.randbelow(_LARGEST)
        try:
            self._set(fcntl.F_WRLCK, self.number)
        except BaseException:
            self.close()
            raise

    def outlived(self, number: int) -> bool:
        """Whether the process of another number is gone; it is then kept from everybody else until
        ``forget``."""
        if number == self.number:
            return False
        try:
            self._set(fcntl.F_WRLCK, number)
        except OSError:
            return False
        return True

    def forget(self, number: int) -> None:
        """What that process had in hand has been taken over."""
        with contextlib.suppress(OSError):
            self._set(fcntl.F_UNLCK, number)

    def close(self) -> None:
        """This process has nothing in hand any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _set(self, kind: int, number: int) -> None:
        fields = struct.pack("hhqqi4x", kind, os.SEEK_SET, number, 1, 0)
        fcntl.fcntl(self._descriptor, _SET_LOCK, fields)
