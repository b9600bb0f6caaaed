"""Latencies are known closely enough, and add up."""

from hypothesis import given
from hypothesis import strategies as st

from rcsops.loadgen import Histogram

DURATIONS = st.lists(st.floats(min_value=0, max_value=500), min_size=1, max_size=200)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(DURATIONS, st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_right_within_four_per_cent(values: list[float], share: float) -> None:
    found = filled(values).percentile(share)
    rank = max(-(-len(values) * share // 1), 1)
    exact = sorted(values)[int(rank) - 1]
    assert abs(found - exact) <= max(exact * 0.04, 1e-6)


@given(DURATIONS, DURATIONS)
def test_two_histograms_add_up(first: list[float], second: list[float]) -> None:
    together = filled(first)
    together.merge(filled(second))
    assert together.to_json() == filled(first + second).to_json() or (
        # Sums of floats may differ in their last digit by the order.
        abs(together.total - filled(first + second).total) < 1e-6
    )
    assert together.percentile(0.9) == filled(first + second).percentile(0.9)


@given(DURATIONS, DURATIONS)
def test_what_was_added_since(first: list[float], second: list[float]) -> None:
    earlier, later = filled(first), filled(first + second)
    since = later.since(earlier)
    assert since.count == len(second)
    assert abs(since.percentile(0.5) - filled(second).percentile(0.5)) <= 0.04 * max(second) + 1e-6


@given(DURATIONS)
def test_json_keeps_all_of_it(values: list[float]) -> None:
    histogram = filled(values)
    read = Histogram.from_json(histogram.to_json())
    assert read.to_json() == histogram.to_json()
    assert (read.count, read.maximum) == (len(values), max(values))


def test_nothing_counted() -> None:
    empty = Histogram()
    assert (empty.percentile(0.99), empty.mean, empty.count) == (0.0, 0.0, 0)
