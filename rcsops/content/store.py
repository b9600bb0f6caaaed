"""What the content server keeps: the files in one directory, and a table of whose they are.

A file is named by its number alone, never by anything that a client said. It counts once its row
says so, which is committed after the file is on the disk; what a crash leaves without the other
half is removed at the next start.
"""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)

from rcsops.database import Store, open_engine, reading
from rcsops.errors import DatabaseError
from rcsops.settings import Content, private_directory

__all__ = ["ContentStore", "Entry", "Refused", "Usage", "usage_of"]

logger = logging.getLogger(__name__)

DATABASE = "content.db"
_VERSION = 1
_RETRY_SECONDS = 60

_METADATA = MetaData()
_version = Table("rcsops_content", _METADATA, Column("version", Integer, nullable=False))
_transfer = Table(
    "transfer",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    # What the client calls it: a UUID.
    Column("tid", Text, nullable=False),
    # The unguessable part of the address.
    Column("token", Text, nullable=False, unique=True),
    Column("whole", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    # Of a file that is not whole: as much as was set aside for it.
    Column("size", BigInteger, nullable=False),
    Column("thumbnail_type", Text, nullable=False),
    Column("thumbnail_size", BigInteger, nullable=False),
    # Seconds since 1970, UTC.
    Column("expires", Float, nullable=False, index=True),
    UniqueConstraint("owner", "tid", name="transfer_identity"),
    sqlite_autoincrement=True,
)


class Entry(NamedTuple):
    """One transfer; ``expires`` in Unix seconds, sizes in octets."""

    id: int
    owner: str
    tid: str
    token: str
    whole: bool
    name: str
    content_type: str
    size: int
    thumbnail_type: str
    thumbnail_size: int
    expires: float


class Usage(NamedTuple):
    """How much is kept: whole files, and the octets of all."""

    files: int
    octets: int


class Refused(Exception):
    """A transfer that cannot be taken: the HTTP status, why, and when to try again in seconds."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class ContentStore:
    """Made by `open`, in a directory of its own; ended by `close`. The coroutines raise
    `DatabaseError` when the table cannot be used."""

    def __init__(self, directory: Path, limits: Content, store: Store) -> None:
        self._directory = directory
        self._limits = limits
        self._store = store

    @classmethod
    def open(cls, directory: Path, limits: Content) -> "ContentStore":
        """Opens or makes the directory (0700) and puts right what a crash left. Raises
        `SettingsError` and `DatabaseError`."""
        private_directory(directory)
        url = f"sqlite:///{directory / DATABASE}"
        found = cls(
            directory, limits, Store.open(url, create=True, prepare=_prepare, watched=False)
        )
        try:
            found._reconcile()
        except BaseException:
            found.close()
            raise
        return found

    def close(self) -> None:
        """Ends the thread of the table."""
        self._store.close()

    def path(self, number: int) -> Path:
        """Where the octets of a transfer are."""
        return self._directory / f"{number}.file"

    def thumbnail_path(self, number: int) -> Path:
        """Where its thumbnail is."""
        return self._directory / f"{number}.thumbnail"

    def received(self, entry: Entry) -> int:
        """How many octets of the file are there."""
        try:
            return self.path(entry.id).stat().st_size
        except OSError:
            return 0

    async def begin(self, owner: str, tid: str, size: int, now: float) -> Entry:
        """Sets ``size`` octets aside for a new transfer; one of that name that is not whole is
        forgotten. Raises `Refused`."""

        def work(connection: Connection) -> tuple[Entry, int | None]:
            old = _one(connection, _transfer.c.owner == owner, _transfer.c.tid == tid)
            if old is not None and old.whole and old.expires > now:
                raise Refused(409, "that tid is taken: ask for get_download_info")
            if old is not None:
                connection.execute(delete(_transfer).where(_transfer.c.id == old.id))
            self._check_room(connection, owner, size)
            values: dict[str, Any] = {
                "owner": owner,
                "tid": tid,
                "token": secrets.token_urlsafe(32),
                "whole": False,
                "name": "",
                "content_type": "",
                "size": size,
                "thumbnail_type": "",
                "thumbnail_size": 0,
                "expires": now + self._limits.unfinished,
            }
            result = connection.execute(insert(_transfer).values(values))
            assert result.inserted_primary_key is not None
            entry = Entry(id=int(result.inserted_primary_key[0]), **values)
            return entry, None if old is None else old.id

        entry, replaced = await self._store.run(work)
        if replaced is not None:
            self._unlink([replaced])
        return entry

    async def describe(self, number: int, **values: object) -> None:
        """Notes what the client said of the file, or of its thumbnail: columns by name."""
        await self._change(number, values)

    async def reserve(self, entry: Entry, size: int, now: float) -> None:
        """Sets aside as much as a resumed upload says that the whole has. Raises `Refused`."""

        def work(connection: Connection) -> None:
            self._check_room(connection, entry.owner, size, but=entry.id)
            connection.execute(
                update(_transfer)
                .where(_transfer.c.id == entry.id)
                .values(size=size, expires=now + self._limits.unfinished)
            )

        await self._store.run(work)

    async def finish(self, entry: Entry, size: int, now: float) -> Entry:
        """Notes that the file is whole, and when it will be forgotten; on the disk when this
        returns, provided that the file is."""
        expires = now + self._limits.expires
        await asyncio.to_thread(_sync_directory, self._directory)
        await self._change(entry.id, {"whole": True, "size": size, "expires": expires})
        found = await self.by_token(entry.token)
        if found is None:
            raise Refused(410, "the transfer was taken back meanwhile")
        return found

    async def remove(self, entry: Entry) -> None:
        """Forgets a transfer and its files."""
        await self._remove([entry.id])

    async def by_token(self, token: str) -> Entry | None:
        """The transfer with this address."""
        return await self._store.read(lambda each: _one(each, _transfer.c.token == token))

    async def by_tid(self, owner: str, tid: str) -> Entry | None:
        """The transfer that a user calls so."""
        return await self._store.read(
            lambda each: _one(each, _transfer.c.owner == owner, _transfer.c.tid == tid)
        )

    async def sweep(self, now: float) -> int:
        """Removes what has expired; returns how many."""
        query = select(_transfer.c.id).where(_transfer.c.expires <= now)
        gone = await self._store.read(lambda each: list(each.execute(query).scalars()))
        await self._remove(gone)
        return len(gone)

    async def usage(self) -> Usage:
        """How much is kept."""
        return await self._store.read(_usage)

    async def _change(self, number: int, values: dict[str, Any]) -> None:
        change = update(_transfer).where(_transfer.c.id == number).values(values)
        await self._store.run(lambda connection: connection.execute(change).rowcount)

    async def _remove(self, numbers: list[int]) -> None:
        if not numbers:
            return
        # The row first: an address that leads nowhere is worse than a file that nobody can reach.
        gone = delete(_transfer).where(_transfer.c.id.in_(numbers))
        await self._store.run(lambda connection: connection.execute(gone).rowcount)
        self._unlink(numbers)

    def _unlink(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            for path in (self.path(number), self.thumbnail_path(number)):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _check_room(self, connection: Connection, owner: str, size: int, but: int = 0) -> None:
        limits = self._limits
        held = func.coalesce(func.sum(_transfer.c.size + _transfer.c.thumbnail_size), 0)
        query = select(held).where(_transfer.c.id != but)
        own = int(connection.execute(query.where(_transfer.c.owner == owner)).scalar_one())
        if own + size > limits.per_user:
            raise Refused(507, f"you have {own} octets here and may have {limits.per_user}")
        if int(connection.execute(query).scalar_one()) + size > limits.total:
            raise Refused(503, "the server is full", _RETRY_SECONDS)

    def _reconcile(self) -> None:
        """Files without a row, and rows of whole files that are gone, are removed."""

        def rows(connection: Connection) -> dict[int, Entry]:
            return {row.id: Entry(*row) for row in connection.execute(select(_transfer))}

        known = self._store.submit(rows).result()
        gone = [
            number
            for number, each in known.items()
            if each.whole and self.received(each) != each.size
        ]
        if gone:
            logger.error("%d files are missing or cut short; their addresses end", len(gone))
            query = delete(_transfer).where(_transfer.c.id.in_(gone))
            self._store.submit(lambda connection: connection.execute(query).rowcount).result()
            self._unlink(gone)
        for path in self._directory.iterdir():
            if path.suffix in (".file", ".thumbnail") and _number(path.stem) not in known:
                path.unlink(missing_ok=True)


def usage_of(directory: Path) -> Usage | None:
    """How much is kept in a directory, whether or not a server runs on it; None without one."""
    path = directory / DATABASE
    if not path.exists():
        return None
    url = f"sqlite:///{path}"
    try:
        with reading(open_engine(url), url) as connection:
            return _usage(connection)
    except DatabaseError:
        return None


def _usage(connection: Connection) -> Usage:
    octets = func.coalesce(func.sum(_transfer.c.size + _transfer.c.thumbnail_size), 0)
    query = select(func.count(), octets).where(_transfer.c.whole == 1)
    return Usage(*map(int, connection.execute(query).one()))


def _one(connection: Connection, *conditions: Any) -> Entry | None:
    row = connection.execute(select(_transfer).where(*conditions)).first()
    return None if row is None else Entry(*row)


def _number(stem: str) -> int:
    return int(stem) if stem.isascii() and stem.isdigit() else -1


def _prepare(connection: Connection) -> None:
    present = set(inspect(connection).get_table_names())
    if not present:
        _METADATA.create_all(connection)
        connection.execute(insert(_version).values(version=_VERSION))
        return
    found = None
    if _version.name in present:
        found = connection.execute(select(_version.c.version)).scalar()
    if found != _VERSION:
        raise DatabaseError(
            f"{DATABASE} was made by another program, or by a newer rcsops",
            hint="use the rcsops that made it, or move its directory away",
        )


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
