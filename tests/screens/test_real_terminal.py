"""``rcsops chat`` as two people have it: two windows of tmux, keys, and what is to be seen."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import wait_until
from tests.screens.stage import Stage

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Window:
    """One terminal, with a person in front of it."""

    def __init__(self, tmux: list[str], name: str) -> None:
        self._tmux = tmux
        self._name = name

    def press(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", "-t", self._name, *keys], check=True)

    def type(self, text: str) -> None:
        subprocess.run([*self._tmux, "send-keys", "-t", self._name, "-l", text], check=True)

    def paste(self, text: str) -> None:
        subprocess.run([*self._tmux, "set-buffer", text], check=True)
        subprocess.run([*self._tmux, "paste-buffer", "-p", "-t", self._name], check=True)

    def resize(self, columns: int, rows: int) -> None:
        size = ["-x", str(columns), "-y", str(rows)]
        subprocess.run([*self._tmux, "resize-window", "-t", self._name, *size], check=True)

    @property
    def text(self) -> str:
        shown = subprocess.run(
            [*self._tmux, "capture-pane", "-p", "-t", self._name], capture_output=True, check=True
        )
        return shown.stdout.decode()

    def shows(self, *texts: str) -> None:
        try:
            wait_until(lambda: all(text in self.text for text in texts), what=str(texts))
        except Exception:
            print(self.text)
            raise


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    command = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    yield command
    subprocess.run([*command, "kill-server"], capture_output=True, check=False)


def opened(
    tmux: list[str], stage: Stage, *words: str, term: str = "xterm-256color", **variables: str
) -> Window:
    environment = {**stage.server.environment, "LANG": "C.UTF-8"}
    environment.pop("NO_COLOR", None)
    environment |= variables
    subprocess.run(
        [
            *(*tmux, "new-session", "-d", "-s", words[0]),
            *("-x", "100", "-y", "30"),
            f"TERM={term} {sys.executable} -m rcsops chat {' '.join(words)}; "
            "echo ended $?; exec sleep 600",
        ],
        cwd=stage.directory,
        env=environment,
        check=True,
    )
    return Window(tmux, words[0])


def test_two_people(tmux: list[str], stage: Stage) -> None:
    bob = opened(tmux, stage, "bob")
    bob.shows("● bob at", "Write a message")
    alex = opened(tmux, stage, "alex", "bob")
    alex.shows("● bob  session open", "● alex at")
    bob.shows("● alex  session open")
    alex.type("Hello Bob 🙂 日本語")
    bob.shows("alex is typing …")
    alex.press("Enter")
    bob.shows("▌ Hello Bob 🙂 日本語")
    alex.shows("✓✓ ▌ Hello Bob 🙂 日本語")
    # Alt and Enter, as an old terminal sends it, and what is pasted, do not send.
    bob.type("one")
    bob.press("M-Enter")
    bob.paste("two\nthree\n")
    bob.shows(" one", " two", " three")
    assert "▌ one" not in alex.text
    bob.press("Enter")
    alex.shows("▌ one", "▌ two", "▌ three")
    bob.resize(60, 20)
    bob.shows("▌ three", "● bob at")
    bob.resize(200, 60)
    bob.shows("▌ Hello Bob", "▌ three")
    alex.press("F1")
    alex.shows("the palette of commands")
    alex.press("Escape")
    wait_until(lambda: "the palette of commands" not in alex.text, what="no help")
    alex.press("C-q")
    alex.shows("unregistered; good bye", "ended 0")
    bob.shows("alex ended the session")


@pytest.mark.parametrize("way", ["--plain", "dumb", "setting"])
def test_lines_where_there_is_no_screen(tmux: list[str], stage: Stage, way: str) -> None:
    words = ["bob", *(["--plain"] if way == "--plain" else [])]
    variables = {"RCSOPS_CHAT_FRONT": "plain"} if way == "setting" else {}
    bob = opened(tmux, stage, *words, term="dumb" if way == "dumb" else "xterm", **variables)
    bob.shows("registered as bob", "bob>")
    bob.press("C-d")
    bob.shows("ended 0")


def test_without_colours(tmux: list[str], stage: Stage) -> None:
    alex = opened(tmux, stage, "alex", NO_COLOR="1")
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
