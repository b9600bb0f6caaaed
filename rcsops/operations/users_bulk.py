"""Accounts by the hundred thousand: import and export.

Checking and hashing are done by several processes where there is much of it, while this one
writes what is ready. Everything is one transaction: all accounts of a file or none.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import TextIO

from sqlalchemy import Connection, Engine, Table, select

from rcsops.database import check_tables, open_engine, reading, writing
from rcsops.database.shapes import Line
from rcsops.database.subscribers import columns_of
from rcsops.operations.db import check_domain
from rcsops.operations.db_access import project_shape
from rcsops.operations.private_output import new_private_file
from rcsops.operations.users import refresh_credentials
from rcsops.operations.users_file import (
    BadLine,
    NewAccount,
    Record,
    accounts_of,
    read_records,
    value_columns,
    write_accounts,
)
from rcsops.settings import Project

_CHUNK = 2000
_PARALLEL_FROM = 4 * _CHUNK
_MAX_PROCESSES = 4
_MANY_BAD = 1000
_ROWS = 500  # of one INSERT: below SQLite's limit of bound values, and a packet of MySQL's
OnCount = Callable[[int], None]
_Chunk = tuple[list[NewAccount], list[BadLine]]
_User = tuple[str, str]
_user: Callable[[NewAccount], _User] = attrgetter("username", "domain")


@dataclass(frozen=True, slots=True)
class UsersImported:
    """What an import did. ``bad`` are the lines that are no account: with any of them, and without
    ``skip_bad``, nothing was ``added``; at most 1000 are kept of ``bad_lines`` in all."""

    added: int
    replaced: int
    bad: tuple[BadLine, ...]
    bad_lines: int
    done: bool


@dataclass(frozen=True, slots=True)
class UsersExported:
    """How many accounts went where; ``path`` None is the stream that was given."""

    users: int
    path: Path | None


def import_users(
    project: Project,
    stream: TextIO,
    form: str,
    *,
    skip_bad: bool = False,
    replace: bool = False,
    plain: bool = False,
    on_count: OnCount | None = None,
) -> UsersImported:
    """Adds the accounts of a file (`read_records`).

    ``replace`` gives accounts that are there already the file's hashes; without it they are bad
    lines, as is a name that comes twice. ``skip_bad`` leaves bad lines out; otherwise one of them
    keeps all from being added. ``plain`` stores passwords as they are, too. Raises `UsageError`
    for a file that cannot be read, `DatabaseError` when the database refuses; then nothing is
    added.
    """
    url = project.settings.database_url
    shape = project_shape(project)
    engine = open_engine(url)
    with reading(engine, url) as connection:
        check_tables(connection, shape)
        check_domain(connection, project.settings.domain)
    bad: list[BadLine] = []
    seen: set[_User] = set()
    added = replaced = 0
    accounts = partial(
        accounts_of,
        domains=project.settings.all_domains,
        line=shape.line,
        plain=plain,
        opensips=project.settings.engine == "opensips",
    )
    chunks = _checked(read_records(stream, form), accounts)
    with contextlib.closing(chunks):
        # The processes start before a connection is there that they would share.
        first = next(chunks, ([], []))
        with _all_or_nothing(engine, url) as (connection, undo):
            table = shape["subscriber"]
            # Into an empty table nothing has to be looked up: `seen` knows what this file brought.
            is_empty = connection.execute(select(table.c.username).limit(1)).first() is None
            for good, wrong in chain([first], chunks):
                wrong += _twice(good, seen)
                there = set() if is_empty else _existing(connection, table, good)
                if there and not replace:
                    wrong += [
                        BadLine(each.line, f"{each.username!r} is there already")
                        for each in good
                        if _user(each) in there
                    ]
                bad += wrong
                if bad and not skip_bad:
                    # The rest is read for its faults alone.
                    undo()
                    continue
                fine = good
                if wrong:
                    refused = {each.line for each in wrong}
                    fine = [each for each in good if each.line not in refused]
                fresh, known = fine, []
                if there:
                    fresh = [each for each in fine if _user(each) not in there]
                    known = [each for each in fine if _user(each) in there]
                _write(connection, shape.line, fresh, replace=False)
                _write(connection, shape.line, known, replace=True)
                added += len(fresh)
                replaced += len(known)
                if on_count is not None:
                    on_count(added + replaced)
    done = skip_bad or not bad
    if replaced and done:
        refresh_credentials(project)
    bad.sort()
    return UsersImported(
        added=added if done else 0,
        replaced=replaced if done else 0,
        bad=tuple(bad[:_MANY_BAD]),
        bad_lines=len(bad),
        done=done,
    )


def export_users(
    project: Project,
    stream: TextIO,
    form: str,
    *,
    plain: bool = False,
    on_count: OnCount | None = None,
) -> UsersExported:
    """Writes all accounts with their hashes, in order of name; with ``plain`` also the passwords
    of those that have one stored. Raises `DatabaseError`."""
    url = project.settings.database_url
    shape = project_shape(project)
    table = shape["subscriber"]
    columns = [*(["password"] if plain else []), *columns_of(shape.line).values()]
    fields = [table.c.username, table.c.domain, *(table.c[name] for name in columns)]
    query = select(*fields).order_by(table.c.domain, table.c.username)

    def rows(connection: Connection) -> Iterator[tuple[str, ...]]:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=_CHUNK)
        for number, row in enumerate(streaming.execute(query), 1):
            if on_count is not None and number % _CHUNK == 0:
                on_count(number)
            yield (f"{row[0]}@{row[1]}", *row[2:])

    with reading(open_engine(url), url) as connection:
        check_tables(connection, shape)
        number = write_accounts(stream, form, ["user", *columns], rows(connection))
    return UsersExported(number, None)


def export_to(
    project: Project,
    path: Path,
    form: str,
    *,
    plain: bool = False,
    on_count: OnCount | None = None,
) -> UsersExported:
    """`export_users` into a new file that only its owner may read: hashes let in like passwords."""
    with new_private_file(path) as stream:
        result = export_users(project, stream, form, plain=plain, on_count=on_count)
    return UsersExported(result.users, path)


class _Undone(Exception):
    """Ends a transaction without its changes."""


@contextlib.contextmanager
def _all_or_nothing(engine: Engine, url: str) -> Iterator[tuple[Connection, Callable[[], None]]]:
    """A writing transaction, and a function that undoes what was written in it so far for good."""
    undone = False

    def undo() -> None:
        nonlocal undone
        undone = True

    with contextlib.suppress(_Undone), writing(engine, url) as connection:
        yield connection, undo
        if undone:
            raise _Undone


def _checked(
    records: Iterator[Record], accounts: Callable[[list[Record]], _Chunk]
) -> Generator[_Chunk, None, None]:
    """The accounts of all lines, in chunks in the file's order."""
    first = list(islice(records, _PARALLEL_FROM))
    processes = min(os.cpu_count() or 1, _MAX_PROCESSES)
    # A process is forked from this one, which must not have threads then.
    if len(first) < _PARALLEL_FROM or processes < 2 or threading.active_count() > 1:
        for chunk in _chunks(first, records):
            yield accounts(chunk)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: list[Future[_Chunk]] = []
        try:
            for chunk in _chunks(first, records):
                waiting.append(pool.submit(accounts, chunk))
                # Enough to keep all busy, and no more of the file in memory than that.
                if len(waiting) > 2 * processes:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _chunks(first: Sequence[Record], rest: Iterator[Record]) -> Iterator[list[Record]]:
    for start in range(0, len(first), _CHUNK):
        yield list(first[start : start + _CHUNK])
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _twice(good: Iterable[NewAccount], seen: set[_User]) -> list[BadLine]:
    found = []
    for each in good:
        user = _user(each)
        if user in seen:
            found.append(BadLine(each.line, f"{each.username!r} came before in the file"))
        seen.add(user)
    return found


