"""A database URL as OpenSIPS writes it, which is not quite as SQLAlchemy does."""

from urllib.parse import parse_qs, quote, unquote, urlsplit

from rcsops.errors import SettingsError
from rcsops.settings import sqlite_file


def driver(url: str) -> str:
    """The module for a database URL."""
    return "db_mysql" if sqlite_file(url) is None else "db_sqlite"


def opensips_url(url: str) -> str:
    """``mysql+mysqldb://user:p%2Bw@host/name?charset=…`` as ``mysql://user:p%2Bw@host/name``.

    Raises `SettingsError` for what cannot be written.
    """
    file = sqlite_file(url)
    if file is not None:
        if not file.is_absolute():
            raise SettingsError(f"{url}: the server needs an absolute path to its SQLite file")
        return f"sqlite://{file}"
    parts = urlsplit(url)
    # OpenSIPS undoes percent-encoding too, in every part; so what means something in a URL, in a
    # string of its configuration, or to its preprocessor, is written that way.
    user = quote(unquote(parts.username or ""), safe="")
    password = quote(unquote(parts.password or ""), safe="")
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
    return f"mysql://{login}{host}{port}{parts.path}"
