"""Tables made anew beside the old ones, which they replace in one step.

A new table is filled and compared under the name ``rcsops_new_…``; nothing of the old tables is
touched until all are ready. Then SQLite changes places within the one transaction around it all,
and MySQL with one RENAME TABLE, which renames all tables or none; the old ones stay as
``rcsops_old_…`` until the end. Whatever moment a crash strikes, `recovery` says what brings the
database back to the old tables or on to the new ones.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, inspect

from rcsops.database.ddl import NEW, OLD

Run = Callable[[Iterable[str]], None]


@dataclass(frozen=True, slots=True)
class NewTable:
    """A table that takes the place of ``name``, or a new one where there is none (``replaces``).

    ``create`` makes it as ``rcsops_new_…``; ``indexes`` are made once it has its place (SQLite's
    indexes have one space of names); ``fill`` copies rows where a statement can.
    """

    name: str
    create: tuple[str, ...]
    replaces: bool = True
    indexes: tuple[str, ...] = ()
    fill: tuple[str, ...] = field(default=())

    @property
    def staging(self) -> str:
        """Its name until it has its place."""
        return f"{NEW}{self.name}"


def left_over(connection: Connection) -> list[str]:
    """The tables that an interrupted rebuild left."""
    names = inspect(connection).get_table_names()
    return sorted(name for name in names if name.startswith((NEW, OLD)))


def recovery(names: Iterable[str]) -> list[str]:
    """The statements that end an interrupted rebuild, of the tables ``names`` in a MySQL database.

    If every new table has its place, the old ones go; otherwise the old ones come back and the new
    ones go. Empty when there is nothing to mend.
    """
    present = set(names)
    new = {name for name in present if name.startswith(NEW)}
    old = {name for name in present if name.startswith(OLD)}
    replaced = {name.removeprefix(OLD) for name in old}
    if not new and replaced <= present:
        return [drop(sorted(old))] if old else []
    renames: list[tuple[str, str]] = []
    for name in sorted(replaced):
        if name in present:
            renames.append((name, f"{NEW}{name}"))
            new.add(f"{NEW}{name}")
        renames.append((f"{OLD}{name}", name))
    return [*([_rename(renames)] if renames else []), *([drop(sorted(new))] if new else [])]


def stage(tables: Sequence[NewTable]) -> list[str]:
    """The statements that make the new tables, empty, under their passing names."""
    return [statement for each in tables for statement in each.create]


def swap_mysql(tables: Sequence[NewTable]) -> list[str]:
    """The one statement that puts all new tables in place."""
    renames: list[tuple[str, str]] = []
    for each in tables:
        if each.replaces:
            renames.append((each.name, f"{OLD}{each.name}"))
        renames.append((each.staging, each.name))
    return [_rename(renames)]


def finish_mysql(tables: Sequence[NewTable]) -> list[str]:
    """The statement that drops the old tables."""
    old = [f"{OLD}{each.name}" for each in tables if each.replaces]
    return [drop(old)] if old else []


def swap_sqlite(tables: Sequence[NewTable]) -> list[str]:
    """The statements that put all new tables in place, within a transaction."""
    statements: list[str] = []
    for each in tables:
        if each.replaces:
            statements.append(f'DROP TABLE "{each.name}"')
        statements.append(f'ALTER TABLE "{each.staging}" RENAME TO "{each.name}"')
        statements += each.indexes
    return statements


def drop(names: Sequence[str]) -> str:
    """The statement that drops MySQL's tables ``names``."""
    return f"DROP TABLE IF EXISTS {', '.join(f'`{name}`' for name in names)}"


def _rename(pairs: Sequence[tuple[str, str]]) -> str:
    return "RENAME TABLE " + ", ".join(f"`{old}` TO `{new}`" for old, new in pairs)
