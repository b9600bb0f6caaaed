import datetime
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect

from rcsops.database import open_engine, reading, writing
from rcsops.database.rows import columns_of, key_of, read_rows
from rcsops.errors import DatabaseError
from rcsops.operations import db, db_migrate, db_rebuild, users
from rcsops.operations.db_migrate import carry_over, migrate
from rcsops.settings import Project
from tests.unit.operations.conftest import Lab, insert, write

MANY = 700
ROWS = "subscriber", "location", "silo"


def fill(project: Project, number: int = MANY) -> None:
    """Accounts of 3.0, contacts and stored messages, with what makes rows hard to carry."""
    users.add_user(project, "bob", password="sesame-1")
    url = project.settings.database_url
    when = datetime.datetime(2026, 11, 23, 22, 17, 17)
    with writing(open_engine(url), url) as connection:
        for n in range(number):
            name = f"{'User' if n % 2 else 'user'}{n}"
            ha1 = hashlib.md5(name.encode()).hexdigest()
            more = {"email_address": "", "ha1b": ha1, "rpid": None}
            insert(connection, "subscriber", username=name, domain="rcs.example", ha1=ha1, **more)
            insert(
                connection,
                "location",
                username=name,
                domain="rcs.example",
                contact=f"sip:{name}@[2001:db8::{n % 999}]:5060;ob" + "x" * (n % 180),
                received=None if n % 2 else "sip:192.0.2.1:5060",
                expires=4_000_000_000 + n,
                q=(-1.0, 0.33, 1.0)[n % 3],
                callid=f"a b'\"\\;--{n}",
                last_modified=when,
                user_agent=f"Blink Привет 你好 🙂 {n}",
                methods=None if n % 2 else 8191,
                kv_store="",
            )
            insert(
                connection,
                "silo",
                src_addr="sip:alex@rcs.example",
                dst_addr=f"sip:{name}@rcs.example",
                username=name,
                domain="rcs.example",
                inc_time=n,
                body=bytes(range(256)) if n % 2 else f"grüß {n}".encode(),
            )
        insert(
            connection,
            "dialog",
            dlg_id=2**63 + 5 if connection.dialect.name == "mysql" else 5,
            callid="c",
            from_uri="sip:a@b",
            from_tag="f",
            to_uri="sip:b@c",
            to_tag="t",
            caller_cseq="1",
            callee_cseq="2",
            caller_ping_cseq=0,
            callee_ping_cseq=0,
            caller_sock="udp:1",
            callee_sock="udp:2",
            state=4,
            start_time=1,
            timeout=2,
            vars=b"\x00\xff",
            script_flags=3,
        )


def content(project: Project) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables."""
    url = project.settings.database_url
    with reading(open_engine(url), url) as connection:
        return {
            name: list(_objects(connection, name))
            for name in inspect(connection).get_table_names()
            if name != "version"
        }


def _objects(connection: Connection, name: str) -> Iterator[dict[str, Any]]:
    columns = columns_of(connection, name)
    for row in read_rows(connection, name, columns, key_of(connection, name)):
        yield dict(zip(columns, row, strict=True))


def same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Every value of every column that both have is the same."""
    for name in before:
        assert len(before[name]) == len(after[name])
        for old, new in zip(before[name], after[name], strict=True):
            shared = (old.keys() & new.keys()) - {"script_flags"}
            assert {each: old[each] for each in shared} == {each: new[each] for each in shared}


def run(lab: Lab, release: str, **more: Any) -> db_migrate.DbMigrated:
    return migrate(lab.project(release), admin_url=lab.server.admin_url, **more)


def test_every_row_comes_through_every_line(lab: Lab) -> None:
    project = lab.create("3.0.2")
    fill(project)
    first = content(project)
    hops = [("3.4.18", (*ROWS[:2], "dialog")), ("3.6.8", ("subscriber", "domain", "address"))]
    for release, tables in hops:
        before = content(project)
        result = run(lab, release)
        project = lab.project(release)
        assert result.changed
        assert set(result.rows) == set(tables)
        assert result.rows["subscriber"] == MANY + 1
        assert result.lacking["SHA-256"] == result.accounts == MANY + 1
        assert result.backup is not None
        assert db.status(project).problems == ()
        same(before, content(project))
    last = run(lab, "4.0.1")
    assert not last.changed
    assert db.status(lab.project("4.0.1")).problems == ()
    same(first, content(project))
    # A number of flags is no name of a flag.
    assert lab.rows("SELECT script_flags, flags FROM dialog") == [(None, 0)]
    assert lab.rows("SELECT ha1, ha1_sha256 FROM subscriber WHERE username = 'bob'") == [
        (hashlib.md5(b"bob:rcs.example:sesame-1").hexdigest(), "")
    ]


