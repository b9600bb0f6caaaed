import pytest

from rcsops.database.mysql_url import MysqlUrl, parsed_url
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
