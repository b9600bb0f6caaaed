"""kill -9 at random moments, of OpenSIPS and of the MariaDB under it: nothing lost, and the next
command mends it. (`test_database_faults` has the same for the commands that change the database.)
"""

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.database import open_engine, reading
from rcsops.opensips.installed import Installation
from rcsops.opensips.process import server_processes
from rcsops.settings import Project
from rcsops.testing import wait_until
from rcsops.testing.mariadb import MariaDbServer
from tests.live.phones import DOMAIN, Phone
from tests.live.subjects import CASES, INSTALLATIONS
from tests.live.test_opensips_engine import Lab, lab, lab_of  # noqa: F401

pytestmark = [pytest.mark.feature("faults"), pytest.mark.timeout(600)]

# Twenty moments of each kind, on all releases and databases together.
MOMENTS = 20
ROUNDS = math.ceil(MOMENTS / (len(CASES) or 1))
STARTS = math.ceil(MOMENTS / (len(INSTALLATIONS) or 1))


class Sender:
    """Sends MESSAGEs to somebody away, one after the other, and counts those that were accepted."""

    def __init__(self, phone: Phone, uri: str) -> None:
        self.sent = self.accepted = 0
        self._phone, self._uri = phone, uri
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._halt.wait(0.05):
            self.sent += 1
            request = self._phone.request("MESSAGE", self._uri, body=f"number {self.sent}")
            try:
                self.accepted += self._phone.ask(request, 1.0).status == 202
            except (TimeoutError, OSError):
                # The server is gone; what was not answered need not be there.
                continue


def count(lab: Lab, table: str, where: str = "1 = 1") -> int:  # noqa: F811
    """How many rows are in a table of the project's database."""
    url = Project.find(lab.directory, environment={}).settings.database_url
    with reading(open_engine(url), url) as connection:
        query = f"SELECT COUNT(*) FROM {table} WHERE {where}"
        return int(connection.exec_driver_sql(query).scalar_one())


@pytest.mark.parametrize("victim", ["main process", "worker"])
def test_kill_9_of_opensips_while_it_works(lab: Lab, victim: str, tmp_path: Path) -> None:  # noqa: F811
    """Every message that was accepted is there, and so is everybody who was registered before."""
    dice = random.Random(f"{victim} {lab.installation.version}")
    # The silo keeps so many messages for a user and no more: each round has another.
    away = [f"away{number}" for number in range(ROUNDS)]
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(
        "user,password\n" + "".join(f"{name},of {name}\n" for name in ("alice", "carol", *away))
    )
    lab.ok("user", "import", str(accounts))
    lab.ok("start")
    address = f"127.0.0.1:{lab.port}"
    with Phone(address, "alice") as alice, Phone(address, "carol") as carol:
        assert carol.register().status == 200
        # From memory it is written to the database every ten seconds.
        wait_until(lambda: count(lab, "location") == 1, 60, what="the contact in the database")
        for name in away:
            with Sender(alice, f"sip:{name}@{DOMAIN}") as sender:
                wait_until(lambda s=sender: s.accepted, 60, what="a message")  # type: ignore[misc]
                time.sleep(dice.uniform(0, 0.5))
                found = server_processes(lab.run)
                workers = [pid for pid in found.pids if pid != found.main]
                doomed = found.main if victim == "main process" else dice.choice(workers)
                os.kill(doomed, signal.SIGKILL)
                if victim == "worker":
                    wait_until(lambda: not lab.processes, 60, what="the end of the others")
            assert lab.json("status")["fault"] != ""
            assert lab.json("start")["already"] is False
            assert lab.options()
            kept = count(lab, "silo", f"username = '{name}'")
            assert sender.accepted <= kept <= sender.sent
        assert "carol@" in lab.ok("contacts")
        request = alice.authorized(alice.request("MESSAGE", carol.uri, body="still there?"))
        alice.send(request)
        carol.answer(carol.incoming("MESSAGE"), 200)
        assert alice.final(request).status == 200


@pytest.fixture
def mysql_lab(installation: Installation) -> Iterator[tuple[Lab, MariaDbServer]]:
    """A project on a MariaDB of its own, which the test may kill."""
    if "db_mysql" not in installation.modules:
        pytest.skip("this OpenSIPS has no db_mysql")
    if reason := MariaDbServer.missing():
        pytest.skip(reason)
    with MariaDbServer() as server:
        created = ("--admin-url", server.admin_url)
        with lab_of(installation, server.url("opensips"), created) as made:
            made.ok("user", "add", "bob", "--password-stdin", stdin="of bob\n")
            yield made, server


@pytest.mark.database("mariadb")
def test_kill_9_of_the_database_while_the_server_starts(
    mysql_lab: tuple[Lab, MariaDbServer],
) -> None:
    lab, server = mysql_lab  # noqa: F811
    dice = random.Random(lab.installation.version)
    began = time.monotonic()
    lab.ok("start")
    usual = time.monotonic() - began
    outcomes = []
    for _ in range(STARTS):
        lab.ok("stop")
        process = subprocess.Popen(
            [sys.executable, "-m", "rcsops", "start"],
            cwd=lab.directory,
            env=lab.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(dice.uniform(0.1, 1.1) * usual)
        server.kill()
        _, said = process.communicate(timeout=60)
        outcomes.append(process.returncode)
        assert "Traceback" not in said, said
        if process.returncode != 0:
            assert process.returncode == 1
            assert said.startswith("error: "), said
            assert "hint: " in said, said
            assert not lab.processes
        elif lab.processes:
            assert "database cannot be used" in lab.json("status")["fault"]
        server.start()
        lab.ok("start")
        assert lab.json("status")["fault"] == ""
        assert lab.options()
        with Phone(f"127.0.0.1:{lab.port}", "bob") as bob:
            assert bob.register().status == 200
            assert bob.register(expires=0).status == 200
        assert count(lab, "subscriber") == 1
    # Some were killed before the server had what it needs.
    assert 1 in outcomes, outcomes


@pytest.mark.database("mariadb")
def test_a_database_that_went_away(mysql_lab: tuple[Lab, MariaDbServer]) -> None:
    lab, server = mysql_lab  # noqa: F811
    lab.ok("start")
    assert lab.json("status")["fault"] == ""
    lab.ok("stop")
    server.kill()
    failed = lab("start")
    assert failed.returncode == 1
    assert "hint:" in failed.stderr
    assert not lab.processes
    server.start()
    lab.ok("start")
    server.kill()
    assert "database cannot be used" in lab.json("status")["fault"]
    server.start()
    assert lab.json("status")["fault"] == ""
    assert lab.options()


@pytest.mark.database("mariadb")
def test_stop_waits_for_what_is_written_slowly(mysql_lab: tuple[Lab, MariaDbServer]) -> None:
    """The contacts of memory are written when the server ends; a slow database loses none."""
    lab, server = mysql_lab  # noqa: F811
    number = 18
    lines = "".join(f"u{n},of user u{n}\n" for n in range(number))
    lab.ok("user", "import", "-", stdin=f"user,password\n{lines}")
    admin = open_engine(server.admin_url)
    with admin.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER opensips.slowly BEFORE INSERT ON opensips.location"
            " FOR EACH ROW DO SLEEP(1)"
        )
    lab.ok("start")
    for n in range(number):
        source = f"127.0.1.{n // 10 + 1}"
        password = f"of user u{n}"
        with Phone(f"127.0.0.1:{lab.port}", f"u{n}", password=password, source=source) as phone:
            assert phone.register().status == 200
    stopped = lab.json("stop")
    assert stopped["how"] != "SIGKILL"
    assert count(lab, "location") == number
