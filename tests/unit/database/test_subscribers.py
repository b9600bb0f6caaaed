from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from rcsops.database import Subscribers, create_tables, open_engine, usable_algorithms, writing
from rcsops.errors import DatabaseError

FULL = {"MD5": "a" * 32, "SHA-256": "b" * 64, "SHA-512-256": "c" * 64}
DOMAIN = "rcs.example"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    url = f"sqlite:///{tmp_path}/a.db"
    with writing(open_engine(url, create=True), url) as connection:
        create_tables(connection)
        yield connection


@pytest.fixture
def subscribers(connection: Connection) -> Subscribers:
    return Subscribers(connection)


def names(subscribers: Subscribers, **options: object) -> list[str]:
    return [each.username for each in subscribers.list(**options)]  # type: ignore[arg-type]


def test_an_account_is_kept_with_its_hashes_and_no_password(
    subscribers: Subscribers, connection: Connection
) -> None:
    subscribers.add("bob", DOMAIN, FULL)
    found = subscribers.get("bob", DOMAIN)
    assert found is not None
    assert found.aor == "bob@rcs.example"
    assert found.ha1 == FULL
    row = connection.exec_driver_sql("SELECT * FROM subscriber").mappings().one()
    assert row == {
        "id": 1,
        "username": "bob",
        "domain": DOMAIN,
        "password": "",
        "ha1": FULL["MD5"],
        "ha1_sha256": FULL["SHA-256"],
        "ha1_sha512t256": FULL["SHA-512-256"],
    }


def test_the_same_account_cannot_be_added_twice(subscribers: Subscribers) -> None:
    subscribers.add("bob", DOMAIN, FULL)
    with pytest.raises(DatabaseError, match="is there already") as caught:
        subscribers.add("bob", DOMAIN, FULL)
    assert caught.value.hint == "for a new password: rcsops user passwd bob"
    subscribers.add("Bob", DOMAIN, FULL)
    subscribers.add("bob", "other.example", FULL)
    assert subscribers.count() == 3
    assert subscribers.domains() == {DOMAIN: 2, "other.example": 1}


@pytest.mark.parametrize(
    "name", ["' OR '1'='1", "bob'); DROP TABLE subscriber; --", "%", "_", "\\", "a;b=c?d/e&f"]
)
def test_what_looks_like_sql_is_text(subscribers: Subscribers, name: str) -> None:
    subscribers.add("bob", DOMAIN, FULL)
    assert subscribers.get(name, DOMAIN) is None
    assert not subscribers.remove(name, DOMAIN)
    assert not subscribers.set_password(name, DOMAIN, FULL)
    subscribers.add(name, DOMAIN, FULL)
    assert names(subscribers, pattern=name) == [name]
    assert subscribers.remove(name, DOMAIN)
    assert names(subscribers) == ["bob"]


def test_lists_are_filtered_sorted_and_paged(subscribers: Subscribers) -> None:
    for name in ("carol", "alex", "bob", "bobby"):
        subscribers.add(name, DOMAIN, FULL)
    subscribers.add("bob", "a.example", {"MD5": "x"})
    assert names(subscribers) == ["alex", "bob", "bob", "bobby", "carol"]
    assert names(subscribers, sort="id") == ["carol", "alex", "bob", "bobby", "bob"]
    assert names(subscribers, sort="domain")[0] == "bob"
    assert names(subscribers, reverse=True)[0] == "carol"
    assert names(subscribers, pattern="ob") == ["bob", "bob", "bobby"]
    assert names(subscribers, pattern="b?b") == ["bob", "bob"]
    assert names(subscribers, pattern="b*") == ["bob", "bob", "bobby"]
    assert names(subscribers, pattern="*@a.example") == ["bob"]
    assert names(subscribers, limit=2, offset=1) == ["bob", "bob"]
    assert names(subscribers, offset=4) == ["carol"]
    assert names(subscribers, lacking="SHA-256") == ["bob"]
    assert names(subscribers, domain="a.example") == ["bob"]
    assert subscribers.count(pattern="b*") == 3
    assert subscribers.count(lacking="MD5") == 0


def test_a_new_password_replaces_every_hash(subscribers: Subscribers) -> None:
    subscribers.add("bob", DOMAIN, FULL)
    assert subscribers.set_password("bob", DOMAIN, {"MD5": "d" * 32})
    found = subscribers.get("bob", DOMAIN)
    assert found is not None
    assert found.ha1 == {"MD5": "d" * 32}
    assert not subscribers.set_password("alex", DOMAIN, FULL)


def test_missing_hashes_are_counted(subscribers: Subscribers) -> None:
    assert subscribers.lacking() == {"MD5": 0, "SHA-256": 0, "SHA-512-256": 0}
    subscribers.add("bob", DOMAIN, FULL)
    subscribers.add("old", DOMAIN, {"MD5": "x"})
    lacking = subscribers.lacking(DOMAIN)
    assert lacking == {"MD5": 0, "SHA-256": 1, "SHA-512-256": 1}
    assert usable_algorithms(lacking, ("SHA-256", "MD5")) == ("MD5",)
    assert subscribers.lacking("other.example")["SHA-256"] == 0
