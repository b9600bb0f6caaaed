"""Making a MySQL database and the user that works in it."""

import re
import secrets
from dataclasses import dataclass

from rcsops.database.admin import Administrator
from rcsops.database.ddl import create_database
from rcsops.database.mysql_url import MysqlUrl
from rcsops.database.tables import foreign_database
from rcsops.errors import DatabaseError

# What OpenSIPS and our own commands do with rows. Tables are the administrator's.
RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_PLAIN_PASSWORD = re.compile(r"[A-Za-z0-9_.~-]+")


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """What the server knows: whether the database is there, and the hosts that the user may come
    from."""

    database: bool
    hosts: tuple[str, ...]


def generated_password() -> str:
    """A password with 190 bits of randomness that needs no escaping in SQL or in a URL; with a
    letter of each kind, a digit and a sign, which some servers insist on."""
    return f"{secrets.token_hex(24)}-Ab1"


def look(admin: Administrator, place: MysqlUrl) -> ServerAccount:
    """What is there already; raises `DatabaseError` when the database is another program's."""
    known = admin.rows(
        "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA "  # noqa: S608
        f"WHERE SCHEMA_NAME = '{place.database}'"
    )
    tables = admin.rows(
        "SELECT TABLE_NAME FROM information_schema.TABLES "  # noqa: S608
        f"WHERE TABLE_SCHEMA = '{place.database}'"
    )
    names = {str(row[0]) for row in tables}
    if names and "version" not in names:
        raise foreign_database(names)
    hosts = admin.rows(f"SELECT Host FROM mysql.user WHERE User = '{place.user}'")  # noqa: S608
    return ServerAccount(bool(known), tuple(str(row[0]) for row in hosts))


def make_account(
    admin: Administrator, place: MysqlUrl, password: str, *, change_password: bool
) -> None:
    """Makes the database, the user and its rights where they are missing.

    ``change_password`` gives this password to a user that is there. What is there stays; doing it
    twice changes nothing. Raises `DatabaseError`.
    """
    if not _PLAIN_PASSWORD.fullmatch(password):
        raise DatabaseError(
            "rcsops makes no user with such a password: letters, digits and _.~- will do",
            hint="leave the password out of database.url, and one is generated",
        )
    hosts = _hosts(admin, place)
    users = ", ".join(f"'{place.user}'@'{host}' IDENTIFIED BY '{password}'" for host in hosts)
    # An underscore stands for any character in the name of a database that is granted.
    granted = place.database.replace("_", "\\_")
    admin.run(
        [
            create_database(place.database),
            f"CREATE USER IF NOT EXISTS {users}",
            *([f"ALTER USER {users}"] if change_password else []),
            *(f"GRANT {RIGHTS} ON `{granted}`.* TO '{place.user}'@'{host}'" for host in hosts),
        ]
    )


def drop_account(admin: Administrator, place: MysqlUrl, *, user: bool) -> bool:
    """Drops the database, and with ``user`` its user too, unless that user has another database;
    whether the user was dropped."""
    granted = place.database.replace("_", "\\\\_")
    others = admin.rows(
        "SELECT Db FROM mysql.db "  # noqa: S608
        f"WHERE User = '{place.user}' AND Db NOT IN ('{place.database}', '{granted}')"
    )
    admin.run([f"DROP DATABASE IF EXISTS `{place.database}`"])
    if not user:
        return False
    hosts = admin.rows(f"SELECT Host FROM mysql.user WHERE User = '{place.user}'")  # noqa: S608
    if others:
        name = place.database.replace("_", "\\_")
        admin.run(
            f"REVOKE {RIGHTS} ON `{name}`.* FROM '{place.user}'@'{host[0]}'" for host in hosts
        )
        return False
    admin.run(f"DROP USER '{place.user}'@'{host[0]}'" for host in hosts)
    return True


def _hosts(admin: Administrator, place: MysqlUrl) -> tuple[str, ...]:
    if place.local:
        return _LOCAL_HOSTS
    # From another machine the user comes from where the administrator comes from now.
    rows = admin.rows("SELECT SUBSTRING_INDEX(USER(), '@', -1)")
    return (str(rows[0][0]),)
