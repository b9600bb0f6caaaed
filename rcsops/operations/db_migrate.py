"""From one release's tables to another's, and from one database to another, with the rows kept.

Within a database: new tables are made beside the old ones, filled, compared row by row and put in
place in one step (`rcsops.database.rebuild`); a failure before that leaves the old tables as they
were, and a crash leaves what the next command mends. Into another database: the source is only
read.
"""

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection, inspect

from rcsops.database import Subscribers, check_tables, ddl, open_engine, reading, writing
from rcsops.database.ddl import NEW, dialect_of
from rcsops.database.migration import (
    Migration,
    TableChange,
    check_columns,
    found_line,
    plan,
)
from rcsops.database.rebuild import NewTable, finish_mysql, stage, swap_mysql, swap_sqlite
from rcsops.database.rows import (
    Digest,
    columns_of,
    count_rows,
    digest_of,
    insert_rows,
    key_of,
    read_rows,
)
from rcsops.database.scripts import ScriptTable, read_scripts
from rcsops.database.shapes import Line, Shape, shape_of
from rcsops.database.subscribers import columns_of as columns_for
from rcsops.database.tables import comparison_problems, is_empty
from rcsops.errors import DatabaseError, EngineError
from rcsops.opensips import installed
from rcsops.opensips.releases import release_line
from rcsops.operations.db import create, know_domain
from rcsops.operations.db_access import MysqlAccess, project_shape
from rcsops.operations.db_backup import take_backup
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
from rcsops.settings import Project, masked_url, sqlite_file

AskPassword = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class DbMigrated:
    """What became of the tables.

    ``rows`` counts those of each table that was made anew; ``lost`` says for ``table.column`` in
    how many rows a value has no place any more; ``lacking`` how many of the ``accounts`` need a new
    password before they can log in with an algorithm. ``statements`` is the SQL of a dry run.
    """

    url: str
    source: str
    target: str
    changed: bool
    backup: Path | None
    rows: Mapping[str, int]
    lost: Mapping[str, int]
    accounts: int
    lacking: Mapping[str, int]
    statements: tuple[str, ...] = field(default=())


def migrate(
    project: Project,
    *,
    target: str | None = None,
    admin_url: str | None = None,
    ask: AskPassword | None = None,
    dry_run: bool = False,
    on_step: OnStep | None = None,
) -> DbMigrated:
    """Brings the project's database to the tables of the release ``target`` (the one that the
    settings name). Raises `DatabaseError`; the database is then as it was."""
    tell = on_step or _silent
    shape = project_shape(project) if target is None else shape_of(release_line(target))
    url = project.settings.database_url
    scripts = _scripts(project, shape, url)
    file = sqlite_file(url)
    if file is not None:
        with reading(open_engine(url), url) as connection:
            planned = plan(connection, shape, scripts=scripts)
            before = _described(connection, url, shape, planned)
        if dry_run or not planned.changes:
            return before
        alone_in_sqlite(file, url)
        kept = take_backup(project, url, None, tell, why="before-migrate").path
        replace_sqlite(url, planned.tables, _in_place(planned))
    else:
        access = MysqlAccess(project, admin_url=admin_url, ask=ask)
        with contextlib.closing(access):
            if not dry_run:
                with alone_in_mysql(access):
                    mend(access)
            with reading(open_engine(url), url) as connection:
                planned = plan(connection, shape, scripts=scripts)
                before = _described(connection, url, shape, planned)
            if dry_run or not planned.changes:
                return before
            with alone_in_mysql(access):
                kept = take_backup(project, url, None, tell, why="before-migrate").path
                replace_mysql(access, planned.tables, _in_place(planned), tell)
    return _finished(url, shape, before, kept)


