"""Two messages side by side: every word of both, aligned, and what differs marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.trace import BesidePiece, Difference, beside, cell_width, compare

from .messages import request

FIRST = request("REGISTER", branch="1", headers="Expires: 3600\r\nUser-Agent: a\r\n")
SECOND = request(
    "REGISTER", branch="2", cseq=2, headers="Expires: 3600\r\nAuthorization: Digest x\r\n"
)


def text(pieces: tuple[BesidePiece, ...]) -> str:
    return "".join(piece.text for piece in pieces)


def test_the_names_stand_once_and_the_values_beside_each_other() -> None:
    picture = beside(compare("sip", FIRST, SECOND), 120)
    assert picture.names == len("Content-Length")
    assert 2 * picture.values + picture.names + 2 + 3 <= 120
    lines = {line.name: line for line in picture.lines if line.name}
    assert (lines["Expires"].mark, text(lines["Expires"].first)) == ("│", "3600")
    assert text(lines["Expires"].second) == "3600"
    assert (lines["CSeq"].mark, lines["CSeq"].kind) == ("≠", "changed")
    assert lines["CSeq"].first == (BesidePiece("1", True), BesidePiece(" REGISTER", False))
    assert lines["CSeq"].second == (BesidePiece("2", True), BesidePiece(" REGISTER", False))
    assert (lines["Authorization"].mark, lines["Authorization"].first) == ("+", ())
    assert text(lines["Authorization"].second) == "Digest x"
    assert (lines["User-Agent"].mark, lines["User-Agent"].second) == ("-", ())
    # The branch alone is what differs in the Via.
    assert [piece.text for piece in lines["Via"].first if piece.differs] == ["z9hG4bK1"]


def test_a_long_value_goes_on_below_without_its_name() -> None:
    (name, *rest) = beside(
        [Difference("changed", "Via", "SIP/2.0/UDP host;branch=" + "x" * 60, "short")], 60
    ).lines
    assert name.name == "Via"
    assert name.mark == "≠"
    assert len(rest) >= 2
    assert not any(line.name or line.second for line in rest)


def test_a_body_stands_apart_from_the_headers() -> None:
    before = request("MESSAGE", branch="1", body="one\r\ntwo\r\n")
    after = request("MESSAGE", branch="1", body="one\r\nthree\r\n")
    lines = beside(compare("sip", before, after), 110).lines
    apart = next(number for number, line in enumerate(lines) if not text(line.first + line.second))
    assert [(line.mark, text(line.first), text(line.second)) for line in lines[apart + 1 :]] == [
        ("│", "one", "one"),
        ("≠", "two", "three"),
    ]


def test_what_is_hostile_is_written_out_and_takes_no_time() -> None:
    many = "".join(f"a{number};\x1b[2J" for number in range(20_000))
    picture = beside([Difference("changed", "X\x1b", many, "b" + many)], 110)
    shown = "".join(line.name + text(line.first) + text(line.second) for line in picture.lines)
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown


@given(st.text(max_size=80), st.text(max_size=80), st.integers(40, 200))
@pytest.mark.parametrize("name", ["", "Via", "A-name-that-is-longer-than-any"])
def test_nothing_is_lost_and_nothing_stands_out(
    name: str, first: str, second: str, width: int
) -> None:
    picture = beside([Difference("changed", name, first, second)], width)
    for line in picture.lines:
        assert cell_width(text(line.first)) <= picture.values
        assert cell_width(text(line.second)) <= picture.values
        assert cell_width(line.name) <= picture.names
    from rcsops.text import visible

    assert "".join(text(line.first) for line in picture.lines) == visible(first)
    assert "".join(text(line.second) for line in picture.lines) == visible(second)
