"""A MariaDB of our own for tests: its files in a temporary directory, its socket in it too."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from rcsops.errors import EngineError
from rcsops.testing.process import ManagedProcess
from rcsops.testing.waiting import free_port

PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
_START_SECONDS = 60.0


class MariaDbServer:
    """A running MariaDB on loopback; a context manager.

    ``socket`` and ``port`` are where it listens. Its administrator is the system user that runs
    the tests, by the socket; nobody needs a password for that. ``missing()`` says why it cannot be
    run here, "" when it can.
    """

    def __init__(self, *options: str) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.options = options
        # Short, for the socket's path; and not below a directory that the user mysql may not enter.
        self.directory = Path(tempfile.mkdtemp(prefix="rcsops-mariadb-"))
        self._process: ManagedProcess | None = None

    @staticmethod
    def missing() -> str:
        """Why MariaDB cannot be run here; "" when it can."""
        for program in ("mariadbd", "mariadb-install-db"):
            if shutil.which(program, path=PATH) is None:
                return f"{program} is not installed (apt-get install mariadb-server)"
        try:
            import MySQLdb  # noqa: F401
        except ImportError as error:
            return f"mysqlclient is not installed ({error})"
        return ""

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.directory / "mysql.sock"

    @property
    def log(self) -> Path:
        """What it has printed."""
        return self.directory / "mariadbd.log"

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def user(self) -> str:
        """The administrator's name."""
        return pwd.getpwuid(os.geteuid()).pw_name

    @property
    def admin_url(self) -> str:
        """The administrator's URL, by the socket."""
        return f"mysql://{self.user}@localhost/?unix_socket={quote(str(self.socket))}"

    def url(self, database: str, user: str = "opensips") -> str:
        """The URL of a database over TCP, without a password: what an OpenSIPS can use too."""
        return f"mysql://{user}@{self.host}:{self.port}/{database}"

    def socket_url(self, database: str, user: str = "opensips") -> str:
        """The URL of a database by the socket, without a password."""
        return f"mysql://{user}@localhost/{database}?unix_socket={quote(str(self.socket))}"

    def start(self) -> None:
        """Makes its files where they are missing, starts it and waits until it answers."""
        data = self.directory / "data"
        if not data.exists():
            self._install(data)
        program = shutil.which("mariadbd", path=PATH)
        assert program is not None
        self._process = ManagedProcess(
            [
                program,
                "--no-defaults",
                *self._as_user(),
                f"--datadir={data}",
                f"--socket={self.socket}",
                f"--bind-address={self.host}",
                f"--port={self.port}",
                f"--pid-file={self.directory}/mariadbd.pid",
                f"--tmpdir={self.directory}",
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=32M",
                "--skip-log-bin",
                "--skip-name-resolve",
                *self.options,
            ],
            log=self.log,
            ready=self._answers,
            timeout=_START_SECONDS,
        )
        self._process.start()

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` starts it again on what it left."""
        if self._process is not None:
            self._process.stop(number=signal.SIGKILL)
            self._process = None

    def stop(self) -> None:
        """Ends it and removes its files."""
        if self._process is not None:
            self._process.stop(timeout=30)
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "MariaDbServer":
        try:
            self.start()
        except BaseException:
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

    def _install(self, data: Path) -> None:
        program = shutil.which("mariadb-install-db", path=PATH)
        assert program is not None
        if os.geteuid() == 0:
            shutil.chown(self.directory, "mysql")
        self.directory.chmod(0o755)
        done = subprocess.run(  # noqa: S603
            [
                program,
                "--no-defaults",
                *self._as_user(),
                f"--datadir={data}",
                # Who starts removes the temporary tables that it finds, also those of another.
                f"--tmpdir={self.directory}",
                "--skip-test-db",
                "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={self.user}",
                "--innodb-log-file-size=32M",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            # Advice of many lines stands below the reason.
            wrong = [line for line in done.stdout.splitlines() if "ERROR" in line]
            said = "\n".join(wrong) or done.stdout[-2000:]
            raise EngineError(f"MariaDB could not make its files: {said}")

    @staticmethod
    def _as_user() -> list[str]:
        # MariaDB refuses to run as root unless it is told which user to become.
        return ["--user=mysql"] if os.geteuid() == 0 else []

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        import MySQLdb

        try:
            MySQLdb.connect(unix_socket=str(self.socket), user=self.user, connect_timeout=2).close()
        except MySQLdb.Error:
            return False
        return True
