"""How long ``rcsops user add`` takes as a command, beside what else adds a user.

    python benchmarks/user_add.py [--rounds 15]

Into the table of one OpenSIPS project on a MariaDB of its own, each as a process from its start to
its end, one after the other in every round: ``rcsops user add NAME --password-stdin`` (which checks
the tables and the name, writes the hashes, and keeps them for the agent), ``opensips-cli user add``
(PyPI: opensipscli, beside this interpreter), and the ``mariadb`` client with an INSERT of hashes
that are ready, which is the least that any way can take. Peers that are not here are left out. The
medians count: exit code 1 if ours takes longer than opensips-cli.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rcsops.operations import db
from rcsops.operations.names import UserName
from rcsops.operations.users import hashes
from rcsops.settings import Project, secret_name
from rcsops.testing import MariaDbServer

DOMAIN = "rcs.example"
RELEASE = "3.6.8"
OURS, PEER, LEAST = "rcsops user add", "opensips-cli user add", "mariadb, INSERT"


def seconds(command: list[str], stdin: str, root: Path) -> float:
    """Runs it to its end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RCSOPS_")}
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=root, env=environment, input=stdin, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - started
    # opensips-cli's exit code is 1 for a user that it added: the rows are counted in the end.
    if done.returncode not in (0, 1) or "ERROR" in done.stderr:
        sys.exit(f"{command[0]}: exit code {done.returncode}: {done.stderr or done.stdout}")
    return took


def ways(root: Path, server: MariaDbServer) -> dict[str, Callable[[str], tuple[list[str], str]]]:
    """What each way is for a name: the command, and what it reads."""
    project = Project.find(root)
    password = project.secrets.get(secret_name(server.url("bench")))
    assert password is not None

    def ours(name: str) -> tuple[list[str], str]:
        words = ["-C", str(root), "user", "add", name, "--password-stdin"]
        return [sys.executable, "-m", "rcsops", *words], f"of {name}\n"

    def theirs(name: str) -> tuple[list[str], str]:
        config = root / "opensips-cli.cfg"
        return [str(cli), "-f", str(config), "-x", "user", "add", f"{name}@{DOMAIN}", "of it"], ""

    def least(name: str) -> tuple[list[str], str]:
        ready = hashes(UserName(name, DOMAIN), f"of {name}")
        values = "', '".join((name, DOMAIN, *ready.values()))
        statement = (
            "INSERT INTO subscriber (username, domain, ha1, ha1_sha256, ha1_sha512t256) "
            f"VALUES ('{values}');\n"
        )
        login = [f"--user={server.user}", f"--socket={server.socket}", "bench"]
        return [client or "", "--no-defaults", *login], statement

    found: dict[str, Callable[[str], tuple[list[str], str]]] = {OURS: ours}
    cli = Path(sys.executable).with_name("opensips-cli")
    if cli.exists():
        (root / "opensips-cli.cfg").write_text(
            f"[default]\ndatabase_url: mysql://opensips:{password}@127.0.0.1:{server.port}/bench\n"
            f"database_name: bench\ndomain: {DOMAIN}\nplain_text_passwords: false\n"
        )
        found[PEER] = theirs
    client = shutil.which("mariadb")
    if client:
        found[LEAST] = least
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="rcsops user add beside other ways")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if reason := MariaDbServer.missing():
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory() as name, MariaDbServer() as server:
        root = Path(name)
        (root / "rcsops.toml").write_text(
            f'engine = "opensips"\nrelease = "{RELEASE}"\n'
            f'[database]\nurl = "{server.url("bench")}"\n'
        )
        db.create(Project.find(root), admin_url=server.admin_url)
        chosen = ways(root, server)
        times: dict[str, list[float]] = {what: [] for what in chosen}
        # The first round fills the caches of the files.
        for number in range(-1, options.rounds):
            for index, (what, make) in enumerate(chosen.items()):
                took = seconds(*make(f"user{index}-{number}"), root)
                if number >= 0:
                    times[what].append(took)
        written = db.status(Project.find(root)).accounts
    if written != (options.rounds + 1) * len(chosen):
        sys.exit(f"{written} users were written")
    medians = {what: statistics.median(each) for what, each in times.items()}
    for what, median in medians.items():
        print(f"{what:<24} {median:7.3f} s   {medians[OURS] / median:5.2f}")
    print("the last column: ours, in times of it; the goal beside opensips-cli is at most 1")
    return 0 if medians[OURS] <= medians.get(PEER, medians[OURS]) else 1


if __name__ == "__main__":
    sys.exit(main())
