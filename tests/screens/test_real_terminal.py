"""``rcsops chat`` as two people have it: two windows of tmux, keys, and what is to be seen."""

import asyncio
import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from rcsops.operations.mi import contacts
from rcsops.settings import Project
from rcsops.testing import wait_until
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


def test_the_protocol(tmux: list[str], stage: Stage) -> None:
    bob = opened(tmux, stage.directory, stage.server.environment, "bob")
    bob.shows("● bob at", "Write a message")
    alex = opened(tmux, stage.directory, stage.server.environment, "alex", "bob")
    alex.shows("● bob  session open")
    alex.press("F2")
    alex.shows("SIP and MSRP of this conversation", "INVITE", "since")
    alex.press("a")
    alex.shows("SIP and MSRP of everything")
    # A message with all the room, then compared with the one that carries credentials.
    alex.press("Home", "Enter")
    alex.shows("Esc back", "REGISTER sip:rcs.example SIP/2.0", "CSeq: 1 REGISTER")
    alex.press("m", "Down", "Down")
    alex.shows("1 REGISTER", "→  3 REGISTER", "Authorization is added", "CSeq goes up by 1")
    alex.press("m", "s")
    alex.shows("How it stands now", "state     registered", "Chat with bob", "confirmed")
    alex.press("Escape")
    alex.shows("Enter opens")
    alex.press("e")
    alex.shows("Export ", "mermaid", "alex-")
    alex.press("Enter")
    wait_until(lambda: bool(list(stage.directory.glob("alex-all-*.txt"))), what="written")
    wait_until(lambda: "mermaid" not in alex.text, what="the dialog closed")
    (written,) = stage.directory.glob("alex-*.txt")
    assert written.stat().st_mode & 0o777 == 0o600
    text = written.read_text()
    assert "REGISTER" in text
    assert "INVITE (SDP)" in text
    assert "secret of alex" not in text
    alex.press("C-q")
    alex.shows("ended 0")


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


def test_a_terminal_that_never_had_the_focus_shows_the_keys(tmux: list[str], stage: Stage) -> None:
    focus = ["set", "-g", "exit-empty", "off", ";", "set", "-g", "focus-events", "on"]
    subprocess.run([*tmux, "start-server", ";", *focus], check=True)
    alex = opened(tmux, stage.directory, stage.server.environment, "alex")
    alex.shows("● alex at", "^Q Quit F1 Help")
    alex.press("C-q")
    alex.shows("ended 0")


def test_a_terminal_that_does_not_tell_its_size(stage: Stage) -> None:
    """No signal comes from one that is not the session's own, as within some containers."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(ours, (30, 100))
    chat = subprocess.Popen(
        [sys.executable, "-m", "rcsops", "chat", "bob"],
        cwd=stage.directory,
        env={
            **stage.server.environment,
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "COLUMNS": "80",
            "LINES": "24",
        },
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    drawn = bytearray()

    def reached(row: int) -> bool:
        """Whether the status is drawn above the footer, in ``row``, since the last clear."""
        while select.select([ours], [], [], 0.05)[0]:
            drawn.extend(os.read(ours, 1 << 16))
        return re.search(rb"\x1b\[%d;1H[^\n]*?bob at" % (row - 1), drawn) is not None

    try:
        wait_until(lambda: reached(30), what="drawn in 30 rows")
        drawn.clear()
        termios.tcsetwinsize(ours, (20, 60))
        wait_until(lambda: reached(20), what="drawn in 20 rows")
    finally:
        os.close(ours)
        chat.kill()
        chat.wait()


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


class Standing:
    """``rcsops chat USER PEER`` on a terminal that takes what is drawn only when it is read."""

    def __init__(self, stage: Stage, user: str, peer: str) -> None:
        self._ours, its = pty.openpty()
        termios.tcsetwinsize(self._ours, (30, 100))
        self.drawn = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rcsops", "chat", user, peer],
            cwd=stage.directory,
            env={**stage.server.environment, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
            stdin=its,
            stdout=its,
            stderr=its,
            # The terminal is its own: it hears of its end.
            preexec_fn=partial(_take_terminal, its),
            start_new_session=True,
        )
        os.close(its)

    def shows(self, words: bytes) -> bool:
        """Reads what there is; whether ``words`` came since `drawn` was cleared."""
        while select.select([self._ours], [], [], 0.05)[0]:
            self.drawn.extend(os.read(self._ours, 1 << 16))
        return words in self.drawn

    async def draw_much(self) -> None:
        """Has the chat draw its screen again and again, and reads nothing of it."""
        for number in range(150):
            termios.tcsetwinsize(self._ours, (30, 100 + number % 2))
            await asyncio.sleep(0.03)

    def close(self) -> None:
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1


def _take_terminal(number: int) -> None:
    fcntl.ioctl(number, termios.TIOCSCTTY, 0)


@pytest.fixture
def standing(stage: Stage) -> Iterator[Standing]:
    chat = Standing(stage, "alex", "bob")
    yield chat
    chat.close()
    if chat.process.poll() is None:
        chat.process.kill()
    chat.process.wait()


async def test_a_terminal_that_stands_still_holds_nothing_up(
    stage: Stage, standing: Standing
) -> None:
    await asyncio.to_thread(wait_until, lambda: standing.shows(b"alex at"), what="alex is there")
    async with stage.agent("bob") as bob:
        await standing.draw_much()
        await (await bob.send_message("alex", "the end of it")).delivered(20)
    standing.drawn.clear()
    await asyncio.to_thread(wait_until, lambda: standing.shows(b"the end of it"), what="drawn")
    standing.close()
    assert await asyncio.to_thread(standing.process.wait, 30) is not None


async def test_a_terminal_that_stands_still_and_goes(stage: Stage, standing: Standing) -> None:
    await asyncio.to_thread(wait_until, lambda: standing.shows(b"alex at"), what="alex is there")
    await standing.draw_much()
    standing.close()
    await asyncio.to_thread(standing.process.wait, 10)
    assert contacts(Project.find(str(stage.directory)), "alex") == []