def carry_over(
    project: Project,
    source_url: str,
    *,
    admin_url: str | None = None,
    ask: AskPassword | None = None,
    dry_run: bool = False,
    on_step: OnStep | None = None,
) -> DbMigrated:
    """Brings the rows of another database (the embedded engine's SQLite file) into the project's
    own, which is made if it is missing and must have no accounts yet. The source stays as it is.

    Raises `DatabaseError`; the project's database then has no rows of it.
    """
    tell = on_step or _silent
    shape = project_shape(project)
    url = project.settings.database_url
    if masked_url(source_url) == masked_url(url):
        raise DatabaseError("that is the project's own database", hint="leave out --from")
    with reading(open_engine(source_url), source_url) as source:
        line = found_line(source, shape.line)
        changes = _carried_tables(source, shape, url)
        before = _carried(source, url, line, shape, changes)
        if dry_run:
            return before
        filling = _streamed(source, changes, tell)
        tables = [each.new for each in changes]
        create(project, admin_url=admin_url, ask=ask)
        if sqlite_file(url) is None:
            access = MysqlAccess(project, admin_url=admin_url, ask=ask)
            url = access.url
            with contextlib.closing(access), alone_in_mysql(access):
                mend(access)
                _refuse_accounts(url, shape)
                replace_mysql(access, tables, filling, tell)
        else:
            _refuse_accounts(url, shape)
            replace_sqlite(url, tables, filling)
    with writing(open_engine(url), url) as connection:
        know_domain(connection, project.settings.domain)
    return _finished(url, shape, before, None)


def _scripts(project: Project, shape: Shape, url: str) -> dict[str, ScriptTable] | None:
    """The tables of an installed OpenSIPS of that line, None when there is none."""
    flavour = "mysql" if sqlite_file(url) is None else "sqlite"
    try:
        found = installed.find(project)
    except EngineError:
        return None
    if found is None or found.scripts_dir is None or found.line != shape.line:
        return None
    return read_scripts(found.scripts_dir, flavour)


def _in_place(planned: Migration) -> Filling:
    """Rows are copied by the database itself; then old and new are read and compared."""

    def check(connection: Connection) -> None:
        for change in planned.changes:
            if not change.new.replaces:
                continue
            columns = check_columns(columns_of(connection, change.name), change)
            key = key_of(connection, change.name)
            before = digest_of(connection, change.name, columns, key)
            _compare(connection, change, columns, before)

    statements = tuple(statement for each in planned.tables for statement in each.fill)
    return Filling(statements, None, check)


def _compare(
    connection: Connection, change: TableChange, columns: Mapping[str, str], before: str
) -> None:
    key = [name for name in key_of(connection, change.new.staging) if name in columns]
    if digest_of(connection, change.new.staging, columns, key) != before:
        raise DatabaseError(
            f"the rows of {change.name!r} did not come through unchanged",
            hint="nothing was changed; does every text in them fit utf8mb4?",
        )


def _carried_tables(source: Connection, shape: Shape, url: str) -> tuple[TableChange, ...]:
    present = set(inspect(source).get_table_names())
    dialect = ddl.mysql_dialect() if sqlite_file(url) is None else dialect_of(source)
    changes = []
    for name in shape.versions:
        if name not in present:
            continue
        wanted = list(shape[name].c.keys())
        kinds = columns_of(source, name)
        changes.append(
            TableChange(
                name=name,
                carried=tuple(each for each in wanted if each in kinds),
                lost=tuple(each for each in kinds if each not in wanted),
                added=tuple(each for each in wanted if each not in kinds),
                new=NewTable(
                    name,
                    tuple(ddl.create_table(shape, name, dialect, called=f"{NEW}{name}")),
                    indexes=tuple(ddl.create_indexes(shape, name, dialect)),
                ),
            )
        )
    return tuple(changes)


