"""kill -9 at random moments: of MariaDB, and of rcsops itself, during import and migrate.

Nothing is lost, nothing is half there, a message says what happened, and the next command mends it.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rcsops.errors import DatabaseError
from rcsops.operations import db, users, users_bulk
from rcsops.operations.db_backup import restore, take_backup
from rcsops.settings import Project
from rcsops.testing import wait_until
from rcsops.testing.mariadb import MariaDbServer
from tests.unit.operations.conftest import Lab
from tests.unit.operations.test_db_migrate import content, same

pytestmark = [
    pytest.mark.skipif(bool(MariaDbServer.missing()), reason=MariaDbServer.missing()),
    pytest.mark.feature("faults"),
    pytest.mark.database("mariadb"),
]

ROUNDS = [pytest.param(2), pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
USERS = 3000


def start(lab: Lab, *words: str) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RCSOPS_")}
    environment["RCSOPS_ADMIN_URL"] = lab.server.admin_url
    return subprocess.Popen(
        [sys.executable, "-m", "rcsops", "-C", str(lab.root), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def run(lab: Lab, *words: str) -> str:
    process = start(lab, *words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def interrupted(lab: Lab, after: float, victim: str, *words: str) -> str:
    """Runs a command, kills the server (or the command) ``after`` so many seconds, and starts the
    server again; what the command said on stderr."""
    process = start(lab, *words)

    def kill() -> None:
        time.sleep(after)
        if victim == "mariadb":
            lab.server.kill()
        else:
            # The command and the processes that it started; unless it was quicker.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    _, err = process.communicate(timeout=120)
    killer.join()
    if victim == "mariadb":
        lab.server.start()
        if process.returncode != 0:
            assert process.returncode == 1
            assert err.startswith("error: "), err
            assert "hint: " in err
    else:
        # The server ends the statement that it was given, also when nobody waits for it any more.
        wait_until(lambda: not working(lab), 60, what="the end of the last statement")
    assert "Traceback" not in err
    return err


def working(lab: Lab) -> int:
    """How many connections work in the database."""
    query = f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '{lab.name}'"
    return int(lab.admin(query)[0][0] or 0)


def duration(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def refill(lab: Lab, project: Project) -> None:
    lab.in_database("DELETE FROM subscriber")
    users.add_user(project, "first", password="sesame-1")


@pytest.mark.parametrize("victim", ["mariadb", "rcsops"])
@pytest.mark.parametrize("rounds", ROUNDS)
def test_import(tmp_path: Path, victim: str, rounds: int) -> None:
    file = tmp_path / "users.csv"
    file.write_text("user,password\n" + "".join(f"user{n},sesame-{n}\n" for n in range(USERS)))
    dice = random.Random(f"{victim} {rounds}")
    with MariaDbServer() as server:
        lab = Lab(server, tmp_path / "lab")
        project = lab.create("3.6.8")
        refill(lab, project)
        usual = duration(lambda: run(lab, "user", "import", str(file)))
        for _ in range(rounds):
            refill(lab, project)
            after = dice.uniform(0.2, 1.1) * usual
            interrupted(lab, after, victim, "user", "import", str(file))
            assert users.list_users(project, limit=1).total in (1, USERS + 1)
            run(lab, "user", "import", "--replace", str(file))
            assert users.list_users(project, limit=1).total == USERS + 1
            assert db.status(project).problems == ()


@pytest.mark.parametrize("victim", ["mariadb", "rcsops"])
@pytest.mark.parametrize("rounds", ROUNDS)
def test_migrate(tmp_path: Path, victim: str, rounds: int) -> None:
    dice = random.Random(f"{victim} {rounds}")
    with MariaDbServer() as server:
        lab = Lab(server, tmp_path / "lab")
        old = lab.create("3.0.2")
        lines = "".join(f"user{n},{n:032x}\n" for n in range(USERS))
        with (tmp_path / "users.csv").open("w+") as file:
            file.write(f"user,ha1\n{lines}")
            file.seek(0)
            users_bulk.import_users(old, file, "csv")
        lab.in_database(
            "INSERT INTO location (username, contact, expires) "
            "SELECT username, CONCAT('sip:', username, '@h'), 4000000000 FROM subscriber",
            "INSERT INTO silo (username, body) SELECT username, username FROM subscriber",
        )
        before = content(old)
        kept = take_backup(old, old.settings.database_url, tmp_path / "kept.gz", lambda _: None)
        new = lab.project("3.6.8")
        usual = duration(lambda: run(lab, "db", "migrate", "--yes"))
        same(before, content(new))
        seen: set[str] = set()
        for _ in range(rounds):
            restore(lab.project("3.0.2"), kept.path, admin_url=server.admin_url)
            lab.project("3.6.8")
            interrupted(lab, dice.uniform(0.2, 1.1) * usual, victim, "db", "migrate", "--yes")
            seen.add(state(new, old))
            run(lab, "db", "migrate", "--yes")
            same(before, content(new))
            assert db.status(new).problems == ()
            assert not [name for name in lab.tables() if name.startswith("rcsops_")]
        # Some were killed before the tables changed places; all of those were whole.
        assert seen <= {"old", "new"}


def state(new: Project, old: Project) -> str:
    """Which release's tables are there, whole: every command of one of them works."""
    for name, project in (("new", new), ("old", old)):
        try:
            page = users.list_users(project, limit=1)
        except DatabaseError:
            continue
        assert page.total == USERS
        return name
    return "neither"
