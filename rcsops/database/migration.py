"""From the tables of one release line to those of another: what changes, and the statements for it.

Rows are copied by the columns that both have. A column that the new line lacks is lost (the backup
has it); one that it adds has its default value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, inspect

from rcsops.database import ddl
from rcsops.database.ddl import NEW, dialect_of
from rcsops.database.rebuild import NewTable
from rcsops.database.rows import columns_of
from rcsops.database.scripts import ScriptTable
from rcsops.database.shapes import LINES, Line, Shape, shape_of
from rcsops.database.tables import comparison_problems, foreign_database, table_versions
from rcsops.errors import DatabaseError

# Flags of the script were a number until 3.0 and are names since: old numbers mean nothing then.
_NOT_CARRIED = {("dialog", "script_flags")}
# An account that 3.0 finds without a hash for user@domain must not be open to whoever guesses what
# the server's buffer held before; see `row_values`.
_RANDOM = {
    "sqlite": "lower(hex(randomblob(16)))",
    "mysql": "LEFT(SHA2(CONCAT(UUID(), RAND()), 256), 32)",
}


@dataclass(frozen=True, slots=True)
class TableChange:
    """One table: the columns that are carried over, those that are lost and those that are new."""

    name: str
    carried: tuple[str, ...]
    lost: tuple[str, ...]
    added: tuple[str, ...]
    new: NewTable


@dataclass(frozen=True, slots=True)
class Migration:
    """The way from ``source`` to ``target``; without ``changes`` there is nothing to do."""

    source: Line
    target: Line
    changes: tuple[TableChange, ...]
    version: NewTable | None

    @property
    def tables(self) -> tuple[NewTable, ...]:
        """All tables that are made anew, ``version`` last."""
        last = () if self.version is None else (self.version,)
        return (*(each.new for each in self.changes), *last)


def found_line(connection: Connection, wanted: Line | None = None) -> Line:
    """The line whose tables these are; ``wanted`` if they fit it, else the oldest that fits.

    Raises `DatabaseError` when they are no supported line's.
    """
    present = set(inspect(connection).get_table_names())
    if "version" not in present:
        raise foreign_database(present) if present else _no_tables()
    versions = table_versions(connection)
    if "subscriber" not in present:
        raise _no_tables()
    columns = set(columns_of(connection, "subscriber"))
    fitting = []
    for line in LINES:
        shape = shape_of(line)
        numbers = {name: number for name, number in shape.versions.items() if name in present}
        if set(shape["subscriber"].c.keys()) == columns and all(
            versions.get(name, number) == number for name, number in numbers.items()
        ):
            fitting.append(line)
    if not fitting:
        said = ", ".join(f"{name} {versions.get(name)}" for name in ("subscriber", "domain"))
        raise DatabaseError(
            f"these tables are those of no release that rcsops knows ({said})",
            hint="bring them to one of these first: opensips-cli database migrate",
        )
    return wanted if wanted in fitting else fitting[0]


def plan(
    connection: Connection, target: Shape, *, scripts: Mapping[str, ScriptTable] | None = None
) -> Migration:
    """What has to be made anew for ``target``; ``scripts`` are the tables of an OpenSIPS of that
    line, for tables that rcsops does not use itself.

    Raises `DatabaseError` when such a table would have to change and there are no scripts.
    """
    source = shape_of(found_line(connection, target.line))
    present = set(inspect(connection).get_table_names())
    versions = table_versions(connection)
    uncomparable = {problem.split()[1].rstrip(":") for problem in comparison_problems(connection)}
    numbers: dict[str, int] = {}
    changes: list[TableChange] = []
    for name, number in target.versions.items():
        if name in present and not _differs(connection, source, target, name, uncomparable):
            continue
        changes.append(_change(connection, target, name, name in present))
        numbers[name] = number
    for name in sorted(set(versions) & present - set(target.versions) - {"version"}):
        wanted = None if scripts is None else scripts.get(name)
        if source.line != target.line and scripts is None:
            raise DatabaseError(
                f"the table {name!r} is not one that rcsops uses: the scripts of OpenSIPS "
                f"{target.text} say what it must become",
                hint=f"install that release first: rcsops install --release {target.text}",
            )
        if wanted is not None and wanted.version not in (None, versions[name]):
            assert wanted.version is not None
            changes.append(_script_change(connection, wanted))
            numbers[name] = wanted.version
    version = _new_version(connection, target, numbers) if changes else None
    return Migration(source.line, target.line, tuple(changes), version)


def check_columns(columns: Mapping[str, str], change: TableChange) -> dict[str, str]:
    """The kinds of the columns whose values must be the same before and after."""
    return {
        name: columns[name] for name in change.carried if (change.name, name) not in _NOT_CARRIED
    }


def _differs(
    connection: Connection, source: Shape, target: Shape, name: str, uncomparable: set[str]
) -> bool:
    dialect = dialect_of(connection)
    if name in uncomparable or set(columns_of(connection, name)) != set(target[name].c.keys()):
        return True
    before = ddl.create_table(source, name, dialect)
    return source.versions.get(name) != target.versions[name] or before != ddl.create_table(
        target, name, dialect
    )


def _change(connection: Connection, target: Shape, name: str, present: bool) -> TableChange:
    dialect = dialect_of(connection)
    columns = list(target[name].c.keys())
    before = list(columns_of(connection, name)) if present else []
    carried = [each for each in columns if each in before]
    names = {each: "" for each in carried if not _means_nothing(connection, target, name, each)}
    if "ha1b" in columns and "ha1b" not in before:
        names["ha1b"] = _RANDOM[dialect.name]
    return TableChange(
        name=name,
        carried=tuple(each for each in carried if each in names),
        lost=tuple(each for each in before if each not in columns),
        added=tuple(each for each in columns if each not in before),
        new=NewTable(
            name=name,
            create=tuple(ddl.create_table(target, name, dialect, called=f"{NEW}{name}")),
            replaces=present,
            indexes=tuple(ddl.create_indexes(target, name, dialect)),
            fill=(_copy(name, names),) if present else (),
        ),
    )


def _means_nothing(connection: Connection, target: Shape, name: str, column: str) -> bool:
    kinds = columns_of(connection, name)
    wanted = "int" if target.line < (3, 4) else "char"
    return (name, column) in _NOT_CARRIED and kinds[column] != wanted


def _script_change(connection: Connection, wanted: ScriptTable) -> TableChange:
    staging = f"{NEW}{wanted.name}"
    table = re.compile(rf"(\b(?:TABLE|ON|INTO)\s+`?){re.escape(wanted.name)}\b", re.IGNORECASE)
    statements = [table.sub(rf"\g<1>{staging}", each) for each in wanted.statements]
    tables = [each for each in statements if each.upper().startswith("CREATE TABLE")]
    indexes = [each for each in wanted.statements if " INDEX " in each.upper()[:24]]
    mysql = connection.dialect.name != "sqlite"
    columns = re.findall(r"^\s{4}`?(\w+)`? [A-Z]", tables[0], re.MULTILINE)
    before = list(columns_of(connection, wanted.name))
    carried = [each for each in before if each in columns and each not in ("CONSTRAINT",)]
    return TableChange(
        name=wanted.name,
        carried=tuple(carried),
        lost=tuple(each for each in before if each not in carried),
        added=tuple(each for each in columns if each not in before and each != "CONSTRAINT"),
        new=NewTable(
            name=wanted.name,
            create=tuple(statements if mysql else tables),
            indexes=() if mysql else tuple(indexes),
            fill=(_copy(wanted.name, dict.fromkeys(carried, "")),),
        ),
    )


def _copy(name: str, columns: Mapping[str, str]) -> str:
    # Both servers know this way of quoting; some of OpenSIPS's columns are reserved words.
    into = ", ".join(f"`{column}`" for column in columns)
    values = ", ".join(value or f"`{column}`" for column, value in columns.items())
    return f"INSERT INTO `{NEW}{name}` ({into})\nSELECT {values} FROM `{name}`"


def _new_version(connection: Connection, target: Shape, numbers: Mapping[str, int]) -> NewTable:
    dialect = dialect_of(connection)
    changed = ", ".join(f"'{name}'" for name in numbers)
    return NewTable(
        name="version",
        create=tuple(ddl.create_table(target, "version", dialect, called=f"{NEW}version")),
        indexes=(),
        fill=(
            f"INSERT INTO {NEW}version (table_name, table_version)\n"
            f"SELECT table_name, table_version FROM version WHERE table_name NOT IN ({changed})",
            *ddl.insert_versions(numbers.items(), into=f"{NEW}version"),
        ),
    )


def _no_tables() -> DatabaseError:
    return DatabaseError("the database has no tables yet", hint="type: rcsops db create")
