"""Whether anybody has written to an SQLite database, by the header of its WAL index.

SQLite's file format, WAL-Index Format: each commit, of whichever process, changes the header that
stands twice at the begin of the file ``-shm``, before the commit returns.
"""

import os

__all__ = ["WalIndex"]

_HEADER = 48


class WalIndex:
    """The WAL index of the database at ``path``; to be opened once SQLite has made it.

    Whoever closes a file loses all locks that its process has on it (POSIX), SQLite's as well: so
    it stays open as long as the process has connections to that database.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = f"{os.fspath(path)}-shm"
        self._fd = -1

    def open(self) -> None:
        """Opens it, unless it is open; there may be none."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return

    def close(self) -> None:
        """Closes it, after all connections of this process."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def header(self) -> bytes:
        """Its present state, which is another after each commit; empty when that is not known."""
        if self._fd < 0:
            return b""
        try:
            both = os.pread(self._fd, 2 * _HEADER, 0)
        except OSError:
            return b""
        # The two differ while somebody writes them.
        first = both[:_HEADER]
        return first if len(both) == 2 * _HEADER and first == both[_HEADER:] else b""