def _streamed(source: Connection, changes: tuple[TableChange, ...], tell: OnStep) -> Filling:
    digests: dict[str, str] = {}
    kinds = {each.name: check_columns(columns_of(source, each.name), each) for each in changes}

    def fill(connection: Connection) -> None:
        for change in changes:
            columns = kinds[change.name]
            digest = Digest()
            rows = read_rows(source, change.name, columns, key_of(source, change.name))
            names = list(columns)
            tell(Step("carrying over", change.name))
            passing = digest.through(rows)
            if "ha1b" in change.added:
                names.append("ha1b")
                passing = ((*row, secrets.token_hex(16)) for row in passing)
            insert_rows(connection, change.new.staging, names, passing)
            digests[change.name] = digest.value
            tell(Step("carried over", change.name, digest.rows))

    def check(connection: Connection) -> None:
        for change in changes:
            _compare(connection, change, kinds[change.name], digests[change.name])

    return Filling((), fill, check)


def _refuse_accounts(url: str, shape: Shape) -> None:
    with reading(open_engine(url), url) as connection:
        number = Subscribers(connection, shape.line).count()
    if number:
        raise DatabaseError(
            f"the database {masked_url(url)} has accounts already ({number})",
            hint="rows are carried into an empty database only; rcsops db drop empties it",
        )


def _described(connection: Connection, url: str, shape: Shape, planned: Migration) -> DbMigrated:
    statements = tuple(_statements(planned, sqlite_file(url) is None)) if planned.changes else ()
    described = _summary(connection, url, planned.source, shape, planned.changes)
    return replace(described, changed=bool(planned.changes), statements=statements)


def _statements(planned: Migration, mysql: bool) -> list[str]:
    tables = planned.tables
    fill = [statement for each in tables for statement in each.fill]
    if mysql:
        return [*stage(tables), *fill, *swap_mysql(tables), *finish_mysql(tables)]
    return ["BEGIN IMMEDIATE", *stage(tables), *fill, *swap_sqlite(tables), "COMMIT"]


def _carried(
    source: Connection, url: str, line: Line, shape: Shape, changes: tuple[TableChange, ...]
) -> DbMigrated:
    tables = [each.new for each in changes]
    copies = [
        f"-- the {count_rows(source, each.name)} rows of {each.name}, by INSERT" for each in changes
    ]
    swap = [*swap_mysql(tables), *finish_mysql(tables)]
    if sqlite_file(url) is not None:
        swap = swap_sqlite(tables)
    described = _summary(source, url, line, shape, changes)
    return replace(described, changed=True, statements=(*stage(tables), *copies, *swap))


def _summary(
    connection: Connection, url: str, line: Line, shape: Shape, changes: tuple[TableChange, ...]
) -> DbMigrated:
    rows = {each.name: count_rows(connection, each.name) for each in changes if each.carried}
    # ha1b says nothing that ha1 does not; later releases have no use for it.
    lost = {
        f"{each.name}.{column}": number
        for each in changes
        for column in each.lost
        if column != "ha1b" and (number := _values(connection, each.name, column))
    }
    accounts, lacking = 0, {}
    if not is_empty(connection):
        subscribers = Subscribers(connection, line)
        accounts, lacking = subscribers.count(), subscribers.lacking()
        # What the new tables have no column for can be used no more.
        kept = columns_for(shape.line)
        lacking = {name: n if name in kept else accounts for name, n in lacking.items()}
    return DbMigrated(
        url=masked_url(url),
        source=shape_of(line).text,
        target=shape.text,
        changed=False,
        backup=None,
        rows=rows,
        lost=lost,
        accounts=accounts,
        lacking=lacking,
    )


def _values(connection: Connection, table: str, column: str) -> int:
    query = (
        f"SELECT COUNT(*) FROM `{table}` WHERE `{column}` IS NOT NULL "  # noqa: S608
        f"AND CAST(`{column}` AS CHAR) NOT IN ('', '0')"
    )
    return int(connection.exec_driver_sql(query).scalar_one())


def _finished(url: str, shape: Shape, before: DbMigrated, kept: Path | None) -> DbMigrated:
    with reading(open_engine(url), url) as connection:
        check_tables(connection, shape)
        for problem in comparison_problems(connection):
            raise DatabaseError(problem)
        lacking = Subscribers(connection, shape.line).lacking()
    return replace(before, changed=True, backup=kept, lacking=lacking, statements=())


def _silent(_step: Step) -> None:
    return None