def test_all_hops_at_once_come_to_the_same(lab: Lab) -> None:
    project = lab.create("3.0.2")
    fill(project, 40)
    before = content(project)
    result = run(lab, "4.0.1")
    assert (result.source, result.target) == ("3.0", "4.0")
    same(before, content(lab.project("4.0.1")))
    again = run(lab, "4.0.1")
    assert not again.changed
    assert again.backup is None


def test_a_dry_run_shows_the_sql_and_changes_nothing(lab: Lab) -> None:
    project = lab.create("3.0.2")
    fill(project, 5)
    write(project, "subscriber", username="r", domain="rcs.example", rpid="sip:r@x", ha1="x")
    result = run(lab, "3.6.8", dry_run=True)
    text = "\n".join(result.statements)
    assert "CREATE TABLE rcsops_new_subscriber" in text
    assert "INSERT INTO `rcsops_new_location`" in text
    assert text.count("RENAME TABLE") == 1
    assert result.lost == {"subscriber.rpid": 1}
    assert db.status(project).problems == ()
    # What was shown is what does it.
    lab.in_database(*result.statements)
    assert db.status(lab.project("3.6.8")).problems == ()


@pytest.mark.parametrize("moment", ["making", "filling", "comparing", "putting"])
def test_a_failure_at_any_step_leaves_everything_as_it_was(lab: Lab, moment: str) -> None:
    project = lab.create("3.0.2")
    fill(project, 20)
    before = content(project)

    def fail(step: db_rebuild.Step) -> None:
        if step.what.startswith(moment):
            raise DatabaseError("the plug was pulled")

    with pytest.raises(DatabaseError, match="the plug was pulled"):
        run(lab, "3.4.18", on_step=fail)
    assert content(project) == before
    assert db.status(project).problems == ()
    assert run(lab, "3.4.18").changed


def test_a_difference_is_noticed_before_anything_takes_its_place(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = lab.create("3.0.2")
    fill(project, 20)

    def spoil(step: db_rebuild.Step) -> None:
        if step.what.startswith("comparing"):
            lab.in_database("UPDATE rcsops_new_location SET callid = 'x' WHERE contact_id = 7")

    with pytest.raises(DatabaseError, match="'location' did not come through unchanged"):
        run(lab, "3.4.18", on_step=spoil)
    assert db.status(project).problems == ()


def test_what_a_crash_left_is_mended_by_the_next_command(lab: Lab) -> None:
    project = lab.create("3.0.2")
    fill(project, 20)
    before = content(project)
    lab.in_database("CREATE TABLE rcsops_new_subscriber (a INT)")
    assert (
        "left by a migration that was cut short: rcsops_new_subscriber"
        in db.status(project).problems
    )
    assert users.list_users(project).total == 21
    with pytest.raises(DatabaseError, match="cut short"):
        lab.in_database("DROP TABLE uri")
        db.create(project, admin_url=lab.server.admin_url)
    lab.in_database(
        "CREATE TABLE rcsops_new_version LIKE version",
        "RENAME TABLE subscriber TO rcsops_old_subscriber, rcsops_new_subscriber TO subscriber",
    )
    run(lab, "3.4.18")
    after = content(lab.project("3.4.18"))
    same({name: before[name] for name in ROWS}, after)
    assert not [name for name in lab.tables() if name.startswith("rcsops_")]


def test_a_running_server_is_noticed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    project = lab.create("3.0.2")
    monkeypatch.setattr(db_rebuild, "_OTHERS_SECONDS", 0.1)
    url = project.settings.database_url
    with (
        open_engine(url).connect() as other,
        pytest.raises(DatabaseError, match="another program works in the database") as caught,
    ):
        other.exec_driver_sql("SELECT 1")
        run(lab, "3.4.18")
    assert "rcsops stop" in caught.value.hint
    assert run(lab, "3.4.18").changed


def test_two_migrations_do_not_meet(lab: Lab) -> None:
    lab.create("3.0.2")

    def second(step: db_rebuild.Step) -> None:
        if step.what.startswith("filling"):
            with pytest.raises(DatabaseError, match="another rcsops is changing"):
                run(lab, "3.4.18")

    assert run(lab, "3.4.18", on_step=second).changed


def test_tables_in_which_bob_is_Bob_are_made_anew(lab: Lab) -> None:
    project = lab.create("3.6.8")
    users.add_user(project, "bob", password="sesame-1")
    for table in ("subscriber", "location"):
        lab.in_database(
            f"ALTER TABLE {table} CONVERT TO CHARACTER SET latin1 COLLATE latin1_swedish_ci"
        )
    write(project, "location", username="bob", contact="sip:ü@h", domain="d", expires=1)
    result = run(lab, "3.6.8")
    assert set(result.rows) == {"subscriber", "location"}
    assert db.status(project).problems == ()
    assert lab.rows("SELECT contact FROM location") == [("sip:ü@h",)]
    users.add_user(project, "Bob", password="sesame-2")


def test_tables_of_no_known_release_are_left_alone(lab: Lab) -> None:
    lab.create("3.0.2")
    lab.in_database("ALTER TABLE subscriber ADD COLUMN mine INT")
    with pytest.raises(DatabaseError, match="no release that rcsops knows") as caught:
        run(lab, "3.4.18")
    assert "opensips-cli database migrate" in caught.value.hint


def test_a_table_that_only_the_release_knows_needs_its_scripts(lab: Lab) -> None:
    lab.create("3.0.2")
    lab.in_database(
        "CREATE TABLE dispatcher (id INT PRIMARY KEY)",
        "INSERT INTO version VALUES ('dispatcher', 8)",
    )
    with pytest.raises(DatabaseError, match="'dispatcher' is not one that rcsops uses") as caught:
        run(lab, "3.4.18")
    assert "rcsops install --release 3.4" in caught.value.hint


def sqlite_project(root: Path, release: str = "") -> Project:
    root.mkdir(exist_ok=True)
    engine = f'engine = "opensips"\nrelease = "{release}"\n' if release else ""
    (root / "rcsops.toml").write_text(f'{engine}[database]\nurl = "sqlite:///lab.db"\n')
    return Project.find(root, environment={})


def test_sqlite_through_every_line(tmp_path: Path) -> None:
    project = sqlite_project(tmp_path / "lite", "3.0.2")
    db.create(project)
    fill(project, 50)
    before = content(project)
    for release in ("3.4.18", "3.6.8", "4.0.1"):
        project = sqlite_project(tmp_path / "lite", release)
        result = migrate(project)
        assert result.changed == (release != "4.0.1")
        assert db.status(project).problems == ()
    same(before, content(project))
    with reading(open_engine(project.settings.database_url), "") as connection:
        indexes = {each["name"] for each in inspect(connection).get_indexes("subscriber")}
    assert "subscriber_username_idx" in indexes


def test_sqlite_undoes_everything_when_it_fails(tmp_path: Path) -> None:
    project = sqlite_project(tmp_path / "lite", "3.0.2")
    db.create(project)
    fill(project, 10)
    before = content(project)
    new = sqlite_project(tmp_path / "lite", "3.6.8")
    original = db_migrate.digest_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            db_migrate,
            "digest_of",
            lambda connection, table, *rest: table + original(connection, table, *rest),
        )
        with pytest.raises(DatabaseError, match="unchanged"):
            migrate(new)
    assert content(project) == before
    assert migrate(new).changed


