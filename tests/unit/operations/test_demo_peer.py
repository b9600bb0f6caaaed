"""What the demo does with an agent that does not do its part."""

import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from rcsops.operations import demo_peer
from rcsops.operations.demo_peer import DemoFailed, Notice, Peer


def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Lets this Python code take the place of ``rcsops``."""
    script = tmp_path / "agent.py"
    script.write_text(f"import json, sys, time\n{code}\n")
    monkeypatch.setattr(demo_peer, "_RCSOPS", (sys.executable, str(script)))


async def started(tmp_path: Path, heard: list[Notice] | None = None) -> Peer:
    notices: list[Notice] = [] if heard is None else heard
    peer = Peer("alex", lambda peer, notice: notices.append(notice))
    await peer.start(tmp_path, "bob", environment=os.environ)
    return peer


async def test_what_it_tells_is_heard_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = """
print(json.dumps(sys.argv[1:]))
print("no json")
print(json.dumps({"event": "registered"}), flush=True)
for line in sys.stdin:
    print(json.dumps({"event": "message", "text": line.strip()}), flush=True)
sys.exit(3)
"""
    stand_in(monkeypatch, tmp_path, code)
    heard: list[Notice] = []
    peer = await started(tmp_path, heard)
    await peer.wait_for("registered", what="registering")
    await peer.type("Grüße")
    notice = await peer.wait_for("message", lambda each: "text" in each, what="the text")
    assert notice["text"] == "Grüße"
    assert await peer.finish() == 3
    assert [each["event"] for each in heard] == ["registered", "message"]


async def test_an_error_ends_the_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = 'print(json.dumps({"event": "error", "error": "wrong password"}), flush=True)'
    stand_in(monkeypatch, tmp_path, code + "; time.sleep(600)")
    peer = await started(tmp_path)
    with pytest.raises(DemoFailed, match="alex: registering: wrong password"):
        await peer.wait_for("registered", what="registering")
    await peer.kill()
    assert not psutil.pid_exists(peer.pid)


async def test_an_early_end_is_reported_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, tmp_path, "sys.exit('error: there is no server')")
    peer = await started(tmp_path)
    with pytest.raises(DemoFailed, match="alex ended: registering: error: there is no server"):
        await peer.wait_for("registered", what="registering")
    await peer.finish()


async def test_silence_has_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, "time.sleep(600)")
    peer = await started(tmp_path)
    with pytest.raises(DemoFailed, match=r"nothing after 0\.2 s"):
        await peer.wait_for("registered", what="registering", patience=0.2)
    with pytest.raises(DemoFailed, match="did not end"):
        await peer.finish(patience=0.2)
    await peer.kill()
    assert not psutil.pid_exists(peer.pid)


async def test_what_ignores_the_request_to_end_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps({"event": "registered"}), flush=True)
time.sleep(600)
"""
    stand_in(monkeypatch, tmp_path, code)
    monkeypatch.setattr(demo_peer, "_GRACE", 0.1)
    peer = await started(tmp_path)
    await peer.wait_for("registered", what="registering")
    async with asyncio.timeout(10):
        await peer.kill()
    assert not psutil.pid_exists(peer.pid)
