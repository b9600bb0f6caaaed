"""Backups of the server's database, and what they bring back."""

import contextlib
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from rcsops.database import ddl, open_engine, reading, writing
from rcsops.database.backup import Backup, rows_of, verify_backup, write_backup
from rcsops.database.ddl import NEW, dialect_of
from rcsops.database.migration import found_line
from rcsops.database.rebuild import NewTable
from rcsops.database.rows import digest_of, insert_rows, key_of
from rcsops.database.shapes import Shape, shape_of
from rcsops.database.tables import create_tables, server_name, table_versions
from rcsops.errors import DatabaseError
from rcsops.operations.db_access import MysqlAccess, project_shape
from rcsops.operations.db_rebuild import (
    Filling,
    OnStep,
    Step,
    alone_in_mysql,
    alone_in_sqlite,
    mend,
    replace_mysql,
    replace_sqlite,
)
from rcsops.operations.users import refresh_credentials
from rcsops.settings import Project, masked_url, private_directory, sqlite_file


@dataclass(frozen=True, slots=True)
class DbBackup:
    """A backup that was written or read; ``line`` is the release line of its tables."""

    path: Path
    line: str
    made: str
    server: str
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DbRestored:
    """``kept`` is the backup of what was there before; None when there was nothing."""

    url: str
    restored: DbBackup
    kept: Path | None


def backup(
    project: Project, path: Path | None = None, *, on_step: OnStep | None = None
) -> DbBackup:
    """Writes all tables to ``path``, or to a file of its own in the project's state directory, in
    one snapshot; the server may run meanwhile. Raises `DatabaseError`."""
    url = project.settings.database_url
    return _described(take_backup(project, url, path, on_step or _silent))


def take_backup(
    project: Project, url: str, path: Path | None, on_step: OnStep, *, why: str = "backup"
) -> Backup:
    """Like `backup`, of the database ``url``."""
    now = datetime.datetime.now(datetime.UTC)
    if path is None:
        directory = private_directory(project.make_state_dir() / "backups")
        path = directory / f"{why}-{now:%Y%m%d-%H%M%S-%f}.jsonl.gz"
    with reading(_snapshot_engine(url), url) as connection:
        return write_backup(
            connection,
            path,
            line=found_line(connection, project_shape(project).line),
            made=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            server=server_name(connection),
            on_rows=lambda table, rows: on_step(Step("backing up", table, rows)),
        )


def inspect_backup(path: Path) -> DbBackup:
    """What is in a backup, all of it read and checked; raises `DatabaseError`."""
    return _described(verify_backup(path))


def restore(
    project: Project,
    path: Path,
    *,
    admin_url: str | None = None,
    ask: Callable[[str], str] | None = None,
    on_step: OnStep | None = None,
) -> DbRestored:
    """Puts the rows of a backup in the place of those that are there, which are backed up first.

    The file is checked to its end before anything changes, and the new tables are compared with it
    before they take their place. Raises `DatabaseError`; the database is then as it was.
    """
    tell = on_step or _silent
    tell(Step("checking the backup"))
    found = verify_backup(path)
    shape = shape_of(found.line)
    url = project.settings.database_url
    file = sqlite_file(url)
    if file is not None:
        if file.parent == project.state_dir:
            project.make_state_dir()
        engine = open_engine(url, create=True)
        with writing(engine, url) as connection:
            empty = not inspect(connection).get_table_names()
            if empty:
                create_tables(connection, _subset(shape, found))
        alone_in_sqlite(file, url)
        kept = None if empty else take_backup(project, url, None, tell, why="before-restore").path
        with reading(engine, url) as connection:
            tables = _new_tables(connection, shape, found)
        replace_sqlite(url, tables, _filling(found, tables, tell))
        _refresh_credentials(project, url)
        return DbRestored(masked_url(url), _described(found), kept)
    access = MysqlAccess(project, admin_url=admin_url, ask=ask)
    with contextlib.closing(access):
        access.ensure_account()
        url = access.url
        with alone_in_mysql(access):
            mend(access)
            with reading(open_engine(url), url) as connection:
                empty = not inspect(connection).get_table_names()
            kept = (
                None if empty else take_backup(project, url, None, tell, why="before-restore").path
            )
            with reading(open_engine(url), url) as connection:
                tables = _new_tables(connection, shape, found)
            replace_mysql(access, tables, _filling(found, tables, tell), tell)
    _refresh_credentials(project, url)
    return DbRestored(masked_url(url), _described(found), kept)


