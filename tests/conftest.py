"""What every test may ask for, and what none may leave behind."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from rcsops.testing.mariadb import MariaDbServer

# A loaded machine must not turn a slow example into a failed test.
settings.register_profile(
    "rcsops", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "rcsops"))

_OURS = "RCSOPS_"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rcsops", "tests on real servers (tests/live)")
    group.addoption(
        "--smoke",
        action="store_true",
        help="of the tests on OpenSIPS only those marked smoke, on one release",
    )
    group.addoption(
        "--release",
        metavar="VERSION",
        help='only the tests on this OpenSIPS; "none": those that are not on one alone',
    )
    group.addoption("--matrix", metavar="FILE", help="write what was found into this file")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees no RCSOPS_* variable of the person who runs it, but those meant for tests."""
    for name in list(os.environ):
        if name.startswith(_OURS) and not name.startswith("RCSOPS_TEST_"):
            monkeypatch.delenv(name)


def _children() -> set[int]:
    """The living children of this process, read from /proc: quick enough for every test."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in task.read_text().split())
    return {pid for pid in found if _state(pid) not in ("Z", "X", "")}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    """A test that leaves a child process running fails."""
    before = _children()
    yield
    deadline = time.monotonic() + 2
    while left := _children() - before:
        if time.monotonic() > deadline:
            pytest.fail(f"processes left running: {sorted(left)}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbServer]:
    """A MariaDB for all tests of this process; each takes a database of another name."""
    if reason := MariaDbServer.missing():
        pytest.skip(reason)
    with MariaDbServer("--innodb-flush-log-at-trx-commit=2") as server:
        yield server
