"""What each state of the screen looks like beside what it did, in three sizes and two themes, and
whether all of it can be read, in three.

UPDATE_PICTURES=1 writes what it looks like now.
"""

import difflib
import os
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.color import Color
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, TextArea

from rcsops.tui.themes import NAMES as THEME_NAMES
from tests.screens.scenes import NAMES, walk
from tests.screens.stage import SIZES, THEMES, Screen, Stage, normalised
from tests.screens.still import PANES, still

KEPT = Path(__file__).parent / "pictures"


def _strips(screen: Screen, parts: list[Widget] | None) -> list[Strip]:
    strips = screen.app.screen._compositor.render_strips()
    if parts is None:
        return list(strips)
    regions = [part.region for part in parts]
    return [strips[y].crop(area.x, area.right) for area in regions for y in area.line_range]


def picture(screen: Screen, parts: list[Widget] | None = None) -> str:
    """The text, and below it the colours: each line's runs of one style, by letters; with
    ``parts`` of these alone."""
    letters: dict[str, str] = {}
    text, colours = [], []
    for strip in _strips(screen, parts):
        text.append(strip.text.rstrip())
        runs: list[tuple[str, int]] = []
        for segment in strip:
            style = str(segment.style.without_color if segment.style else "")
            if segment.style is not None:
                ink, ground = segment.style.color, segment.style.bgcolor
                style += f" {ink.name if ink else '-'} on {ground.name if ground else '-'}"
            letter = letters.setdefault(style, f"{len(letters)}")
            if runs and runs[-1][0] == letter:
                runs[-1] = (letter, runs[-1][1] + segment.cell_length)
            else:
                runs.append((letter, segment.cell_length))
        colours.append(" ".join(f"{letter}*{length}" for letter, length in runs))
    while len(text) > 1 and text[-1] == "":
        text.pop()
    legend = [f"{letter} {style}" for style, letter in letters.items()]
    return normalised("\n".join([*text, "", *_folded(colours), "", *legend, ""]))


def too_faint(screen: Screen) -> list[str]:
    """Words whose contrast with what they stand on is less than 4.5 to 1 (WCAG 2.2, 1.4.3); of a
    dialog those in its box."""
    strips = screen.app.screen._compositor.render_strips()
    if len(screen.app.screen_stack) > 1:
        box = screen.app.screen.query_one("#box, #--container").region
        strips = [strips[y].crop(box.x, box.right) for y in box.line_range]
    faint = []
    for segment in (segment for strip in strips for segment in strip):
        style = segment.style
        if style is None or style.color is None or style.bgcolor is None:
            continue
        if not any(character.isalnum() for character in segment.text):
            continue
        dark, bright = sorted(_luminance(each) for each in (style.color, style.bgcolor))
        ratio = (bright + 0.05) / (dark + 0.05)
        if ratio < 4.5:
            faint.append(f"{ratio:.2f} {style.color.name} on {style.bgcolor.name}: {segment.text}")
    return faint


def _luminance(colour: Color) -> float:
    parts = [each / 255 for each in colour.get_truecolor()]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _folded(lines: list[str]) -> list[str]:
    """Equal lines once, with how often they come."""
    folded: list[tuple[str, int]] = []
    for line in lines:
        if folded and folded[-1][0] == line:
            folded[-1] = (line, folded[-1][1] + 1)
        else:
            folded.append((line, 1))
    return [line if count == 1 else f"{line}  ({count} lines)" for line, count in folded]


# 130 pictures of a real conversation, on a machine that may have more to do.
@pytest.mark.timeout(400)
async def test_every_state_can_be_read_and_looks_as_it_did(tmp_path: Path) -> None:
    wrong: list[str] = []
    faint: list[str] = []
    update = bool(os.environ.get("UPDATE_PICTURES"))
    made_with = KEPT / "made-with.txt"
    if update:
        KEPT.mkdir(exist_ok=True)
        made_with.write_text(f"textual {version('textual')}\n")
    elif made_with.read_text() != f"textual {version('textual')}\n":
        pytest.skip(f"the pictures were made with {made_with.read_text().strip()}")

    async def look(name: str, screen: Screen) -> None:
        screen.app.state.latency = 0.003
        for writing in (*screen.app.view.query(TextArea), *screen.app.screen.query(Input)):
            writing.cursor_blink = False
        for size, cells in SIZES.items():
            for theme in (*THEMES, "contrast"):
                screen.app.theme = THEME_NAMES[theme]
                await screen.pilot.resize_terminal(*cells)
                await screen.pilot.pause()
                screen.app.view.tell()
                # A message is read with all the room where a terminal is low.
                screen.app.view.protocol.whole(name in PANES and size != "large")
                await screen.pilot.pause()
                faint.extend(f"{name}, {size}, {theme}: {each}" for each in too_faint(screen))
                if theme not in THEMES:
                    continue
                parts = still(name, screen)
                await screen.pilot.pause()
                now = picture(screen, parts)
                path = KEPT / f"{name.replace(' ', '-')}-{size}-{theme}.txt"
                if update:
                    path.write_text(now)
                    continue
                before = path.read_text()
                wrong.extend(
                    difflib.unified_diff(
                        before.splitlines(), now.splitlines(), path.name, "now", lineterm=""
                    )
                )
        panel = screen.app.view.protocol
        panel.__dict__.pop("_shown", None)
        panel.whole(False)
        screen.app.theme = THEME_NAMES["dark"]
        await screen.pilot.resize_terminal(*SIZES["usual"])
        await screen.pilot.pause()

    with Stage(tmp_path, *NAMES) as stage:
        await walk(stage, look)
    assert not faint, "\n".join(faint[:50])
    assert not wrong, "\n".join(wrong[:200])
