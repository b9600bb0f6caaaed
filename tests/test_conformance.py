"""docs/conformance.md is made from docs/conformance.toml and from the markers of the tests."""

from pathlib import Path

import pytest

from tests.conformance import PAGE, Held, Section, Words, markers, page, words

COVERED = ("3261", "6026", "4320", "5626", "3263", "4028")


def test_the_page_is_what_would_be_made() -> None:
    assert PAGE.read_text("utf-8") == page(words(), markers()), "make conformance"


def test_the_rfcs_of_signalling_are_there_section_by_section() -> None:
    told = words()
    assert set(COVERED) <= set(told.titles)
    chapters = {each.number.split(".")[0] for each in told.sections if each.rfc == "3261"}
    assert {"8", *map(str, range(10, 19)), "22"} <= chapters


def test_every_section_says_what_is_done_or_why_not() -> None:
    for each in words().sections:
        assert each.does or each.omits, each
        for text in (each.does, each.omits):
            assert not text or text.endswith("."), each


SOURCE = """
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.rfc("4475", "3")]


@pytest.mark.rfc(3261, "8.1", "8.2")
@pytest.mark.parametrize("x", [1])
def test_one(x):
    pass


@pytest.mark.rfc("3261", "9")
class TestTwo:
    @pytest.mark.rfc("4320", "4.1")
    async def test_two(self):
        pass


def helper():
    pass
"""


def test_markers_are_read_without_running_anything(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SOURCE + "raise SystemExit\n")
    assert markers(tmp_path, tmp_path) == [
        Held("4475", "3", "test_it.py", "test_one"),
        Held("3261", "8.1", "test_it.py", "test_one"),
        Held("3261", "8.2", "test_it.py", "test_one"),
        Held("4475", "3", "test_it.py", "test_two"),
        Held("3261", "9", "test_it.py", "test_two"),
        Held("4320", "4.1", "test_it.py", "test_two"),
    ]


@pytest.mark.parametrize("mark", ['rfc("3261")', 'rfc(NUMBER, "1")', 'rfc("3261", section="1")'])
def test_a_marker_that_cannot_be_read_is_pointed_at(mark: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"@pytest.mark.{mark}\ndef test_it(): pass\n")
    with pytest.raises(ValueError, match=r"test_it\.py:1"):
        markers(tmp_path, tmp_path)


def test_a_section_without_a_test_shows() -> None:
    told = Words(
        {"3261": "SIP"},
        (
            Section("3261", "8.1", "Asking", "It asks.", "Nothing."),
            Section("3261", "8.2", "Answering", "It answers.", ""),
            Section("3261", "16.11", "Stateless proxy", "", "The server has state."),
        ),
    )
    made = page(
        told,
        [
            Held("3261", "8.1.3.4", "tests/unit/test_a.py", "test_it_asks"),
            Held("5922", "7", "tests/unit/test_b.py", "test_names"),
            Held("3261", "26.2", "tests/unit/test_c.py", "test_safe"),
        ],
    )
    assert "### 8.1 Asking\n\nIt asks.\n\nLeft out: Nothing.\n\nTests: [unit/test_a.py]" in made
    assert "### 8.2 Answering\n\nIt answers.\n\n**No test.**" in made
    assert "### 16.11 Stateless proxy\n\nNot done.\n\nLeft out: The server has state.\n" in made
    assert "Done, but without a test: 3261 §8.2." in made
    assert "| 3261 | 3 | 1 | 1 | 1 |" in made
    assert "**RFC 3261, 26.2.** Tests: [unit/test_c.py](../tests/unit/test_c.py): safe" in made
    assert "**RFC 5922, 7.** Tests: [unit/test_b.py](../tests/unit/test_b.py): names" in made
