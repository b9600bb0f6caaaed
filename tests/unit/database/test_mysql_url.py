from pathlib import Path

import pytest

from rcsops.database.mysql_url import MysqlUrl, opensips_url, parsed_url
from rcsops.errors import DatabaseError


def test_the_parts() -> None:
    url = MysqlUrl.parse("mysql://bob:p%40ss@db.example:3307/lab")
    assert url == MysqlUrl("bob", "p@ss", "db.example", 3307, "lab", "")
    assert url.place == "db.example:3307"
    assert not url.local
    local = MysqlUrl.parse("mysql://bob@localhost/lab?unix_socket=/run/x.sock")
    assert local.local
    assert local.place == "/run/x.sock"
    assert "unix_socket=%2Frun%2Fx.sock" in local.server("root", by_socket=True)


@pytest.mark.parametrize("name", ["a b", "x;y", "`", "", "a/b", "ä", "x" * 65])
def test_names_that_would_need_escaping_are_refused(name: str) -> None:
    with pytest.raises(DatabaseError, match="will not do"):
        MysqlUrl("opensips", None, "localhost", None, name, "").check_names()
    with pytest.raises(DatabaseError, match="will not do"):
        MysqlUrl(name, None, "localhost", None, "opensips", "").check_names()


def test_mariadb_is_spoken_to_like_mysql() -> None:
    assert parsed_url("mariadb://a@b/c").drivername == "mysql+mysqldb"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://o:p%40ss@localhost/opensips", "mysql://o:p%40ss@localhost/opensips"),
        ("mariadb+mysqldb://o@127.0.0.1:3307/o", "mysql://o@127.0.0.1:3307/o"),
        ("sqlite:////var/lib/x.db", "sqlite:///var/lib/x.db"),
    ],
)
def test_the_url_as_opensips_reads_it(url: str, expected: str) -> None:
    assert opensips_url(url) == expected


def test_opensips_cannot_be_told_of_a_socket() -> None:
    with pytest.raises(DatabaseError, match="path of a MySQL socket"):
        opensips_url("mysql://o@localhost/o?unix_socket=/run/x.sock")


def test_a_relative_file_is_made_absolute() -> None:
    assert opensips_url("sqlite:///x.db") == f"sqlite://{Path.cwd()}/x.db"