def test_the_embedded_engines_rows_move_to_mysql(lab: Lab, tmp_path: Path) -> None:
    embedded = sqlite_project(tmp_path / "lite")
    db.create(embedded)
    users.add_user(embedded, "bob", password="sesame-1")
    users.add_user(embedded, "Bob", password="sesame-2")
    write(
        embedded,
        "location",
        contact_id=2**40,
        username="bob",
        domain="rcs.example",
        contact="sip:bob@h;x=" + "y" * 400,
        expires=99,
        q=0.333,
        callid="z",
        last_modified="2026-11-23 22:17:17",
    )
    write(embedded, "silo", username="bob", domain="rcs.example", body=b"\xff\x00")
    before = content(embedded)
    source = embedded.settings.database_url
    project = lab.project("3.6.8")
    planned = carry_over(project, source, admin_url=lab.server.admin_url, dry_run=True)
    assert any("2 rows of subscriber" in each for each in planned.statements)
    result = carry_over(project, source, admin_url=lab.server.admin_url)
    project = lab.project("3.6.8")
    assert result.rows == {"subscriber": 2, "location": 1, "silo": 1, "domain": 1}
    assert result.lacking["SHA-256"] == 0
    assert db.status(project).problems == ()
    after = content(project)
    same(before, {name: after[name] for name in before})
    assert content(embedded) == before
    with pytest.raises(DatabaseError, match="has accounts already"):
        carry_over(project, source, admin_url=lab.server.admin_url)


def test_an_older_server_says_what_it_has_no_place_for(lab: Lab, tmp_path: Path) -> None:
    embedded = sqlite_project(tmp_path / "lite")
    db.create(embedded)
    users.add_user(embedded, "bob", password="sesame-1")
    project = lab.project("3.0.2")
    result = carry_over(project, embedded.settings.database_url, admin_url=lab.server.admin_url)
    assert result.lost == {"subscriber.ha1_sha256": 1, "subscriber.ha1_sha512t256": 1}
    assert result.lacking == {"MD5": 0, "SHA-256": 1, "SHA-512-256": 1}
    # Nobody can log in as bob@rcs.example by the empty hash.
    ((ha1b,),) = lab.rows("SELECT ha1b FROM subscriber")
    assert len(ha1b) == 32


def test_the_own_database_is_not_carried_into_itself(lab: Lab) -> None:
    project = lab.create()
    with pytest.raises(DatabaseError, match="own database"):
        carry_over(project, project.settings.database_url)
