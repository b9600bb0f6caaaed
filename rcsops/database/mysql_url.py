"""The parts of a MySQL URL."""

import re
from dataclasses import dataclass

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from rcsops.errors import DatabaseError
from rcsops.settings import sqlite_file

_NAME = re.compile(r"[A-Za-z0-9_$-]{1,64}")
_USER = re.compile(r"[A-Za-z0-9_.$-]{1,32}")
_LOCAL = ("", "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class MysqlUrl:
    """Where a database is and who asks; ``database`` is "" for a server alone.

    ``socket`` is the path of a Unix socket, "" for the default one of the client's library (host
    ``localhost``) or for TCP (any other host).
    """

    user: str
    password: str | None
    host: str
    port: int | None
    database: str
    socket: str

    @classmethod
    def parse(cls, url: str) -> "MysqlUrl":
        """The parts of ``mysql://user:password@host:port/name?unix_socket=/path``; raises
        `DatabaseError`."""
        parsed = parsed_url(url)
        socket = parsed.query.get("unix_socket", "")
        return cls(
            user=parsed.username or "",
            password=parsed.password,
            host=parsed.host or "",
            port=parsed.port,
            database=parsed.database or "",
            socket=socket if isinstance(socket, str) else socket[-1],
        )

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        return bool(self.socket) or self.host in _LOCAL

    @property
    def by_socket(self) -> bool:
        """Whether the server that is meant is surely the one behind the socket."""
        return (
            bool(self.socket)
            or self.host in ("", "localhost")
            or (self.local and self.port in (None, 3306))
        )

    @property
    def place(self) -> str:
        """The server, for a person to read."""
        if self.socket:
            return self.socket
        return f"{self.host or 'localhost'}{f':{self.port}' if self.port else ''}"

    @property
    def named(self) -> str:
        """The URL of the server for a person to fill in."""
        if self.socket:
            return f"mysql://ADMIN@localhost/?unix_socket={self.socket}"
        return f"mysql://ADMIN@{self.place}"

    def server(self, user: str, password: str | None = None, *, by_socket: bool = False) -> str:
        """The URL of the same server without a database, for another user."""
        host = "localhost" if by_socket else self.host
        url = URL.create(
            "mysql+mysqldb",
            username=user or None,
            password=password,
            host=host or "localhost",
            port=None if by_socket else self.port,
            query={"unix_socket": self.socket} if self.socket else {},
        )
        return url.render_as_string(hide_password=False)

    def check_names(self) -> None:
        """Raises `DatabaseError` unless user and database have names that need no escaping in SQL,
        in OpenSIPS's URL or in a shell."""
        if not _NAME.fullmatch(self.database):
            raise DatabaseError(
                f"{self.database!r} will not do as the name of a database",
                hint="letters, digits, _, $ and - will: mysql://opensips@localhost/opensips",
            )
        if not _USER.fullmatch(self.user):
            raise DatabaseError(
                f"{self.user!r} will not do as the name of a database user",
                hint="name one in database.url: mysql://opensips@localhost/opensips",
            )


def parsed_url(url: str) -> URL:
    """SQLAlchemy's URL, with the one driver that is used for MySQL and MariaDB alike; raises
    `DatabaseError`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(
            "database.url cannot be read",
            hint='write "sqlite:///file.db" or "mysql://user@host/name"',
        ) from error
    # The dialect called mariadb would not see what is said of tables for mysql.
    return parsed.set(drivername="mysql+mysqldb") if sqlite_file(url) is None else parsed
