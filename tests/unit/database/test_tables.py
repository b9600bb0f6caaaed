import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import inspect

from rcsops.database import (
    check_tables,
    create_tables,
    open_engine,
    prepare_history,
    reading,
    table_states,
    writing,
)
from rcsops.database.tables import drop_tables, server_name
from rcsops.errors import DatabaseError

# Facts of OpenSIPS 3.6.8: the columns of each table, in order.
COLUMNS = {
    "version": "table_name table_version",
    "subscriber": "id username domain password ha1 ha1_sha256 ha1_sha512t256",
    "location": "contact_id username domain contact received path expires q callid cseq "
    "last_modified flags cflags user_agent socket methods sip_instance kv_store attr",
    "silo": "id src_addr dst_addr username domain inc_time exp_time snd_time ctype body",
    "domain": "id domain attrs accept_subdomain last_modified",
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a.db"


def create(url: str) -> list[str]:
    with writing(open_engine(url, create=True), url) as connection:
        return create_tables(connection)


def check(url: str) -> None:
    with reading(open_engine(url), url) as connection:
        check_tables(connection)


def direct(url: str, statement: str) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_the_tables_have_the_columns_of_opensips(url: str) -> None:
    assert create(url) == list(COLUMNS)
    with reading(open_engine(url), url) as connection:
        inspector = inspect(connection)
        for table, columns in COLUMNS.items():
            assert [each["name"] for each in inspector.get_columns(table)] == columns.split()
        states = {each.name: (each.found, each.state) for each in table_states(connection)}
        assert server_name(connection).startswith("SQLite 3.")
    assert states == {
        "subscriber": (8, "ok"),
        "location": (1013, "ok"),
        "silo": (6, "ok"),
        "domain": (4, "ok"),
    }


def test_making_them_twice_changes_nothing(url: str) -> None:
    create(url)
    direct(url, "INSERT INTO subscriber (username, domain) VALUES ('bob', 'rcs.example')")
    assert create(url) == []
    with reading(open_engine(url), url) as connection:
        assert {each.name: each.rows for each in table_states(connection)}["subscriber"] == 1


def test_a_missing_table_is_made_again(url: str) -> None:
    create(url)
    direct(url, "DROP TABLE silo")
    direct(url, "DELETE FROM version WHERE table_name = 'silo'")
    with pytest.raises(DatabaseError, match="no table 'silo'") as caught:
        check(url)
    assert "rcsops db create" in caught.value.hint
    assert create(url) == ["silo"]
    check(url)


@pytest.mark.parametrize(("number", "word"), [(7, "older"), (9, "newer")])
def test_another_version_is_refused_and_left_alone(url: str, number: int, word: str) -> None:
    create(url)
    direct(url, f"UPDATE version SET table_version = {number} WHERE table_name = 'subscriber'")
    with pytest.raises(DatabaseError, match=f"version {number}, {word} than the 8"):
        check(url)
    with pytest.raises(DatabaseError, match=word):
        create(url)


def test_another_programs_database_is_refused_and_left_alone(url: str, tmp_path: Path) -> None:
    direct(url, "CREATE TABLE bookmarks (a)")
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(DatabaseError, match=r"another program.*bookmarks"):
        create(url)
    with pytest.raises(DatabaseError, match="another program"):
        check(url)
    with sqlite3.connect(tmp_path / "a.db") as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("bookmarks",)]
    assert len(before) == (tmp_path / "a.db").stat().st_size


def test_an_empty_file_says_what_to_type(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    with pytest.raises(DatabaseError, match="no tables yet") as caught:
        check(url)
    assert caught.value.hint == "type: rcsops db create"


def test_dropping_takes_our_tables_only(url: str) -> None:
    create(url)
    direct(url, "CREATE TABLE bookmarks (a)")
    with writing(open_engine(url), url) as connection:
        assert sorted(drop_tables(connection)) == sorted(COLUMNS)
    with reading(open_engine(url), url) as connection:
        assert inspect(connection).get_table_names() == ["bookmarks"]


def test_a_history_is_made_once_and_checked(url: str) -> None:
    for _ in range(2):
        with writing(open_engine(url, create=True), url) as connection:
            prepare_history(connection)
    direct(url, "UPDATE rcsops_history SET version = 99")
    with (
        pytest.raises(DatabaseError, match="version 99"),
        writing(open_engine(url), url) as connection,
    ):
        prepare_history(connection)


def test_a_servers_database_is_no_history(url: str) -> None:
    create(url)
    with (
        pytest.raises(DatabaseError, match="another program"),
        writing(open_engine(url), url) as connection,
    ):
        prepare_history(connection)
