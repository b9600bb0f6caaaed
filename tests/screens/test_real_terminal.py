"""``rcsops chat`` as two people have it: two windows of tmux, keys, and what is to be seen."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rcsops.operations.mi import contacts
from rcsops.settings import Project
from tests.screens.stage import Stage
from tests.screens.windows import opened, two_people_chat

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    command = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    yield command
    subprocess.run([*command, "kill-server"], capture_output=True, check=False)


def test_two_people(tmux: list[str], stage: Stage) -> None:
    two_people_chat(tmux, stage.directory, stage.server.environment)


@pytest.mark.parametrize("way", ["--plain", "dumb", "setting"])
def test_lines_where_there_is_no_screen(tmux: list[str], stage: Stage, way: str) -> None:
    words = ["bob", *(["--plain"] if way == "--plain" else [])]
    variables = {"RCSOPS_CHAT_FRONT": "plain"} if way == "setting" else {}
    bob = opened(
        tmux,
        stage.directory,
        stage.server.environment,
        *words,
        term="dumb" if way == "dumb" else "xterm",
        **variables,
    )
    bob.shows("registered as bob", "bob>")
    bob.press("C-d")
    bob.shows("ended 0")


def test_without_colours(tmux: list[str], stage: Stage) -> None:
    alex = opened(tmux, stage.directory, stage.server.environment, "alex", NO_COLOR="1")
    alex.shows("● alex at", "Write a message")
    shown = subprocess.run(
        [*tmux, "capture-pane", "-p", "-e", "-t", "alex"], capture_output=True, check=True
    ).stdout.decode()
    colours = set(re.findall(r"38;2;(\d+);(\d+);(\d+)|38;5;(\d+)", shown))
    # Greys alone.
    assert all(red == green == blue for red, green, blue, number in colours if not number), colours
    alex.press("C-q")
    alex.shows("ended 0")


def test_what_shows_no_screen_does_not_load_it(stage: Stage) -> None:
    for words in (["--help"], ["chat", "--help"], ["chat", "bob", "--plain"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "rcsops", *words],
            cwd=stage.directory,
            env=stage.server.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        assert b"rcsops" in done.stderr
        assert b"textual" not in done.stderr


def test_a_terminal_that_goes_takes_the_chat_with_it(tmux: list[str], stage: Stage) -> None:
    alex = opened(tmux, stage.directory, stage.server.environment, "alex")
    alex.shows("● alex at", "Write a message")
    (chat,) = [
        each
        for each in psutil.process_iter(["cmdline", "cwd"])
        if each.info["cwd"] == str(stage.directory)
        and (each.info["cmdline"] or [])[1:] == ["-m", "rcsops", "chat", "alex"]
    ]
    subprocess.run([*tmux, "kill-server"], check=True)
    chat.wait(30)
    assert contacts(Project.find(str(stage.directory)), "alex") == []
