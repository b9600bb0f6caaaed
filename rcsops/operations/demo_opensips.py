"""A throw-away OpenSIPS for the demo: one that is on this machine, with a database of its own."""

import secrets
from pathlib import Path

from rcsops.errors import EngineError, RcsopsError, UsageError
from rcsops.opensips.installed import Installation, find, inspect
from rcsops.operations import db
from rcsops.operations.adopt import on_this_machine
from rcsops.operations.init import change_settings
from rcsops.settings import Project, sqlite_file

__all__ = ["DATABASES", "DemoOpenSips", "find_opensips"]

DATABASES = ("auto", "mysql", "sqlite")


def find_opensips(project: Project, prefix: Path | None) -> Installation:
    """The OpenSIPS for the demo: ``prefix``'s, the project's, or one on this machine.

    Raises `EngineError` when there is none.
    """
    if prefix is not None:
        return inspect(prefix)
    found = find(project)
    if found is not None:
        return found
    try:
        return inspect(on_this_machine())
    except EngineError as error:
        raise EngineError(
            "there is no OpenSIPS to show", hint="type: rcsops install (or name one by --prefix)"
        ) from error


class DemoOpenSips:
    """Makes the demo's project one of ``installation``, and removes its database afterwards.

    ``wanted`` is one of `DATABASES`: "auto" takes a MySQL database where the person may make one
    without being asked for a password, and SQLite otherwise. ``database`` says which it became.
    """

    def __init__(self, installation: Installation, wanted: str = "auto") -> None:
        self._installation = installation
        self._wanted = wanted
        self.database = ""

    def prepare(self, project: Project) -> Project:
        """The project with its settings changed and its database made; raises `RcsopsError`."""
        installation = self._installation
        change_settings(
            project,
            {
                "engine": "opensips",
                "release": installation.version.partition("-")[0],
                "prefix": str(installation.prefix),
            },
        )
        errors: list[RcsopsError] = []
        for module, url, name in self._choices(project):
            if module not in installation.modules:
                continue
            change_settings(project, {"database": {"url": url}})
            changed = Project.find(project.directory, environment={})
            try:
                self.database = f"{name} ({db.create(changed).server})"
            except RcsopsError as error:
                errors.append(error)
                continue
            # Read anew: the password of the database has been made meanwhile.
            return Project.find(project.directory, environment={})
        if errors:
            raise errors[0]
        raise UsageError(
            f"OpenSIPS {installation.version} has no module for that database",
            hint="build it: rcsops install --modules db_sqlite",
        )

    def remove(self, project: Project) -> None:
        """Drops a MySQL database; SQLite's goes with the directory of the demo."""
        if self.database and sqlite_file(project.settings.database_url) is None:
            db.drop(project)

    def _choices(self, project: Project) -> list[tuple[str, str, str]]:
        name = f"rcsops_demo_{secrets.token_hex(4)}"
        found = []
        if self._wanted in ("auto", "mysql"):
            found.append(("db_mysql", f"mysql://{name}@localhost/{name}", "a MySQL database"))
        if self._wanted in ("auto", "sqlite"):
            file = project.state_dir / "demo.db"
            found.append(("db_sqlite", f"sqlite:///{file}", "an SQLite database"))
        return found