def _existing(connection: Connection, table: Table, accounts: Sequence[NewAccount]) -> set[_User]:
    found: set[_User] = set()
    for start in range(0, len(accounts), _ROWS):
        names = [each.username for each in accounts[start : start + _ROWS]]
        query = select(table.c.username, table.c.domain).where(table.c.username.in_(names))
        found.update((username, domain) for username, domain in connection.execute(query))
    return found


def _write(
    connection: Connection, line: Line, accounts: Sequence[NewAccount], *, replace: bool
) -> None:
    """INSERT with many rows at once: what makes an import about as fast as LOAD DATA, for which
    the user would need rights on files. ``replace`` changes the accounts that are there."""
    values = value_columns(line)
    names = ("username", "domain", *values)
    sqlite = connection.dialect.name == "sqlite"
    row = f"({', '.join(['?' if sqlite else '%s'] * len(names))})"
    head = f"INSERT INTO subscriber ({', '.join(names)}) VALUES "  # noqa: S608
    tail = ""
    if replace and sqlite:
        setting = ", ".join(f"{name} = excluded.{name}" for name in values)
        tail = f" ON CONFLICT (username, domain) DO UPDATE SET {setting}"
    elif replace:
        setting = ", ".join(f"{name} = VALUES({name})" for name in values)
        tail = f" ON DUPLICATE KEY UPDATE {setting}"
    # SQLite takes 999 bound values in its oldest form still around.
    step = 999 // len(names) if sqlite else _ROWS
    for start in range(0, len(accounts), step):
        part = accounts[start : start + step]
        bound = tuple(
            value for each in part for value in (each.username, each.domain, *each.values)
        )
        connection.exec_driver_sql(f"{head}{', '.join([row] * len(part))}{tail}", bound)


__all__ = [
    "BadLine",
    "UsersExported",
    "UsersImported",
    "export_to",
    "export_users",
    "import_users",
]
