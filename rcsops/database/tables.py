"""Making the tables, and finding out whether a database has the right ones."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    MetaData,
    Table,
    func,
    insert,
    inspect,
    select,
    table,
    text,
    update,
)
from sqlalchemy.schema import CreateColumn

from rcsops.database.ddl import NEW, OLD
from rcsops.database.rows import count_rows
from rcsops.database.schema import (
    FIRST_COLUMNS,
    HISTORY,
    HISTORY_VERSION,
    attachment,
    history_version,
    message,
    session,
    version,
)
from rcsops.database.shapes import CHARSET, EMBEDDED, Shape
from rcsops.errors import DatabaseError

# A table of 3.0's scripts that "version" says nothing of.
_WITHOUT_VERSION = {"cc_calls"}


class TableState(NamedTuple):
    """One table: its version number against the one wanted, and how many rows it has.

    ``found`` is None when ``version`` does not list it or the table is missing; ``rows`` is None
    when it is missing; ``wanted`` is None for a table whose version nobody asks for. ``lacks`` are
    columns that it should have.
    """

    name: str
    found: int | None
    wanted: int | None
    rows: int | None
    lacks: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """``ok``, ``missing``, ``older``, ``newer``, or what it lacks."""
        if self.rows is None or self.found is None:
            return "missing"
        if self.wanted is None or self.found == self.wanted:
            return f"lacks {', '.join(self.lacks)}" if self.lacks else "ok"
        return "older" if self.found < self.wanted else "newer"


def create_tables(connection: Connection, shape: Shape = EMBEDDED) -> list[str]:
    """Makes what is missing of OpenSIPS's tables and returns the names of those made.

    Run it in one writing transaction: on SQLite all or nothing happens. Raises `DatabaseError` when
    the database belongs to another program or has another version of a table.
    """
    made = missing_tables(connection, shape)
    _create(connection, shape.metadata, made)
    known = table_versions(connection)
    for name, number in shape.versions.items():
        if name not in known:
            connection.execute(insert(version).values(table_name=name, table_version=number))
    return made


def missing_tables(connection: Connection, shape: Shape = EMBEDDED) -> list[str]:
    """Which tables are not there yet; raises like `create_tables`."""
    present = set(inspect(connection).get_table_names())
    if present and "version" not in present:
        raise foreign_database(present)
    known = table_versions(connection) if "version" in present else {}
    for name, wanted in shape.versions.items():
        if name in present and known.get(name, wanted) != wanted:
            raise _wrong_version(TableState(name, known[name], wanted, 0), shape)
    return [name for name in shape.tables if name not in present]


def check_tables(connection: Connection, shape: Shape = EMBEDDED) -> None:
    """Raises `DatabaseError` with what to type unless all of OpenSIPS's tables are there in the
    version that ``shape`` says."""
    for state in table_states(connection, shape, count=False):
        if state.state == "missing":
            raise DatabaseError(
                f"the database has no table {state.name!r}", hint="type: rcsops db create"
            )
        if state.state != "ok":
            raise _wrong_version(state, shape)


def table_states(
    connection: Connection, shape: Shape = EMBEDDED, *, count: bool = True
) -> list[TableState]:
    """The state of each table; raises `DatabaseError` for another program's database.

    Without ``count`` the rows are not counted (0) and the columns not looked at.
    """
    inspector = inspect(connection)
    present = set(inspector.get_table_names())
    if "version" not in present:
        if present:
            raise foreign_database(present)
        raise DatabaseError("the database has no tables yet", hint="type: rcsops db create")
    versions = table_versions(connection)
    states = []
    for name, wanted in shape.versions.items():
        rows = None
        if name in present:
            query = select(func.count()).select_from(table(name))
            rows = int(connection.execute(query).scalar_one()) if count else 0
        lacks: tuple[str, ...] = ()
        if count and name in present:
            columns = {each["name"] for each in inspector.get_columns(name)}
            lacks = tuple(each.name for each in shape[name].columns if each.name not in columns)
        states.append(TableState(name, versions.get(name), wanted, rows, lacks))
    return states


def other_states(
    connection: Connection, shape: Shape, wanted: Mapping[str, int | None]
) -> list[TableState]:
    """The state of OpenSIPS's tables that are none of ``shape``'s; ``wanted`` are the versions that
    an installed release asks for."""
    present = set(inspect(connection).get_table_names())
    versions = table_versions(connection)
    names = sorted((set(versions) & present) - set(shape.tables))
    return [
        TableState(name, versions[name], wanted.get(name), count_rows(connection, name))
        for name in names
    ]


def is_empty(connection: Connection) -> bool:
    """Whether there is no table at all, or none of accounts."""
    return "subscriber" not in inspect(connection).get_table_names()


def table_versions(connection: Connection) -> dict[str, int]:
    """What the table ``version`` says."""
    rows = connection.execute(select(version.c.table_name, version.c.table_version))
    return {name: int(number) for name, number in rows}


def foreign_tables(connection: Connection) -> list[str]:
    """The tables that are no OpenSIPS's: those that ``version`` does not name."""
    present = set(inspect(connection).get_table_names())
    known = table_versions(connection) if "version" in present else {}
    ours = {"version", *known, *EMBEDDED.versions, *_WITHOUT_VERSION}
    return sorted(name for name in present - ours if not name.startswith((NEW, OLD)))


