"""``make pictures``: the docs' pictures and the outputs of docs/first-session.md, made anew."""

import asyncio
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from rcsops.testing import EmbeddedServer
from tests.screens.scenes import NAMES, walk
from tests.screens.stage import SIZES, Screen, Stage
from tests.tutorial import ROOT, at_noon, write

PICTURES = ROOT / "docs" / "pictures"
TRACES = ("alex.jsonl", "server.jsonl", "bob.jsonl")
SCREEN = ["trace", *TRACES, "--method", "INVITE", "--method", "ACK", "--method", "SEND"]
_AGENTS = 200
LOAD = ["--rate", "12", "--ramp", "20", "--duration", "32"]
_WIDTH = 100
_TOP_LINES = 14
# Less than the load goes on for.
_MOMENTS = 28
# Each picture of a live screen begins there.
_HOME = "\x1b[H"

# A picture carries no fonts. Those after the first three have the Chinese, Japanese and Korean
# signs that these lack; where the reader has none of them, a box stands there.
_FONTS = (
    "'DejaVu Sans Mono', Menlo, Consolas, 'Noto Sans Mono CJK SC', 'Noto Sans CJK SC', "
    "'WenQuanYi Zen Hei Mono', 'PingFang SC', 'Hiragino Sans', 'Microsoft YaHei', 'MS Gothic'"
)
# As rich has it, but with the fonts of the reader: a picture must not fetch anything.
_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: FONTS, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""".replace("FONTS", _FONTS)


def ladder(session: Path, target: Path) -> None:
    """The ladder of a session, by `rcsops trace --export svg`."""
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "rcsops", "trace", *TRACES, "--export", "svg"]
    subprocess.run([*command, "-o", str(target)], cwd=session, check=True)
    target.chmod(0o644)


def screen(session: Path, target: Path) -> None:
    """What a terminal shows of `rcsops trace`, colours and all."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rcsops", *SCREEN],
        cwd=session,
        env=colourful(),
        dimensions=(60, _WIDTH),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    draw((child.before or "").replace("\r\n", "\n"), SCREEN, target)


def top(target: Path) -> None:
    """What a terminal shows of `rcsops top` while agents call and chat."""
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedServer(Path(directory) / "project", {}) as server,
    ):
        rcsops = ["-m", "rcsops", "-C", str(server.directory)]
        load = [sys.executable, *rcsops, "load", "--agents", str(_AGENTS), *LOAD]
        once = [sys.executable, *rcsops, "top", "--once", "--json", "--interval", "0.2"]
        with subprocess.Popen(load, stdout=subprocess.DEVNULL) as loading:
            # So many that come or leave at once would make the highest bar of all.
            while json.loads(subprocess.check_output(once))["registered"] < _AGENTS:
                assert loading.poll() is None
            child = pexpect.spawn(
                sys.executable,
                [*rcsops, "top"],
                env=colourful(),
                dimensions=(_TOP_LINES, _WIDTH),
                encoding="utf-8",
                timeout=60,
            )
            for _ in range(_MOMENTS):
                child.expect_exact(_HOME)
            shown = child.before or ""
            child.sendintr()
            child.expect(pexpect.EOF)
            child.close()
        assert loading.returncode == child.exitstatus == 0, child.before
    # It leaves lines free that a picture need not have.
    draw(shown.replace("\r\n", "\n").rstrip(), ["top"], target)


def colourful() -> dict[str, str]:
    """The environment of a terminal that has colours."""
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "COLUMNS": str(_WIDTH)}


def draw(shown: str, words: list[str], target: Path) -> None:
    """A picture of what `rcsops` with these words has written to a terminal."""
    recorder = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    recorder.print(Text("$ rcsops " + " ".join(words), style="bold"))
    recorder.print(Text.from_ansi(shown), end="")
    drawn = recorder.export_svg(
        title=f"rcsops {words[0]}",
        theme=SVG_EXPORT_THEME,
        code_format=_FORMAT,
        unique_id=words[0],
    )
    target.write_text("".join(f"{line.rstrip()}\n" for line in drawn.splitlines()))


SHOWN = {
    "unread and asked": ("chat.svg", (100, 30)),
    "files and a failure": ("chat-files.svg", (100, 30)),
    "protocol": ("chat-protocol.svg", (150, 42)),
    "two messages compared": ("chat-compare.svg", (150, 42)),
}


def chats(target: Path) -> None:
    """The chat screen in some of its states, with real peers."""

    async def look(name: str, screen: Screen) -> None:
        if name in SHOWN:
            file, size = SHOWN[name]
            await screen.pilot.resize_terminal(*size)
            # What a ping took is another one each time.
            screen.app.state.latency = 0.003
            screen.app.view.tell()
            await screen.pilot.pause(0.5)
            (target / file).write_text(at_noon(with_local_fonts(screen.svg)))
            await screen.pilot.resize_terminal(*SIZES["usual"])
            await screen.pilot.pause()

    with tempfile.TemporaryDirectory() as directory, Stage(Path(directory), *NAMES) as stage:
        asyncio.run(walk(stage, look))


def with_local_fonts(svg: str) -> str:
    """The picture with the fonts of the reader: it must not fetch anything."""
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    svg = svg.replace("Fira Code", _FONTS)
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines() if line.strip())


def main() -> None:
    """Makes all of them."""
    session = write()
    try:
        PICTURES.mkdir(exist_ok=True)
        chats(PICTURES)
        ladder(session, PICTURES / "ladder.svg")
        screen(session, PICTURES / "trace.svg")
        top(PICTURES / "top.svg")
    finally:
        shutil.rmtree(session)
    for picture in sorted(PICTURES.iterdir()):
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size} octets")


if __name__ == "__main__":
    main()
