"""URLs of databases, as settings have them: their passwords, and what they name."""

import re
from pathlib import Path
from urllib.parse import quote

from rcsops.errors import SettingsError


def masked_url(url: str) -> str:
    """A database URL with its password hidden, fit for a person's eyes and for logs."""
    return re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url)


_SOCKET = re.compile(r"[?&](unix_socket=[^&]*)")
_AUTHORITY = re.compile(r"(?P<scheme>[^:/]+://)(?P<user>[^:@/]*)(?::(?P<password>[^/]*))?@")


def url_password(url: str) -> str | None:
    """The password in a database URL, as it is written there (percent-encoded); None without."""
    match = _AUTHORITY.match(url)
    return match["password"] if match else None


def secret_name(url: str) -> str:
    """The name under which the password of a database's user is kept: user and server, since all
    databases there know that user by one password."""
    scheme, _, rest = url.partition("://")
    match = _AUTHORITY.match(url)
    if match is not None:
        rest = f"{match['user']}@{url[match.end() :]}"
    server, _, tail = rest.partition("/")
    socket = _SOCKET.search(tail)
    kind = "sqlite" if scheme.lower() == "sqlite" else "mysql"
    return f"{kind}://{server}{f'/?{socket[1]}' if socket else ''}"


def refuse_socket(url: str) -> None:
    """Raises `SettingsError` when the URL says by which Unix socket a MySQL server is reached: an
    OpenSIPS cannot be told."""
    if sqlite_file(url) is None and _SOCKET.search(url.rpartition("@")[2]):
        raise SettingsError(
            "database.url names a unix_socket, which OpenSIPS cannot be told",
            hint="leave unix_socket out: with localhost OpenSIPS takes the usual socket, with "
            "127.0.0.1:PORT it goes over TCP",
        )


def url_with_password(url: str, password: str) -> str:
    """The URL with this password (percent-encoded here); one without a user stays as it is."""
    match = _AUTHORITY.match(url)
    if match is None:
        return url
    return f"{match['scheme']}{match['user']}:{quote(password, safe='')}@{url[match.end() :]}"


def sqlite_file(url: str) -> Path | None:
    """The file of an ``sqlite:///`` URL, None for any other database."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() != "sqlite":
        return None
    # Everything is the name: a directory may well be called "what?".
    return Path(rest.removeprefix("/"))
