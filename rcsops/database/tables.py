"""Making the tables, and finding out whether a database has the right ones."""

from typing import NamedTuple

from sqlalchemy import Connection, MetaData, func, insert, inspect, select, table, text

from rcsops.database.schema import (
    HISTORY,
    HISTORY_VERSION,
    OPENSIPS,
    TABLE_VERSIONS,
    history_version,
    version,
)
from rcsops.errors import DatabaseError


class TableState(NamedTuple):
    """One table: its version number against the one wanted, and how many rows it has.

    ``found`` is None when ``version`` does not list it or the table is missing; ``rows`` is None
    when it is missing.
    """

    name: str
    found: int | None
    wanted: int
    rows: int | None

    @property
    def state(self) -> str:
        """``ok``, ``missing``, ``older`` or ``newer``."""
        if self.rows is None or self.found is None:
            return "missing"
        if self.found == self.wanted:
            return "ok"
        return "older" if self.found < self.wanted else "newer"


def create_tables(connection: Connection) -> list[str]:
    """Makes what is missing of OpenSIPS's tables and returns the names of those made.

    Run it in one writing transaction: on SQLite all or nothing happens. Raises `DatabaseError` when
    the database belongs to another program or has another version of a table.
    """
    present = set(inspect(connection).get_table_names())
    if present and "version" not in present:
        raise _foreign(present)
    versions = _versions(connection) if "version" in present else {}
    for name, found in versions.items():
        if name in present and name in TABLE_VERSIONS and found != TABLE_VERSIONS[name]:
            raise _wrong_version(TableState(name, found, TABLE_VERSIONS[name], 0))
    made = [name for name in ("version", *TABLE_VERSIONS) if name not in present]
    _create(connection, OPENSIPS, made)
    for name, number in TABLE_VERSIONS.items():
        if name not in versions:
            connection.execute(insert(version).values(table_name=name, table_version=number))
    return made


def check_tables(connection: Connection) -> None:
    """Raises `DatabaseError` with what to type unless all of OpenSIPS's tables are there in the
    version that rcsops works with."""
    for state in table_states(connection, count=False):
        if state.state == "missing":
            raise DatabaseError(
                f"the database has no table {state.name!r}", hint="type: rcsops db create"
            )
        if state.state != "ok":
            raise _wrong_version(state)


def table_states(connection: Connection, *, count: bool = True) -> list[TableState]:
    """The state of each table; raises `DatabaseError` for another program's database.

    Without ``count`` the numbers of rows are not counted (0).
    """
    present = set(inspect(connection).get_table_names())
    if "version" not in present:
        if present:
            raise _foreign(present)
        raise DatabaseError("the database has no tables yet", hint="type: rcsops db create")
    versions = _versions(connection)
    states = []
    for name, wanted in TABLE_VERSIONS.items():
        rows = None
        if name in present:
            query = select(func.count()).select_from(table(name))
            rows = int(connection.execute(query).scalar_one()) if count else 0
        states.append(TableState(name, versions.get(name), wanted, rows))
    return states


def is_empty(connection: Connection) -> bool:
    """Whether there is no table at all, or none of accounts."""
    return "subscriber" not in inspect(connection).get_table_names()


def foreign_tables(connection: Connection) -> list[str]:
    """The tables that are not ours."""
    present = inspect(connection).get_table_names()
    return sorted(set(present) - {"version", *TABLE_VERSIONS})


def drop_tables(connection: Connection) -> list[str]:
    """Drops our tables with all that is in them; returns their names."""
    present = set(inspect(connection).get_table_names())
    dropped = [name for name in (*TABLE_VERSIONS, "version") if name in present]
    OPENSIPS.drop_all(connection, [OPENSIPS.tables[name] for name in dropped])
    return dropped


def prepare_history(connection: Connection) -> None:
    """Makes the tables of an agent's message history where they are missing; raises
    `DatabaseError` when a newer rcsops made them."""
    present = set(inspect(connection).get_table_names())
    if history_version.name not in present:
        if present:
            raise _foreign(present)
        _create(connection, HISTORY, list(HISTORY.tables))
        connection.execute(insert(history_version).values(version=HISTORY_VERSION))
        return
    found = connection.execute(select(history_version.c.version)).scalar()
    if found != HISTORY_VERSION:
        raise DatabaseError(
            f"the message history has version {found}; this rcsops works with {HISTORY_VERSION}",
            hint="use the rcsops that wrote it, or move the file away",
        )


def server_name(connection: Connection) -> str:
    """``SQLite 3.40.1``, ``MariaDB 10.11.6`` or ``MySQL 8.0.36``."""
    if connection.dialect.name == "sqlite":
        return f"SQLite {connection.execute(text('SELECT sqlite_version()')).scalar_one()}"
    found = str(connection.execute(text("SELECT VERSION()")).scalar_one())
    return f"{'MariaDB' if 'mariadb' in found.lower() else 'MySQL'} {found.split('-')[0]}"


def _create(connection: Connection, metadata: MetaData, names: list[str]) -> None:
    metadata.create_all(connection, [metadata.tables[name] for name in names], checkfirst=False)


def _versions(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(version.c.table_name, version.c.table_version))
    return {name: int(number) for name, number in rows}


def _foreign(present: set[str]) -> DatabaseError:
    some = ", ".join(sorted(present)[:3])
    return DatabaseError(
        f"the database belongs to another program: it has tables of its own ({some})",
        hint="choose another database.url in rcsops.toml",
    )


def _wrong_version(state: TableState) -> DatabaseError:
    return DatabaseError(
        f"the table {state.name!r} has version {state.found}, {state.state} than the "
        f"{state.wanted} that this rcsops works with",
        hint="choose another database.url, or use the release that made this one",
    )
