"""How much load `rcsops load` makes, beside sipp, on the same server in the same run.

    python benchmarks/load_beside_sipp.py [--seconds 8] [--kind register|call|both]

The server is Kamailio, which neither of them can bring to its limit on one core. sipp is a C
program without transport timers, dialog or MSRP behind each call; `rcsops load` is a complete user
agent for each. What is compared is registrations a second (REGISTER with digest) and calls a second
(INVITE, 200, ACK, BYE); sipp's registrations as fast as the answers come, all else at rates that
grow until a call fails, or the generator says that it is the limit or falls behind. There is no
goal: the figure is for the docs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rcsops.testing import KamailioServer
from rcsops.testing.sipp import SippRunner
from rcsops.testing.waiting import free_port

SCENARIOS = Path(__file__).resolve().parent.parent / "tests" / "live" / "sipp"
DOMAIN = "rcs.example"
NAMES = [f"user{number}" for number in range(100)]
WINDOW = 64


def login(name: str) -> str:
    """The field that sipp makes an Authorization of."""
    return f"[authentication username={name} password=of-{name}]"


def sipp_registrations(directory: Path, address: str, count: int) -> float:
    """Registrations a second (each a REGISTER, 401, REGISTER, 200)."""
    rows = [(name, login(name), "5070", "600") for name in NAMES[2:]]
    started = time.monotonic()
    result = SippRunner(directory).run(
        SCENARIOS / "register.xml",
        address,
        calls=count,
        rate=50_000,
        limit=WINDOW,
        users=rows,
        timeout=120,
    )
    if result.failed:
        raise SystemExit(f"sipp: {result.failed} registrations failed: {result.errors[:300]}")
    return result.successful / (result.seconds or time.monotonic() - started)


def sipp_calls(directory: Path, address: str) -> float:
    """Calls a second, from INVITE to the 200 of the BYE: the highest rate without a failure."""
    sipp, port = SippRunner(directory), free_port()
    row = ("user0", login("user0"), str(port))
    sipp.run(SCENARIOS / "register.xml", address, users=[(*row, "600")])
    best, rate = 0.0, 200
    with sipp.serve(SCENARIOS / "uas.xml", port):
        while True:
            result = sipp.run(
                SCENARIOS / "uac.xml",
                address,
                calls=2 * rate,
                rate=rate,
                limit=200,
                users=[("user1", login("user1"), "user0")],
                timeout=30,
            )
            reached = result.successful / result.seconds if result.seconds else 0.0
            if result.failed or reached < 0.85 * rate:
                break
            best, rate = max(best, reached), rate * 3 // 2
    sipp.run(SCENARIOS / "register.xml", address, users=[(*row, "0")])
    return best


def ours(directory: Path, address: str, scenario: str, seconds: float) -> tuple[float, str]:
    """The highest rate that `rcsops load` kept, in what it began and ended; and why not more."""
    users = directory / "users.csv"
    users.write_text("user,password\n" + "".join(f"{each},of-{each}\n" for each in NAMES))
    best, rate = 0.0, 200.0
    while True:
        command = [sys.executable, "-m", "rcsops", "load", "--server", address, "--json"]
        command += ["--scenario", scenario, "--agents", str(len(NAMES)), "--transport", "udp"]
        command += ["--rate", f"{rate:g}", "--duration", f"{seconds:g}", "--ramp", "1"]
        command += ["--think", "0", "--even", "--domain", DOMAIN, "--users", str(users)]
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=300, check=False
        )
        if not done.stdout:
            raise SystemExit(f"rcsops load: {done.stderr}")
        result = json.loads(done.stdout)
        operation = result["operations"]["invite" if scenario == "call" else "register"]
        # In its first second the rate grows from nothing.
        reached = operation["succeeded"] / (seconds - 0.5)
        why = "; ".join(result["generator"]["limits"])
        if why or operation["succeeded"] < operation["started"] or reached < 0.85 * rate:
            return best, f"at {rate:,.0f} a second: {why or 'it fell behind'}"
        best = max(best, reached)
        rate *= 1.5


def show(what: str, theirs: float, reached: float, why: str) -> None:
    beside = f"sipp {theirs:,.0f}, " if theirs else "sipp failed, "
    share = f" ({reached / theirs:.2f})" if theirs else ""
    print(f"{what} a second: {beside}rcsops load {reached:,.0f}{share}; {why}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=8.0)
    arguments.add_argument("--kind", choices=["register", "call", "both"], default="both")
    given = arguments.parse_args()
    for reason in (KamailioServer.missing(), SippRunner.missing()):
        if reason:
            raise SystemExit(f"nothing to compare with: {reason}")
    with tempfile.TemporaryDirectory(prefix="rcsops-") as made:
        directory = Path(made)
        with KamailioServer(directory / "kamailio", domain=DOMAIN) as server:
            for name in NAMES:
                server.add_user(name, f"of-{name}")
            if given.kind != "call":
                theirs = sipp_registrations(directory, server.address, 20_000)
                reached, why = ours(directory, server.address, "register", given.seconds)
                show("registrations", theirs, reached, why)
            if given.kind != "register":
                theirs = sipp_calls(directory, server.address)
                reached, why = ours(directory, server.address, "call", given.seconds)
                show("calls", theirs, reached, why)


if __name__ == "__main__":
    main()
