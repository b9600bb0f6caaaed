"""A real OpenSIPS for tests: one throw-away server on free ports of loopback, with the
configuration that rcsops renders, on SQLite or on a MySQL that the test brings.

No OpenSIPS is built here: `find_opensips` looks for those that the machine has.
"""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection

from rcsops.database.engine import open_engine, writing
from rcsops.database.shapes import shape_of
from rcsops.database.subscribers import Subscribers
from rcsops.database.tables import create_tables
from rcsops.errors import EngineError, RcsopsError
from rcsops.opensips.config import (
    CLI,
    ConfigModel,
    Secrets,
    driver,
    opensips_url,
    render,
    render_cli,
)
from rcsops.opensips.installed import Installation, inspect
from rcsops.sip import ALGORITHMS, hash_a1
from rcsops.testing.kamailio import answers_options
from rcsops.testing.process import ManagedProcess
from rcsops.testing.waiting import free_port

NEEDED = ("db_sqlite", "msilo", "usrloc", "auth_db")

# OpenSIPS itself gives up after 60 seconds.
_SECONDS_TO_END = 70.0


def find_opensips() -> list[Installation]:
    """Every usable OpenSIPS: the prefixes in RCSOPS_TEST_OPENSIPS (separated by ``:``), then PATH.

    Usable means that it has the modules of the configuration, SQLite's driver among them.
    """
    places = [Path(p) for p in os.environ.get("RCSOPS_TEST_OPENSIPS", "").split(":") if p]
    on_path = shutil.which("opensips") or shutil.which("opensips", path="/usr/local/sbin:/usr/sbin")
    if on_path:
        places.append(Path(on_path).resolve().parent.parent)
    found: dict[Path, Installation] = {}
    for place in places:
        with contextlib.suppress(RcsopsError):
            installation = inspect(place)
            if set(NEEDED) <= set(installation.modules):
                found[installation.binary] = installation
    return list(found.values())


class OpenSipsServer:
    """A running OpenSIPS of our own; a context manager.

    ``address`` is where it listens on UDP and TCP. ``database_url`` is an empty MySQL database,
    None for an SQLite file in ``directory``. It listens at the addresses ``also`` besides, with
    ``memory`` megabytes for what it shares; ``changes`` go into the `ConfigModel`.
    """

    def __init__(
        self,
        installation: Installation,
        directory: Path,
        *,
        domain: str = "rcs.example",
        database_url: str | None = None,
        also: tuple[str, ...] = (),
        memory: int = 64,
        **changes: Any,
    ) -> None:
        self.installation = installation
        self.directory = directory
        self.domain = domain
        self.memory = memory
        self.host = "127.0.0.1"
        self.port = free_port()
        self.database_url = database_url or f"sqlite:///{directory / 'opensips.db'}"
        self.log = directory / "opensips.log"
        values: dict[str, Any] = {
            "line": installation.line,
            "domain": domain,
            "listen": (f"udp:{self.address}", f"tcp:{self.address}", *also),
            "config_dir": str(directory),
            "run_dir": str(directory),
            "modules_dir": str(installation.modules_dir),
            "modules": frozenset(installation.modules),
            "driver": driver(self.database_url),
            # Quick to see who does not answer; and few processes.
            "workers": 2,
            "answer_seconds": 2,
            "ring_seconds": 20,
            "min_expires": 1,
        }
        self.model = ConfigModel(**values | changes)
        self._process: ManagedProcess | None = None
        self._prepared = False

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @property
    def config(self) -> Path:
        """Its opensips.cfg."""
        return self.directory / "opensips.cfg"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.running

    def prepare(self) -> None:
        """Makes the tables and writes the configuration."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._writing(create=True) as connection:
            create_tables(connection, shape_of(self.installation.line))
        secrets = Secrets(opensips_url(self.database_url), "s" * 32, "of the routes", "of the silo")
        files = dict(render(self.model, secrets).files)
        files[CLI] = render_cli(
            run_dir=str(self.directory),
            state_dir=str(self.directory),
            schema_path=str(self.installation.scripts_dir),
            domain=self.domain,
            database_url=secrets.database_url,
        )
        for name, text in files.items():
            (self.directory / name).write_text(text)
        self._prepared = True

    def start(self) -> None:
        """Starts it, and waits until it answers over UDP and TCP."""
        if not self._prepared:
            self.prepare()
        command: list[str | os.PathLike[str]] = [
            self.installation.binary,
            "-F",
            "-f",
            self.config,
            "-w",
            self.directory,
        ]
        command += ["-m", str(self.memory), "-M", "4"]
        self._process = ManagedProcess(command, log=self.log, ready=self._ready, timeout=20)
        try:
            self._process.start()
        except EngineError as error:
            raise EngineError(f"OpenSIPS did not start: {error}") from error

    def stop(self) -> None:
        """Ends it, so that it writes what is only in memory; and its workers, if need be."""
        process, self._process = self._process, None
        if process is not None:
            # It writes its contacts last: killed too early on a busy machine, it would lose them.
            process.stop(_SECONDS_TO_END)

    def __enter__(self) -> "OpenSipsServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def add_user(self, username: str, password: str, *, domain: str = "") -> None:
        """Makes an account, with every hash that this release knows, in its own domain or
        another."""
        if not self._prepared:
            self.prepare()
        domain = domain or self.domain
        hashes = {name: hash_a1(username, domain, password, name) for name in ALGORITHMS}
        with self._writing() as connection:
            line = shape_of(self.installation.line).line
            Subscribers(connection, line).add(username, domain, hashes)

    def change(self, statement: str) -> None:
        """Lets its database execute a statement."""
        with self._writing() as connection:
            connection.exec_driver_sql(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query of its database finds."""
        with self._writing() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query).fetchall()]

    def mi(self, method: str, **params: object) -> Any:
        """An MI command over the datagram socket; raises `EngineError` with what went wrong."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params:
            call["params"] = params
        mine = self.directory / f"mi.{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(mine))
            try:
                client.settimeout(5)
                client.sendto(json.dumps(call).encode(), str(self.directory / "mi.sock"))
                answer = json.loads(client.recv(65535))
            except (OSError, ValueError) as error:
                raise EngineError(f"MI does not answer {method}: {error}") from error
            finally:
                mine.unlink()
        if "error" in answer:
            raise EngineError(f"MI refused {method}: {answer['error']}")
        return answer["result"]

    @contextlib.contextmanager
    def _writing(self, *, create: bool = False) -> Iterator[Connection]:
        engine = open_engine(self.database_url, create=create)
        with writing(engine, self.database_url) as connection:
            yield connection

    def _ready(self) -> bool:
        # Processes of their own make these two, and need not be faster than the workers.
        if not all((self.directory / name).exists() for name in ("mi.sock", "fifo")):
            return False
        # From 3.4 on a child process binds the TCP port, some time after MI is there.
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex((self.host, self.port)) != 0:
                return False
        return "udp" not in self.model.transports or answers_options(self.host, self.port)
