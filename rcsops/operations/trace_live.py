"""Messages as they pass: of a running server, of traces that are being written, of capture agents.

A source is asked again and again and never waits; `follow` puts together what several bring.
"""

import contextlib
import json
import os
import re
import select
import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from rcsops.errors import MiError, MiUnreachable, RcsopsError, UsageError
from rcsops.operations.mi import MiClient
from rcsops.settings import Project
from rcsops.trace import Arrow, Merger, TraceEntry, pair_key
from rcsops.trace.hep import decode_hep

__all__ = ["FileSource", "HepSource", "ServerSource", "Source", "follow"]

_TICK = 0.1
# The two sightings of a message come within this time, also from files that are asked in turns.
_HOLD = 0.4
_MOST_HELD = 50_000
_LONGEST_LINE = 8 << 20
_BATCH = 2000
_LEASE = 20.0
_PIECE = 1 << 16
_HEP = re.compile(r"udp:(\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]]+):([0-9]{1,5})")


class Source(Protocol):
    """Where messages come from; ``ended`` when no more will come. ``notes`` are for the person."""

    ended: bool
    notes: list[str]

    def fileno(self) -> int:
        """A descriptor that becomes readable with the next message, -1 where there is none."""

    def read(self) -> list[TraceEntry]:
        """What has come since the last time."""

    def close(self) -> None:
        """Gives back what it holds."""


