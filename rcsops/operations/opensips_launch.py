"""The way of a real OpenSIPS from its settings to a process that answers."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rcsops.database import check_tables, open_engine, reading
from rcsops.database.shapes import shape_of
from rcsops.errors import EngineError, SettingsError, UsageError
from rcsops.opensips import ports
from rcsops.opensips.config import MAIN, SECRETS
from rcsops.opensips.installed import Installation, find, settings_prefix
from rcsops.opensips.log import find_cause
from rcsops.opensips.process import Account, command_line, end_processes, find_account, spawn
from rcsops.operations import config
from rcsops.operations.engine import POLL_SECONDS, StartOptions, answers, file_size, remove_stale
from rcsops.operations.terminations import held
from rcsops.server.run_files import RunFiles, write_private
from rcsops.settings import Listen, Project, parse_listen, sqlite_file

__all__ = ["Launch", "listen_addresses", "live_config", "record_path", "settings_part"]

_LISTEN = re.compile(r"^\s*(?:listen|socket)\s*=\s*(\S+)", re.MULTILINE)
# From here on it is the script, which can be reloaded.
_SCRIPT = "# ==== requests ===="
_LOG_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that is needed to start the server; made by `of`, which changes nothing but the
    run directory."""

    project: Project
    installation: Installation
    files: RunFiles
    account: Account | None

    @classmethod
    def of(cls, project: Project, options: StartOptions) -> "Launch":
        """Raises `EngineError` without an OpenSIPS, `UsageError` for a user that cannot be."""
        if options.trace is not None:
            raise UsageError(
                "OpenSIPS does not write traces of rcsops",
                hint="let the agents do it: rcsops chat USER --trace FILE",
            )
        installation = find(project)
        if installation is None:
            raise EngineError(
                f"there is no OpenSIPS in {settings_prefix(project)}",
                hint="type: rcsops install (or rcsops --engine embedded start)",
            )
        account = _account(options, project.settings.mi_group)
        if account is None:
            return cls(project, installation, RunFiles(project.make_run_dir()), None)
        # --group counts as the setting does: MI's FIFO and socket are open to it.
        group = options.group or project.settings.mi_group
        project = replace(project, settings=replace(project.settings, mi_group=group))
        _check_reachable(project, account)
        run = project.make_shared_run_dir(account.uid, account.gid, for_group=bool(group))
        return cls(project, installation, RunFiles(run), account)

    def start(self, timeout: float) -> int:
        """Starts the server, with the lock held, and waits until it answers and
        its ports accept; returns its process id. Raises `EngineError` with what its log says."""
        log = _open_log(self.files.log)
        try:
            process = self._start(log, file_size(self.files.log), timeout)
        finally:
            os.close(log)
        # It goes on without us: nobody waits for it, and no warning is due.
        process.returncode = 0
        return process.pid

    def run(self, timeout: float) -> "subprocess.Popen[bytes]":
        """The same with the log on this terminal; the process is the caller's to wait for."""
        return self._start(sys.stderr.fileno(), None, timeout)

    def _start(self, log: int, log_start: int | None, timeout: float) -> "subprocess.Popen[bytes]":
        remove_stale(self.files)
        path, listen = self._prepare()
        process = None
        recorded = False
        try:
            with held():
                process = self._spawn(path, log)
            self._await(process, listen, log_start, timeout)
            recorded = True
            self._remember(process.pid, path)
        except BaseException:
            with held():
                if process is not None:
                    self._end(process)
                if recorded:
                    self._remember(None, path)
            raise
        return process

    def _prepare(self) -> tuple[Path, tuple[Listen, ...]]:
        """The configuration, its addresses free and its database there."""
        path = config.ready(self.project)
        listen = tuple(listen_addresses(path.read_text("utf-8", "surrogateescape")))
        settings = self.project.settings
        for address in listen:
            ports.check_free(address)
        if settings.mi_transport == "http":
            ports.check_free(parse_listen(f"tcp:{settings.mi_http}"), key="mi.http")
        url = settings.database_url
        with reading(open_engine(url), url) as connection:
            check_tables(connection, shape_of(self.installation.line))
        return live_config(self.project, self.files, self.account), listen

    def _spawn(self, path: Path, log: int) -> "subprocess.Popen[bytes]":
        files = self.files
        words = command_line(self.installation, path, files.directory, files.pid, self.account)
        try:
            return spawn(words, log=log)
        except OSError as error:
            raise EngineError(f"{words[0]} cannot be run: {error.strerror}") from error

    def _await(
        self,
        process: "subprocess.Popen[bytes]",
        listen: tuple[Listen, ...],
        log_start: int | None,
        timeout: float,
    ) -> None:
        deadline = time.monotonic() + timeout
        streams = [address for address in listen if address.transport != "udp"]
        while True:
            code = process.poll()
            if code is not None:
                raise self._failure(f"exit code {code}", log_start)
            if self.files.fifo.exists() and answers(self.files):
                # From 3.4 on a process of its own binds the TCP ports, some time after MI is there.
                streams = [address for address in streams if not ports.listens(address)]
                if not streams and process.poll() is None:
                    return
            if time.monotonic() > deadline:
                silent = f"nothing accepts at {streams[0]}" if streams else "it does not answer"
                raise self._failure(f"{silent} after {timeout:g} s", log_start)
            time.sleep(POLL_SECONDS)

    def _failure(self, otherwise: str, log_start: int | None) -> EngineError:
        if log_start is None:
            return EngineError(f"the server did not start: {otherwise}", hint="its log is above")
        cause = find_cause(_log_since(self.files.log, log_start))
        return EngineError(
            f"the server did not start: {cause.text or otherwise}",
            hint=f"{cause.hint}; its log: {self.files.log}" if cause.hint
            else f"look at its log: {self.files.log}",
        )  # fmt: skip

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        """Ends all that was started, also what lives on without its main process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(2.0)
        end_processes(self.files.directory, signal.SIGKILL)
        process.wait()
        remove_stale(self.files)

    def _remember(self, pid: int | None, path: Path) -> None:
        account = self.account
        record = {
            "pid": pid,
            "settings": settings_part(path),
            "log": file_size(self.files.log),
            "user": account.user if account else "",
            "group": self.project.settings.mi_group if account else "",
        }
        write_private(record_path(self.project), json.dumps(record).encode())


def record_path(project: Project) -> Path:
    """What is to be known of the running server: how it was started, and as whom. Not in its run
    directory, which may be that user's: they would choose whom root starts it as."""
    return project.state_dir / "started.json"


