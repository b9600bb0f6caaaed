"""How notices of a chat look."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.cli.chat_print import JsonPrinter, PlainPrinter
from rcsops.operations.chat_events import amount
from rcsops.operations.chat_notices import Notice
from rcsops.trace.text import cell_width

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def lines(capsys: pytest.CaptureFixture[str], notice: Notice, width: int = 0) -> list[str]:
    PlainPrinter(colour=False, width=(lambda: width) if width else None)(notice)
    return [line[9:] for line in capsys.readouterr().out.splitlines()]


def test_marks(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, Notice("session", "hello", {}, NOON)) == ["* hello"]
    assert lines(capsys, Notice("message", "bob: hello", {}, NOON)) == ["bob: hello"]
    assert lines(capsys, Notice("error", "hello", {}, NOON)) == ["! hello"]
    assert lines(capsys, Notice("status", "hello", {"status": "failed"}, NOON)) == ["! hello"]
    assert lines(capsys, Notice("unregistered", "", {}, NOON)) == []


def test_several_lines_are_set_in(capsys: pytest.CaptureFixture[str]) -> None:
    notice = Notice("message", "bob: one\n* two\r\n\n! four\ttab", {}, NOON)
    assert lines(capsys, notice) == ["bob: one", "  * two", "  ", "  ! four  tab"]


def test_wrapping(capsys: pytest.CaptureFixture[str]) -> None:
    text = "bob: " + "word " * 8 + "x" * 45 + " 日本語日本語日本語日本語"
    shown = lines(capsys, Notice("message", text, {}, NOON), width=40)
    # 29 columns stay beside the time, and what is set in.
    assert shown == [
        "bob: word word word word word",
        "  word word word",
        "  " + "x" * 29,
        "  " + "x" * 16,
        "  日本語日本語日本語日本語",
    ]


@given(text=st.text(), width=st.integers(1, 60))
def test_no_line_is_too_long_and_nothing_is_lost(text: str, width: int) -> None:
    printer = PlainPrinter(colour=False, width=lambda: width)
    parts = list(printer._lines(Notice("message", text, {}, NOON), False))
    whole = list(PlainPrinter(colour=False)._lines(Notice("message", text, {}, NOON), False))
    # A column narrower than this shows nothing of use.
    assert all(cell_width(part) <= max(width, 31) for part in parts)
    assert parts[0][2] == ":"
    assert all(part.startswith(" " * 11) for part in parts[1:])
    shown, unbroken = (
        "".join("".join([each[0][9:], *(line[11:] for line in each[1:])]).split())
        for each in (parts, whole)
    )
    assert shown == unbroken


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    JsonPrinter()(Notice("message", "unused", {"text": "é\n\u2028\x1b"}, NOON))
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out)["text"] == "é\n\u2028\x1b"


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_999, "1.0 MB"),
        (2_500_000, "2.5 MB"),
        (10**9, "1.0 GB"),
        (10**13, "10000.0 GB"),
    ],
)
def test_amounts(octets: int, words: str) -> None:
    assert amount(octets) == words
