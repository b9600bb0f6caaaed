"""Showing what passes to somebody who asks over MI, for a while: `rcsops trace --follow`.

Whoever asks listens on a Unix socket in the server's own run directory, which only the server's
user can make. The server connects there and writes a line of JSON for each message, as a trace has
it. It never waits for the reader: what does not fit is left out, and counted.
"""

import asyncio
import json
import logging
import os
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from socket import SO_PEERCRED, SOL_SOCKET

from rcsops.errors import MiError
from rcsops.server.mi import INVALID_PARAMS
from rcsops.trace import tapped_line
from rcsops.transport import SipEndpoint, TapRecord
from rcsops.transport.tap import guarded

__all__ = ["LiveTap"]

logger = logging.getLogger(__name__)

MOST_SECONDS = 3600
_MOST_WATCHERS = 4
_MOST_OCTETS = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")


class LiveTap:
    """The tap of an endpoint, with watchers beside the one that it had.

    Without a watcher the endpoint has its own tap alone, so that nothing is paid for.
    """

    def __init__(self, endpoint: SipEndpoint, directory: Path, node: str = "server") -> None:
        self._endpoint = endpoint
        self._directory = directory
        self._node = node
        self._own = endpoint.tap
        self._watchers: dict[str, _Watcher] = {}

    def start(self, socket: object, seconds: object) -> dict[str, object]:
        """Writes to the socket of that name in the run directory for so many seconds from now;
        asked again, for so many more. Raises MiError."""
        name = str(socket)
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise MiError("Bad socket name", code=INVALID_PARAMS)
        duration = _seconds(seconds)
        watcher = self._watchers.get(name)
        if watcher is None:
            if len(self._watchers) >= _MOST_WATCHERS:
                raise MiError("Too many watch already", code=503)
            watcher = self._connect(name)
        watcher.expire_in(duration)
        return {"Socket": name, "Seconds": duration, "Dropped": watcher.dropped}

    def stop(self, socket: object) -> str:
        """Ends one; raises MiError when there is none of that name."""
        watcher = self._watchers.get(str(socket))
        if watcher is None:
            raise MiError("Nobody watches there", code=404)
        watcher.close()
        return "OK"

    def close(self) -> None:
        """Ends all."""
        for watcher in list(self._watchers.values()):
            watcher.close()

    def __call__(self, record: TapRecord) -> None:
        if self._own is not None:
            self._own(record)
        line = tapped_line(record, self._node)
        for watcher in list(self._watchers.values()):
            watcher.write(line)

    def _connect(self, name: str) -> "_Watcher":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(str(self._directory / name))
            owner = struct.unpack("3i", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))[1]
            if owner not in (os.getuid(), 0):
                raise PermissionError("it belongs to another user")
        except OSError as error:
            connection.close()
            raise MiError(f"Cannot connect to the socket ({error})", code=500) from None
        logger.info("messages are shown at %s", name)
        watcher = self._watchers[name] = _Watcher(connection, lambda: self._gone(name))
        self._endpoint.tap = guarded(self)
        return watcher

    def _gone(self, name: str) -> None:
        if self._watchers.pop(name, None) is not None:
            logger.info("messages are no longer shown at %s", name)
        if not self._watchers:
            self._endpoint.tap = self._own


class _Watcher:
    """One connection; ``gone`` is called when it ends, for whatever reason."""

    def __init__(self, connection: socket.socket, gone: Callable[[], None]) -> None:
        self.dropped = 0
        self._untold = 0
        self._connection = connection
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._writing = False
        self._alarm: asyncio.TimerHandle | None = None
        # Nothing is read but the end: the reader has gone.
        self._loop.add_reader(connection.fileno(), self.close)

    def expire_in(self, seconds: float) -> None:
        """Ends it then; an earlier such call counts no longer."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(seconds, self.close)

    def write(self, line: bytes) -> None:
        """Writes a line, or counts it when the reader is too slow."""
        if len(self._pending) + len(line) > _MOST_OCTETS:
            self.dropped += 1
            self._untold += 1
            return
        if self._untold:
            self._pending += json.dumps({"dropped": self._untold}).encode("ascii") + b"\n"
            self._untold = 0
        self._pending += line
        if not self._writing:
            self._flush()

    def close(self) -> None:
        """Ends it."""
        if self._connection.fileno() < 0:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        self._gone()

    def _flush(self) -> None:
        try:
            while self._pending:
                del self._pending[: self._connection.send(self._pending)]
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._connection.fileno(), self._flush)
            return
        except OSError:
            self.close()
            return
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._connection.fileno())


def _seconds(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number <= MOST_SECONDS:
        raise MiError(f"Seconds must be above 0 and up to {MOST_SECONDS}", code=INVALID_PARAMS)
    return number
