import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Shell


@pytest.fixture
def file(rcsops: Shell) -> Path:
    return rcsops.state / "rcsops.db"


def test_create_makes_private_files_and_can_be_repeated(rcsops: Shell, file: Path) -> None:
    assert rcsops.ok("db", "create").out.startswith("made version, subscriber, location, silo")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    rcsops.ok("user", "add", "bob", "--generate")
    again = rcsops.ok("db", "create", "--json").json
    assert again["created"] is False
    assert again["tables"] == []
    assert rcsops.ok("user", "list", "--json").json["total"] == 1
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT domain FROM domain").fetchall() == [("rcs.example",)]


def test_status_tells_what_is_there(rcsops: Shell, file: Path) -> None:
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--generate")
    rcsops.ok("user", "add", "old", "--generate")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE subscriber SET ha1_sha256 = '' WHERE username = 'old'")
        connection.commit()
    found = rcsops.ok("db", "status", "--json").json
    assert found["url"] == f"sqlite:///{file}"
    assert found["server"].startswith("SQLite 3.")
    assert found["accounts"] == 2
    assert found["domains"] == {"rcs.example": 2}
    assert found["lacking"] == {"MD5": 0, "SHA-256": 1, "SHA-512-256": 0}
    assert found["problems"] == []
    assert found["tables"][0] == {
        "name": "subscriber",
        "found": 8,
        "wanted": 8,
        "rows": 2,
        "lacks": [],
        "state": "ok",
    }
    shown = rcsops.ok("db", "status").lines
    assert "accounts: 2 (1 without SHA-256)" in shown
    assert ["subscriber", "8", "8", "2", "ok"] in [line.split() for line in shown]


def test_status_fails_for_what_cannot_be_used(rcsops: Shell, file: Path) -> None:
    done = rcsops("db", "status")
    assert done.code == 1
    assert done.err.splitlines()[1] == "hint: type: rcsops db create"
    rcsops.ok("db", "create")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE version SET table_version = 7 WHERE table_name = 'subscriber'")
        connection.commit()
    done = rcsops("db", "status", "--json")
    assert done.code == 1
    assert done.json["problems"] == ["table subscriber: older"]


def test_accounts_of_another_domain_are_noticed(rcsops: Shell) -> None:
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--generate")
    other = {"RCSOPS_DOMAIN": "other.example"}
    done = rcsops("db", "status", "--json", **other)
    assert done.code == 1
    assert done.json["problems"] == [
        "the accounts are of rcs.example, but the domain of this project is other.example"
    ]
    done = rcsops("user", "add", "alex", "--generate", **other)
    assert done.code == 1
    assert "put the old domain back" in done.err


def test_drop_asks_and_removes_everything(rcsops: Shell, file: Path) -> None:
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--generate")
    refused = rcsops("db", "drop")
    assert refused.code == 2
    assert "hint: add --yes" in refused.err
    assert file.exists()
    terminal = rcsops.terminal("db", "drop")
    terminal.expect("with all its accounts")
    terminal.sendline("y")
    terminal.expect("with 1 account")
    terminal.wait()
    terminal.close()
    assert not list(file.parent.glob("rcsops.db*"))
    assert "bob" not in (file.parent / "credentials.json").read_text()
    assert rcsops.ok("db", "drop", "--yes", "--json").json["existed"] is False


def test_drop_leaves_what_another_process_uses(rcsops: Shell, file: Path) -> None:
    rcsops.ok("db", "create")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("SELECT * FROM subscriber").fetchall()
        done = rcsops("db", "drop", "--yes")
        assert done.code == 1
        assert "another process uses the database" in done.err
        assert connection.execute("SELECT count(*) FROM version").fetchone() == (4,)
    rcsops.ok("db", "drop", "--yes")


def test_drop_and_create_leave_another_programs_file_alone(rcsops: Shell) -> None:
    other = rcsops.directory / "bookmarks.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE bookmarks (a)")
    url = {"RCSOPS_DATABASE_URL": f"sqlite:///{other}"}
    for words in (["create"], ["drop", "--yes"], ["status"]):
        done = rcsops("db", *words, **url)
        assert done.code == 1
        assert "another program" in done.err
    with closing(sqlite3.connect(other)) as connection:
        assert connection.execute("SELECT count(*) FROM bookmarks").fetchone() == (0,)


def test_tables_are_made_for_the_opensips_that_is_there(rcsops: Shell) -> None:
    """It checks the numbers in ``version`` at its start, and would end."""
    prefix = rcsops.directory / "prefix"
    program = prefix / "sbin" / "opensips"
    scripts = prefix / "share" / "opensips" / "sqlite"
    for directory in (program.parent, scripts, prefix / "lib64" / "opensips" / "modules"):
        directory.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "version: opensips 3.6.8 (x86_64/linux)"\n')
    program.chmod(0o755)
    (scripts / "standard-create.sql").write_text("CREATE TABLE version (table_name CHAR(32));\n")
    (scripts / "auth_db-create.sql").write_text(
        "INSERT INTO version (table_name, table_version) values ('subscriber','8');\n"
        "CREATE TABLE subscriber (id INTEGER);\n"
    )
    settings = rcsops.directory / "rcsops.toml"
    text = f'engine = "opensips"\nprefix = "{prefix}"\n[database]\nurl = "sqlite:///s.db"\n'
    settings.write_text(f'release = "3.0.2"\n{text}')
    done = rcsops("db", "create")
    assert done.code == 1
    assert "wants version 8 of the table 'subscriber', but release 3.0.2 has 7" in done.err
    assert "hint: write the release that is installed into rcsops.toml" in done.err
    assert not (rcsops.directory / "s.db").exists()
    settings.write_text(f'release = "3.6.8"\n{text}')
    rcsops.ok("db", "create")


def test_mysql_without_its_driver_says_what_to_install(rcsops: Shell) -> None:
    (rcsops.directory / "MySQLdb.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'MySQLdb'\", name='MySQLdb')\n"
    )
    done = rcsops(
        "db",
        "create",
        RCSOPS_DATABASE_URL="mysql://root:topsecret@127.0.0.1/opensips",
        PYTHONPATH=str(rcsops.directory),
    )
    assert done.code == 1
    assert "mysqlclient, which is not installed" in done.err
    assert "apt install default-libmysqlclient-dev" in done.err
    assert "topsecret" not in done.err
