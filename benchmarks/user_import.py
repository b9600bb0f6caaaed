"""How long ``rcsops user import`` takes beside a bare LOAD DATA and the hashing alone.

    python benchmarks/user_import.py [--users 100000] [--rounds 3]

A MariaDB of its own is started. Each round empties the table and times, in turn: LOAD DATA LOCAL
INFILE of ready rows into the same table, the three hashes of every user one after the other, and
the whole command ``rcsops user import users.csv`` (start of the interpreter, reading, checking,
hashing, writing). The medians count. Exit code 1 if the command takes more than three times the sum
of the first two. Beside that: ``rcsops user add``, and the import into SQLite.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import MySQLdb

from rcsops.operations import db
from rcsops.operations.names import UserName
from rcsops.operations.users import hashes
from rcsops.settings import Project, secret_name
from rcsops.testing import MariaDbServer

GOAL = 3.0
DOMAIN = "rcs.example"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def command(root: Path, *words: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RCSOPS_")}
    subprocess.run(
        [sys.executable, "-m", "rcsops", "-C", str(root), *words],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="rcsops user import beside LOAD DATA")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if reason := MariaDbServer.missing():
        parser.error(reason)
    with tempfile.TemporaryDirectory() as name, MariaDbServer("--local-infile=1") as server:
        root = Path(name)
        (root / "rcsops.toml").write_text(
            f'engine = "opensips"\nrelease = "3.6.8"\n[database]\nurl = "{server.url("bench")}"\n'
        )
        db.create(Project.find(root), admin_url=server.admin_url)
        return measure(root, server, arguments.users, arguments.rounds)


def measure(root: Path, server: MariaDbServer, number: int, rounds: int) -> int:
    project = Project.find(root)
    password = project.secrets.get(secret_name(server.url("bench")))
    assert password is not None
    users = [(f"user{n:06}", f"password-{n}") for n in range(number)]
    (root / "users.csv").write_text(
        "user,password\n" + "".join(f"{user},{word}\n" for user, word in users)
    )
    ready = root / "ready.tsv"
    with ready.open("w") as file:
        for user, word in users:
            file.write("\t".join((user, DOMAIN, *hashes(UserName(user, DOMAIN), word).values())))
            file.write("\n")
    connection = MySQLdb.connect(
        unix_socket=str(server.socket),
        user="opensips",
        passwd=password,
        db="bench",
        local_infile=1,
    )

    def empty() -> None:
        connection.cursor().execute("DELETE FROM subscriber")
        connection.commit()

    def load_data() -> None:
        connection.cursor().execute(
            f"LOAD DATA LOCAL INFILE '{ready}' INTO TABLE subscriber "
            "(username, domain, ha1, ha1_sha256, ha1_sha512t256)"
        )
        connection.commit()

    def hash_all() -> None:
        for user, word in users:
            hashes(UserName(user, DOMAIN), word)

    times: dict[str, list[float]] = {"LOAD DATA": [], "hashing": [], "rcsops user import": []}
    for _ in range(rounds):
        empty()
        times["LOAD DATA"].append(seconds(load_data))
        times["hashing"].append(seconds(hash_all))
        empty()
        times["rcsops user import"].append(
            seconds(lambda: command(root, "user", "import", str(root / "users.csv")))
        )
    times["rcsops user add"] = [
        seconds(lambda n=n: command(root, "user", "add", f"one{n}", "--generate"))  # type: ignore[misc]
        for n in range(5)
    ]
    lite = root / "lite"
    lite.mkdir()
    (lite / "rcsops.toml").write_text("")
    command(lite, "db", "create")
    times["import into SQLite"] = [
        seconds(lambda: command(lite, "user", "import", str(root / "users.csv")))
    ]
    connection.close()
    medians = {what: statistics.median(each) for what, each in times.items()}
    for what, median in medians.items():
        print(f"{what:<22} {median:8.3f} s")
    ratio = medians["rcsops user import"] / (medians["LOAD DATA"] + medians["hashing"])
    print(f"{number} users: {ratio:.2f} of LOAD DATA and hashing; the goal is at most {GOAL}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
