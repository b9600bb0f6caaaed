"""MI on a Unix datagram socket: one request a datagram, one answer a datagram."""

import asyncio
import json
import logging
import os
import socket
from pathlib import Path

from rcsops.server.mi import SERVER_ERROR, MiDispatcher, error_reply

__all__ = ["MAX_REPLY", "MiDatagram"]

logger = logging.getLogger(__name__)

MAX_REPLY = 32768
"""Bytes of an answer that clients are known to read (the ``opensips`` package reads so many)."""

_MAX_REQUEST = 65536
_BATCH = 32


class MiDatagram:
    """Serves the commands of ``dispatcher`` at ``path`` (mode 0600).

    ``fifo`` is named to clients whose answer does not fit. Raises OSError when the socket cannot
    be made. ``path`` must be free or stale: who starts a server holds its lock.
    """

    def __init__(self, dispatcher: MiDispatcher, path: Path, *, fifo: Path | None = None) -> None:
        self._dispatcher = dispatcher
        self._path = path
        self._fifo = fifo
        self._loop = asyncio.get_running_loop()
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            old = os.umask(0o177)
            try:
                self._socket.bind(str(path))
            finally:
                os.umask(old)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Stops serving and removes the socket."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _readable(self) -> None:
        for _ in range(_BATCH):
            try:
                data, address = self._socket.recvfrom(_MAX_REQUEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                logger.warning("MI datagram socket: %s", error)
                return
            reply = self._dispatcher.handle(data)
            if reply is None or not address:
                continue
            if len(reply) > MAX_REPLY:
                reply = self._too_large(reply)
            try:
                self._socket.sendto(reply, address)
            except OSError as error:
                logger.info("an MI client went away before its answer: %s", error)

    def _too_large(self, reply: bytes) -> bytes:
        where = f"; ask through the FIFO {self._fifo}" if self._fifo else ""
        return error_reply(
            json.loads(reply)["id"],
            SERVER_ERROR,
            f"the answer of {len(reply)} bytes is too large for a datagram{where}",
        )
