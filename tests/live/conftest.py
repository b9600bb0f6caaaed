"""The real servers that several tests share: every OpenSIPS of the machine, on every database."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rcsops.testing.mariadb import MariaDbServer
from rcsops.testing.opensips import OpenSipsServer, find_opensips
from tests.live.phones import Phone

INSTALLATIONS = find_opensips()
NO_OPENSIPS = "no OpenSIPS with db_sqlite here; RCSOPS_TEST_OPENSIPS names the prefixes of some"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbServer]:
    if reason := MariaDbServer.missing():
        pytest.skip(reason)
    with MariaDbServer() as server:
        yield server


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes an empty database of MariaDB, with a user of its own; the URL to it."""
    numbers = itertools.count(1)

    def make() -> str:
        import MySQLdb

        server: MariaDbServer = request.getfixturevalue("mariadb")
        name = f"os{next(numbers)}"
        connection = MySQLdb.connect(unix_socket=str(server.socket), user=server.user)
        try:
            cursor = connection.cursor()
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'p%+@/word'")
            cursor.execute(f"GRANT ALL ON {name}.* TO {name}@'127.0.0.1'")
        finally:
            connection.close()
        return server.url(name, name).replace(f"{name}@", f"{name}:p%25%2B%40%2Fword@")

    return make


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a name short enough for a socket in it."""
    made = Path(tempfile.mkdtemp(prefix="rcsops-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


_CASES = [
    pytest.param(
        SimpleNamespace(installation=installation, database=database),
        id=f"{installation.version}-{database}",
    )
    for installation in INSTALLATIONS
    for database in ("sqlite", "mariadb")
    if database == "sqlite" or "db_mysql" in installation.modules
]
_MISSING = [pytest.param(None, id="none", marks=pytest.mark.skip(reason=NO_OPENSIPS))]


@pytest.fixture(scope="module", params=_CASES or _MISSING)
def opensips(
    request: pytest.FixtureRequest, new_database: Callable[[], str]
) -> Iterator[OpenSipsServer]:
    """A running OpenSIPS, one after the other."""
    case = request.param
    directory = Path(tempfile.mkdtemp(prefix="rcsops-"))
    url = new_database() if case.database == "mariadb" else None
    try:
        with OpenSipsServer(case.installation, directory, database_url=url) as server:
            yield server
            assert server.running, server.log.read_text()[-2000:]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


_names = itertools.count(1)


@pytest.fixture
def phone(opensips: OpenSipsServer) -> Iterator[Callable[..., Phone]]:
    """Makes phones, each with an account of its own (or that of ``name``)."""
    made: list[Phone] = []

    def make(transport: str = "udp", *, name: str = "", **more: str) -> Phone:
        if not name:
            name = f"user{next(_names)}"
            opensips.add_user(name, f"of {name}")
        made.append(Phone(opensips.address, name, transport=transport, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()
