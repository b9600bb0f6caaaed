"""``rcsops load`` against servers that are not ours: Kamailio, and an OpenSIPS."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rcsops.testing import KamailioServer
from rcsops.testing.opensips import OpenSipsServer

NAMES = [f"user{number}" for number in range(12)]
SHORT = ("--agents", "12", "--rate", "6", "--duration", "4", "--ramp", "1", "--think", "0.05")


def run(directory: Path, address: str) -> dict[str, object]:
    """A mixed load on the server at ``address``; its result."""
    users = directory / "users.csv"
    users.write_text("user,password\n" + "".join(f"{name},of {name}\n" for name in NAMES))
    command = [*(sys.executable, "-m", "rcsops", "load", "--server", address), *SHORT]
    done = subprocess.run(
        [*command, "--domain", "rcs.example", "--users", str(users), "--json"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr or done.stdout
    result: dict[str, object] = json.loads(done.stdout)
    return result


def check(result: dict[str, object]) -> None:
    assert result["joined"] == len(NAMES)
    operations = result["operations"]
    assert isinstance(operations, dict)
    for name, operation in operations.items():
        assert operation["succeeded"] == operation["started"], (name, operation["causes"])
    assert operations["invite"]["succeeded"] > 3
    assert operations["message"]["succeeded"] > 3


@pytest.mark.feature("rcsops load")
@pytest.mark.server("Kamailio")
@pytest.mark.skipif(bool(KamailioServer.missing()), reason=KamailioServer.missing())
def test_kamailio(tmp_path: Path) -> None:
    with KamailioServer(tmp_path / "kamailio", domain="rcs.example") as server:
        for name in NAMES:
            server.add_user(name, f"of {name}")
        check(run(tmp_path, server.address))


@pytest.mark.feature("rcsops load")
def test_opensips(opensips: OpenSipsServer, tmp_path: Path) -> None:
    for name in NAMES:
        opensips.add_user(name, f"of {name}")
    check(run(tmp_path, opensips.address))
