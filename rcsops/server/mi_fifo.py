"""MI on a FIFO with OpenSIPS's framing: ``:REPLYNAME:{json}`` in, bare JSON out of a second FIFO.

A client makes the reply FIFO in the reply directory, writes its request in one piece and reads
until the end of the file. Clients end the line with a newline or do not (the ``opensips`` package
does not), so a request ends where its JSON does.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from rcsops.server.mi import PARSE_ERROR, MiDispatcher, error_reply

__all__ = ["MiFifo"]

logger = logging.getLogger(__name__)

_MAX_REQUEST = 65536
_MAX_REPLIES = 64
_REPLY_SECONDS = 5.0
_UNFINISHED_SECONDS = 2.0
_FIRST_RETRY = 0.001
_LONGEST_RETRY = 0.05
# A name, never a path; what every known client makes up.
_REPLY_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_HEAD = re.compile(rb"\s*:([^:\r\n]*):[ \t]*")
_decoder = json.JSONDecoder()


class MiFifo:
    """Serves the commands of ``dispatcher`` at the FIFO ``path`` (mode 0600).

    Answers go to FIFOs of this user in one of ``reply_dirs``. Raises OSError when the FIFO cannot
    be made. ``path`` must be free or stale: who starts a server holds its lock.
    """

    def __init__(
        self, dispatcher: MiDispatcher, path: Path, *, reply_dirs: Sequence[Path] | None = None
    ) -> None:
        self._dispatcher = dispatcher
        self._path = path
        self._reply_dirs = tuple(reply_dirs or (path.parent,))
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._unfinished: asyncio.TimerHandle | None = None
        self._replies: set[_Reply] = set()
        self._answered = asyncio.Event()
        self._answered.set()
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # Open for writing too: without a writer the FIFO would be at its end for ever.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop.add_reader(self._fd, self._readable)

    async def drain(self, seconds: float) -> None:
        """Waits until the answers under way have been read, but not longer than ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._answered.wait()

    def close(self) -> None:
        """Stops serving and removes the FIFO."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._forget_unfinished()
        for reply in tuple(self._replies):
            reply.close()
        self._path.unlink(missing_ok=True)

    def reply_done(self, reply: "_Reply") -> None:
        """An answer is written, or was given up."""
        self._replies.discard(reply)
        if not self._replies:
            self._answered.set()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _MAX_REQUEST)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            logger.warning("MI FIFO: %s", error)
            return
        self._buffer += data
        self._forget_unfinished()
        while self._buffer and self._take_request():
            pass
        if len(self._buffer) > _MAX_REQUEST:
            logger.warning("MI FIFO: a request of more than %d bytes was dropped", _MAX_REQUEST)
            self._buffer = b""
        elif self._buffer:
            self._unfinished = self._loop.call_later(_UNFINISHED_SECONDS, self._drop_unfinished)

    def _take_request(self) -> bool:
        """Takes one request off the buffer; False when there is no whole one."""
        head = _HEAD.match(self._buffer)
        if head is None:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                return False
            if line.strip():
                logger.warning("MI FIFO: a line that is not :reply_name:{json} was dropped")
            self._buffer = rest
            return True
        text = self._buffer[head.end() :].decode("utf-8", "replace")
        try:
            request, end = _decoder.raw_decode(text)
        except (ValueError, RecursionError):
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                return False
            self._buffer = rest
            self._reply(head[1], error_reply(None, PARSE_ERROR, "Parse error"))
            return True
        self._buffer = text[end:].lstrip().encode("utf-8")
        answer = self._dispatcher.answer(request)
        if answer is not None:
            self._reply(head[1], answer)
        return True

    def _drop_unfinished(self) -> None:
        self._unfinished = None
        head = _HEAD.match(self._buffer)
        self._buffer = b""
        logger.warning("MI FIFO: an unfinished request was dropped")
        if head is not None:
            self._reply(head[1], error_reply(None, PARSE_ERROR, "Parse error"))

    def _forget_unfinished(self) -> None:
        if self._unfinished is not None:
            self._unfinished.cancel()
            self._unfinished = None

    def _reply(self, name: bytes, answer: bytes) -> None:
        if not name:
            return
        if not _REPLY_NAME.fullmatch(name):
            logger.warning("MI FIFO: %r is not a name for a reply FIFO", name[:64])
            return
        if len(self._replies) >= _MAX_REPLIES:
            logger.warning("MI FIFO: too many answers wait for their readers; one was dropped")
            return
        paths = [directory / name.decode("ascii") for directory in self._reply_dirs]
        reply = _Reply(self, self._loop, paths, answer)
        self._replies.add(reply)
        self._answered.clear()
        reply.start()


class _Reply:
    """One answer on its way into a reply FIFO: opened when its reader is there, written in pieces,
    given up after a time limit. It never blocks the loop."""

    def __init__(
        self, fifo: MiFifo, loop: asyncio.AbstractEventLoop, paths: list[Path], answer: bytes
    ) -> None:
        self._fifo = fifo
        self._loop = loop
        self._paths = paths
        self._rest = memoryview(answer)
        self._fd = -1
        self._deadline = loop.time() + _REPLY_SECONDS
        self._pause = _FIRST_RETRY
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = None
        for path in self._paths:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                # No reader yet (ENXIO), or not in this directory.
                continue
            found = os.fstat(self._fd)
            if not stat.S_ISFIFO(found.st_mode) or found.st_uid not in (0, os.geteuid()):
                logger.warning("MI FIFO: %s is not a reply FIFO of this user", path)
                self.close()
                return
            self._timer = self._loop.call_at(self._deadline, self._give_up)
            self._write()
            return
        if self._loop.time() >= self._deadline:
            self._give_up()
            return
        self._timer = self._loop.call_later(self._pause, self.start)
        self._pause = min(self._pause * 2, _LONGEST_RETRY)

    def _write(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._fd, self._write)
            return
        except OSError as error:
            logger.info("an MI client went away before its answer: %s", error)
        self.close()

    def _give_up(self) -> None:
        logger.info("nobody read the answer at %s", self._paths[0].name)
        self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._fifo.reply_done(self)
