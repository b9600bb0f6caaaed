"""The screens on a real OpenSIPS, in terminals of tmux: two people chat, and `rcsops top`."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import wait_until
from tests.live.test_opensips_engine import Lab, lab
from tests.screens.windows import Window, two_people_chat

__all__ = ["lab"]


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    command = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    yield command
    subprocess.run([*command, "kill-server"], capture_output=True, check=False)


@pytest.mark.feature("chat")
def test_two_people_on_their_screens(lab: Lab, tmux: list[str]) -> None:
    for name in ("alex", "bob"):
        lab.ok("user", "add", name, "--generate")
    lab.ok("start")
    two_people_chat(tmux, lab.directory, lab.environment)


def in_tmux(tmux: list[str], lab: Lab, name: str, *words: str) -> Window:
    """A command in a terminal of 100 columns and 24 lines."""
    run = f"env -u COLUMNS -u LINES {sys.executable} -m rcsops {' '.join(words)}"
    command = f"{run}; echo ended $?; exec sleep 600"
    subprocess.run(
        [*tmux, "new-session", "-d", "-s", name, "-x", "100", "-y", "24", command],
        cwd=lab.directory,
        env={**lab.environment, "LANG": "C.UTF-8"},
        check=True,
    )
    return Window(tmux, name)


@pytest.mark.feature("start, stop, status")
def test_top_while_two_people_talk(lab: Lab, tmux: list[str]) -> None:
    for name in ("alex", "bob"):
        lab.ok("user", "add", name, "--generate")
    lab.ok("start")
    # tmux takes "top" for a place in a window.
    watch = in_tmux(tmux, lab, "watch", "top", "--interval", "0.5")
    watch.shows(f"OpenSIPS {lab.installation.version}", "attendant")
    shows(watch, r"registered +0 ", r"dialogs +0 ", r"\d+ +\d+% +\d+ +attendant")
    bob = in_tmux(tmux, lab, "bob", "chat", "bob", "--plain")
    bob.shows("registered as bob")
    shows(watch, r"registered +1 ", r"contacts +1\b")
    alex = in_tmux(tmux, lab, "alex", "chat", "alex", "bob", "--plain")
    alex.shows("session with bob")
    # The bars keep what came between two looks of ours.
    shows(
        watch,
        r"registered +2 .*█",
        r"dialogs +1 .*█",
        r"registrations/s .*[▂-█]",
        r"messages/s .*[▂-█]",
    )
    assert len(watch.text.rstrip().splitlines()) <= 24
    alex.type("/bye")
    alex.press("Enter")
    shows(watch, r"dialogs +0 ")
    # A real error of the server: what it says of it quotes what came.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"INVITE \x1b[31mno sip at all\r\n\r\n", ("127.0.0.1", lab.port))
    watch.shows("recent errors", "ERROR:core:", "more processes")
    watch.resize(60, 20)
    watch.shows("recent errors", "more processes", "registered")
    assert len(watch.text.rstrip().splitlines()) <= 20
    watch.resize(100, 50)
    pattern = re.compile(r"^ *(\d+) +\d+% ", re.MULTILINE)
    wait_until(
        lambda: {int(each) for each in pattern.findall(watch.text)} == set(lab.processes),
        what="all processes",
    )
    assert "more processes" not in watch.text
    lab.ok("stop")
    watch.shows("has ended")
    lab.ok("start")
    shows(watch, r"up 0:00:\d\d", r"attendant")
    assert "has ended" not in watch.text
    watch.press("C-c")
    watch.shows("ended 0")


@pytest.mark.feature("start, stop, status")
def test_top_for_programs(lab: Lab) -> None:
    lab.ok("user", "add", "alex", "--generate")
    lab.ok("start")
    document = lab.json("top", "--once", "--interval", "0.5")
    assert document["engine"] == "opensips"
    assert {each["pid"] for each in document["processes"]} == set(lab.processes)
    assert document["memory"] == sum(each["memory"] for each in document["processes"]) > 1 << 20
    assert document["dialogs"] == document["registered"] == 0
    # Asking by MI is no SIP.
    assert document["messages_per_second"] == 0.0
    assert document["uptime"] >= 0


def shows(window: Window, *patterns: str) -> None:
    try:
        wait_until(
            lambda: all(re.search(each, window.text) for each in patterns), what=str(patterns)
        )
    except Exception:
        print(window.text)
        raise
