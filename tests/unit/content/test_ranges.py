"""Ranges of a file (RFC 9110 §14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.content.ranges import Span, Unsatisfiable, content_range, wanted_span


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-499", Span(0, 500)),
        ("bytes=500-", Span(500, 1000)),
        ("bytes=500-9999", Span(500, 1000)),
        ("bytes=-100", Span(900, 1000)),
        ("bytes=-5000", Span(0, 1000)),
        ("Bytes = 0-0", Span(0, 1)),
        ("bytes=999-999", Span(999, 1000)),
        # As good as no header: another unit, several, and what is none.
        ("lines=0-4", None),
        ("bytes=0-1,5-6", None),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes", None),
        ("bytes=a-b", None),
        ("bytes=1-\u0662", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
@pytest.mark.rfc(9110, "14.1.2", "14.2")
def test_range(value: str, span: Span | None) -> None:
    assert wanted_span(value, 1000) == span


@pytest.mark.parametrize(
    ("value", "size"),
    [("bytes=1000-", 1000), ("bytes=-0", 1000), ("bytes=0-", 0), ("bytes=-1", 0)],
)
@pytest.mark.rfc(9110, "15.5.17")
def test_a_range_outside(value: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        wanted_span(value, size)


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d*-\d*", fullmatch=True), st.integers(0, 100))
def test_any_range_is_within_the_file(value: str, size: int) -> None:
    try:
        span = wanted_span(value, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.stop <= size


@pytest.mark.rfc(9110, "14.4")
def test_content_range() -> None:
    assert content_range("bytes 100-999/1000") == (Span(100, 1000), 1000)
    for value in ("bytes 0-1000/1000", "bytes 5-4/10", "bytes */10", "bytes 0-9/*", "0-9/10", ""):
        assert content_range(value) is None
