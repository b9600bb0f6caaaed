"""How long ``rcsops --help`` takes beside ``opensips-cli --help``.

    python benchmarks/cli_start.py [PATH OF opensips-cli]

The peer is the PyPI package ``opensipscli``; its executable is looked for beside this Python and on
PATH. Both are started in turn, so that what else the machine does falls on both alike; the medians
count. Exit code 1 if rcsops takes more than a quarter of the peer's time.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

GOAL = 0.25


def executable(name: str) -> str | None:
    """The program beside this Python, or else on PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def seconds(command: list[str]) -> float:
    """How long one run takes, from before the process exists until it has ended."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description="rcsops --help beside opensips-cli --help")
    parser.add_argument("peer", nargs="?", default=executable("opensips-cli"))
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    ours = executable("rcsops")
    if ours is None:
        parser.error("rcsops is not installed beside this Python")
    if arguments.peer is None:
        parser.error("opensips-cli was not found: pip install opensipscli, or give its path")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import click": [sys.executable, "-c", "import click"],
        "rcsops --help": [ours, "--help"],
        "opensips-cli --help": [arguments.peer, "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        seconds(command)  # so that the files are in the machine's cache for all
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, median in medians.items():
        print(f"{name:<20} {median * 1000:7.1f} ms")
    ratio = medians["rcsops --help"] / medians["opensips-cli --help"]
    print(f"rcsops takes {ratio:.3f} of the peer's time; the goal is at most {GOAL}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
