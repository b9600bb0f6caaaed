"""sipp as a peer: runs a scenario and says what came of it."""

import csv
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rcsops.errors import EngineError
from rcsops.testing.process import ManagedProcess
from rcsops.testing.waiting import free_port

_SOCKETS = {"udp": "u1", "tcp": "t1"}


@dataclass(frozen=True, slots=True)
class SippResult:
    """What came of it: calls, seconds, errors; the exit code is 0 when all went well."""

    exit_code: int
    successful: int
    failed: int
    retransmissions: int
    seconds: float
    errors: str


class SippRunner:
    """Runs sipp in ``directory``, where its files stay for looking at."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @staticmethod
    def missing() -> str:
        """Why sipp cannot be run here; "" when it can."""
        return "" if shutil.which("sipp") else "sipp is not installed (apt-get install sip-tester)"

    def command(
        self, scenario: Path, target: str, *, transport: str = "udp", extra: Sequence[str] = ()
    ) -> list[str]:
        """The command line without calls and rate; ``extra`` is put at its end."""
        return [
            shutil.which("sipp") or "sipp",
            target,
            *("-sf", os.fspath(scenario), "-i", "127.0.0.1", "-p", str(free_port())),
            *("-t", _SOCKETS[transport], "-nostdin", *extra),
        ]

    def serve(
        self,
        scenario: Path,
        port: int,
        *,
        calls: int | None = None,
        transport: str = "udp",
        extra: Sequence[str] = (),
    ) -> ManagedProcess:
        """A sipp that waits for calls at ``port``: start it, or use it as a context manager.

        With ``calls`` it ends by itself after so many, with exit code 0 when all went well.
        """
        reason = self.missing()
        if reason:
            raise EngineError(reason)
        work = Path(tempfile.mkdtemp(prefix="sipp-", dir=self.directory))
        command = [shutil.which("sipp") or "sipp", "-sf", os.fspath(scenario)]
        command += ["-i", "127.0.0.1", "-p", str(port), "-t", _SOCKETS[transport], "-nostdin"]
        command += [] if calls is None else ["-m", str(calls)]
        command += ["-trace_err", "-error_file", str(work / "errors.log"), *extra]
        process = ManagedProcess(
            command,
            log=work / "sipp.log",
            ready=lambda: _listens(process.pid, port),
            cwd=work,
        )
        return process

    def run(
        self,
        scenario: Path,
        target: str,
        *,
        calls: int = 1,
        rate: int = 10,
        limit: int | None = None,
        users: Sequence[Sequence[str]] = (),
        transport: str = "udp",
        timeout: float = 60.0,
        extra: Sequence[str] = (),
    ) -> SippResult:
        """Runs ``calls`` calls of ``scenario`` at ``target`` (host:port), ``rate`` a second.

        ``users`` are the rows of the file that ``[field0]`` and its like are taken from, in order.
        """
        reason = self.missing()
        if reason:
            raise EngineError(reason)
        work = Path(tempfile.mkdtemp(prefix="sipp-", dir=self.directory))
        options = ["-m", str(calls), "-r", str(rate), "-timeout", f"{timeout:g}"]
        options += ["-trace_stat", "-stf", str(work / "stat.csv"), "-fd", "1"]
        options += ["-trace_err", "-error_file", str(work / "errors.log")]
        if limit is not None:
            options += ["-l", str(limit)]
        if users:
            rows = "".join(";".join(row) + ";\n" for row in users)
            (work / "users.csv").write_text("SEQUENTIAL\n" + rows)
            options += ["-inf", str(work / "users.csv")]
        command = self.command(scenario, target, transport=transport, extra=[*options, *extra])
        finished = subprocess.run(  # noqa: S603
            command,
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout + 30,
            check=False,
        )
        return _result(work, finished.returncode, finished.stderr)


def _listens(pid: int, port: int) -> bool:
    connections = psutil.Process(pid).net_connections("inet")
    return any(each.laddr and each.laddr.port == port for each in connections)


def _result(work: Path, exit_code: int, stderr: str) -> SippResult:
    row: dict[str, str] = {}
    statistics = work / "stat.csv"
    if statistics.exists():
        with statistics.open(newline="") as file:
            # The last row has the totals.
            row = next(reversed(list(csv.DictReader(file, delimiter=";"))), {})
    errors = work / "errors.log"
    text = errors.read_text("utf-8", "replace") if errors.exists() else ""
    return SippResult(
        exit_code=exit_code,
        successful=int(row.get("SuccessfulCall(C)") or 0),
        failed=int(row.get("FailedCall(C)") or 0),
        retransmissions=int(row.get("Retransmissions(C)") or 0),
        seconds=_seconds(row),
        errors=(text + stderr)[-4000:],
    )


def _seconds(row: dict[str, str]) -> float:
    """From start to end: a date, a time and seconds since 1970 stand in each, with tabs between."""
    try:
        begun, ended = (row[name].split("\t")[2] for name in ("StartTime", "CurrentTime"))
        return float(ended) - float(begun)
    except (KeyError, IndexError, ValueError):
        return 0.0
