"""The administrator of a MySQL server: who may make databases, users and tables.

The user that OpenSIPS and these commands work as may read and write rows and nothing else, so
tables are made by somebody else: the user of ``--admin-url``, the one of ``database.url`` where it
has the rights, or root, whom the server knows by the socket (as root, or through sudo).
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from sqlalchemy import Connection, Engine, text

from rcsops.database.engine import open_engine, translated
from rcsops.database.failures import NOT_LET_IN, error_number
from rcsops.database.mysql_url import MysqlUrl
from rcsops.errors import DatabaseError, UsageError
from rcsops.settings import url_password, url_with_password

_DDL = {"ALTER", "CREATE", "DROP", "INDEX", "INSERT"}
_LACKS_RIGHTS = {1044, 1045, 1142, 1227, 1410}
_SUDO_SECONDS = 600.0
AskPassword = Callable[[str], str]
Row = tuple[str | None, ...]


class Administrator(Protocol):
    """Somebody who runs statements on the server."""

    @property
    def name(self) -> str:
        """Who that is, for a person to read."""

    def rows(self, sql: str) -> list[Row]:
        """What a query finds; raises `DatabaseError`."""

    def run(self, statements: Iterable[str]) -> None:
        """Runs statements one after the other; raises `DatabaseError` at the first that fails."""

    def close(self) -> None:
        """Ends the connection."""


class DriverAdministrator:
    """An administrator by a URL; raises `DatabaseError` when it cannot log in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine = open_engine(url)
        with translated(url):
            self._connection: Connection = self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT", no_parameters=True
            )
            self._name = str(self._connection.execute(text("SELECT CURRENT_USER()")).scalar_one())

    @property
    def name(self) -> str:
        return self._name

    def rows(self, sql: str) -> list[Row]:
        with self._with_the_grant():
            found = self._connection.exec_driver_sql(sql)
            return [tuple(None if v is None else _shown(v) for v in row) for row in found]

    def run(self, statements: Iterable[str]) -> None:
        for statement in statements:
            with self._with_the_grant():
                self._connection.exec_driver_sql(statement)

    @contextlib.contextmanager
    def _with_the_grant(self) -> Iterator[None]:
        try:
            with translated(self._url):
                yield
        except DatabaseError as error:
            if error_number(error) not in _LACKS_RIGHTS:
                raise
            user, _, host = self._name.rpartition("@")
            raise DatabaseError(
                str(error),
                hint=f"{self._name} needs the rights of an administrator: GRANT ALL PRIVILEGES ON "
                f"*.* TO '{user}'@'{host}' WITH GRANT OPTION",
            ) from error

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.close()
        self._engine.dispose()


class SudoAdministrator:
    """root by ``sudo mariadb``, whom the server knows by the socket. Statements go in on stdin, so
    that no password stands in the list of processes."""

    def __init__(self, place: MysqlUrl, *, interactive: bool) -> None:
        client = shutil.which("mariadb") or shutil.which("mysql")
        if client is None or shutil.which("sudo") is None:
            raise DatabaseError("there is no sudo, or no program mariadb, to become root with")
        self._command = ["sudo", *([] if interactive else ["-n"]), client]
        self._command += ["--no-defaults", "--batch", "--raw", "--skip-column-names"]
        if place.socket:
            self._command.append(f"--socket={place.socket}")
        self._name = str(self.rows("SELECT CURRENT_USER()")[0][0])

    @property
    def name(self) -> str:
        return self._name

    def rows(self, sql: str) -> list[Row]:
        lines = self._run(f"{sql};\n").splitlines()
        return [tuple(None if v == "NULL" else v for v in line.split("\t")) for line in lines]

    def run(self, statements: Iterable[str]) -> None:
        self._run("".join(f"{statement};\n" for statement in statements))

    def close(self) -> None:
        return None

    def _run(self, script: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603
                self._command,
                input=script,
                capture_output=True,
                text=True,
                timeout=_SUDO_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise DatabaseError(f"sudo mariadb failed: {error}") from error
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["no reason given"]
            raise DatabaseError(f"the database refuses root by its socket: {said[-1]}")
        return done.stdout


def find_administrator(
    url: str, *, admin_url: str | None = None, ask: AskPassword | None = None
) -> Administrator:
    """Somebody who may make tables in the database of ``url``.

    ``ask`` gets a password for ``admin_url`` from a person. Raises `DatabaseError` that says who
    was tried and what to do.
    """
    place = MysqlUrl.parse(url)
    if admin_url:
        return _named_administrator(_admin_url(admin_url, place, ask))
    own = _own_administrator(url)
    if own is not None:
        return own
    tried: list[str] = []
    if place.by_socket:
        for user in dict.fromkeys(("root", _system_user())):
            try:
                return DriverAdministrator(place.server(user, by_socket=True))
            except DatabaseError as error:
                tried.append(f"{user} by the socket: {error}")
        if os.geteuid() != 0:
            try:
                return SudoAdministrator(place, interactive=sys.stdin.isatty())
            except DatabaseError as error:
                tried.append(str(error))
    raise DatabaseError(
        f"nobody here may make a database on {place.place}" + (f" ({tried[0]})" if tried else ""),
        hint=f"run it as root (sudo), or name the administrator: --admin-url '{place.named}'",
    )


def _named_administrator(admin_url: str) -> Administrator:
    try:
        return DriverAdministrator(admin_url)
    except DatabaseError as error:
        admin = MysqlUrl.parse(admin_url)
        hints = {
            1045: "check the administrator's name and password"
            + (", or run it as root (sudo), whom most servers let in" if admin.local else ""),
            1130: "name an administrator who may come from this machine, or do it on the server",
            1698: f"the server knows {admin.user} by the system account alone (unix_socket): run "
            "it as root (sudo), or name an administrator who has a password",
        }
        hint = hints.get(error_number(error), error.hint)
        raise DatabaseError(str(error), hint=hint) from error


def _admin_url(admin_url: str, place: MysqlUrl, ask: AskPassword | None) -> str:
    if not admin_url.startswith(("mysql://", "mysql+mysqldb://", "mariadb://")):
        raise UsageError("--admin-url is not a MySQL URL", hint="write mysql://root@localhost")
    admin = MysqlUrl.parse(admin_url)
    if url_password(admin_url) is None and not (admin.by_socket and _by_socket(admin)) and ask:
        return url_with_password(admin_url, ask(f"Password of {admin.user} at {admin.place}"))
    return admin_url


def _by_socket(admin: MysqlUrl) -> bool:
    """Whether the server may know this user by the system account: tried before a person is asked
    for a password that there is none of."""
    try:
        DriverAdministrator(admin.server(admin.user, by_socket=True)).close()
    except DatabaseError:
        return False
    return True


def _own_administrator(url: str) -> Administrator | None:
    """The user of the URL itself, if it can log in and may make tables in its database."""
    place = MysqlUrl.parse(url)
    try:
        own = DriverAdministrator(url)
    except DatabaseError as error:
        if error_number(error) in NOT_LET_IN:
            return None
        raise
    names = {place.database, place.database.replace("_", "\\_")}
    listed = ", ".join("'" + name.replace("\\", "\\\\") + "'" for name in sorted(names))
    found = own.rows(
        "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES "  # noqa: S608
        f"WHERE GRANTEE = {_GRANTEE} "
        "UNION SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES "
        f"WHERE GRANTEE = {_GRANTEE} AND TABLE_SCHEMA IN ({listed})"
    )
    if {row[0] for row in found} >= _DDL:
        return own
    own.close()
    return None


_GRANTEE = (
    "CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', "
    "SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')"
)


def _system_user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _shown(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