def follow(
    sources: Sequence[Source],
    *,
    seconds: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[list[Arrow], None, None]:
    """The arrows of what the sources bring, in lists that may be empty, at least ten times a
    second; ends after ``seconds``, when ``stopped()``, or when all sources have ended."""
    merger = Merger(guess=True)
    held: list[tuple[float, TraceEntry]] = []
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while True:
            over = stopped() or all(source.ended for source in sources)
            for source in sources:
                now = time.monotonic()
                held += [(now, entry) for entry in source.read()]
            now = time.monotonic()
            over = over or (end is not None and now >= end)
            yield merger.add(_released(held, now, everything=over))
            if over:
                return
            _wait(sources, _TICK if end is None else min(_TICK, max(end - now, 0.0)))
    finally:
        for source in sources:
            source.close()


def _released(
    held: list[tuple[float, TraceEntry]], now: float, *, everything: bool
) -> list[TraceEntry]:
    """Takes out what came long enough ago, and with it whatever is another sighting of the same."""
    if everything:
        ready = [entry for _, entry in held]
        held.clear()
        return ready
    limit = now - _HOLD if len(held) <= _MOST_HELD else now
    ready = [entry for came, entry in held if came <= limit]
    if not ready:
        return []
    keys = {pair_key(entry) for entry in ready}
    later = [(came, entry) for came, entry in held if came > limit]
    held[:] = [each for each in later if pair_key(each[1]) not in keys]
    return ready + [entry for _, entry in later if pair_key(entry) in keys]


def _wait(sources: Sequence[Source], seconds: float) -> None:
    descriptors = [source.fileno() for source in sources if source.fileno() >= 0]
    with contextlib.suppress(InterruptedError):
        select.select(descriptors, [], [], seconds)
        if descriptors:
            # What arrives in a burst is taken together.
            time.sleep(min(seconds, 0.01))


class _Lines:
    """Lines of a trace out of pieces of bytes."""

    def __init__(self) -> None:
        self._rest = b""
        self.dropped = 0
        self.broken = 0

    def feed(self, data: bytes) -> Iterator[TraceEntry]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LONGEST_LINE:
            self.broken += 1
            self._rest = b""
        for line in lines:
            if not line.strip():
                continue
            try:
                text = line.decode("utf-8")
                if text.startswith('{"dropped": '):
                    self.dropped += int(json.loads(text)["dropped"])
                    continue
                yield TraceEntry.from_json(text)
            except (ValueError, TypeError, KeyError, RecursionError):
                self.broken += 1


class FileSource:
    """A trace that is being written: what is in it, and then what is added.

    The file may come later, and may be cut or replaced by a new one of the same name. Raises
    `UsageError` for a file that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._lines = _Lines()
        self.ended = False
        self.notes: list[str] = []
        self._open()

    def fileno(self) -> int:
        return -1

    def read(self) -> list[TraceEntry]:
        entries: list[TraceEntry] = []
        if self._file is None and not self._open():
            return entries
        assert self._file is not None
        while len(entries) < _BATCH:
            data = self._file.read(_PIECE)
            if not data:
                self._reopen_if_new()
                break
            entries += self._lines.feed(data)
        return entries

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._lines.broken:
            self.notes.append(f"{self._path}: {self._lines.broken} line(s) are no trace")

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UsageError(f"{self._path} cannot be read: {error.strerror}") from error
        return True

    def _reopen_if_new(self) -> None:
        assert self._file is not None
        ours = os.fstat(self._file.fileno())
        try:
            there = self._path.stat()
        except OSError:
            return
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            self._file.close()
            self._file = None
            self._lines = _Lines()
        elif ours.st_size < self._file.tell():
            self._file.seek(0)
            self._lines = _Lines()


class HepSource:
    """Listens for HEP version 3 at ``udp:HOST:PORT``; ``address`` is where.

    Raises `UsageError` when that cannot be had. HEP proves nothing: whoever can send there can
    write into the ladder.
    """

    def __init__(self, where: str) -> None:
        found = _HEP.fullmatch(where)
        if found is None or int(found[2]) > 65535:
            raise UsageError(f"{where!r} is no address", hint="write it like udp:127.0.0.1:9060")
        host = found[1].strip("[]")
        self.ended = False
        self.notes: list[str] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._socket.bind((host, int(found[2])))
        except OSError as error:
            self._socket.close()
            raise UsageError(f"cannot listen at {where}: {error.strerror or error}") from error
        host, port = self._socket.getsockname()[:2]
        self.address = f"udp:[{host}]:{port}" if ":" in host else f"udp:{host}:{port}"

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[TraceEntry]:
        entries: list[TraceEntry] = []
        for _ in range(_BATCH):
            try:
                packet = self._socket.recv(65535)
            except OSError:
                break
            entry = decode_hep(packet)
            if entry is not None:
                entries.append(entry)
        return entries

    def close(self) -> None:
        self._socket.close()


class ServerSource:
    """The running embedded server of a project, by its MI command ``tap_start``.

    The server is asked for a short time only, and again as long as somebody reads: a reader that
    was killed is forgotten. Raises `MiUnreachable` when no server answers.
    """

    def __init__(self, project: Project) -> None:
        self.ended = False
        self.notes: list[str] = []
        self._client = MiClient.of(project)
        self._lines = _Lines()
        directory = project.make_run_dir()
        self._name = f"tap-{os.getpid()}"
        self._path = directory / self._name
        self._connection: socket.socket | None = None
        self._path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.settimeout(_LEASE)
            try:
                listener.bind(str(self._path))
                listener.listen(1)
                self._ask()
                self._connection = listener.accept()[0]
            except OSError as error:
                raise MiUnreachable(f"the server does not come to {self._path}: {error}") from error
            finally:
                self._path.unlink(missing_ok=True)
        self._connection.setblocking(False)

    def fileno(self) -> int:
        return -1 if self._connection is None else self._connection.fileno()

    def read(self) -> list[TraceEntry]:
        entries: list[TraceEntry] = []
        if self._connection is None:
            return entries
        if time.monotonic() > self._renew_at:
            with contextlib.suppress(RcsopsError):
                self._ask()
        while len(entries) < _BATCH:
            try:
                data = self._connection.recv(_PIECE)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._end("the server has ended, or shows its messages no longer")
                break
            entries += self._lines.feed(data)
        return entries

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(MiError):
                self._client.call("tap_stop", [self._name])
            self._end("")
        if self._lines.dropped:
            self.notes.append(f"{self._lines.dropped} message(s) are not shown: they came too fast")

    def _ask(self) -> None:
        self._client.call("tap_start", [self._name, str(int(_LEASE))])
        self._renew_at = time.monotonic() + _LEASE / 2

    def _end(self, note: str) -> None:
        assert self._connection is not None
        self._connection.close()
        self._connection = None
        self.ended = True
        if note:
            self.notes.append(note)
