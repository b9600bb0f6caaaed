"""What goes to a terminal for which nobody waits."""

import os
import pty
import select
import time
from collections.abc import Iterator

import pytest

from rcsops.testing import wait_until
from rcsops.tui.output import TerminalOutput


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """The two ends of a terminal: what a person sees, and what a program writes to."""
    both = list(pty.openpty())
    yield both
    for end in both:
        os.close(end)


def read(end: int) -> bytes:
    """What there is to be read within a tenth of a second."""
    octets = b""
    while select.select([end], [], [], 0.1)[0]:
        octets += os.read(end, 1 << 16)
    return octets


def test_all_of_it_in_order(ends: list[int]) -> None:
    output = TerminalOutput(ends[1], lambda: None)
    assert output.isatty()
    for number in range(50):
        output.write(f"{number} é,")
    assert output.drain(5)
    assert read(ends[0]).decode() == "".join(f"{number} é," for number in range(50))


def test_one_that_stands_still_is_drawn_anew_once_it_goes_on(ends: list[int]) -> None:
    drawn: list[float] = []
    output = TerminalOutput(ends[1], lambda: drawn.append(time.monotonic()))
    begun = time.monotonic()
    for number in range(2000):
        output.write(f"{number:0999} ")
        if number == 150:
            assert not output.drain(0.3)
    assert time.monotonic() - begun < 5
    assert not output.drain(0.1)
    assert not drawn
    seen = b""

    def all_seen() -> bool:
        nonlocal seen
        seen += read(ends[0])
        return bool(drawn)

    wait_until(all_seen, what="drawn anew")
    assert output.drain(5)
    seen += read(ends[0])
    # The newest is there, the middle is not, and what is there is whole.
    numbers = [int(number) for number in seen.split()]
    assert numbers[0] == 0
    assert numbers[-1] == 1999
    assert len(numbers) < 1000
    assert len(drawn) == 1


def test_one_that_is_gone_takes_everything(ends: list[int]) -> None:
    output = TerminalOutput(ends[1], lambda: None)
    output.write("x" * 200_000)
    assert not output.drain(0.1)
    os.close(ends.pop(0))
    assert output.drain(5)
    for _ in range(100):
        output.write("x" * 10_000)
    assert output.drain(0)
