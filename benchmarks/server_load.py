"""Registrations and calls per second through the embedded server, beside Kamailio.

sipp generates the same load for both in turns: REGISTER with digest (each a 401 and a 200) as fast
as the server answers, and calls at a steady rate for the time from INVITE to 200. Kamailio runs
with two workers and keeps its accounts in SQLite, as ours does. Every figure is the median of the
rounds. The machine is shared by the server and the generator, so the ratio says more than the rate.

    python benchmarks/server_load.py [--rounds 3] [--registrations 15000] [--profile] [--json FILE]

``--profile`` shows where the time of our server's own process goes (cProfile, which slows it).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rcsops.operations import db, server, users
from rcsops.server.run_files import RunFiles, running_pid
from rcsops.settings import Project
from rcsops.testing.kamailio import KamailioServer
from rcsops.testing.process import ManagedProcess
from rcsops.testing.sipp import SippRunner
from rcsops.testing.waiting import free_port, wait_until

SCENARIOS = Path(__file__).resolve().parent.parent / "tests" / "live" / "sipp"
ACCOUNTS = [f"user{number}" for number in range(100)]
PASSWORD = "secret"
GOAL_REGISTRATIONS = 0.3
GOAL_SETUP = 2.0


def credentials(name: str) -> str:
    """The field that sipp makes an Authorization of."""
    return f"[authentication username={name} password={PASSWORD}]"


class Ours:
    """The embedded server, with a project of its own."""

    def __init__(self, directory: Path, *, profile: Path | None = None) -> None:
        directory.mkdir()
        self.port = free_port()
        (directory / "rcsops.toml").write_text(
            f'listen = ["udp:127.0.0.1:{self.port}", "tcp:127.0.0.1:{self.port}"]\n'
            # sipp knows MD5 only.
            '[digest]\nalgorithms = ["MD5"]\n'
        )
        self.project = Project.find(directory, environment={})
        db.create(self.project)
        for name in ACCOUNTS:
            users.add_user(self.project, name, password=PASSWORD)
        self._process: subprocess.Popen[bytes] | None = None
        if profile is None:
            server.start(self.project)
            return
        command = [sys.executable, "-m", "cProfile", "-o", str(profile), "-m", "rcsops.server"]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, "--project", str(directory)], stderr=subprocess.DEVNULL
        )
        files = RunFiles(self.project.run_dir)
        wait_until(lambda: running_pid(files) and files.fifo.exists(), what="the profiled server")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        if self._process is None:
            server.stop(self.project)
        else:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)


def registrations(directory: Path, address: str, count: int) -> float:
    """Registrations a second, as fast as the server answers."""
    rows = [(name, credentials(name), "5070", "600") for name in ACCOUNTS]
    started = time.monotonic()
    result = SippRunner(directory).run(
        SCENARIOS / "register.xml",
        address,
        calls=count,
        rate=50_000,
        limit=64,
        users=rows,
        timeout=300,
    )
    seconds = result.seconds or time.monotonic() - started
    if result.failed or result.successful != count:
        raise SystemExit(f"{result.failed} of {count} registrations failed: {result.errors}")
    return count / seconds


def calls(directory: Path, address: str, count: int, rate: int) -> tuple[float, float]:
    """Milliseconds from INVITE to 200 at ``rate`` calls a second: median and 99th percentile."""
    callee = "user0"
    port = free_port()
    runner = SippRunner(directory)
    row = (callee, credentials(callee), str(port), "600")
    runner.run(SCENARIOS / "register.xml", address, users=[row])
    uas = [*("sipp", "-sf", str(SCENARIOS / "uas.xml"), "-i", "127.0.0.1", "-p", str(port))]
    rows = [(name, credentials(name), callee) for name in ACCOUNTS[1:]]
    with ManagedProcess([*uas, "-nostdin"], log=directory / "uas.log", cwd=directory):
        time.sleep(0.5)
        result = runner.run(
            SCENARIOS / "uac.xml",
            address,
            calls=count,
            rate=rate,
            users=rows,
            timeout=120,
            extra=["-trace_rtt", "-rtt_freq", "1", "-timer_resol", "1"],
        )
    if result.failed or result.successful != count:
        raise SystemExit(f"{result.failed} of {count} calls failed: {result.errors}")
    newest = max(directory.glob("sipp-*/*_rtt.csv"), key=lambda path: path.stat().st_mtime_ns)
    times = []
    for line in newest.read_text().splitlines()[1:]:
        fields = line.split(";")
        if len(fields) >= 2 and fields[1]:
            times.append(float(fields[1]))
    times.sort()
    return statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]


def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """All rounds, the two servers in turns."""
    figures: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        addresses = {"rcsops": ""}
        ours = Ours(directory / "rcsops")
        stack.callback(ours.stop)
        addresses["rcsops"] = ours.address
        if reason := KamailioServer.missing():
            print(f"no comparison: {reason}", file=sys.stderr)
        else:
            kamailio = stack.enter_context(KamailioServer(directory / "kamailio", workers=2))
            for name in ACCOUNTS:
                kamailio.add_user(name, PASSWORD)
            addresses["kamailio"] = kamailio.address
        for _ in range(options.rounds):
            for name, address in addresses.items():
                found = figures.setdefault(
                    name, {"registrations_per_second": [], "setup_ms": [], "setup_p99_ms": []}
                )
                found["registrations_per_second"].append(
                    registrations(directory, address, options.registrations)
                )
                middle, high = calls(directory, address, options.calls, options.rate)
                found["setup_ms"].append(middle)
                found["setup_p99_ms"].append(high)
    return {
        name: {key: statistics.median(values) for key, values in found.items()}
        for name, found in figures.items()
    }


def profile(options: argparse.Namespace, directory: Path) -> str:
    """Where the time goes: the functions with the most time of their own."""
    path = directory / "profile"
    ours = Ours(directory / "profiled", profile=path)
    try:
        registrations(directory, ours.address, min(options.registrations, 5000))
        calls(directory, ours.address, 200, options.rate)
    finally:
        ours.stop()
    shown = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _SHOW, str(path)], capture_output=True, text=True, check=True
    )
    return shown.stdout.replace(os.fspath(Path(__file__).resolve().parent.parent) + "/", "")


_SHOW = """
import pstats, sys
pstats.Stats(sys.argv[1]).sort_stats("tottime").print_stats(45)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--registrations", type=int, default=15_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rate", type=int, default=50, help="calls a second")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if reason := SippRunner.missing():
        print(f"not run: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="rcsops-bench-") as name:
        directory = Path(name)
        if options.profile:
            print(profile(options, directory))
            return 0
        result = measure(options, directory)
    for who, found in result.items():
        print(
            f"{who:9} {found['registrations_per_second']:8.0f} registrations/s   "
            f"call set-up {found['setup_ms']:.2f} ms (median), {found['setup_p99_ms']:.2f} ms (p99)"
        )
    if "kamailio" in result:
        ours, theirs = result["rcsops"], result["kamailio"]
        ratio = ours["registrations_per_second"] / theirs["registrations_per_second"]
        setup = ours["setup_ms"] / theirs["setup_ms"]
        print(f"registrations: {ratio:.2f} of Kamailio's (goal {GOAL_REGISTRATIONS})")
        print(f"call set-up:   {setup:.2f} times Kamailio's (goal at most {GOAL_SETUP:.0f})")
        result["ratio"] = {"registrations": ratio, "setup": setup}
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
