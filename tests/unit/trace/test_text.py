"""Text from the network is shown, not obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.text import visible
from rcsops.trace import cell_width, fit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "hello"),
        ("Grüße, 世界 👍🏽", "Grüße, 世界 👍🏽"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("line\r\nline", "line\\x0d\\x0aline"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("\u2028", "\\u2028"),
        ("tag \U000e0041", "tag \\U000e0041"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("\u200d\ufe0f", "\u200d\ufe0f"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_caller_may_keep_line_breaks() -> None:
    assert visible("a\nb\x00", keep="\n") == "a\nb\\x00"


@given(st.text())
def test_nothing_shown_is_a_control(text: str) -> None:
    assert not any(
        ord(character) < 32 or 127 <= ord(character) < 160 for character in visible(text)
    )


@given(st.text(), st.integers(0, 40))
def test_what_is_fitted_fits(text: str, width: int) -> None:
    shown = fit(visible(text), width)
    assert cell_width(shown) <= width
    assert cell_width(visible(text)) > width or shown == visible(text)


def test_wide_characters_take_two_columns_and_accents_none() -> None:
    assert cell_width("世界") == 4
    assert cell_width("e\u0301") == 1
    assert fit("世界人", 5) == "世界…"
