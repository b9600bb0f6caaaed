"""A database URL as OpenSIPS writes it, which is not quite as SQLAlchemy does."""

from urllib.parse import parse_qs, unquote, urlsplit

from rcsops.errors import SettingsError
from rcsops.settings import sqlite_file


def driver(url: str) -> str:
    """The module for a database URL."""
    return "db_mysql" if sqlite_file(url) is None else "db_sqlite"


def opensips_url(url: str) -> str:
    """``mysql+mysqldb://user:p%2Bw@host/name?…`` as ``mysql://user:p+w@host/name``.

    Nothing is percent-encoded there, and what has a meaning in a URL cannot stand in a password.
    Raises `SettingsError` for what cannot be written.
    """
    file = sqlite_file(url)
    if file is not None:
        if not file.is_absolute():
            raise SettingsError(f"{url}: the server needs an absolute path to its SQLite file")
        return f"sqlite://{file}"
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    for name, value, refused in (("name", user, ":@/["), ("password", password, "@/")):
        if set(value) & set(refused) or any(each in value for each in '"\\'):
            raise SettingsError(
                f"the {name} of the database's user holds a character that OpenSIPS cannot take",
                hint=f'none of {refused} " \\ is possible; '
                "for a new password: rcsops db create --new-password",
            )
    host = parts.hostname or "localhost"
    if "unix_socket" in parse_qs(parts.query):
        if host not in ("localhost", "127.0.0.1"):
            raise SettingsError("database.url has both a host and a unix_socket")
        raise SettingsError(
            "OpenSIPS cannot be told the socket of a MySQL server",
            hint="leave unix_socket out of database.url: localhost is its usual socket, "
            "127.0.0.1 goes over TCP",
        )
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    login = f"{user}:{password}@" if password else (f"{user}@" if user else "")
    return f"mysql://{login}{host}{port}{unquote(parts.path)}"
