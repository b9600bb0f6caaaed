import pytest

from rcsops.errors import RemoteProtocolError
from rcsops.msrp.ranges import Assembler, RangeSet


def test_ranges_merge() -> None:
    ranges = RangeSet()
    assert (ranges.end, ranges.held, ranges.missing_from) == (0, 0, 0)
    ranges.add(10, 20)
    ranges.add(30, 40)
    assert (ranges.held, ranges.end, ranges.missing_from) == (20, 40, 0)
    ranges.add(0, 10)
    assert (ranges.held, ranges.missing_from) == (30, 20)
    ranges.add(15, 35)
    assert (ranges.held, ranges.end, ranges.missing_from) == (40, 40, 40)
    ranges.add(5, 5)
    ranges.add(40, 41)
    assert ranges.held == 41


def test_too_many_holes_are_refused() -> None:
    ranges, body = RangeSet(4), Assembler(4)
    for i in range(4):
        ranges.add(i * 10, i * 10 + 1)
        body.put(i * 10, b"x")
    for fill in (lambda: ranges.add(5, 6), lambda: body.put(5, b"x")):
        with pytest.raises(RemoteProtocolError) as caught:
            fill()
        assert caught.value.status == 413
    ranges.add(1, 10)
    body.put(1, b"y" * 9)
    assert ranges.held == body.held == 13


def test_later_octets_overwrite() -> None:
    body = Assembler()
    body.put(4, b"EFGH")
    body.put(12, b"MN")
    body.put(0, b"abcdef")
    body.put(6, b"ghijklm")
    assert body.body() == b"abcdefghijklmN"
    assert (body.held, body.end) == (14, 14)
    body.put(3, b"")
    body.put(0, b"0123456789ABCDEFG")
    assert body.body() == b"0123456789ABCDEFG"
    assert body.held == body.end == 17


def test_an_invented_offset_costs_nothing() -> None:
    body = Assembler()
    body.put(10**15, b"x")
    assert (body.held, body.end, len(body.body())) == (1, 10**15 + 1, 1)
