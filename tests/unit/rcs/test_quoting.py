"""Replies and reactions in plain text."""

import pytest

from rcsops.errors import UsageError
from rcsops.rcs import quoted_reply, reaction_text


@pytest.mark.parametrize(
    ("original", "quoted"),
    [
        ("see you at nine?", "> see you at nine?"),
        ("one\r\ntwo", "> one\n> two"),
        ("one\n\ntwo\nthree", "> one\n> two …"),
        ("> what they quoted\nnine is fine", "> nine is fine"),
        ("> nothing but a quotation", "> > nothing but a quotation"),
        ("x" * 500, "> " + "x" * 99 + "…"),
        ("x" * 60 + "\n" + "y" * 60, "> " + "x" * 60 + "\n> " + "y" * 39 + "…"),
        ("שלום 👩‍🚀", "> שלום 👩‍🚀"),
        ("x" * 97 + "👩‍🚀" + "y" * 9, "> " + "x" * 97 + "…"),
    ],
)
def test_a_reply_quotes(original: str, quoted: str) -> None:
    assert quoted_reply(original, "yes\nof course") == f"{quoted}\nyes\nof course"


def test_a_reaction_is_a_sentence() -> None:
    assert reaction_text("👍🏽", "see you\nat  nine?") == "Reacted 👍🏽 to “see you at nine?”"
    assert reaction_text("❤️", "x" * 500) == f"Reacted ❤️ to “{'x' * 99}…”"


@pytest.mark.parametrize("word", ["", "+1", "ok", "👍 👍", "ja", "ö", "\U0001f44d" * 100])
def test_what_is_no_reaction(word: str) -> None:
    with pytest.raises(UsageError):
        reaction_text(word, "hello")
