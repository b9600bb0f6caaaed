"""What a crash in the middle leaves, and what the next command makes of it."""

import itertools
import re

from rcsops.database.rebuild import NewTable, finish_mysql, recovery, swap_mysql

TABLES = [NewTable(name, ()) for name in ("subscriber", "version")]
OTHERS = {"silo"}


def run(names: set[str], statements: list[str]) -> set[str]:
    """What the statements make of a database with these tables."""
    names = set(names)
    for statement in statements:
        if statement.startswith("DROP"):
            names -= set(re.findall(r"`(\w+)`", statement))
            continue
        for old, new in re.findall(r"`(\w+)` TO `(\w+)`", statement):
            assert old in names
            assert new not in names
            names.remove(old)
            names.add(new)
    return names


START = {"subscriber", "version", *OTHERS}
STAGED = START | {"rcsops_new_subscriber", "rcsops_new_version"}


def test_a_whole_rebuild_leaves_the_names_as_they_were() -> None:
    assert run(STAGED, [*swap_mysql(TABLES), *finish_mysql(TABLES)]) == START


def test_new_tables_that_never_got_their_place_go() -> None:
    for left in ({"rcsops_new_subscriber"}, {"rcsops_new_subscriber", "rcsops_new_version"}):
        statements = recovery(START | left)
        assert run(START | left, statements) == START
        assert all("TO" not in statement for statement in statements)


def test_old_tables_that_were_not_dropped_yet_go() -> None:
    for left in ({"rcsops_old_subscriber"}, {"rcsops_old_subscriber", "rcsops_old_version"}):
        assert run(START | left, recovery(START | left)) == START


def test_half_a_rename_goes_back_to_the_old_tables() -> None:
    """Servers before atomic DDL may have stopped between any two of the renames."""
    pairs = re.findall(r"`(\w+)` TO `(\w+)`", swap_mysql(TABLES)[0])
    for done in range(1, len(pairs)):
        names = run(STAGED, [f"RENAME `{old}` TO `{new}`" for old, new in pairs[:done]])
        statements = recovery(names)
        assert run(names, statements) == START
        # Whatever carries the name again is what carried it at the start.
        moved = dict(itertools.chain(pairs[:done]))
        back = re.findall(r"`(\w+)` TO `(\w+)`", statements[0])
        for old in ("subscriber", "version"):
            if old in moved:
                assert (f"rcsops_old_{old}", old) in back


def test_nothing_is_mended_where_nothing_is_left() -> None:
    assert recovery(START) == []
