"""Rows as lines: widths, what peers write, and the order of states."""

from datetime import date, datetime

import pytest
from rich.cells import cell_len
from rich.style import Style

from rcsops.tui.alerts import desktop_notice
from rcsops.tui.paint import STYLES, Painter, clipped, wrapped
from rcsops.tui.rows import Row, later
from rcsops.tui.widgets.composer import dropped_file

PAINTER = Painter({name: Style() for name in STYLES}, 40, date(2026, 11, 26))


@pytest.mark.parametrize(
    "text",
    ["", "word " * 30, "x" * 95, "日本語" * 20, "👩‍👩‍👧 " * 20, "a\u0301" * 70, "  spaces  " * 9],
)
def test_wrapping_keeps_the_width_and_every_word(text: str) -> None:
    lines = list(wrapped(text, 20))
    assert all(cell_len(line) <= 20 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert cell_len(clipped(text, 10)) <= 10


def row(text: str, **values: object) -> Row:
    at = datetime(2026, 11, 26, 10, 42)
    return Row(**{"key": "k", "kind": "in", "time": at, "sender": "bob", **values}, text=text)  # type: ignore[arg-type]


def painted(one: Row) -> list[str]:
    return ["".join(segment.text for segment in line) for line in PAINTER.paint(one, one)]


def test_nothing_of_a_peer_is_obeyed() -> None:
    (line,) = painted(row("\x1b[2J [red]x[/] \u202e\x9b3"))
    assert line == "10:42    ▌ \\x1b[2J [red]x[/] \\u202e\\x9b3"
    assert "\x1b" not in "".join(painted(row("x", reason="\x1b[2J", status="failed")))
    assert desktop_notice("\x1b\\;a", "b\x07;c").count("\x1b") == 4


def test_links_end_where_the_address_does() -> None:
    lines = PAINTER.paint(row("see https://a.example/x?y=1, or (http://b.example)."), None)
    links = [s.style.link for line in lines for s in line if s.style and s.style.link]
    assert links == ["https://a.example/x?y=1", "http://b.example"]


def test_a_link_that_is_broken_leads_where_it_is_whole() -> None:
    address = "https://a.example/" + "x" * 40
    lines = PAINTER.paint(row(f"see  it at {address}, it is good"), None)
    links = [s for line in lines for s in line if s.style and s.style.link]
    assert len(links) == 2
    assert {s.style.link for s in links if s.style} == {address}
    assert "".join(s.text for s in links) == address


def test_the_order_of_states() -> None:
    assert later("delivered", "sent")
    assert not later("sent", "delivered")
    assert later("failed", "sent")
    assert not later("failed", "delivered")
    assert not later("sent", "failed")


def test_a_file_that_is_dropped(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("a dir") / "my 'file'.txt"
    path.write_text("x")
    import shlex

    assert dropped_file(shlex.quote(str(path))) == path
    assert dropped_file(f"{path} ") == path
    assert dropped_file(path.as_uri()) == path
    assert dropped_file(f"look at {path}") is None
    assert dropped_file(f"{path}\nmore") is None
    assert dropped_file("file://\x00") is None
