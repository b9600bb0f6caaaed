"""Projects on a real MariaDB, each with a database and a user of its own."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from rcsops.database import open_engine, reading, writing
from rcsops.database.admin import DriverAdministrator, Row
from rcsops.operations import db
from rcsops.settings import Project
from rcsops.testing.mariadb import MariaDbServer

_numbers = itertools.count(1)


@dataclass
class Lab:
    """A project directory whose settings say OpenSIPS on MariaDB."""

    server: MariaDbServer
    root: Path
    release: str = "3.6.8"
    name: str = field(default_factory=lambda: f"lab_{next(_numbers)}")

    @property
    def url(self) -> str:
        """The URL in rcsops.toml, without a password."""
        return self.server.url(self.name, self.name)

    def project(self, release: str = "", **environment: str) -> Project:
        self.root.mkdir(exist_ok=True)
        (self.root / "rcsops.toml").write_text(
            f'engine = "opensips"\nrelease = "{release or self.release}"\n'
            f'[database]\nurl = "{self.url}"\n'
        )
        return Project.find(self.root, environment=environment)

    def create(self, release: str = "") -> Project:
        db.create(self.project(release), admin_url=self.server.admin_url)
        return self.project(release)

    def admin(self, *statements: str) -> list[Row]:
        """Runs statements as the administrator; what the last one finds."""
        admin = DriverAdministrator(self.server.admin_url)
        try:
            admin.run(statements[:-1])
            last = statements[-1]
            if last.startswith(("SELECT", "SHOW")):
                return admin.rows(last)
            admin.run([last])
            return []
        finally:
            admin.close()

    def in_database(self, *statements: str) -> None:
        self.admin(f"USE `{self.name}`", *statements)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query of the project's own user finds."""
        url = self.project().settings.database_url
        with reading(open_engine(url), url) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def tables(self) -> set[str]:
        return {str(row[0]) for row in self.admin(f"SHOW TABLES IN `{self.name}`")}


def insert(connection: Connection, table: str, **values: object) -> None:
    names = ", ".join(values)
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    marks = ", ".join([mark] * len(values))
    connection.exec_driver_sql(
        f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values())
    )


def write(project: Project, table: str, **values: object) -> None:
    """Writes a row past the operations."""
    url = project.settings.database_url
    with writing(open_engine(url), url) as connection:
        insert(connection, table, **values)


@pytest.fixture
def lab(mariadb: MariaDbServer, tmp_path: Path) -> Lab:
    return Lab(mariadb, tmp_path / "lab")
