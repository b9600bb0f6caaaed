"""Terminals of tmux with ``rcsops chat`` in them: keys go in, and what is to be seen is read."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rcsops.testing import wait_until
from tests.screens.recording import replayed

_ROOT = Path(__file__).parents[2]


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


def opened(
    tmux: list[str],
    directory: Path,
    environment: Mapping[str, str],
    *words: str,
    term: str = "xterm-256color",
    **variables: str,
) -> Window:
    """``rcsops chat WORDS`` in a project, recorded there in ``WORDS[0].cast``."""
    recorder = (
        f"cd '{_ROOT}' && exec '{sys.executable}' -m tests.screens.recording "
        f"'{directory / words[0]}.cast' 100 30"
    )
    kept = {name: value for name, value in environment.items() if name != "NO_COLOR"}
    subprocess.run(
        [
            *(*tmux, "new-session", "-d", "-s", words[0]),
            *("-x", "100", "-y", "30"),
            f"TERM={term} {sys.executable} -m rcsops chat {' '.join(words)}; "
            "echo ended $?; exec sleep 600",
            *(";", "pipe-pane", "-t", words[0], recorder),
        ],
        cwd=directory,
        env={**kept, "LANG": "C.UTF-8", **variables},
        check=True,
    )
    return Window(tmux, words[0])


def two_people_chat(tmux: list[str], directory: Path, environment: Mapping[str, str]) -> None:
    """Alex and bob on their screens, from the invitation to the good-bye."""
    bob = opened(tmux, directory, environment, "bob")
    bob.shows("● bob at", "Write a message")
    alex = opened(tmux, directory, environment, "alex", "bob")
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
    recording = directory / "alex.cast"
    replayed(tmux, recording, "▌ Hello Bob 🙂 日本語", "▌ one", "▌ two", "▌ three")
    keep = Path(os.environ.get("RCSOPS_TEST_RECORDINGS") or _ROOT / "build" / "recordings")
    keep.mkdir(parents=True, exist_ok=True)
    shutil.copy(recording, keep / f"{directory.name}-alex.cast")