def _refresh_credentials(project: Project, url: str) -> None:
    """The passwords of the backup count now, also for our own agents."""
    # Tables of another release are of no use before they are migrated.
    with contextlib.suppress(DatabaseError):
        refresh_credentials(project, url)


def _subset(shape: Shape, found: Backup) -> Shape:
    names = {name: number for name, number in shape.versions.items() if name in found.tables}
    return Shape(shape.line, shape.metadata, names)


def _new_tables(connection: Connection, shape: Shape, found: Backup) -> list[NewTable]:
    """The tables of the backup: in the shape of its line, or for those that rcsops does not use in
    the shape of the ones that are there."""
    dialect = dialect_of(connection)
    present = set(inspect(connection).get_table_names())
    tables = []
    for name in found.tables:
        if name in shape.versions:
            create = ddl.create_table(shape, name, dialect, called=f"{NEW}{name}")
            indexes = ddl.create_indexes(shape, name, dialect)
        elif name in present and dialect.name == "mysql":
            create, indexes = [f"CREATE TABLE `{NEW}{name}` LIKE `{name}`"], []
        elif name in present:
            create, indexes = _like_sqlite(connection, name)
        else:
            raise DatabaseError(
                f"the backup has a table {name!r} that rcsops does not use",
                hint="make the tables first: rcsops db create --tables all",
            )
        tables.append(NewTable(name, tuple(create), name in present, tuple(indexes)))
    numbers = {name: each.version for name, each in found.tables.items()}
    staging = f"{NEW}version"
    others = table_versions(connection) if "version" in present else {}
    everything = {**others, **{name: n for name, n in numbers.items() if n is not None}}
    tables.append(
        NewTable(
            "version",
            (
                *ddl.create_table(shape, "version", dialect, called=staging),
                *ddl.insert_versions(everything.items(), into=staging),
            ),
            "version" in present,
        )
    )
    return tables


def _like_sqlite(connection: Connection, name: str) -> tuple[list[str], list[str]]:
    query = "SELECT type, sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL"
    rows = list(connection.exec_driver_sql(query, (name,)))
    tables = [sql.replace(name, f"{NEW}{name}", 1) for kind, sql in rows if kind == "table"]
    return tables, [sql for kind, sql in rows if kind == "index"]


def _filling(found: Backup, tables: list[NewTable], tell: OnStep) -> Filling:
    filled = [each for each in tables if each.name in found.tables]

    def fill(connection: Connection) -> None:
        for each in filled:
            tell(Step("restoring", each.name, found.rows[each.name]))
            columns = list(found.tables[each.name].columns)
            insert_rows(connection, each.staging, columns, rows_of(found.path, each.name))

    def check(connection: Connection) -> None:
        for each in filled:
            columns = found.tables[each.name].columns
            key = key_of(connection, each.staging)
            if digest_of(connection, each.staging, columns, key) != found.digests[each.name]:
                raise DatabaseError(
                    f"the rows of {each.name!r} are not those of the backup after all",
                    hint="nothing was changed; is the server's character set utf8mb4?",
                )

    return Filling((), fill, check)


def _snapshot_engine(url: str) -> Engine:
    engine = open_engine(url)
    if sqlite_file(url) is not None:
        return engine
    # One snapshot for all tables, whatever the server writes meanwhile.
    return engine.execution_options(isolation_level="REPEATABLE READ")


def _described(found: Backup) -> DbBackup:
    line = shape_of(found.line).text
    return DbBackup(found.path, line, found.made, found.server, found.rows)


def _silent(_step: Step) -> None:
    return None
