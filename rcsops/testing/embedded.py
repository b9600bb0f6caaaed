"""The embedded server for tests: a project of its own, driven by the commands."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rcsops.errors import EngineError
from rcsops.testing.waiting import free_port


class EmbeddedServer:
    """A project in ``directory`` with ``users`` (name to password), and its running server.

    A context manager. ``address`` (host:port) is where it listens on UDP and TCP; each of
    ``more`` ("tls", "ws", "wss") has a port of its own, see ``where``. ``settings`` are further
    lines of its rcsops.toml. Everything goes through the ``rcsops`` command, as a person would do
    it, with ``prefix`` before it, such as that of a `NatNetwork`.
    """

    def __init__(
        self,
        directory: Path,
        users: Mapping[str, str] | None = None,
        *,
        domain: str = "rcs.example",
        settings: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        more: Iterable[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.domain = domain
        self.host = host
        self.port = port or free_port(host)
        self._prefix = tuple(prefix)
        self._more = {transport: free_port(host) for transport in more}
        self._users = dict(users or {})
        self._settings = settings

    @property
    def address(self) -> str:
        """host:port of its UDP and TCP sockets."""
        return self.where("udp")

    def where(self, transport: str) -> str:
        """host:port of the socket for a transport."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self._more.get(transport, self.port)}"

    @property
    def settings_text(self) -> str:
        """Its rcsops.toml."""
        listen = ", ".join(f'"{each}:{self.where(each)}"' for each in ("udp", "tcp", *self._more))
        return f'domain = "{self.domain}"\nlisten = [{listen}]\n{self._settings}\n'

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands: nothing of ours that rcsops would listen to."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RCSOPS_")}
        return {**kept, "HOME": str(self.directory), "NO_COLOR": "1"}

    def command(
        self, *words: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``rcsops WORDS`` in the project; EngineError with what it printed when it fails."""
        finished = subprocess.run(  # noqa: S603
            [*self._prefix, sys.executable, "-m", "rcsops", *words],
            cwd=self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and finished.returncode != 0:
            said = (finished.stderr or finished.stdout).strip()
            raise EngineError(f"rcsops {' '.join(words)}: exit code {finished.returncode}: {said}")
        return finished

    def json(self, *words: str) -> Any:
        """What ``rcsops WORDS --json`` prints."""
        return json.loads(self.command(*words, "--json").stdout)

    def add_user(self, username: str, password: str) -> None:
        """Adds an account, and its credentials for agents of this project."""
        self.command("user", "add", username, "--password-stdin", stdin=f"{password}\n")

    def start(self) -> None:
        """Makes the project when it is not there yet, and starts the server."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self.directory / "rcsops.toml"
        if not settings.exists():
            settings.write_text(self.settings_text)
            self.command("db", "create")
            for username, password in self._users.items():
                self.add_user(username, password)
        if {"tls", "wss"} & set(self._more):
            self.command("certs")
        self.command("start")

    def stop(self) -> None:
        """Ends the server, if it runs."""
        self.command("stop", check=False)

    def __enter__(self) -> "EmbeddedServer":
        try:
            self.start()
        except BaseException:
            if self.directory.exists():
                self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
