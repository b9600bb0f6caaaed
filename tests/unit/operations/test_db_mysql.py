import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rcsops.database import open_engine, reading
from rcsops.database.admin import SudoAdministrator, find_administrator
from rcsops.database.mysql_url import MysqlUrl
from rcsops.errors import DatabaseError, UsageError
from rcsops.operations import db, users
from rcsops.settings import Project, masked_url, secret_name
from rcsops.testing.mariadb import MariaDbServer
from tests.unit.operations.conftest import Lab, write

ALL = {"version", "subscriber", "location", "silo", "domain", "uri", "dialog", "address"}


def test_create_makes_database_user_and_tables(lab: Lab) -> None:
    result = db.create(lab.project(), admin_url=lab.server.admin_url)
    assert set(result.tables) == ALL
    assert result.account
    assert result.server.startswith("MariaDB 10.")
    project = lab.project()
    assert masked_url(project.settings.database_url) == result.url
    assert stat.S_IMODE(project.secrets.path.stat().st_mode) == 0o600
    assert project.secrets.get(secret_name(lab.url)) is not None
    assert (
        str(project.secrets.get(secret_name(lab.url))) not in (lab.root / "rcsops.toml").read_text()
    )
    assert db.status(project).problems == ()
    assert lab.rows("SELECT domain FROM domain") == [("rcs.example",)]


def test_create_again_needs_no_administrator_and_changes_nothing(lab: Lab) -> None:
    project = lab.create()
    users.add_user(project, "bob", password="sesame-1")
    nobody = "mysql://nobody@127.0.0.1:1/"
    result = db.create(project, admin_url=nobody)
    assert result.tables == ()
    assert not result.account
    assert users.list_users(project).total == 1


