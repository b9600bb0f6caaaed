"""``make fuzz``: every parser for its share of the time; what is found goes into the corpus.

    python -m tests.fuzz [--seconds N] [ORACLE ...]

An input that raises anything but the parser's own error, is not written as it was read, takes more
than ten seconds or more than 1 GB goes to tests/corpus/found/ORACLE/, where the tests run it from
then on; the exit code is 1. What libFuzzer learned stays in build/fuzz for the next time.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.seeds import FOUND, seeds
from tests.property.oracles import ORACLES

LEARNED = Path("build/fuzz")
_DONE = re.compile(r"^#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+)", re.M)
_REPLAY = """
import resource, sys
from tests.property.oracles import ORACLES
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
with open(sys.argv[2], "rb") as file:
    ORACLES[sys.argv[1]](file.read())
"""
_KINDS = ("crash-", "timeout-", "oom-")


def fuzz(name: str, seconds: int) -> list[Path]:
    """Runs one oracle and says what came of it; the files it found."""
    learned = LEARNED / name
    learned.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(scratch) / "seeds"
        given.mkdir()
        for data in seeds(name):
            (given / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        command = [
            sys.executable, "-m", "tests.fuzz.one", name, str(learned), str(given),
            f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=4096",
            f"-artifact_prefix={scratch}/", "-print_final_stats=1",
        ]  # fmt: skip
        finished = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds + 120
        )
        said = finished.stdout + finished.stderr
        artifacts = [p for p in sorted(Path(scratch).iterdir()) if p.name.startswith(_KINDS)]
        kept = [keep(name, path) for path in artifacts if confirmed(name, path)]
    done = _DONE.search(said)
    if done:
        print(f"{name:<12} {done[1]:>9} inputs, {done[2]} edges, {done[3]} features", flush=True)
    for path in kept:
        print(f"{name:<12} found {path}", flush=True)
    if not done:
        # atheris writes the traceback, libFuzzer its statistics around it.
        lines = [line for line in said.splitlines() if not line.startswith(("#", "INFO", "stat::"))]
        print("\n".join(lines[-25:]), flush=True)
    if finished.returncode and not kept:
        raise SystemExit(f"{name}: the fuzzer itself failed with {finished.returncode}")
    return kept


def confirmed(name: str, artifact: Path) -> bool:
    """Whether it happens without atheris as well, which has faults of its own; shows how."""
    try:
        finished = subprocess.run(
            [sys.executable, "-c", _REPLAY, name, str(artifact)],
            stderr=subprocess.PIPE, text=True, errors="replace", timeout=20,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        print(f"{name}: more than 20 seconds", flush=True)
        return True
    print("\n".join(finished.stderr.splitlines()[-12:]), flush=True)
    return finished.returncode != 0


def keep(name: str, artifact: Path) -> Path:
    """Puts an input into the corpus."""
    data = artifact.read_bytes()
    directory = FOUND / name
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for all of them together")
    parser.add_argument("oracles", nargs="*", metavar="ORACLE", help=", ".join(ORACLES))
    options = parser.parse_args()
    names = options.oracles or list(ORACLES)
    if unknown := sorted(set(names) - set(ORACLES)):
        parser.error(f"not an oracle: {', '.join(unknown)}; there are {', '.join(ORACLES)}")
    share = max(1, options.seconds // len(names))
    found = [path for name in names for path in fuzz(name, share)]
    print(f"{len(names)} parsers, {share} s each: {len(found)} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
