"""The files that are not through, on the disk: what a resumption needs to know of each."""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rcsops.errors import TransferError
from rcsops.rcs import FileSelector
from rcsops.ua.files import OutgoingFile

__all__ = ["Facts", "Record", "TransferStore", "discard", "reopen"]

logger = logging.getLogger(__name__)

_MAX_RECORDS = 200
_MAX_OCTETS = 65536
# The numbers that grow do so into the blanks behind the JSON.
_PAGE = 4096
_KEPT_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a transfer. ``path`` is the file that is sent, or what there is of the one
    that comes; of that, the first ``octets`` are there, and ``octets_sha1`` is their SHA-1.

    ``way`` is "msrp" or "http". Of a download from a content server, ``url`` is where the file is,
    ``until`` when the server forgets it (seconds since 1970, 0: not said), and ``validator`` what
    the server calls this state of it (RFC 9110 §8.8); ``thumbnail`` is the picture that goes with
    an upload, and ``paused`` the wish that it stands still. ``final`` is the name that the whole
    file was about to get, ``message_id`` what the history calls it then.
    """

    incoming: bool
    peer: str
    uri: str
    transfer_id: str
    conversation_id: str
    name: str
    content_type: str
    size: int
    sha1: str
    sha256: str
    path: str
    directory: str = ""
    octets: int = 0
    octets_sha1: str = ""
    pulled: bool = False
    way: str = "msrp"
    url: str = ""
    until: int = 0
    validator: str = ""
    thumbnail: str = ""
    paused: bool = False
    final: str = ""
    message_id: str = ""

    @property
    def selector(self) -> FileSelector:
        """What it is called in SDP."""
        return FileSelector(
            self.name, self.content_type, self.size, self.sha1 or None, self.sha256 or None
        )


class Record:
    """The facts of one transfer in a file of their own; it is locked while somebody holds it."""

    __slots__ = ("_descriptor", "_path", "facts")

    def __init__(self, path: Path, descriptor: int, facts: Facts) -> None:
        self.facts = facts
        self._path = path
        self._descriptor = descriptor

    def save(self, facts: Facts, *, sync: bool = False) -> None:
        """Writes what has changed, ``sync``: onto the disk. One that is full costs the resumption,
        nothing else."""
        self.facts = facts
        data = json.dumps(asdict(facts)).encode()
        try:
            # In place: the lock is on this very file. Half of it is no JSON, and counts as nothing.
            length = max(len(data), os.fstat(self._descriptor).st_size)
            os.pwrite(self._descriptor, data.ljust(length + -length % _PAGE), 0)
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            logger.warning("the state of a transfer cannot be kept: %s", error)

    def remove(self) -> None:
        """The transfer is over."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.close()

    def close(self) -> None:
        """Gives the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class TransferStore:
    """The records of one user in ``directory``; the agents of several processes share it."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, facts: Facts) -> Record | None:
        """A record that is held; None when the disk does not take it."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._drop_oldest()
            path = self._directory / f"{secrets.token_hex(8)}.json"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            logger.warning("the state of a transfer cannot be kept: %s", error)
            return None
        record = Record(path, descriptor, facts)
        record.save(facts)
        return record

    def free(self) -> Iterator[Record]:
        """The records that nobody holds, each of which is held, and is to be closed, from now.

        Those that nothing can come of any more are given up.
        """
        for path in self._paths():
            record = self._open(path)
            if record is None:
                continue
            if _has_expired(record.facts, path):
                discard(record)
            else:
                yield record

    def take(
        self,
        way: str,
        *,
        incoming: bool,
        peer: str,
        transfer_id: str = "",
        sha1: str = "",
        size: int = -1,
    ) -> Record | None:
        """The record of a transfer with ``peer`` that nobody holds, held from now on; None without.

        It is known by its ``transfer_id`` or by hash and size.
        """
        for record in self.free():
            facts = record.facts
            same_file = bool(sha1) and (facts.sha1, facts.size) == (sha1, size)
            same = facts.transfer_id == transfer_id if transfer_id else same_file
            if same and (facts.way, facts.incoming, facts.peer) == (way, incoming, peer):
                return record
            record.close()
        return None

    def _paths(self) -> list[Path]:
        try:
            found = [each for each in self._directory.iterdir() if each.suffix == ".json"]
            return sorted(found, key=lambda each: each.stat().st_mtime)
        except OSError:
            return []

    def _open(self, path: Path) -> Record | None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            known = json.loads(os.pread(descriptor, _MAX_OCTETS, 0))
            wanted = {each.name: each.type for each in fields(Facts)}
            # Those of an earlier version have fewer.
            facts = Facts(**known)
            for name, kind in wanted.items():
                if not isinstance(getattr(facts, name), kind):  # type: ignore[arg-type]
                    raise TypeError(name)
            return Record(path, descriptor, facts)
        except BlockingIOError:
            os.close(descriptor)
        except (OSError, ValueError, TypeError, RecursionError):
            # Half written when the power went: nothing can be resumed by it.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)
        return None

    def _drop_oldest(self) -> None:
        paths = self._paths()
        for path in paths[: max(0, len(paths) - _MAX_RECORDS + 1)]:
            record = self._open(path)
            if record is not None:
                discard(record)


def discard(record: Record) -> None:
    """Gives up a transfer that is to be resumed by nobody: what came of it is removed."""
    if record.facts.incoming:
        with contextlib.suppress(OSError):
            os.unlink(record.facts.path)
    record.remove()


async def reopen(facts: Facts) -> OutgoingFile:
    """The file of ours of which a part is through. Raises TransferError when it is another now."""
    file = await OutgoingFile.open(facts.path)
    if (facts.sha1, facts.size) != (file.sha1, file.size):
        file.close()
        raise TransferError(
            f"{facts.path} has changed since a part of it was sent", hint="send it anew"
        )
    return file


def _has_expired(facts: Facts, path: Path) -> bool:
    now = time.time()
    if facts.until and facts.until < now:
        return True
    try:
        return path.stat().st_mtime < now - _KEPT_SECONDS
    except OSError:
        return False
