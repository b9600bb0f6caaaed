"""A database URL as OpenSIPS writes it, which is not quite as SQLAlchemy does."""

from urllib.parse import quote, unquote, urlsplit

from rcsops.errors import SettingsError
from rcsops.settings import refuse_socket, sqlite_file


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
    refuse_socket(url)
    parts = urlsplit(url)
    # OpenSIPS undoes percent-encoding too, in every part; so what means something in a URL, in a
    # string of its configuration, or to its preprocessor, is written that way.
    user = quote(unquote(parts.username or ""), safe="")
    password = quote(unquote(parts.password or ""), safe="")
    host = parts.hostname or "localhost"
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    login = f"{user}:{password}@" if password else (f"{user}@" if user else "")
    return f"mysql://{login}{host}{port}{parts.path}"
