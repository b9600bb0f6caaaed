"""The real servers that several tests share: every OpenSIPS of the machine, on every database."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rcsops.opensips.installed import Installation
from rcsops.testing import EmbeddedServer, KamailioServer
from rcsops.testing.mariadb import MariaDbServer
from rcsops.testing.opensips import OpenSipsServer
from tests.live import matrix
from tests.live.phones import DOMAIN, Phone
from tests.live.subjects import (
    CASES,
    EMBEDDED,
    INSTALLATIONS,
    KAMAILIO,
    NO_OPENSIPS,
    Case,
    Other,
    Server,
    Subject,
    subject_of,
)

HERE = Path(__file__).parent

__all__ = ["INSTALLATIONS", "NO_OPENSIPS"]


# --- which tests run, and the record of what came of them ------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("matrix")
    if path is None:
        return
    partly = [config.getoption(name, None) for name in ("keyword", "deselect", "lf", "smoke")]
    asked = [Path(str(each)).resolve() for each in config.args]
    if any(partly) or config.getoption("markexpr") or asked != [HERE]:
        raise pytest.UsageError("--matrix takes the whole of tests/live -m '', nothing less")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(
            Recorder(Path(path), config.getoption("release")), "rcsops-matrix"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    smoke, release = config.getoption("smoke"), config.getoption("release")
    one = INSTALLATIONS[0].version if INSTALLATIONS else ""
    dropped = []
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        subject = subject_of(item)
        item.user_properties.append(("subject", list(subject)))
        on_opensips = subject.server.startswith("OpenSIPS")
        unwanted = (
            smoke
            and on_opensips
            and (item.get_closest_marker("smoke") is None or subject.release not in (one, ""))
        )
        if unwanted or (release and (subject.release or "none") != release):
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        gone = set(dropped)
        items[:] = [item for item in items if item not in gone]


class Recorder:
    """Writes the matrix when a run has come to its end, well or badly."""

    def __init__(self, path: Path, release: str | None) -> None:
        self.path, self.release = path, release
        self.commit = matrix.commit_here()
        self.record = matrix.Record()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes the outcome of a test; the two phases around it count when they went wrong."""
        if report.when != "call" and report.outcome == "passed":
            return
        subject = dict(report.user_properties).get("subject")
        assert isinstance(subject, list)
        reason = ""
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
        self.record.add(report.nodeid, Subject(*subject), report.outcome, reason)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Nothing is written of a run that was broken off, or could not begin."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            matrix.write(self.path, self.record, self.commit, self.release)


# --- the servers -----------------------------------------------------------------------------


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


def _params(found: list[Any], name: str) -> list[Any]:
    """Every OpenSIPS, or one parameter that says why there is none."""
    if not found:
        return [pytest.param(None, id="none", marks=pytest.mark.skip(reason=NO_OPENSIPS))]
    return [pytest.param(each, id=getattr(each, name)) for each in found]


ON_EVERY_RELEASE = _params(INSTALLATIONS, "version")
ON_EVERY_DATABASE = _params(CASES, "name")


@pytest.fixture(params=ON_EVERY_RELEASE)
def installation(request: pytest.FixtureRequest) -> Installation:
    """Every OpenSIPS of the machine."""
    found = request.param
    assert isinstance(found, Installation)
    return found


@pytest.fixture(params=ON_EVERY_DATABASE)
def case(request: pytest.FixtureRequest, _started: None) -> Case:
    """Every OpenSIPS of the machine on every database."""
    found = request.param
    assert isinstance(found, Case)
    return found


@pytest.fixture(scope="module")
def _started(request: pytest.FixtureRequest) -> None:
    """MariaDB, before the tests: one that a test starts would be a process that it leaves."""
    if not MariaDbServer.missing():
        request.getfixturevalue("mariadb")


@pytest.fixture
def new_server(
    case: Case, short_path: Path, new_database: Callable[[], str]
) -> Callable[..., OpenSipsServer]:
    """Makes an `OpenSipsServer` of this case, which is yet to be started."""

    def make(**changes: Any) -> OpenSipsServer:
        url = new_database() if case.database == "mariadb" else None
        return OpenSipsServer(case.installation, short_path, database_url=url, **changes)

    return make


@pytest.fixture(scope="module", params=ON_EVERY_DATABASE)
def opensips(
    request: pytest.FixtureRequest, new_database: Callable[[], str]
) -> Iterator[OpenSipsServer]:
    """A running OpenSIPS, one after the other."""
    case: Case = request.param
    directory = Path(tempfile.mkdtemp(prefix="rcsops-"))
    url = new_database() if case.database == "mariadb" else None
    try:
        with OpenSipsServer(case.installation, directory, database_url=url) as server:
            yield server
            assert server.running, server.log.read_text()[-2000:]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module", params=[EMBEDDED, KAMAILIO, *CASES], ids=lambda each: each.name)
def anywhere(request: pytest.FixtureRequest, new_database: Callable[[], str]) -> Iterator[Server]:
    """A running server, one after the other: ours, Kamailio, every OpenSIPS on every database."""
    about: Other | Case = request.param
    if about == KAMAILIO and (reason := KamailioServer.missing()):
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="rcsops-"))
    server: Server
    if isinstance(about, Case):
        url = new_database() if about.database == "mariadb" else None
        server = OpenSipsServer(about.installation, directory, database_url=url)
    elif about == KAMAILIO:
        server = KamailioServer(directory / "kamailio", domain=DOMAIN)
    else:
        server = EmbeddedServer(directory / "project")
    try:
        with server:
            yield server
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
