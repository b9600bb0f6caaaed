"""A log entry is one line that no terminal obeys, whatever a peer put into it."""

import io
import logging
import sys

import pytest

from rcsops.logs import SafeFormatter
from rcsops.text import visible


def logged(message: str, *values: object, failed: BaseException | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SafeFormatter("%(levelname)s: %(message)s"))
    made = logging.LogRecord("test", logging.INFO, "", 0, message, values, None)
    if failed is not None:
        made.exc_info = (type(failed), failed, failed.__traceback__)
    handler.emit(made)
    return stream.getvalue()


@pytest.mark.parametrize(
    "hostile",
    [
        "x\r\nINFO: alice has paid",
        "x\nINFO: alice has paid",
        "x\x85INFO",
        "x\u2028INFO",
        "\x1b]0;title\x07\x1b[2J",
        "\x9b31m",
        "\u202egpj.exe",
        "\udcff\x00",
    ],
)
def test_no_line_is_forged_and_no_terminal_reached(hostile: str) -> None:
    text = logged("from %s", hostile)
    assert len(text.splitlines()) == 1
    assert text.startswith("INFO: from ")
    assert text[:-1].isprintable()


def test_the_lines_of_a_traceback_cannot_be_taken_for_entries() -> None:
    try:
        raise ValueError("bad\nINFO: forged \x1b[2J")
    except ValueError as error:
        text = logged("it failed", failed=error)
    first, *rest = text.splitlines()
    assert first == "INFO: it failed"
    assert rest[0] == "  | Traceback (most recent call last):"
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)


def test_every_character_that_is_a_control_is_written_out() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = visible(everything)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert not set("\u200e\u200f\u202a\u202e\u2066\u2069\u2028\u2029\ufeff") & set(shown)
    assert visible("Grüße, мир 👩\u200d🚀") == "Grüße, мир 👩\u200d🚀"
