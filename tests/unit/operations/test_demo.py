"""A demo that goes wrong says what, and leaves nothing behind."""

import sys
from pathlib import Path

import psutil
import pytest

from rcsops.errors import EngineError
from rcsops.operations import demo, demo_peer
from rcsops.operations.demo import Progress, demonstrate


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def run() -> tuple[demo.DemoResult, list[Progress]]:
    told: list[Progress] = []
    return demonstrate(report=told.append), told


def test_a_server_that_does_not_start(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise EngineError("the port is taken")

    monkeypatch.setattr(demo, "start", refuse)
    result, told = run()
    assert not result.ok
    assert result.problems[0] == "the port is taken"
    assert "nobody ended the session (BYE)" in result.problems
    assert result.users == ["alex@rcs.example", "bob@rcs.example"]
    assert not any(progress.who == "server" for progress in told)
    assert list(scratch.iterdir()) == []


def test_an_agent_that_does_not_start(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (sys.executable, "-c", "raise SystemExit('error: no such command')")
    monkeypatch.setattr(demo_peer, "_RCSOPS", command)
    result, told = run()
    assert result.problems[0] == "alex ended: registering: error: no such command"
    assert any(progress.who == "server" for progress in told)
    # The server was there, and is gone.
    running = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and str(scratch) in " ".join(process.info["cmdline"] or [])
    ]
    assert running == []
    assert list(scratch.iterdir()) == []
