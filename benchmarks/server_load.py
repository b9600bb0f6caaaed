"""Registrations and calls per second through the embedded server, beside Kamailio.

sipp generates the same load for both in turns: REGISTER with digest (each a 401 and a 200) as fast
as the server answers, and calls at a steady rate. The time from INVITE to 200 is taken by sockets
of our own, as sipp's clock is too coarse. Kamailio runs
with two workers and keeps its accounts in SQLite, as ours does. Every figure is the median of the
rounds. The machine is shared by the server and the generator, so the ratio says more than the rate.

    python benchmarks/server_load.py [--rounds 3] [--registrations 15000] [--profile] [--json FILE]

At the end stands where the time of our server's own process goes, in per cent by area, taken in a
run of its own since cProfile slows it; ``--profile`` runs that alone and shows the functions too.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pstats
import signal
import socket
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
from rcsops.sip import Credential, DigestClient, Request, Response, parse_message
from rcsops.testing.kamailio import KamailioServer
from rcsops.testing.process import ManagedProcess
from rcsops.testing.sipp import SippRunner
from rcsops.testing.waiting import free_port, wait_until
from rcsops.transport import system_tokens

SCENARIOS = Path(__file__).resolve().parent.parent / "tests" / "live" / "sipp"
ACCOUNTS = [f"user{number}" for number in range(100)]
# Who is called, by our sockets and by sipp. Nobody else registers them, and they leave again: a
# call must not ring at ports where nobody listens any more.
TIMED, CALLED = "user0", "user99"
PASSWORD = "secret"
DOMAIN = "rcs.example"
TOKENS = system_tokens()
# A server that waits for its turn on a machine of many is not overloaded: sipp has 64 things under
# way at most.
PATIENT = "[limits]\nqueue_milliseconds = 2000\n"
GOAL_REGISTRATIONS = 0.3
GOAL_SETUP = 2.0


def credentials(name: str) -> str:
    """The field that sipp makes an Authorization of."""
    return f"[authentication username={name} password={PASSWORD}]"


class Ours:
    """The embedded server, with a project of its own."""

    def __init__(self, directory: Path, *, profile: Path | None = None, more: str = "") -> None:
        directory.mkdir()
        self.port = free_port()
        (directory / "rcsops.toml").write_text(
            f'listen = ["udp:127.0.0.1:{self.port}", "tcp:127.0.0.1:{self.port}"]\n'
            # sipp knows MD5 only.
            '[digest]\nalgorithms = ["MD5"]\n' + more
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
        self._process = subprocess.Popen(
            [*command, "--project", str(directory)], stderr=subprocess.DEVNULL
        )
        files = RunFiles(self.project.run_dir)
        wait_until(lambda: running_pid(files) and files.fifo.exists(), what="the profiled server")

    @property
    def pid(self) -> int:
        return running_pid(RunFiles(self.project.run_dir)) or 0

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
    others = [name for name in ACCOUNTS if name not in (TIMED, CALLED)]
    rows = [(name, credentials(name), "5070", "600") for name in others]
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


def setup_times(address: str, count: int) -> list[float]:
    """Milliseconds from INVITE to 200 of calls one after the other.

    sipp's clock is too coarse for this, so caller and callee are two sockets here: what is measured
    is the way through the proxy and back, and little else.
    """
    host, _, port = address.rpartition(":")
    server = (host, int(port))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as callee,
    ):
        for end in (caller, callee):
            end.bind(("127.0.0.1", 0))
            end.settimeout(10)
        _register(callee, server, 600)
        client = DigestClient([_credential("user1")], TOKENS)
        times = [_call(caller, callee, server, client) for _ in range(count)]
        _register(callee, server, 0)
        return times


def _register(end: socket.socket, server: tuple[str, int], expires: int) -> None:
    register = _request("REGISTER", TIMED, TIMED, end)
    register.uri = f"sip:{DOMAIN}"
    register.add("Expires", str(expires))
    answer = _exchange(end, server, register, DigestClient([_credential(TIMED)], TOKENS))
    if answer.status != 200:
        raise SystemExit(f"{TIMED} could not register: {answer!r}")


def _credential(name: str) -> Credential:
    return Credential.from_password(name, DOMAIN, PASSWORD)


def _address(end: socket.socket) -> str:
    host, port = end.getsockname()
    return f"{host}:{port}"


def _request(method: str, sender: str, target: str, end: socket.socket) -> Request:
    own = _address(end)
    uri = f"sip:{target}@{DOMAIN}"
    headers = [
        ("Via", f"SIP/2.0/UDP {own};branch={TOKENS.branch()};rport"),
        ("Max-Forwards", "70"),
        ("From", f"<sip:{sender}@{DOMAIN}>;tag={TOKENS.tag()}"),
        ("To", f"<{uri}>"),
        ("Call-ID", TOKENS.call_id()),
        ("CSeq", f"1 {method}"),
        ("Contact", f"<sip:{sender}@{own}>"),
    ]
    return Request(method, uri, headers)


def _exchange(
    end: socket.socket, server: tuple[str, int], request: Request, client: DigestClient
) -> Response:
    """Sends a request and, after the challenge, sends it again with credentials."""
    end.sendto(bytes(request), server)
    challenge = _final(end)
    if request.method == "INVITE":
        end.sendto(bytes(_ack(request, challenge, request.uri)), server)
    request.set("CSeq", f"2 {request.method}")
    request.replace_first("Via", _next_branch(request))
    if not client.authorize(request, challenge):
        raise SystemExit(f"not challenged: {challenge!r}")
    end.sendto(bytes(request), server)
    return _final(end) if request.method == "REGISTER" else challenge


def _call(
    caller: socket.socket, callee: socket.socket, server: tuple[str, int], client: DigestClient
) -> float:
    invite = _request("INVITE", "user1", TIMED, caller)
    _exchange(caller, server, invite, client)
    # The challenge is not counted: the clock starts with the INVITE that goes through.
    started = time.perf_counter()
    data, source = callee.recvfrom(65535)
    received = parse_message(data)
    assert isinstance(received, Request)
    own = _address(callee)
    accepted = Response.to_request(
        received, 200, to_tag="callee", headers=[("Contact", f"<sip:{TIMED}@{own}>")]
    )
    callee.sendto(bytes(accepted), source)
    answer = _final(caller)
    seconds = time.perf_counter() - started
    ack = _ack(invite, answer, str(answer.contacts[0].uri))
    ack.replace_first("Via", _next_branch(invite))
    for route in reversed(answer.record_routes):
        ack.add("Route", str(route))
    caller.sendto(bytes(ack), server)
    callee.recvfrom(65535)
    return seconds * 1000


def _ack(invite: Request, response: Response, uri: str) -> Request:
    headers = [("Via", invite.values("Via")[0]), ("Max-Forwards", "70")]
    headers += [(name, invite.get(name) or "") for name in ("From", "Call-ID")]
    headers += [("To", response.get("To") or ""), ("CSeq", f"{invite.cseq.number} ACK")]
    return Request("ACK", uri, headers)


def _next_branch(request: Request) -> str:
    return str(request.top_via.with_params(branch=TOKENS.branch()))


def _final(end: socket.socket) -> Response:
    while True:
        message = parse_message(end.recv(65535))
        if isinstance(message, Response) and message.status >= 200:
            return message


def calls(directory: Path, address: str, count: int, rate: int) -> float:
    """The share of ``count`` calls at ``rate`` a second that sipp brought to their end."""
    port = free_port()
    runner = SippRunner(directory)

    def register(expires: int) -> None:
        row = (CALLED, credentials(CALLED), str(port), str(expires))
        if runner.run(SCENARIOS / "register.xml", address, users=[row]).failed:
            raise SystemExit(f"{CALLED} could not register")

    register(600)
    uas = [*("sipp", "-sf", str(SCENARIOS / "uas_at_once.xml"), "-i", "127.0.0.1")]
    rows = [(name, credentials(name), CALLED) for name in ACCOUNTS[1:]]
    with ManagedProcess(
        [*uas, "-p", str(port), "-nostdin"], log=directory / "uas.log", cwd=directory
    ):
        time.sleep(0.5)
        result = runner.run(
            SCENARIOS / "uac.xml", address, calls=count, rate=rate, users=rows, timeout=120
        )
    register(0)
    return result.successful / count


def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """All rounds, the two servers in turns."""
    figures: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        addresses = {"rcsops": ""}
        ours = Ours(directory / "rcsops", more=PATIENT)
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
                    name,
                    {
                        "registrations_per_second": [],
                        "calls_completed": [],
                        "setup_ms": [],
                        "setup_p99_ms": [],
                    },
                )
                found["registrations_per_second"].append(
                    registrations(directory, address, options.registrations)
                )
                share = calls(directory, address, options.calls, options.rate)
                found["calls_completed"].append(share)
                times = sorted(setup_times(address, options.calls))
                found["setup_ms"].append(statistics.median(times))
                found["setup_p99_ms"].append(times[int(len(times) * 0.99)])
    return {
        name: {key: statistics.median(values) for key, values in found.items()}
        for name, found in figures.items()
    }


# The first that a function's file name contains. Time in C functions is their callers'.
AREAS = (
    ("rcsops/sip/parser", "SIP: messages, reading and writing"),
    ("rcsops/sip/message", "SIP: messages, reading and writing"),
    ("rcsops/sip/names", "SIP: messages, reading and writing"),
    ("rcsops/sip/digest", "digest"),
    ("rcsops/sip/auth", "digest"),
    ("rcsops/server/auth", "digest"),
    ("hmac", "digest"),
    ("rcsops/sip/typed", "SIP: typed headers"),
    ("rcsops/sip/headers", "SIP: typed headers"),
    ("rcsops/sip/uri", "SIP: typed headers"),
    ("rcsops/sip/grammar", "SIP: typed headers"),
    ("rcsops/sip/validate", "SIP: typed headers"),
    ("rcsops/sip/", "SIP: transactions"),
    ("rcsops/tokens", "SIP: transactions"),
    ("rcsops/transport/", "sockets and event loop"),
    ("asyncio", "sockets and event loop"),
    ("rcsops/server/", "registrar, proxy, location"),
    ("rcsops/database/", "database, look-ups"),
)


def area(filename: str) -> str:
    """What part of the server a Python file belongs to."""
    return next((name for part, name in AREAS if part in filename), "start and libraries")


def by_area(path: Path) -> dict[str, float]:
    """The share of each area in the time that the server worked; its waiting is left out."""
    times: dict[str, float] = {}
    stats = pstats.Stats(str(path), stream=io.StringIO()).stats  # type: ignore[attr-defined]
    for (filename, _, function), (_, _, own, _, callers) in stats.items():
        if filename != "~":
            # The time of the runner itself is that of the loop, which mostly waits.
            if "runners.py" not in filename:
                times[area(filename)] = times.get(area(filename), 0.0) + own
            continue
        for (caller, _, _), (_, _, spent, _) in callers.items():
            if caller != "~" and "runners.py" not in caller and "poll" not in function:
                times[area(caller)] = times.get(area(caller), 0.0) + spent
    total = sum(times.values())
    return {name: times[name] / total for name in sorted(times, key=times.__getitem__)[::-1]}


def profile(options: argparse.Namespace, directory: Path) -> tuple[dict[str, float], str]:
    """Where the time goes: by area, and the functions with the most time of their own."""
    path = directory / "profile"
    ours = Ours(directory / "profiled", profile=path, more=PATIENT)
    try:
        registrations(directory, ours.address, min(options.registrations, 5000))
        calls(directory, ours.address, 200, options.rate)
    finally:
        ours.stop()
    shown = io.StringIO()
    pstats.Stats(str(path), stream=shown).sort_stats("tottime").print_stats(45)
    root = os.fspath(Path(__file__).resolve().parent.parent) + "/"
    return by_area(path), shown.getvalue().replace(root, "")


def show_areas(shares: dict[str, float]) -> None:
    """Prints the profile in short."""
    print("where our server's time goes (registrations and calls together):")
    for name, share in shares.items():
        print(f"  {share:6.1%}  {name}")


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
    # Ended by a time limit it must not leave the servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="rcsops-bench-") as name:
        directory = Path(name)
        if options.profile:
            shares, functions = profile(options, directory)
            print(functions)
            show_areas(shares)
            return 0
        result: dict[str, Any] = measure(options, directory)
        shares, _ = profile(options, directory)
    for who, found in list(result.items()):
        print(
            f"{who:9} {found['registrations_per_second']:8.0f} registrations/s   "
            f"call set-up {found['setup_ms']:.2f} ms (median), {found['setup_p99_ms']:.2f} ms (p99)"
            f"   {found['calls_completed']:.0%} of sipp's calls at {options.rate}/s completed"
        )
    if "kamailio" in result:
        ours, theirs = result["rcsops"], result["kamailio"]
        ratio = ours["registrations_per_second"] / theirs["registrations_per_second"]
        setup = ours["setup_ms"] / theirs["setup_ms"]
        print(f"registrations: {ratio:.2f} of Kamailio's (goal {GOAL_REGISTRATIONS})")
        print(f"call set-up:   {setup:.2f} times Kamailio's (goal at most {GOAL_SETUP:.0f})")
        result["ratio"] = {"registrations": ratio, "setup": setup}
    show_areas(shares)
    result["profile"] = shares
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
