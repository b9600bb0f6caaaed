"""Words of peers on a terminal: every script and emoji as it is, nothing that is obeyed."""

import unicodedata

import pytest

from rcsops.text import shown, visible


@pytest.mark.parametrize(
    "text",
    [
        "Grüße 👋",
        "👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 ❤️ 👍🏽 🇦🇹",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "\U0001fae8 \U0001fae9",  # newer than the tables of Python 3.11
        "שלום עולם",
        "مرحبا بالعالم",
        "می‌خواهم",  # with the zero width non-joiner that Persian needs
        "नमस्ते क्‍ष",
        "日本語 한국어 ไทย",
    ],
)
def test_is_shown_as_it_came(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("abc\u202edef", "abc\\u202edef"),
        ("\u2067x\u2069", "\\u2067x\\u2069"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("🏴\U000e0067", "🏴\\U000e0067"),
        ("\ufdd0\U0001ffff", "\\ufdd0\\U0001ffff"),
    ],
)
def test_is_written_out(text: str, written: str) -> None:
    assert visible(text) == written


def test_what_is_not_shown_is_left_out() -> None:
    family, wales = "👨\u200d👩\u200d👧", "🏴\U000e0067\U000e0062\U000e007f"
    text = f"a\x1b[2J\u202e{family}\U000e0041 می\u200cخواهم\n{wales}\t\r"
    assert shown(text) == f"a[2J{family} می\u200cخواهم{wales}"
    assert shown(text, keep="\n\t") == f"a[2J{family} می\u200cخواهم\n{wales}\t"


def test_only_emoji_are_taken_without_a_category() -> None:
    assert unicodedata.category("\u0378") == "Cn"
    assert visible("\u0378") == "\\u0378"
