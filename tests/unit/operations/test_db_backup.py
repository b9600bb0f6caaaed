import gzip
import json
import stat
from pathlib import Path

import pytest

from rcsops.errors import DatabaseError
from rcsops.operations import db, users
from rcsops.operations.db_backup import backup, inspect_backup, restore
from rcsops.settings import Project
from tests.unit.operations.conftest import Lab, write
from tests.unit.operations.test_db_migrate import content, fill, same, sqlite_project


@pytest.fixture
def lite(tmp_path: Path) -> Project:
    project = sqlite_project(tmp_path / "lite")
    db.create(project)
    users.add_user(project, "bob", password="sesame-1")
    write(project, "silo", username="bob", domain="rcs.example", body=b"\xff\x00", ctype="a/b")
    return project


def test_a_backup_brings_everything_back(lab: Lab) -> None:
    project = lab.create("3.0.2")
    fill(project, 50)
    before = content(project)
    done = backup(project)
    assert stat.S_IMODE(done.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(done.path.parent.stat().st_mode) == 0o700
    assert done.rows["subscriber"] == 51
    assert inspect_backup(done.path) == done
    users.remove_user(project, "bob")
    users.add_user(project, "late", password="sesame-1")
    result = restore(project, done.path, admin_url=lab.server.admin_url)
    assert content(project) == before
    assert db.status(project).problems == ()
    # And what that replaced can be had back in turn.
    assert result.kept is not None
    restore(project, result.kept, admin_url=lab.server.admin_url)
    names = [each.user for each in users.list_users(project, pattern="late").users]
    assert names == ["late@rcs.example"]


def test_a_backup_makes_the_database_that_is_gone(lab: Lab, tmp_path: Path) -> None:
    project = lab.create("3.4.18")
    users.add_user(project, "bob", password="sesame-1")
    before = content(project)
    backup(project, tmp_path / "kept.gz")
    db.drop(project, admin_url=lab.server.admin_url)
    result = restore(lab.project("3.4.18"), tmp_path / "kept.gz", admin_url=lab.server.admin_url)
    assert result.kept is None
    assert content(lab.project("3.4.18")) == before
    assert db.status(lab.project("3.4.18")).problems == ()


def test_an_older_releases_backup_comes_back_as_it_was(lab: Lab, tmp_path: Path) -> None:
    project = lab.create("3.0.2")
    fill(project, 10)
    before = content(project)
    backup(project, tmp_path / "old.gz")
    db.drop(project, admin_url=lab.server.admin_url)
    lab.create("3.6.8")
    result = restore(lab.project("3.6.8"), tmp_path / "old.gz", admin_url=lab.server.admin_url)
    assert result.restored.line == "3.0"
    assert content(lab.project("3.0.2")) == before
    assert "table subscriber: older" in db.status(lab.project("3.6.8")).problems


def test_sqlite_and_from_sqlite_to_mysql(lite: Project, lab: Lab, tmp_path: Path) -> None:
    before = content(lite)
    kept = backup(lite, tmp_path / "lite.gz")
    users.remove_user(lite, "bob")
    assert restore(lite, kept.path).kept is not None
    assert content(lite) == before
    project = lab.create("3.6.8")
    restore(project, kept.path, admin_url=lab.server.admin_url)
    after = content(project)
    same(before, {name: after[name] for name in before})
    assert db.status(project).problems == ()


def test_restoring_where_there_is_nothing(lite: Project, tmp_path: Path) -> None:
    before = content(lite)
    backup(lite, tmp_path / "lite.gz")
    db.drop(lite)
    assert restore(lite, tmp_path / "lite.gz").kept is None
    assert content(lite) == before
    assert db.status(lite).problems == ()


def change(path: Path, old: bytes, new: bytes) -> None:
    data = gzip.decompress(path.read_bytes())
    assert old in data
    path.write_bytes(gzip.compress(data.replace(old, new, 1)))


@pytest.mark.parametrize("damage", ["cut", "short", "bit", "row", "line", "last", "extra", "text"])
def test_a_damaged_backup_changes_nothing(lite: Project, tmp_path: Path, damage: str) -> None:
    path = backup(lite, tmp_path / "a.gz").path
    before = content(lite)
    data = path.read_bytes()
    lines = gzip.decompress(data).splitlines(keepends=True)
    if damage == "cut":
        path.write_bytes(data[:-20])
    elif damage == "short":
        path.write_bytes(gzip.compress(b"".join(lines[:-1])))
    elif damage == "bit":
        path.write_bytes(data[:60] + bytes([data[60] ^ 4]) + data[61:])
    elif damage == "row":
        change(path, b'"bob"', b'"eve"')
    elif damage == "line":
        change(path, b'["subscriber"', b'["subscriber')
    elif damage == "last":
        path.write_bytes(gzip.compress(b"".join(lines) + lines[1]))
    elif damage == "extra":
        change(path, b'["subscriber"', b'["wp_posts"')
    else:
        path.write_text("a shopping list")
    with pytest.raises(DatabaseError, match=r"is damaged|is no backup"):
        restore(lite, path)
    assert content(lite) == before


def test_names_in_a_backup_cannot_be_statements(lite: Project, tmp_path: Path) -> None:
    path = backup(lite, tmp_path / "a.gz").path
    lines = gzip.decompress(path.read_bytes()).splitlines()
    head = json.loads(lines[0])
    head["tables"]["silo (a); DROP TABLE subscriber; --"] = head["tables"].pop("silo")
    path.write_bytes(gzip.compress(b"\n".join([json.dumps(head).encode(), *lines[1:]])))
    with pytest.raises(DatabaseError, match="impossible names"):
        restore(lite, path)


def test_other_files_are_told_apart(lite: Project, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    with pytest.raises(DatabaseError, match="is no backup of rcsops"):
        inspect_backup(tmp_path / "x.gz")
    with pytest.raises(DatabaseError, match="cannot read"):
        inspect_backup(tmp_path / "none.gz")
    with pytest.raises(DatabaseError, match="is there already"):
        backup(lite, tmp_path / "x.gz")
    with pytest.raises(DatabaseError, match="cannot write the backup"):
        backup(lite, tmp_path / "no" / "such" / "x.gz")
    assert not list(tmp_path.glob(".x.gz*"))


def test_a_table_that_rcsops_does_not_use_comes_along(lab: Lab, tmp_path: Path) -> None:
    project = lab.create("3.6.8")
    lab.in_database(
        "CREATE TABLE grp (id INT PRIMARY KEY, grp CHAR(64))",
        "INSERT INTO version VALUES ('grp', 3)",
        "INSERT INTO grp VALUES (1, 'admins')",
    )
    path = backup(project, tmp_path / "a.gz").path
    lab.in_database("DELETE FROM grp")
    restore(project, path, admin_url=lab.server.admin_url)
    assert lab.rows("SELECT grp FROM grp") == [("admins",)]
    assert ("grp", 3) in lab.rows("SELECT table_name, table_version FROM version")
    lab.in_database("DROP TABLE grp")
    with pytest.raises(DatabaseError, match="'grp' that rcsops does not use") as caught:
        restore(project, path, admin_url=lab.server.admin_url)
    assert "--tables all" in caught.value.hint
