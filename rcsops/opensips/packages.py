"""The Debian packages of a build: which are missing, and the command that installs them."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from rcsops.errors import EngineError
from rcsops.opensips.needs import Need

DATABASE_SERVER = "mariadb-server"
_LISTS = Path("/var/lib/apt/lists")
_SOCKETS = (Path("/run/mysqld/mysqld.sock"), Path("/var/run/mysqld/mysqld.sock"))
_SERVERS = ("mariadbd", "mysqld")
_COMPILE_SECONDS = 30.0
_LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")


def missing_needs(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Those of ``needs`` that are not there: a program that is not on PATH, a header that the
    compiler does not find (dpkg's word is not asked for: a library may come from elsewhere)."""
    return tuple(need for need in needs if not _present(need))


def _present(need: Need) -> bool:
    if any(_which(program) is None for program in need.programs):
        return False
    return not need.headers or _compiles(need)


def _compiles(need: Need) -> bool:
    compiler = _which("gcc") or _which("cc")
    if compiler is None:
        # Without a compiler, which is reported itself, dpkg is all there is to ask.
        return _installed(need.package)
    options: list[str] = []
    if need.config and _which(need.config[0]):
        shown = _output(list(need.config)).split()
        options = [word if word.startswith("-") else f"-I{word}" for word in shown]
    text = "".join(f"#include <{header}>\n" for header in need.headers)
    with tempfile.TemporaryDirectory(prefix="rcsops-") as directory:
        probe = Path(directory) / "probe.c"
        probe.write_text(text)
        done = subprocess.run(  # noqa: S603
            [compiler, *options, "-fsyntax-only", str(probe)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMPILE_SECONDS,
            check=False,
        )
    return done.returncode == 0


def _installed(package: str) -> bool:
    if _which("dpkg-query") is None:
        return False
    return "install ok installed" in _output(["dpkg-query", "-W", "-f", "${Status}", package])


def wants_database_server(url: str) -> bool:
    """Whether a database server is to run on this machine for ``url`` ("" is undecided yet)."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return False
    return (parts.hostname or "") in _LOCAL_HOSTS


def has_database_server() -> bool:
    """Whether MariaDB or MySQL is installed."""
    return any(_which(name) for name in _SERVERS)


def database_server_runs() -> bool:
    """Whether a local MariaDB or MySQL takes connections."""
    for path in _SOCKETS:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2.0)
            if path.exists() and probe.connect_ex(str(path)) == 0:
                return True
    with socket.socket() as probe:
        probe.settimeout(2.0)
        return probe.connect_ex(("127.0.0.1", 3306)) == 0


def install_commands(packages: Iterable[str]) -> list[list[str]]:
    """The commands that install these packages: with sudo when we are not root; the lists of
    packages first where there are none, as in a container."""
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    commands = [install]
    if not any(_LISTS.glob("*_Packages*")):
        commands.insert(0, ["apt-get", "update"])
    if os.geteuid() != 0:
        commands = [["sudo", *command] for command in commands]
    return commands


def install_command(packages: Iterable[str]) -> str:
    """The same as one line to type."""
    return " && ".join(" ".join(command) for command in install_commands(packages))


def start_commands() -> list[list[str]]:
    """The commands that start the database server, with systemd or without."""
    if Path("/run/systemd/system").is_dir():
        command = ["systemctl", "enable", "--now", "mariadb"]
    else:
        command = ["service", "mariadb", "start"]
    return [command if os.geteuid() == 0 else ["sudo", *command]]


def run_commands(commands: Iterable[list[str]], log: Path) -> None:
    """Runs these, in this terminal for sudo's question; what they print goes to ``log``.

    Raises `EngineError` with the first line that says what is wrong.
    """
    for command in commands:
        if _which(command[0]) is None:
            raise EngineError(
                f"{command[0]} is not installed here: {' '.join(command)} cannot be run",
                hint="rcsops installs packages of Debian and Ubuntu; elsewhere install by hand "
                "what they contain",
            )
        with log.open("ab") as file:
            file.write(f"\n$ {' '.join(command)}\n".encode())
            file.flush()
            offset = file.tell()
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
            done = subprocess.run(  # noqa: S603
                command, stdout=file, stderr=file, env=environment, check=False
            )
        if done.returncode != 0:
            said = log.read_bytes()[offset:].decode("utf-8", "replace").splitlines()
            errors = [line for line in said if line.startswith(("E:", "sudo:"))] or said[-1:]
            raise EngineError(
                f"{' '.join(command)}: {errors[0] if errors else f'exit code {done.returncode}'}",
                hint=f"run it by hand; the full log: {log}",
            )


def _which(program: str) -> str | None:
    # Servers live in sbin, which is not on everybody's PATH.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")


def _output(command: list[str]) -> str:
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout
