"""How long ``rcsops install`` takes beside upstream's ``make all``, on one source, in one run.

    python benchmarks/install.py [--release 3.0.2] [--from DIR|TARBALL|GIT|URL] [--jobs 2]

Ours is the whole command: unpacking, checking, building the minimal set (UDP, TCP, one database),
checking again, putting it into place; with less debug information than upstream's (``-g1``), and
optimised as Debian's packages are (``-O2``). Theirs is ``make all`` alone, in a fresh copy of the
same source. Both are told the same number of jobs. What else the machine does falls on both but
not alike, so the processor's time stands beside the clock's. Exit code 1 if the minimal set takes
more than 0.3 of the time of all.

Without ``--from`` the source is $RCSOPS_BENCH_OPENSIPS or upstream's archive; where neither can be
had the benchmark says so and does nothing.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rcsops.errors import RcsopsError
from rcsops.opensips.build import make_environment
from rcsops.opensips.releases import resolve_release
from rcsops.opensips.source import Kind, Origin, obtain, origin_of

GOAL = 0.3
# One database, which is what the bar is about.
SETTINGS = "domain = 'rcs.example'\n[database]\nurl = 'mysql://opensips@localhost/opensips'\n"


class Took(NamedTuple):
    """Seconds by the clock, and of all processors together."""

    clock: float
    processor: float


def timed(command: list[str], directory: Path, log: Path, environment: dict[str, str]) -> Took:
    """Runs it to its end; what it prints goes to ``log``."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with log.open("wb") as file:
        code = subprocess.call(command, cwd=directory, env=environment, stdout=file, stderr=file)
    took = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        sys.exit(
            f"{' '.join(command)}: exit code {code}\n{log.read_text('utf-8', 'replace')[-2000:]}"
        )
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(took, used)


def main() -> int:
    parser = argparse.ArgumentParser(description="rcsops install beside make all")
    parser.add_argument("--release", default="3.0.2")
    parser.add_argument("--from", dest="source", default=os.environ.get("RCSOPS_BENCH_OPENSIPS"))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    release = resolve_release(arguments.release)
    origin = Origin(Kind.URL, release.url)
    if arguments.source:
        origin = origin_of(arguments.source, Path.cwd())
    with tempfile.TemporaryDirectory(prefix="rcsops-bench-") as temporary:
        root = Path(temporary)
        try:
            obtain(origin, release, root / "all", downloads=root)
        except RcsopsError as error:
            print(f"skipped: {error}")
            return 0
        project = root / "project"
        project.mkdir()
        (project / "rcsops.toml").write_text(SETTINGS)
        jobs = str(arguments.jobs)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RCSOPS_")}
        minimal = timed(
            [
                *(sys.executable, "-m", "rcsops", "install", "--release", release.version),
                *("--from", str(root / "all"), "--jobs", jobs),
            ],
            project,
            root / "minimal.log",
            {**kept, "HOME": str(root)},
        )
        options = " ".join(release.compiler_options)
        everything = timed(
            ["make", f"--jobs={jobs}", "all", "PREFIX=/opt/opensips/", f"CC_EXTRA_OPTS={options}"],
            root / "all",
            root / "all.log",
            make_environment(),
        )
        modules = len(list((root / "all" / "modules").glob("*/*.so")))
    print(f"OpenSIPS {release.version}, {jobs} jobs, {os.cpu_count()} processors")
    for name, took in (("rcsops install", minimal), (f"make all ({modules} modules)", everything)):
        print(f"{name:<24} {took.clock:7.1f} s   {took.processor:7.1f} s of processor")
    ratio = minimal.clock / everything.clock
    processor = minimal.processor / everything.processor
    print(f"the minimal set takes {ratio:.3f} of the time of all ({processor:.3f} of the")
    print(f"processor's time); the goal is at most {GOAL}")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
