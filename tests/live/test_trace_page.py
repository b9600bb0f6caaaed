"""The page of `rcsops trace --export html` in a browser: what it says, shows and fetches."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rcsops.trace import merge
from rcsops.trace.export_text import export
from tests.live.browser import Page, browser
from tests.unit.trace.messages import ALEX, SERVER, request, sent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.server("Chromium"),
    pytest.mark.feature("shows the page of a ladder"),
    pytest.mark.skipif(browser() is None, reason="no Chromium (apt-get install chromium)"),
]

OPEN = """[...document.querySelectorAll('section.message')]
    .filter(each => getComputedStyle(each).display != 'none').map(each => each.id)"""
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def test_a_click_opens_a_message(tmp_path: Path) -> None:
    file = tmp_path / "demo.html"
    finished = subprocess.run(
        [sys.executable, "-m", "rcsops", "demo", "--json", "--export", "html", "-o", str(file)],
        capture_output=True,
        check=True,
    )
    ladder: list[dict[str, Any]] = json.loads(finished.stdout)["ladder"]
    with Page(tmp_path) as page:
        page.open(file.as_uri())
        assert page.evaluate("document.querySelectorAll('g.arrow').length") == len(ladder)
        assert page.evaluate(OPEN) == []
        assert page.evaluate("getComputedStyle(document.querySelector('.hint')).display") != "none"
        wanted = next(i for i, each in enumerate(ladder, 1) if each.get("method") == "INVITE")
        for number in (wanted, len(ladder), 1):
            page.click(f"#a{number} .row")
            assert page.evaluate(OPEN) == [f"m{number}"]
            shown = page.evaluate(f"document.querySelector('#m{number}').innerText")
            assert ladder[number - 1]["label"].split(" ")[0] in shown
            assert page.evaluate(f"document.querySelector('#m{number} pre').innerText.length") > 80
        page.click("#m1 nav a")
        assert page.evaluate(OPEN) == ["m2"]
        # The style counts, though no policy but its own hash lets it.
        assert page.evaluate("getComputedStyle(document.body).display") == "grid"
        assert page.console == []
        assert {each.partition("#")[0] for each in page.requests} == {file.as_uri()}


def test_the_browser_would_tell_of_what_the_policy_forbids(tmp_path: Path) -> None:
    policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"
    file = tmp_path / "broken.html"
    file.write_text(f"<!DOCTYPE html>{policy}<p style='color: red'>x</p><script>alert(1)</script>")
    with Page(tmp_path) as page:
        page.open(file.as_uri())
        assert "Content Security Policy" in "".join(page.console)


def test_nothing_of_a_message_is_run(tmp_path: Path) -> None:
    evil = request("OPTIONS", branch="1", headers=f"From: {HOSTILE}\r\n", body=HOSTILE)
    arrows = merge(sent(0.0, (HOSTILE, ALEX), ("server", SERVER), evil))
    arrows = [dataclasses.replace(each, transport=HOSTILE) for each in arrows]
    file = tmp_path / "evil.html"
    file.write_bytes(b"".join(export(arrows, "html", title=HOSTILE)))
    with Page(tmp_path) as page:
        page.open(f"{file.as_uri()}#m1")
        assert page.evaluate(OPEN) == ["m1"]
        assert HOSTILE in page.evaluate("document.querySelector('#m1 pre').innerText")
        assert page.evaluate("document.querySelectorAll('img, script').length") == 0
        assert page.console == []
        assert {each.partition("#")[0] for each in page.requests} == {file.as_uri()}