def test_the_user_may_do_what_is_needed_and_no_more(lab: Lab) -> None:
    lab.create()
    (grants, more) = [str(row[0]) for row in lab.admin(f"SHOW GRANTS FOR '{lab.name}'@'localhost'")]
    assert grants.startswith("GRANT USAGE ON *.*")
    granted = lab.name.replace("_", "\\_")
    assert more.startswith(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{granted}`.* TO")
    for statement in ("DROP TABLE silo", "CREATE TABLE x (a INT)", "SELECT * FROM mysql.user"):
        with pytest.raises(DatabaseError, match="refuses this user") as caught:
            lab.rows(statement)
        assert "--admin-url" in caught.value.hint


def test_create_after_a_crash_makes_what_is_missing(lab: Lab) -> None:
    project = lab.create()
    users.add_user(project, "bob", password="sesame-1")
    lab.in_database(
        # Made, but its version was not noted any more; one with rows, whose note was lost; gone.
        "DELETE FROM version WHERE table_name IN ('silo', 'subscriber', 'uri')",
        "DROP INDEX silo_account_idx ON silo",
        "DROP TABLE uri",
    )
    result = db.create(project, admin_url=lab.server.admin_url)
    assert set(result.tables) == {"silo", "uri"}
    assert db.status(project).problems == ()
    assert users.list_users(project).total == 1
    assert lab.rows("SHOW INDEX FROM silo WHERE Key_name = 'silo_account_idx'")


def test_a_crash_between_password_and_user_is_made_up_for(lab: Lab) -> None:
    project = lab.project()
    project.secrets.put(secret_name(lab.url), "was-to-be-used-1A")
    db.create(lab.project(), admin_url=lab.server.admin_url)
    assert lab.project().secrets.get(secret_name(lab.url)) == "was-to-be-used-1A"
    assert db.status(lab.project()).problems == ()


def test_another_projects_user_keeps_its_password(lab: Lab, tmp_path: Path) -> None:
    first = lab.create()
    second = Lab(lab.server, tmp_path / "second", name=lab.name)
    with pytest.raises(DatabaseError, match="its password is not known here") as caught:
        db.create(second.project(), admin_url=lab.server.admin_url)
    assert "--new-password" in caught.value.hint
    assert db.status(first).problems == ()
    db.create(second.project(), admin_url=lab.server.admin_url, new_password=True)
    assert db.status(second.project()).problems == ()
    with pytest.raises(DatabaseError, match="refuses the user or the password"):
        db.status(first)


def test_a_password_in_the_settings_is_taken(lab: Lab) -> None:
    url = lab.url.replace("@", ":my-own_password.1@", 1)
    project = lab.project(RCSOPS_DATABASE_URL=url)
    db.create(project, admin_url=lab.server.admin_url)
    assert not project.secrets.path.exists()
    assert db.status(project).problems == ()


def test_another_programs_database_is_left_alone(lab: Lab) -> None:
    lab.admin(f"CREATE DATABASE `{lab.name}`", f"CREATE TABLE `{lab.name}`.wp_posts (a INT)")
    with pytest.raises(DatabaseError, match=r"another program.*wp_posts"):
        db.create(lab.project(), admin_url=lab.server.admin_url)
    assert lab.tables() == {"wp_posts"}
    assert lab.admin(f"SELECT Host FROM mysql.user WHERE User = '{lab.name}'") == []


def test_tables_in_which_bob_is_Bob_are_noticed(lab: Lab) -> None:
    project = lab.create()
    lab.in_database(
        "ALTER TABLE subscriber CONVERT TO CHARACTER SET latin1 COLLATE latin1_swedish_ci"
    )
    expected = "table subscriber: bob and Bob are one (latin1_swedish_ci)"
    assert expected in db.status(project).problems
    with pytest.raises(DatabaseError, match="bob and Bob are one") as caught:
        db.create(project, admin_url=lab.server.admin_url)
    assert "rcsops db migrate" in caught.value.hint


def test_status_of_a_database_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(DatabaseError, match="refuses the user or the password"):
        db.status(lab.project())
    project = lab.create()
    lab.admin(f"DROP DATABASE `{lab.name}`")
    with pytest.raises(DatabaseError, match="is not there") as caught:
        db.status(project)
    assert caught.value.hint == "type: rcsops db create"
    assert db.create(project, admin_url=lab.server.admin_url).account


def test_status_counts_what_is_there(lab: Lab) -> None:
    project = lab.create("3.0.2")
    users.add_user(project, "bob", password="sesame-1")
    found = db.status(project)
    assert found.line == "3.0"
    assert found.accounts == 1
    assert found.lacking == {"MD5": 0, "SHA-256": 1, "SHA-512-256": 1}
    assert found.size is not None
    assert found.size > 10_000
    assert {each.name: each.rows for each in found.tables}["subscriber"] == 1
    later = db.status(lab.project("3.6.8"))
    assert {"table subscriber: older", "table domain: older", "table dialog: older"} <= set(
        later.problems
    )


def test_a_server_that_does_not_run(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text(
        'engine = "opensips"\n[database]\nurl = "mysql://opensips@127.0.0.1:1/opensips"\n'
    )
    for work in (db.create, db.status, db.drop):
        with pytest.raises(DatabaseError, match="does not answer"):
            work(Project.find(tmp_path, environment={}))


def test_drop_takes_database_user_and_password(lab: Lab) -> None:
    project = lab.create()
    users.add_user(project, "bob", password="sesame-1")
    result = db.drop(project, admin_url=lab.server.admin_url)
    assert (result.existed, result.accounts) == (True, 1)
    assert set(result.tables) == ALL
    assert lab.admin(f"SHOW DATABASES LIKE '{lab.name}'".replace("_", "\\_")) == []
    assert lab.admin(f"SELECT Host FROM mysql.user WHERE User = '{lab.name}'") == []
    assert project.secrets.get(secret_name(lab.url)) is None
    assert project.credentials.accounts() == []
    assert not db.drop(lab.project(), admin_url=lab.server.admin_url).existed


def test_drop_leaves_a_user_who_has_another_database(lab: Lab) -> None:
    project = lab.create()
    other = Lab(lab.server, lab.root, name=lab.name)
    url = lab.server.url(f"{lab.name}_more", lab.name)
    both = lab.project(RCSOPS_DATABASE_URL=url)
    db.create(both, admin_url=lab.server.admin_url)
    db.drop(project, admin_url=lab.server.admin_url)
    assert db.status(other.project(RCSOPS_DATABASE_URL=url)).problems == ()


def test_drop_leaves_what_another_program_uses(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcsops.operations.db_rebuild._OTHERS_SECONDS", 0.2)
    project = lab.create()
    url = project.settings.database_url
    with reading(open_engine(url), url) as server:
        server.exec_driver_sql("SELECT 1")
        with pytest.raises(DatabaseError, match="another program works in the database") as caught:
            db.drop(project, admin_url=lab.server.admin_url)
        assert "rcsops stop" in caught.value.hint
    assert lab.tables() == ALL
    assert db.drop(project, admin_url=lab.server.admin_url).existed


def test_drop_leaves_tables_of_another_program(lab: Lab) -> None:
    project = lab.create()
    lab.in_database("CREATE TABLE wp_posts (a INT)")
    with pytest.raises(DatabaseError, match="another program"):
        db.drop(project, admin_url=lab.server.admin_url)
    assert lab.tables() == ALL | {"wp_posts"}


def test_root_is_found_by_the_socket(lab: Lab) -> None:
    """Nothing is named: the user that runs this is the server's administrator by its socket."""
    # An OpenSIPS could not be told of it.
    here = {
        "RCSOPS_ENGINE": "embedded",
        "RCSOPS_DATABASE_URL": lab.server.socket_url(lab.name, lab.name),
    }
    project = lab.project(**here)
    assert db.create(project).account
    project = lab.project(**here)
    users.add_user(project, "bob", password="sesame-1")
    assert db.status(project).accounts == 1
    assert db.drop(project).existed


def test_an_administrator_with_a_password_is_asked_for_it(lab: Lab) -> None:
    boss = f"boss_{lab.name}"
    lab.admin(
        f"CREATE USER '{boss}'@'127.0.0.1' IDENTIFIED VIA mysql_native_password "
        "USING PASSWORD('s3cret')",
        f"GRANT ALL ON *.* TO '{boss}'@'127.0.0.1' WITH GRANT OPTION",
    )
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "s3cret"

    url = f"mysql://{boss}@127.0.0.1:{lab.server.port}"
    assert db.create(lab.project(), admin_url=url, ask=ask).account
    assert asked == [f"Password of {boss} at 127.0.0.1:{lab.server.port}"]
    with pytest.raises(DatabaseError, match="refuses the user or the password"):
        find_administrator(lab.url, admin_url=url, ask=lambda _: "wrong")
    with pytest.raises(UsageError, match="not a MySQL URL"):
        find_administrator(lab.url, admin_url="postgres://x")


def test_without_rights_the_mend_is_said(lab: Lab) -> None:
    weak = f"weak_{lab.name}"
    lab.admin(f"CREATE USER '{weak}'@'127.0.0.1' IDENTIFIED BY 'x'")
    url = f"mysql://{weak}:x@127.0.0.1:{lab.server.port}"
    with pytest.raises(DatabaseError, match=r"refuses this user .*(1044|1142)") as caught:
        db.create(lab.project(), admin_url=url)
    assert caught.value.hint.endswith(
        f"GRANT ALL PRIVILEGES ON *.* TO '{weak}'@'127.0.0.1' WITH GRANT OPTION"
    )
    lab.create()
    lab.in_database("DROP TABLE silo")
    with pytest.raises(DatabaseError, match="nobody here may make a database") as caught:
        db.create(lab.project())
    assert "--admin-url 'mysql://ADMIN@127.0.0.1" in caught.value.hint


def test_a_user_with_all_rights_is_its_own_administrator(lab: Lab) -> None:
    lab.admin(
        f"CREATE DATABASE `{lab.name}`",
        f"CREATE USER '{lab.name}'@'127.0.0.1' IDENTIFIED BY 'pw'",
        f"GRANT ALL ON `{lab.name.replace('_', chr(92) + '_')}`.* TO '{lab.name}'@'127.0.0.1'",
    )
    project = lab.project(RCSOPS_DATABASE_URL=lab.url.replace("@", ":pw@", 1))
    assert set(db.create(project).tables) == ALL


def test_sudo_brings_statements_by_stdin(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No password stands in the list of processes: what sudo is given has none."""
    programs = tmp_path / "bin"
    programs.mkdir()
    seen = tmp_path / "seen"
    (programs / "sudo").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\nshift\nexec "$@"\n')
    (programs / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    place = MysqlUrl.parse(lab.server.socket_url("x", lab.server.user))
    admin = SudoAdministrator(place, interactive=False)
    assert admin.name.startswith(f"{lab.server.user}@")
    admin.run(["SET @a = 'topsecret'", f"CREATE DATABASE `{lab.name}`"])
    assert admin.rows("SELECT NULL, 'a b'") == [(None, "a b")]
    with pytest.raises(DatabaseError, match="doesn't exist"):
        admin.run(["SELECT * FROM nowhere.nothing"])
    assert "topsecret" not in seen.read_text()
    assert "-n" in seen.read_text().split()


def test_no_password_in_our_own_command_line(lab: Lab) -> None:
    lab.project()
    words = ["db", "create", "--admin-url", "mysql://root:topsecret@localhost"]
    done = subprocess.run(
        [sys.executable, "-m", "rcsops", "-C", str(lab.root), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "stands in the list of processes" in done.stderr
    assert "topsecret" not in done.stderr


def test_accounts_on_mysql(lab: Lab) -> None:
    project = lab.create()
    for name, password in (("bob", "sesame-1"), ("Bob", "sesame-2"), ("b%40b", "sesame-3")):
        users.add_user(project, name, password=password)
    with pytest.raises(DatabaseError, match="there already"):
        users.add_user(project, "bob", password="sesame-9")
    page = users.list_users(project, sort="name")
    assert [each.user for each in page.users] == [
        "Bob@rcs.example",
        "b%40b@rcs.example",
        "bob@rcs.example",
    ]
    assert users.list_users(project, pattern="BOB").total == 2
    assert users.list_users(project, lacking="SHA-256").total == 0
    write(project, "location", username="bob", domain="rcs.example", contact="sip:b@h", expires=99)
    write(project, "location", username="Bob", domain="rcs.example", contact="sip:B@h", expires=99)
    write(project, "silo", username="bob", domain="rcs.example", body=b"\xff\x00hi")
    details = users.show_user(project, "bob", now=1)
    assert [each.contact for each in details.contacts] == ["sip:b@h"]
    assert details.messages == 1
    removed = users.remove_user(project, "bob")
    assert (removed.contacts, removed.messages) == (1, 1)
    assert lab.rows("SELECT contact FROM location") == [("sip:B@h",)]
    assert lab.rows("SELECT COUNT(*) FROM silo") == [(0,)]
    with pytest.raises(DatabaseError, match="there is no user") as caught:
        users.set_password(project, "bob", password="sesame-4")
    assert "did you mean 'Bob'" in caught.value.hint
    users.set_password(project, "Bob", password="sesame-4")


@pytest.mark.parametrize(
    "name", ["a'--", "';DROP/**/TABLE~subscriber;'", "$(id)", "%5C%22", "~*!'()&=+$,;?/-_."]
)
def test_names_that_look_like_sql_are_text(lab: Lab, name: str) -> None:
    project = lab.create()
    users.add_user(project, name, password="x' OR '1'='1")
    assert [each.user for each in users.list_users(project).users] == [
        f"{users.parse_user(name, 'rcs.example').username}@rcs.example"
    ]
    assert users.show_user(project, name, now=0).messages == 0
    users.remove_user(project, name)
    assert lab.tables() == ALL


@pytest.mark.parametrize("release", ["3.0.2", "3.4.18", "4.0.1"])
def test_accounts_on_every_line(lab: Lab, release: str) -> None:
    project = lab.create(release)
    users.add_user(project, "bob", password="sesame-1")
    users.set_password(project, "bob", password="sesame-2", plain=True)
    algorithms = ("MD5",) if release == "3.0.2" else ("MD5", "SHA-256", "SHA-512-256")
    assert users.show_user(project, "bob", now=0).algorithms == algorithms
    assert lab.rows("SELECT password FROM subscriber") == [("sesame-2",)]
    users.set_password(project, "bob", password="sesame-3")
    assert lab.rows("SELECT password FROM subscriber") == [("",)]
    with pytest.raises(DatabaseError, match="there is no user"):
        users.remove_user(project, "bobby")
    if release == "3.0.2":
        name = "bob@rcs.example:rcs.example:sesame-3"
        expected = hashlib.md5(name.encode()).hexdigest()
        assert lab.rows("SELECT ha1b FROM subscriber") == [(expected,)]


def test_a_mariadb_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcsops.testing.mariadb.shutil.which", lambda *_, **__: None)
    assert "apt-get install mariadb-server" in MariaDbServer.missing()