def settings_part(path: Path) -> str:
    """A hash of what stands before the script: it counts from the next start on only."""
    text = path.read_text("utf-8", "surrogateescape").partition(_SCRIPT)[0]
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def live_config(project: Project, files: RunFiles, account: Account | None) -> Path:
    """The configuration that the server is to read: the project's, or where that is closed to its
    user, a copy beside its sockets."""
    main = config.config_files(project).main
    if account is None:
        return main
    copy = files.directory / MAIN
    text = main.read_text("utf-8", "surrogateescape")
    text = text.replace(str(main.with_name(SECRETS)), str(copy.with_name(SECRETS)))
    owner = (account.uid, account.gid)
    write_private(copy, text.encode("utf-8", "surrogateescape"), owner=owner)
    write_private(copy.with_name(SECRETS), main.with_name(SECRETS).read_bytes(), owner=owner)
    return copy


def _account(options: StartOptions, mi_group: str) -> Account | None:
    if not options.user:
        if options.group:
            raise UsageError("--group goes with --user", hint="as root: --user NAME --group NAME")
        # Only root can let a group in, at a place outside of the project's private directory.
        return find_account("root", mi_group) if mi_group and os.geteuid() == 0 else None
    if os.geteuid() != 0:
        raise UsageError(
            "only root can start the server as another user", hint="leave --user out, or use sudo"
        )
    return find_account(options.user, options.group or mi_group)


def _check_reachable(project: Project, account: Account) -> None:
    file = sqlite_file(project.settings.database_url)
    if file is None:
        return
    done = subprocess.run(  # noqa: S603
        ["/usr/bin/test", "-w", str(file), "-a", "-w", str(file.parent)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    if done.returncode != 0:
        raise EngineError(
            f"{account.user} may not write the database {file}",
            hint="use MySQL, or set database.url to a file in a directory of that user",
        )


def listen_addresses(text: str) -> Iterator[Listen]:
    """The addresses of a configuration."""
    for found in _LISTEN.finditer(text):
        with contextlib.suppress(SettingsError):
            yield parse_listen(found[1].strip('"'))


def _open_log(path: Path) -> int:
    # Added to, also after it was cut by a rotation (copytruncate): the server keeps it open.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _log_since(path: Path, start: int) -> str:
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(start)
        return log.read(_LOG_READ).decode("utf-8", "replace")
    return ""
