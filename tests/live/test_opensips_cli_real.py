"""The upstream opensips-cli on a real OpenSIPS, with the file that is rendered for it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rcsops.testing.mariadb import MariaDbServer
from rcsops.testing.opensips import OpenSipsServer
from tests.live.phones import DOMAIN, Phone
from tests.live.test_opensips_cli import opensips_cli  # noqa: F401

pytestmark = pytest.mark.feature("opensips-cli")

Cli = Callable[..., str]


@pytest.fixture
def cli(opensips: OpenSipsServer, opensips_cli: Path) -> Cli:  # noqa: F811
    def run(*words: str, options: tuple[str, ...] = ()) -> str:
        more = [each for option in options for each in ("-o", option)]
        done = subprocess.run(
            [opensips_cli, "-f", opensips.directory / "opensips-cli.cfg", *more, "-x", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=opensips.directory,
        )
        # Its exit code is 1 for a user that was added: what it says is what counts.
        assert "ERROR" not in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("transport", ["fifo", "datagram"])
def test_mi(opensips: OpenSipsServer, cli: Cli, transport: str) -> None:
    options = (f"communication_type={transport}",)
    # opensips-cli takes what the server lists alone; from 4.0 on that is MODULE:COMMAND.
    new = opensips.installation.line >= (4, 0)
    version, statistics = (
        ("core:version", "statistics:get") if new else ("version", "get_statistics")
    )
    said = json.loads(cli("mi", version, options=options))
    assert opensips.installation.version in said["Server"]
    groups = json.loads(cli("mi", statistics, "usrloc:", options=options))
    assert "usrloc:registered_users" in groups


def test_user(opensips: OpenSipsServer, cli: Cli) -> None:
    cli("user", "add", f"dave@{DOMAIN}", "of dave")
    with Phone(opensips.address, "dave") as dave:
        assert dave.register().status == 200
    cli("user", "password", f"dave@{DOMAIN}", "of dave too")
    found = opensips.rows("SELECT ha1 FROM subscriber WHERE username = 'dave'")
    assert found == [(Phone.hash_of("dave", "of dave too"),)]
    cli("user", "delete", f"dave@{DOMAIN}")
    with Phone(opensips.address, "dave") as dave:
        assert dave.register().status == 401


def test_database(opensips: OpenSipsServer, cli: Cli, request: pytest.FixtureRequest) -> None:
    """The tables of the release's own scripts."""
    wanted = {"version", "subscriber", "location", "silo", "domain", "dialog"}
    if opensips.model.driver == "db_sqlite":
        other = opensips.directory / "other.db"
        cli("database", "create", str(other))
        import sqlite3

        with sqlite3.connect(other) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master").fetchall()
    else:
        import MySQLdb

        server: MariaDbServer = request.getfixturevalue("mariadb")
        name = f"cli{os.urandom(4).hex()}"
        connection = MySQLdb.connect(unix_socket=str(server.socket), user=server.user)
        cursor = connection.cursor()
        cursor.execute(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'admin'")
        cursor.execute(f"GRANT ALL ON *.* TO {name}@'127.0.0.1' WITH GRANT OPTION")
        admin = f"mysql://{name}:admin@127.0.0.1:{server.port}"
        cli("database", "create", name, options=(f"database_admin_url={admin}",))
        cursor.execute(f"SHOW TABLES FROM {name}")
        rows = cursor.fetchall()
        connection.close()
    assert wanted <= {row[0] for row in rows}
