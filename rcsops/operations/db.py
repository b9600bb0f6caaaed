"""The server's database: make it, look at it, remove it."""

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, insert, select, text

from rcsops.database import Subscribers, check_tables, create_tables, open_engine, reading, writing
from rcsops.database.engine import translated
from rcsops.database.schema import domain as domain_table
from rcsops.database.tables import (
    TableState,
    drop_tables,
    foreign_tables,
    is_empty,
    server_name,
    table_states,
)
from rcsops.errors import DatabaseError
from rcsops.settings import Project, masked_url, sqlite_file


@dataclass(frozen=True, slots=True)
class DbCreated:
    """``tables`` are those that were missing; ``url`` has no password in it."""

    url: str
    server: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DbStatus:
    """``lacking`` says for each digest algorithm how many accounts have no hash; ``domains`` how
    many accounts each domain has; ``problems`` what keeps the database from being used."""

    url: str
    server: str
    size: int | None
    tables: tuple[TableState, ...]
    accounts: int
    domains: Mapping[str, int]
    lacking: Mapping[str, int]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DbDropped:
    """``existed`` is False when there was nothing to remove."""

    url: str
    existed: bool
    tables: tuple[str, ...]
    accounts: int


def create(project: Project) -> DbCreated:
    """Makes the database and whatever table is missing; doing it twice changes nothing.

    Raises `DatabaseError`.
    """
    url = project.settings.database_url
    file = sqlite_file(url)
    if file is not None and file.parent == project.state_dir:
        project.make_state_dir()
    engine = open_engine(url, create=True)
    with writing(engine, url) as connection:
        made = create_tables(connection)
        check_tables(connection)
        _know_domain(connection, project.settings.domain)
        server = server_name(connection)
    return DbCreated(masked_url(url), server, tuple(made))


def status(project: Project) -> DbStatus:
    """What is in the database; raises `DatabaseError` when it cannot be read at all."""
    url = project.settings.database_url
    file = sqlite_file(url)
    with reading(open_engine(url), url) as connection:
        states = tuple(table_states(connection))
        problems = [f"table {state.name}: {state.state}" for state in states if state.state != "ok"]
        accounts = 0
        domains: Mapping[str, int] = {}
        lacking: Mapping[str, int] = {}
        if not problems:
            subscribers = Subscribers(connection)
            domains, lacking = subscribers.domains(), subscribers.lacking()
            accounts = sum(domains.values())
            problems += _domain_problem(project.settings.domain, domains)
        if file is not None:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
            if found != "ok":
                problems.append(f"damaged: {found}")
        server = server_name(connection)
    return DbStatus(
        url=masked_url(url),
        server=server,
        size=file.stat().st_size if file is not None else None,
        tables=states,
        accounts=accounts,
        domains=domains,
        lacking=lacking,
        problems=tuple(problems),
    )


def drop(project: Project) -> DbDropped:
    """Removes the tables with all accounts, and the SQLite file with them, and the credentials of
    these accounts that were kept for local use.

    Raises `DatabaseError` when another process has the database open or it holds tables of another
    program.
    """
    url = project.settings.database_url
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return DbDropped(masked_url(url), False, (), 0)
    engine = open_engine(url)
    with writing(engine, url) as connection:
        others = foreign_tables(connection)
        if others and file is not None:
            raise DatabaseError(
                f"the database holds tables of another program ({', '.join(others[:3])})",
                hint="nothing was removed; remove what is yours by hand",
            )
        accounts = (
            []
            if is_empty(connection)
            else [account.aor for account in Subscribers(connection).list()]
        )
        if file is not None:
            tables = tuple(state.name for state in table_states(connection, count=False))
        else:
            tables = tuple(drop_tables(connection))
    if file is not None:
        _remove_file(file, url)
    project.credentials.remove(*accounts)
    return DbDropped(masked_url(url), True, tables, len(accounts))


def check_domain(connection: Connection, domain: str) -> None:
    """Raises `DatabaseError` when the accounts are all of another domain than the settings say:
    their hashes would not fit."""
    for problem in _domain_problem(domain, Subscribers(connection).domains()):
        raise DatabaseError(
            problem, hint="put the old domain back into rcsops.toml, or use another database.url"
        )


def _domain_problem(domain: str, domains: Mapping[str, int]) -> list[str]:
    if not domains or domain in domains:
        return []
    return [
        f"the accounts are of {', '.join(sorted(domains))}, but the domain of this project is "
        f"{domain}"
    ]


def _know_domain(connection: Connection, domain: str) -> None:
    known = select(domain_table.c.id).where(domain_table.c.domain == domain)
    if connection.execute(known).first() is None:
        connection.execute(insert(domain_table).values(domain=domain))


def _remove_file(file: Path, url: str) -> None:
    # SQLite leaves WAL mode only when no other connection is open anywhere.
    with translated(url), contextlib.closing(sqlite3.connect(file, timeout=0.2)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise DatabaseError(
                "another process uses the database", hint="type: rcsops stop, then try again"
            ) from None
    try:
        for name in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
            name.unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseError(f"cannot remove {error.filename}: {error.strerror}") from error
