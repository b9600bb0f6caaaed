"""Processes of ours start, say why not, and end with all that they have started."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from rcsops.errors import EngineError
from rcsops.testing import ManagedProcess, children_of, wait_until

PARENT = (
    "import subprocess, sys, time, pathlib;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "pathlib.Path('ready').write_text(str(child.pid));"
    "time.sleep(600)"
)


def test_it_ends_with_its_children(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = ManagedProcess(
        [sys.executable, "-c", PARENT],
        log=tmp_path / "log",
        ready=lambda: ready.exists() and ready.read_text() != "",
        cwd=tmp_path,
    )
    with process:
        child = int(ready.read_text())
        assert process.running
        assert process.pid in children_of(os.getpid())
        assert children_of(process.pid) == [child]
    assert not process.running

    def gone() -> bool:
        return not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"

    wait_until(gone, what="the end of the child")


def test_one_that_ends_at_once_is_reported_with_its_words(tmp_path: Path) -> None:
    process = ManagedProcess(
        [sys.executable, "-c", "raise SystemExit('no such port')"],
        log=tmp_path / "log",
        ready=lambda: False,
    )
    with pytest.raises(EngineError, match="no such port"):
        process.start()


def test_one_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    process = ManagedProcess(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        log=tmp_path / "log",
        ready=lambda: False,
        timeout=0.3,
    )
    with pytest.raises(EngineError, match="being ready did not happen"):
        process.start()
    assert not process.running
    with pytest.raises(EngineError, match="does not run"):
        _ = process.pid
    assert process.stop() is None
