"""The upstream opensips-cli (PyPI: opensipscli) asks the embedded server over MI."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import EmbeddedServer

pytestmark = [
    pytest.mark.server("opensips-cli"),
    pytest.mark.feature("management of the embedded server"),
]

ROOT = Path(__file__).parent.parent.parent
# Its database back end is imported on use only; MI needs the opensips package.
PACKAGES = ("opensipscli==0.4.1",)


@pytest.fixture(scope="module")
def opensips_cli() -> Path:
    """The program, in a virtual environment of its own that is kept for the next run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "rcsops-tests" / f"opensipscli-py{sys.version_info[1]}"
    program = directory / "bin" / "opensips-cli"
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with (directory.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.exists():
                _run([sys.executable, "-m", "venv", str(directory)])
                _run([str(directory / "bin" / "pip"), "install", "-q", *PACKAGES])
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"opensipscli cannot be installed: {said.strip()[-300:]}")
    return program


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    # The configuration's paths are those of a project whose own directory holds the run directory.
    with (
        tempfile.TemporaryDirectory(prefix="rcsops-") as directory,
        EmbeddedServer(Path(directory) / "project", {"bob": "secret"}) as made,
    ):
        text = (ROOT / "opensips-cli.cfg").read_text()
        (made.directory / "opensips-cli.cfg").write_text(text)
        yield made


@pytest.fixture(params=["fifo", "datagram"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Cli:
    def __init__(self, program: Path, server: EmbeddedServer, transport: str) -> None:
        self._command = [str(program), "-f", "opensips-cli.cfg"]
        self._command += ["-o", f"communication_type={transport}", "-x", "mi"]
        self._server = server

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*self._command, *words],
            cwd=self._server.directory,
            env=self._server.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def cli(opensips_cli: Path, server: EmbeddedServer, transport: str) -> Cli:
    return Cli(opensips_cli, server, transport)


def test_uptime_version_ps_which(cli: Cli, server: EmbeddedServer) -> None:
    assert json.loads(cli("uptime"))["Up time"].endswith("[sec]")
    assert json.loads(cli("version"))["Server"].startswith("rcsops (")
    processes = json.loads(cli("ps"))["Processes"]
    assert processes[0]["PID"] == server.json("status")["pid"]
    assert "ul_dump" in json.loads(cli("which"))


def test_statistics(cli: Cli) -> None:
    found = json.loads(cli("get_statistics", "all"))
    assert int(found["usrloc:registered_users"]) == 0
    assert "core:rcv_requests" in found


def test_contacts(cli: Cli) -> None:
    assert json.loads(cli("ul_dump"))["Domains"][0]["name"] == "location"
    said = cli("ul_show_contact", "table_name=location", "aor=bob@rcs.example")
    assert "404" in said
    assert "AOR not found" in said


def test_what_is_not_there(cli: Cli) -> None:
    assert "uptime" not in cli("no_such_command")


def test_kill_ends_the_server(opensips_cli: Path, server: EmbeddedServer) -> None:
    Cli(opensips_cli, server, "fifo")("kill")
    from rcsops.testing.waiting import wait_until

    wait_until(lambda: server.command("status", check=False).returncode == 3, what="the end")
    server.command("start")
