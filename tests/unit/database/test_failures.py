import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from rcsops.database import create_tables, open_engine, reading, table_states, writing
from rcsops.database.failures import database_error, missing_driver
from rcsops.errors import DatabaseError

MYSQL = "mysql://opensips:secret@localhost/opensips"


def look(url: str) -> None:
    with reading(open_engine(url, busy_timeout=0.05), url) as connection:
        table_states(connection)


def make(file: Path) -> str:
    url = f"sqlite:///{file}"
    with writing(open_engine(url, create=True), url) as connection:
        create_tables(connection)
    return url


def fails(url: str) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        look(url)
    assert "Traceback" not in str(caught.value)
    return caught.value


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is a shopping list\n" * 100)
    error = fails(f"sqlite:///{tmp_path}/a.db")
    assert str(error) == f"the database {tmp_path}/a.db is not an SQLite database"
    assert "rcsops db create" in error.hint


def test_a_damaged_file(tmp_path: Path) -> None:
    url = make(tmp_path / "a.db")
    data = bytearray((tmp_path / "a.db").read_bytes())
    data[100:4096] = os.urandom(3996)
    (tmp_path / "a.db").write_bytes(data)
    assert "is damaged" in str(fails(url))


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    assert "is a directory" in str(fails(f"sqlite:///{tmp_path}"))


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot make the database"):
        open_engine(f"sqlite:///{tmp_path}/no/a.db", create=True)


def test_a_lock(tmp_path: Path) -> None:
    url = make(tmp_path / "a.db")
    other = sqlite3.connect(tmp_path / "a.db")
    other.execute("BEGIN IMMEDIATE")
    look(url)
    with (
        pytest.raises(DatabaseError, match="is locked by another process"),
        writing(open_engine(url, busy_timeout=0.05), url),
    ):
        pass
    other.close()


def test_a_full_disk(tmp_path: Path) -> None:
    url = make(tmp_path / "a.db")
    with (
        pytest.raises(DatabaseError, match="disk is full") as caught,
        writing(open_engine(url), url) as connection,
    ):
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql(
            "INSERT INTO silo (body) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i + 1 FROM n WHERE i < 200) SELECT randomblob(4000) FROM n"
        )
    assert "make room" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_only_be_read_by_another_user(tmp_path: Path) -> None:
    url = make(tmp_path / "a.db")
    (tmp_path / "a.db").chmod(0o400)
    look(url)
    with (
        pytest.raises(DatabaseError, match="cannot be written"),
        writing(open_engine(url), url) as connection,
    ):
        connection.exec_driver_sql("DELETE FROM silo")


def test_what_is_readonly_is_said() -> None:
    original = sqlite3.OperationalError("attempt to write a readonly database")
    error = database_error(OperationalError("DELETE", None, original), "sqlite:////a.db")
    assert str(error) == "the database /a.db cannot be written"


@pytest.mark.parametrize(
    ("number", "said", "expected", "hint"),
    [
        (1044, "Access denied", "refuses this user the database", "--admin-url"),
        (1045, "Access denied", "refuses the user or the password", "--new-password"),
        (1142, "denied", "refuses this user that statement", "--admin-url"),
        (1366, "Incorrect string value", "cannot hold that text", "rcsops db status"),
        (2059, "caching_sha2_password", "a login that this client does not know", "localhost"),
        (1698, "Access denied", "unix_socket", "run as that system user"),
        (2002, "Can't connect", "does not answer", "mariadb"),
        (1049, "Unknown database", "is not there", "rcsops db create"),
        (9999, "odd", "refuses (9999: odd)", ""),
    ],
)
def test_errors_of_mysql_have_their_own_line(
    number: int, said: str, expected: str, hint: str
) -> None:
    error = database_error(OperationalError("SELECT", None, Exception(number, said)), MYSQL)
    assert expected in str(error)
    assert hint in error.hint
    assert "secret" not in str(error)


def test_a_server_elsewhere_is_not_started_from_here() -> None:
    original = OperationalError("SELECT", None, Exception(2003, "Can't connect"))
    error = database_error(original, "mysql://opensips@db.example/opensips")
    assert "firewall" in error.hint


def test_where_no_server_is_installed_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcsops.database.failures.shutil.which", lambda *_, **__: None)
    original = OperationalError("SELECT", None, Exception(2002, "Can't connect"))
    assert "apt install mariadb-server" in database_error(original, MYSQL).hint


def test_a_missing_driver_is_named_with_the_packages_that_it_needs() -> None:
    error = missing_driver(ModuleNotFoundError("No module named 'MySQLdb'", name="MySQLdb"))
    assert "mysqlclient" in str(error)
    assert "default-libmysqlclient-dev" in error.hint
    assert "-m pip install mysqlclient" in error.hint


def test_the_connection_pool_prints_nothing_of_its_own(tmp_path: Path) -> None:
    """What it finds when the server died under it (in a finalizer, by the log) we have said."""
    lines = (
        "from rcsops.database import open_engine",
        f"engine = open_engine('sqlite:///{tmp_path}/a.db', create=True)",
        "try:",
        "    raise ValueError",
        "except ValueError:",
        "    engine.pool.logger.error('Exception during reset or similar', exc_info=True)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
