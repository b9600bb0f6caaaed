"""What a driver's exception means to a person, and what to do about it."""

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from rcsops.errors import DatabaseError
from rcsops.settings import masked_url, sqlite_file

_START = "is the server running? sudo systemctl start mariadb"
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

# error number of MySQL and MariaDB -> (what happened, hint)
_MYSQL: dict[int, tuple[str, str]] = {
    1044: ("refuses this user the database", "grant that user its rights on the database"),
    1045: ("refuses the user or the password", "check user and password in database.url"),
    1049: ("is not there", "make it first: CREATE DATABASE … CHARACTER SET utf8mb4"),
    1114: ("cannot grow: the disk is full", "make room on the server's disk"),
    1142: ("refuses this user that statement", "grant that user its rights on the database"),
    1146: ("lacks a table", _CREATE),
    1205: ("is locked by another client", "try again"),
    1698: (
        "lets this user in by the system account only (unix_socket)",
        "run as that system user, or give database.url a user with a password",
    ),
    2002: ("does not answer", _START),
    2003: ("does not answer", _START),
    2005: ("is on a host that nobody knows", "check the host in database.url"),
    2006: ("closed the connection", _START),
    2013: ("closed the connection", _START),
}


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
        meaning += f" ({number}: {said})"
        return DatabaseError(f"the database {shown} {meaning}", hint=hint)
    if isinstance(error, SQLAlchemyError):
        return DatabaseError(f"the database {shown}: {original}")
    return DatabaseError(f"the database {shown}: {error}")


def missing_driver(error: ModuleNotFoundError) -> DatabaseError:
    """The error for a database whose Python driver is not installed."""
    if error.name == "MySQLdb":
        return DatabaseError(
            "MySQL needs the Python package mysqlclient, which is not installed",
            hint="sudo apt install default-libmysqlclient-dev build-essential pkg-config "
            "python3-dev, then: pip install 'rcsops[mysql]'",
        )
    return DatabaseError(f"the Python package {error.name} is not installed")


def _shown(url: str) -> str:
    file = sqlite_file(url)
    return masked_url(url) if file is None else str(file)
