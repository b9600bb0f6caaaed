"""A thousand agents that register, call and chat at random for a long time: ``make soak``.

RCSOPS_SOAK_SECONDS says how long (600, and 300 at least), RCSOPS_SOAK_AGENTS how many (1000),
RCSOPS_SOAK_RATE how many things begin each second (20).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import free_port
from tests.cli.conftest import Shell

SECONDS = max(300, int(os.environ.get("RCSOPS_SOAK_SECONDS", "600")))
AGENTS = int(os.environ.get("RCSOPS_SOAK_AGENTS", "1000"))
RATE = os.environ.get("RCSOPS_SOAK_RATE", "20")
SETTLE = 75  # longer than any timer of a transaction
WARM = 100  # from then on as many transactions end as begin
MIB = 1 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.timeout(SECONDS + 600),
]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Shell]:
    """A project with a server that runs."""
    shell = Shell(tmp_path)
    port = free_port()
    listen = f'["udp:127.0.0.1:{port}", "tcp:127.0.0.1:{port}"]'
    (shell.directory / "rcsops.toml").write_text(f"listen = {listen}\n")
    shell.ok("db", "create")
    shell.ok("start")
    yield shell
    shell("stop")


def growth(memory: list[int]) -> float:
    """MiB by which the lowest of the last quarter is above the highest of the first."""
    quarter = len(memory) // 4
    return (min(memory[-quarter:]) - max(memory[:quarter])) / MIB


def test_nothing_grows_and_nothing_is_lost(served: Shell) -> None:
    done = served(
        *("load", "--scenario", "mixed", "--agents", str(AGENTS), "--rate", RATE),
        *("--duration", str(SECONDS), "--settle", str(SETTLE), "--json", "--output", "soak.json"),
        limit=SECONDS + 500,
    )
    assert done.code == 0, done.err
    result = done.json
    print({name: result[name] for name in ("joined", "operations", "messages", "left")})
    assert result["joined"] == AGENTS
    for name, operation in result["operations"].items():
        assert operation["succeeded"] == operation["started"], (name, operation["causes"])
    messages = result["messages"]
    assert messages["sent"] == messages["received"] > SECONDS
    assert messages["lost"] == messages["twice"] == 0
    assert result["left"] == {"transactions": 0, "dialogs": 0, "tasks": 0, "sockets": 0}
    seconds = result["seconds"]
    running = [each for each in seconds if each["phase"] == "running" and each["time"] > WARM]
    assert growth([second["memory"] for second in running]) < 16
    assert growth([second["server_memory"] for second in running]) < 16
    counts = served.ok("status", "--json").json["counts"]
    assert counts["tm:inuse_transactions"] == 0
    assert counts["usrloc:registered_users"] == 0
