"""What a driver's exception means to a person, and what to do about it."""

import os
import shutil
import sqlite3
import sys
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from rcsops.database.mysql_url import MysqlUrl
from rcsops.errors import DatabaseError
from rcsops.settings import masked_url, sqlite_file, url_password

_CREATE = "type: rcsops db create"

# text that SQLite says -> (what happened, hint); the first that matches counts
_SQLITE: tuple[tuple[str, str, str], ...] = (
    ("locked", "is locked by another process", "wait until that is done, then try again"),
    (
        "not a database",
        "is not an SQLite database",
        "choose another database.url, or move that file away and type: rcsops db create",
    ),
    (
        "malformed",
        "is damaged",
        "put a copy from before in its place, or move it away and type: rcsops db create",
    ),
    ("readonly", "cannot be written", "check who owns the file and its directory"),
    ("disk is full", "cannot grow: the disk is full", "make room on that disk, then try again"),
    ("disk I/O error", "cannot be read or written: the disk failed", "check the disk"),
    ("unable to open", "cannot be opened", "check who may read that file and its directory"),
    ("no such table", "lacks a table", _CREATE),
    ("no such column", "has tables of another shape", "type: rcsops db status"),
)

_RIGHTS = (
    "the user of database.url may only read and write rows; as the administrator: sudo rcsops …, "
    "or --admin-url mysql://ADMIN@HOST"
)
_PLUGIN = (
    "write localhost into database.url (the socket needs no TLS), or give the user a password of "
    "the old kind: ALTER USER … IDENTIFIED WITH mysql_native_password BY '…'"
)

# error number of MySQL and MariaDB -> (what happened, hint); an empty hint: `_start_hint`
_MYSQL: dict[int, tuple[str, str]] = {
    1021: ("cannot grow: the disk is full", "make room on the server's disk"),
    1040: ("has no connection left", "raise max_connections, or end other clients"),
    1044: ("refuses this user the database", _RIGHTS),
    1045: (
        "refuses the user or the password",
        "check the user in database.url; where rcsops made it: rcsops db create --new-password",
    ),
    1049: ("is not there", _CREATE),
    1054: ("has tables of another shape", "type: rcsops db status"),
    1062: ("holds this already", "rcsops user list shows the accounts that are"),
    1071: (
        "keeps its tables in an old format, with keys too short for utf8mb4",
        "set innodb_default_row_format=dynamic on the server, or take a newer one",
    ),
    1114: ("cannot grow: the disk is full", "make room on the server's disk"),
    1118: ("has rows too short for this table", "set innodb_default_row_format=dynamic"),
    1130: ("lets nobody in from this machine", "grant the user this machine's address"),
    1142: ("refuses this user that statement", _RIGHTS),
    1146: ("lacks a table", _CREATE),
    1153: ("refuses so long a statement", "raise max_allowed_packet on the server"),
    1205: ("is locked by another client", "try again"),
    1213: ("is locked by another client", "try again"),
    1227: ("refuses this user that statement", _RIGHTS),
    1251: ("wants a login that this client does not know", _PLUGIN),
    1290: ("may only be read", "the server runs read-only: take the primary server"),
    1366: ("cannot hold that text", "its character set is wrong; type: rcsops db status"),
    1396: ("could not make or change that user", "the server has it already; name another one"),
    1406: ("refuses a value that is too long", ""),
    1698: (
        "does not know this user, or lets it in by the system account only (unix_socket)",
        "run as that system user, or give database.url a user with a password",
    ),
    1819: ("asks for another kind of password", "loosen its password policy, or give one yourself"),
    1836: ("may only be read", "the server runs read-only: take the primary server"),
    2002: ("does not answer", ""),
    2003: ("does not answer", ""),
    2005: ("is on a host that nobody knows", "check the host in database.url"),
    2006: ("closed the connection", ""),
    2012: ("closed the connection", ""),
    2013: ("closed the connection", ""),
    2026: ("and this machine cannot agree on TLS", "check the server's certificate"),
    2054: ("wants a login that this client does not know", _PLUGIN),
    2059: ("wants a login that this client does not know", _PLUGIN),
    2061: ("wants TLS, or its socket, for this kind of password", _PLUGIN),
}
UNREACHABLE = frozenset({2002, 2003, 2006, 2012, 2013})
"""Nobody answers: the server does not run, or no way leads to it."""

# Which of these it is for a user that is not made yet depends on who else the server knows.
_UNKNOWN_USER = {1045, 1130, 1698}

NOT_LET_IN = frozenset({*_UNKNOWN_USER, 1044, 1049, 1142})
"""The server lets a user in only once it knows user, password, database and rights."""


def database_error(error: Exception, url: str) -> DatabaseError:
    """The `DatabaseError` that says what ``error`` of SQLAlchemy or a driver means."""
    shown = _shown(url)
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, ModuleNotFoundError):
        return missing_driver(error)
    if isinstance(original, sqlite3.Error):
        said = str(original)
        for text, meaning, hint in _SQLITE:
            if text in said:
                return DatabaseError(f"the database {shown} {meaning}", hint=hint)
        return DatabaseError(f"the database {shown}: {said}")
    arguments: tuple[object, ...] = getattr(original, "args", ())
    if len(arguments) >= 2 and isinstance(arguments[0], int):
        number, said = arguments[0], str(arguments[1])
        meaning, hint = _MYSQL.get(number, ("refuses", ""))
        if number in UNREACHABLE:
            hint = _start_hint(url)
        elif number in _UNKNOWN_USER and url_password(url) is None:
            hint = f"{_CREATE} (as root, or with --admin-url), which makes the user"
        meaning += f" ({number}: {said})"
        return DatabaseError(f"the database {shown} {meaning}", hint=hint)
    if isinstance(error, SQLAlchemyError):
        return DatabaseError(f"the database {shown}: {original}")
    return DatabaseError(f"the database {shown}: {error}")


def error_number(error: BaseException | None) -> int:
    """The number that MySQL gave the error that ``error`` stands for, 0 without one."""
    while error is not None:
        original = error.orig if isinstance(error, DBAPIError) else error
        arguments: tuple[object, ...] = getattr(original, "args", ())
        if len(arguments) >= 2 and isinstance(arguments[0], int):
            return arguments[0]
        error = error.__cause__
    return 0


def _start_hint(url: str) -> str:
    if not MysqlUrl.parse(url).local:
        return "is the server running, and does its firewall let this machine in?"
    programs = ("mariadbd", "mysqld")
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    if not any(shutil.which(program, path=path) for program in programs):
        return "no MariaDB is installed here: sudo apt install mariadb-server"
    if Path("/run/systemd/system").is_dir():
        return "is the server running? sudo systemctl start mariadb"
    return "is the server running? sudo service mariadb start"


def missing_driver(error: ModuleNotFoundError) -> DatabaseError:
    """The error for a database whose Python driver is not installed."""
    if error.name == "MySQLdb":
        return DatabaseError(
            "MySQL needs the Python package mysqlclient, which is not installed",
            hint="sudo apt install default-libmysqlclient-dev build-essential pkg-config "
            f"python3-dev, then: {sys.executable} -m pip install mysqlclient",
        )
    return DatabaseError(f"the Python package {error.name} is not installed")


def _shown(url: str) -> str:
    file = sqlite_file(url)
    return masked_url(url) if file is None else str(file)
