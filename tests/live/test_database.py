"""The tables beside OpenSIPS's own scripts; migration with the servers of every release."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect

from rcsops.database import open_engine, reading, writing
from rcsops.database.rows import columns_of as kinds_of
from rcsops.database.rows import digest_of, insert_rows, key_of
from rcsops.database.scripts import read_scripts
from rcsops.database.shapes import LINES, OPENSIPS_TABLES, Line, shape_of
from rcsops.database.subscribers import usable_algorithms
from rcsops.database.tables import create_tables
from rcsops.opensips.installed import Installation
from rcsops.operations import db, users
from rcsops.operations.db_migrate import migrate
from rcsops.settings import Project
from rcsops.testing.mariadb import MariaDbServer
from rcsops.testing.opensips import OpenSipsServer
from tests.live.phones import Phone
from tests.live.subjects import ALL_RELEASES, INSTALLATIONS, NO_OPENSIPS
from tests.unit.operations.conftest import Lab

pytestmark = pytest.mark.feature("tables")
BY_LINE: dict[Line, Installation] = {each.line: each for each in INSTALLATIONS}


@pytest.fixture
def lab(mariadb: MariaDbServer, tmp_path: Path) -> Lab:
    return Lab(mariadb, tmp_path / "lab", name=f"live_{next(_numbers)}")


_numbers = itertools.count(1)


def described(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    """Every column with its type, whether it may be NULL, and its default; every key."""
    if connection.dialect.name == "sqlite":
        columns = connection.exec_driver_sql(f"PRAGMA table_info({name})").fetchall()
        described = [
            (each[1], plain(each[2]), bool(each[3] or each[5]), plain_default(each[4]))
            for each in columns
        ]
    else:
        columns = connection.exec_driver_sql(
            "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA "
            "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
            f"AND TABLE_NAME = '{name}' ORDER BY ORDINAL_POSITION"
        ).fetchall()
        described = [
            (each[0], each[1], each[2], plain_default(each[3]), each[4]) for each in columns
        ]
    inspector = inspect(connection)
    keys = [tuple(each["column_names"]) for each in inspector.get_unique_constraints(name)]
    indexes = [tuple(each["column_names"]) for each in inspector.get_indexes(name)]
    primary = inspector.get_pk_constraint(name)["constrained_columns"]
    return [*described, ("keys", tuple(sorted({*keys, *indexes})), tuple(primary))]


def plain(kind: str) -> str:
    """SQLite keeps a type as it was written; what it makes of it depends on a part of the name."""
    kind = re.sub(r"\(.*\)", "", kind.upper())
    return "INTEGER" if "INT" in kind else kind


def plain_default(value: object) -> object:
    text = None if value is None else str(value).strip("'\"")
    return {"1.0": "1.00", "NULL": None}.get(text or "", text)


@pytest.mark.parametrize("flavour", ["mysql", "sqlite"])
def test_the_tables_are_those_of_the_releases_own_scripts(
    installation: Installation, flavour: str, lab: Lab, tmp_path: Path
) -> None:
    if installation.scripts_dir is None or not (installation.scripts_dir / flavour).is_dir():
        pytest.skip(f"{installation.prefix} has no scripts for {flavour}")
    shape = shape_of(installation.line)
    theirs = read_scripts(installation.scripts_dir, flavour)
    if flavour == "mysql":
        lab.create(installation.version)
        lab.admin(f"CREATE DATABASE {lab.name}_theirs")
        ours_url = lab.server.admin_url.replace("localhost/", f"localhost/{lab.name}")
        theirs_url = lab.server.admin_url.replace("localhost/", f"localhost/{lab.name}_theirs")
    else:
        ours_url, theirs_url = f"sqlite:///{tmp_path}/ours.db", f"sqlite:///{tmp_path}/theirs.db"
        with writing(open_engine(ours_url, create=True), ours_url) as connection:
            create_tables(connection, shape)
        open_engine(theirs_url, create=True)
    with writing(open_engine(theirs_url), theirs_url) as connection:
        for name in ("version", *OPENSIPS_TABLES):
            for statement in theirs[name].statements:
                connection.exec_driver_sql(statement)
    with (
        reading(open_engine(ours_url), ours_url) as ours,
        reading(open_engine(theirs_url), theirs_url) as other,
    ):
        for name in ("version", *OPENSIPS_TABLES):
            assert described(ours, name) == described(other, name), name
            if name != "version":
                assert shape.versions[name] == theirs[name].version


@pytest.mark.database("mariadb")
def test_all_tables_of_a_release(installation: Installation, lab: Lab) -> None:
    if installation.scripts_dir is None or not (installation.scripts_dir / "mysql").is_dir():
        pytest.skip(f"{installation.prefix} has no scripts for mysql")
    project = lab.project(installation.version)
    config = (lab.root / "rcsops.toml").read_text()
    (lab.root / "rcsops.toml").write_text(f'prefix = "{installation.prefix}"\n{config}')
    project = Project.find(lab.root, environment={})
    result = db.create(project, admin_url=lab.server.admin_url, every_table=True)
    wanted = read_scripts(installation.scripts_dir, "mysql")
    assert set(result.tables) == set(wanted)
    project = Project.find(lab.root, environment={})
    assert db.status(project).problems == ()
    assert set(lab.tables()) == set(wanted)
    collations = lab.admin(
        "SELECT DISTINCT TABLE_COLLATION FROM information_schema.TABLES "
        f"WHERE TABLE_SCHEMA = '{lab.name}'"
    )
    assert collations == [("utf8mb4_bin",)]
    again = db.create(project, admin_url=lab.server.admin_url, every_table=True)
    assert again.tables == ()


def rows(table: str, number: int) -> Iterator[tuple[Any, ...]]:
    for n in range(number):
        name = f"user{n:06}"
        if table == "subscriber":
            yield name, "rcs.example", f"{n:032x}", f"{n:032x}"
        elif table == "location":
            contact = f"sip:{name}@192.0.2.{n % 250}:{5060 + n % 1000}"
            agent = ("Blink 6", "Агент", "代理")[n % 3]
            yield (
                name,
                "rcs.example",
                contact,
                2_000_000_000 + n,
                f"call-{n}",
                agent,
                (1.0, 0.5)[n % 2],
            )
        else:
            yield (
                f"sip:{name}@rcs.example",
                "sip:alex@rcs.example",
                name,
                "rcs.example",
                n,
                "text/plain",
                f"message {n} ü".encode() + bytes([n % 256]),
            )


COLUMNS = {
    "subscriber": ("username", "domain", "ha1", "ha1b"),
    "location": ("username", "domain", "contact", "expires", "callid", "user_agent", "q"),
    "silo": ("dst_addr", "src_addr", "username", "domain", "inc_time", "ctype", "body"),
}


def digests(project: Project, names: dict[str, list[str]]) -> dict[str, str]:
    """What the rows of the tables come to, of the columns ``names``."""
    url = project.settings.database_url
    with reading(open_engine(url), url) as connection:
        found = {}
        for table, columns in names.items():
            kinds = kinds_of(connection, table)
            wanted = {name: kinds[name] for name in columns}
            found[table] = digest_of(connection, table, wanted, key_of(connection, table))
        return found


def shared(source: Line, target: Line) -> dict[str, list[str]]:
    before, after = shape_of(source), shape_of(target)
    return {
        table: [name for name in before[table].c.keys() if name in after[table].c]  # noqa: SIM118
        for table in COLUMNS
    }


@pytest.mark.skipif(not INSTALLATIONS, reason=NO_OPENSIPS)
@pytest.mark.server(f"OpenSIPS, {ALL_RELEASES}")
@pytest.mark.database("mariadb")
@pytest.mark.feature("migration")
@pytest.mark.parametrize(
    "number", [2000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_user_of_3_0_logs_in_on_every_release_after_it(
    lab: Lab, short_path: Path, number: int
) -> None:
    project = lab.create("3.0.2")
    users.add_user(project, "bob", password="an old password")
    url = project.settings.database_url
    with writing(open_engine(url), url) as connection:
        for table, columns in COLUMNS.items():
            insert_rows(connection, table, columns, rows(table, number))
    login(project, (3, 0), short_path)
    for source, target in itertools.pairwise(LINES):
        release = f"{target[0]}.{target[1]}"
        columns = shared(source, target)
        before = digests(project, columns)
        project = lab.project(release)
        result = migrate(project, admin_url=lab.server.admin_url)
        assert digests(project, columns) == before
        assert before["subscriber"].startswith(f"{number + 1}:")
        assert result.accounts == number + 1
        assert result.lacking["SHA-256"] == number + 1
        assert db.status(project).problems == ()
        login(project, target, short_path)
    users.set_password(project, "bob", password="a new password")
    assert db.status(project).lacking["SHA-256"] == number


def login(project: Project, line: Line, directory: Path) -> None:
    """bob registers with his old password on the release of ``line``, where there is one."""
    installation = BY_LINE.get(line)
    if installation is None or "db_mysql" not in installation.modules:
        return
    place = directory / f"{line[0]}{line[1]}"
    url = project.settings.database_url
    usable = usable_algorithms(db.status(project).lacking, ("SHA-256", "MD5"))
    with (
        OpenSipsServer(
            installation, place, database_url=url, memory=512, digest_algorithms=usable
        ) as server,
        Phone(server.address, "bob", password="an old password") as bob,
    ):
        assert bob.register().status == 200
        assert bob.register(expires=0).status == 200
        with Phone(server.address, "Bob", password="an old password") as other:
            assert other.register().status in (401, 403)
