"""What is due when."""

import random
from itertools import pairwise

import pytest

from rcsops.loadgen.pacing import arrivals


def test_even_gaps() -> None:
    times = list(arrivals(10, 2))
    assert len(times) == 19
    assert all(later - earlier == pytest.approx(0.1) for earlier, later in pairwise(times))


def test_the_ramp_holds_back_half_of_its_share() -> None:
    times = list(arrivals(100, 10, ramp=4))
    in_ramp = sum(time < 4 for time in times)
    assert in_ramp == pytest.approx(200, abs=1)
    assert len(times) == pytest.approx(800, abs=1)
    first, second = (sum(low <= t < low + 1 for t in times) for low in (0, 3))
    assert second > 5 * first


def test_random_gaps_keep_the_rate_and_vary() -> None:
    chance = random.Random(7)
    times = list(arrivals(50, 100, fraction=chance.random))
    assert len(times) == pytest.approx(5000, rel=0.05)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) < 0.002 and max(gaps) > 0.1
    assert times == sorted(times)


def test_a_ramp_longer_than_the_load() -> None:
    assert len(list(arrivals(100, 2, ramp=10))) == pytest.approx(100, abs=1)