def drop_tables(connection: Connection) -> list[str]:
    """Drops OpenSIPS's tables with all that is in them; returns their names."""
    present = set(inspect(connection).get_table_names())
    dropped = sorted(present - set(foreign_tables(connection)))
    for name in dropped:
        quoted = connection.dialect.identifier_preparer.quote(name)
        connection.exec_driver_sql(f"DROP TABLE {quoted}")
    return dropped


def comparison_problems(connection: Connection) -> list[str]:
    """MySQL's tables in which two different names would be one account: those whose collation is
    not binary, and those that cannot hold every text."""
    if connection.dialect.name == "sqlite":
        return []
    query = (
        "SELECT DISTINCT TABLE_NAME, COLLATION_NAME FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ('subscriber', 'location', 'silo', "
        "'domain', 'uri') AND COLLATION_NAME IS NOT NULL ORDER BY 1, 2"
    )
    problems: dict[str, str] = {}
    for name, collation in connection.execute(text(query)):
        if not collation.endswith("_bin"):
            problems[name] = f"table {name}: bob and Bob are one ({collation})"
        elif not collation.startswith(CHARSET):
            problems.setdefault(name, f"table {name}: not every text fits ({collation})")
    return [problems[name] for name in sorted(problems)]


def prepare_history(connection: Connection) -> None:
    """Makes the tables of an agent's message history where they are missing, or brings those of an
    older rcsops to this version, with all that is in them.

    Run it in one writing transaction: all or nothing happens. Raises `DatabaseError` when another
    program or a newer rcsops made them.
    """
    found = check_history(connection)
    if found == 0:
        _create(connection, HISTORY, list(HISTORY.tables))
        connection.execute(insert(history_version).values(version=HISTORY_VERSION))
    elif found < HISTORY_VERSION:
        for step in _HISTORY_STEPS[found - 1 :]:
            step(connection)
        connection.execute(update(history_version).values(version=HISTORY_VERSION))


def check_history(connection: Connection) -> int:
    """The version of the message history; 0 in a file with nothing in it yet.

    Raises `DatabaseError` when another program made the file, or a newer rcsops.
    """
    present = set(inspect(connection).get_table_names())
    if history_version.name not in present:
        if present:
            raise foreign_database(present)
        return 0
    found = connection.execute(select(history_version.c.version)).scalar()
    if found is None or not 1 <= found <= HISTORY_VERSION:
        raise DatabaseError(
            f"the message history has version {found}; this rcsops works with {HISTORY_VERSION}",
            hint="use the rcsops that wrote it, or move the file away",
        )
    return int(found)


def _to_second_history(connection: Connection) -> None:
    _widen(connection, message, list(message.columns)[FIRST_COLUMNS:])


def _to_third_history(connection: Connection) -> None:
    _widen(connection, attachment, [attachment.c.answer])
    # What nobody kept of the answers is not asked again.
    connection.execute(update(attachment).values(answer="unknown"))


def _widen(connection: Connection, table: Table, columns: list[Any]) -> None:
    for column in columns:
        words = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {words}")
    known = {each["name"] for each in inspect(connection).get_indexes(table.name)}
    for index in sorted(table.indexes, key=lambda each: str(each.name)):
        if index.name not in known:
            index.create(connection)


def _to_fourth_history(connection: Connection) -> None:
    _create(connection, HISTORY, [session.name])


_HISTORY_STEPS = (_to_second_history, _to_third_history, _to_fourth_history)


def server_name(connection: Connection) -> str:
    """``SQLite 3.40.1``, ``MariaDB 10.11.6`` or ``MySQL 8.0.36``."""
    if connection.dialect.name == "sqlite":
        return f"SQLite {connection.execute(text('SELECT sqlite_version()')).scalar_one()}"
    found = str(connection.execute(text("SELECT VERSION()")).scalar_one())
    return f"{'MariaDB' if 'mariadb' in found.lower() else 'MySQL'} {found.split('-')[0]}"


def _create(connection: Connection, metadata: MetaData, names: list[str]) -> None:
    metadata.create_all(connection, [metadata.tables[name] for name in names], checkfirst=False)


def foreign_database(present: Iterable[str]) -> DatabaseError:
    """The error for a database that another program made."""
    some = ", ".join(sorted(present)[:3])
    return DatabaseError(
        f"the database belongs to another program: it has tables of its own ({some})",
        hint="choose another database.url in rcsops.toml",
    )


def _wrong_version(state: TableState, shape: Shape) -> DatabaseError:
    hint = "choose another database.url, or use the release that made this one"
    if state.state == "older":
        hint = "type: rcsops db migrate"
    return DatabaseError(
        f"the table {state.name!r} has version {state.found}, {state.state} than the "
        f"{state.wanted} of OpenSIPS {shape.text}",
        hint=hint,
    )
