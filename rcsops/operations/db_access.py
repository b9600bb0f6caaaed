"""The database of a project: which tables it should have, and who may change them."""

from collections.abc import Callable, Iterable

from rcsops.database.admin import Administrator, find_administrator
from rcsops.database.engine import open_engine, reading
from rcsops.database.failures import NOT_LET_IN, error_number
from rcsops.database.mysql_account import ServerAccount, generated_password, look, make_account
from rcsops.database.mysql_url import MysqlUrl
from rcsops.database.shapes import EMBEDDED, Shape, shape_of
from rcsops.errors import DatabaseError
from rcsops.opensips.releases import release_line
from rcsops.settings import Project, secret_name, url_password, url_with_password


def project_shape(project: Project) -> Shape:
    """The tables that the project's engine works with; raises `DatabaseError` for a release whose
    tables are not known."""
    if project.settings.engine == "embedded":
        return EMBEDDED
    return shape_of(release_line(project.settings.release))


def accessible(url: str) -> DatabaseError | None:
    """None when the user of ``url`` is let into the database, or the error for which it is not.

    Raises `DatabaseError` for what no administrator can mend (the server does not answer).
    """
    try:
        with reading(open_engine(url), url) as connection:
            connection.exec_driver_sql("SELECT 1")
    except DatabaseError as error:
        if error_number(error) in NOT_LET_IN:
            return error
        raise
    return None


class MysqlAccess:
    """The administrator of a MySQL database, looked for when one is needed, and the URL with the
    password as soon as there is one."""

    def __init__(
        self,
        project: Project,
        *,
        admin_url: str | None = None,
        ask: Callable[[str], str] | None = None,
    ) -> None:
        self.project = project
        self.url = project.settings.database_url
        if url_password(self.url) is None:
            # Kept since the settings were read, perhaps.
            kept = project.secrets.get(secret_name(self.url))
            self.url = self.url if kept is None else url_with_password(self.url, kept)
        self.place = MysqlUrl.parse(self.url)
        self.place.check_names()
        self._admin_url = admin_url
        self._ask = ask
        self._admin: Administrator | None = None

    @property
    def admin(self) -> Administrator:
        """Somebody who may make tables; raises `DatabaseError`."""
        if self._admin is None:
            self._admin = find_administrator(self.url, admin_url=self._admin_url, ask=self._ask)
        return self._admin

    def close(self) -> None:
        """Ends the administrator's connection."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def run(self, statements: Iterable[str]) -> None:
        """Runs an administrator's statements in this database; raises `DatabaseError`."""
        self.admin.run([f"USE `{self.place.database}`", *statements])

    def ensure_account(self, *, new_password: bool = False) -> bool:
        """Makes database and user where they are missing, and keeps the password; whether anything
        had to be made. Raises `DatabaseError`."""
        refusal = accessible(self.url)
        if refusal is None and not new_password:
            return False
        found = look(self.admin, self.place)
        key = secret_name(self.url)
        kept = self.project.secrets.get(key)
        given = self.place.password if self.place.password != kept else None
        self._refuse_stranger(found, refusal, new_password)
        password = given or (None if new_password else kept) or generated_password()
        if given is None and password != kept:
            # Before the server hears of it: what it knows and we do not would lock us out.
            self.project.make_state_dir()
            self.project.secrets.put(key, password)
        make_account(self.admin, self.place, password, change_password=new_password)
        self.url = url_with_password(self.url, password)
        if (still := accessible(self.url)) is not None:
            raise still
        return True

    def _refuse_stranger(
        self, found: ServerAccount, refusal: DatabaseError | None, new_password: bool
    ) -> None:
        """Another project's user keeps its password."""
        if new_password or refusal is None or error_number(refusal) in (1044, 1049, 1142):
            return
        if found.hosts and url_password(self.url) is None:
            raise DatabaseError(
                f"the server has a user {self.place.user!r} already, and its password is not known "
                "here",
                hint="give this project a user and a database of its own in rcsops.toml "
                f"(mysql://lab@{self.place.place}/lab), or change the password for all who use "
                "it: rcsops db create --new-password",
            )
        if found.hosts:
            raise refusal
