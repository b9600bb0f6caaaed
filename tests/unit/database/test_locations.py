import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from rcsops.database import ContactRow, create_tables, locations, open_engine, writing

FULL = ContactRow(
    contact_id=2**62 + 1,
    username="bob",
    domain="rcs.example",
    contact="sip:bob@192.0.2.7:5070;transport=tcp",
    expires=5000,
    received="sip:198.51.100.1:40000",
    path="<sip:edge.rcs.example;lr>",
    q=0.5,
    callid="a84b4c76e66710",
    cseq=314159,
    last_modified=datetime.datetime(2026, 11, 23, 22, 17, 17),
    flags=1,
    cflags="NAT",
    user_agent="rcsops",
    socket="udp:127.0.0.1:5060",
    methods=8191,
    sip_instance='"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"',
    kv_store="{}",
    attr="x",
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    url = f"sqlite:///{tmp_path}/a.db"
    with writing(open_engine(url, create=True), url) as connection:
        create_tables(connection)
        yield connection


def short(number: int, user: str = "bob", expires: int = 100) -> ContactRow:
    return ContactRow(number, user, "rcs.example", f"sip:{user}@192.0.2.{number}", expires)


def test_every_column_survives(connection: Connection) -> None:
    locations.save(connection, [FULL, short(1)])
    assert locations.load_all(connection) == [short(1), FULL]
    assert locations.last_contact_id(connection) == 2**62 + 1


def test_saving_again_replaces(connection: Connection) -> None:
    locations.save(connection, [short(1), short(2)])
    locations.save(connection, [short(1, expires=900), short(3)])
    assert locations.load_all(connection) == [short(1, expires=900), short(2), short(3)]
    locations.save(connection, [])


def test_contacts_are_found_by_account_and_by_time(connection: Connection) -> None:
    rows = [short(1, expires=50), short(2), short(3, "alex"), short(4, "Bob")]
    locations.save(connection, rows)
    assert locations.contacts_of(connection, "bob", "rcs.example") == rows[:2]
    assert locations.load_all(connection, now=50) == rows[1:]
    assert locations.remove_expired(connection, 50) == 1
    assert locations.load_all(connection) == rows[1:]


def test_contacts_are_removed(connection: Connection) -> None:
    assert locations.last_contact_id(connection) == 0
    locations.save(connection, [short(number) for number in range(1, 1201)])
    assert locations.remove(connection, range(1, 1100)) == 1099
    assert locations.remove(connection, []) == 0
    locations.save(connection, [short(2000, "alex")])
    assert locations.remove_account(connection, "bob", "rcs.example") == 101
    assert locations.load_all(connection) == [short(2000, "alex")]
