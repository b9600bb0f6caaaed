"""docs/first-session.md: every command is typed, and every output is what the page says."""

import re
import shutil
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring

from tests import pictures
from tests.tutorial import PAGE, at_noon, commands, expects_any_order, normalised, run

pytestmark = pytest.mark.timeout(240)

SVG = "{http://www.w3.org/2000/svg}"


def titles(picture: Path) -> list[str]:
    """What the arrows of a ladder say, in any order: three processes wrote them down."""
    return sorted(each.text or "" for each in fromstring(picture.read_text()).iter(f"{SVG}title"))


def letters(picture: Path) -> set[str]:
    words = "".join(each.text or "" for each in fromstring(picture.read_text()).iter(f"{SVG}text"))
    return set(re.findall(r"[A-Za-z]{3,}", words))


def test_the_page_and_its_pictures(tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    page = PAGE.read_text()
    ran = run(page, session)
    assert len(ran) == len(list(commands(page))) >= 18
    for command in ran:
        any_order = expects_any_order(command)
        came = normalised(command.output.split("\n"), any_order=any_order)
        assert came == normalised(command.expected, any_order=any_order), command.text
    assert (session / "session.html").stat().st_size > 100_000
    # The pictures are of such a session: made again, they say the same.
    again = tmp_path / "again"
    again.mkdir()
    pictures.ladder(session, again / "ladder.svg")
    pictures.screen(session, again / "trace.svg")
    assert titles(again / "ladder.svg") == titles(pictures.PICTURES / "ladder.svg")
    assert letters(again / "trace.svg") == letters(pictures.PICTURES / "trace.svg")
    for picture in pictures.PICTURES.iterdir():
        # Nothing in them is fetched from anywhere.
        assert not re.search(r"(?:href|src)=|url\((?!#)|@import", picture.read_text())
    shutil.rmtree(session)


def test_what_is_made_anew_has_one_hour_and_date() -> None:
    made = "at 08:09, 08:09:10, 2031-02-03T08:09:10.123Z; 127.0.0.1:5060, ::1, 00:11:22:33"
    kept = "at 12:00, 12:00:00, 2026-11-26T12:00:00.000Z; 127.0.0.1:5060, ::1, 00:11:22:33"
    assert at_noon(made) == at_noon(kept) == kept
