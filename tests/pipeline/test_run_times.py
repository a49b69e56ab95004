"""What a run is expected to take, from what runs took."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run_times import LinearRunTime, RunTimes

SECONDS = st.floats(1e-6, 10.0)


def test_nothing_is_expected_to_be_quick_before_anything_ran() -> None:
    assert RunTimes().expect(1) == math.inf


@given(st.lists(SECONDS, min_size=1, max_size=20), st.floats(0.01, 1.0))
def test_the_expectation_is_the_exponentially_weighted_mean(measured: list[float], weight: float) -> None:
    times = RunTimes(weight)
    mean = measured[0]
    for seconds in measured:
        times.observe(4, seconds)
        mean = (1 - weight) * mean + weight * seconds
    assert times.expect(4) == pytest.approx(mean)
    assert min(measured) <= times.expect(4) * (1 + 1e-9)
    assert times.expect(4) <= max(measured) * (1 + 1e-9)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 3), (4, 7), (64, 127), (128, 255)])
def test_batches_between_two_powers_of_two_are_taken_together(low: int, high: int) -> None:
    times = RunTimes()
    times.observe(low, 0.5)
    assert times.expect(low) == times.expect(high) == 0.5
    assert times.expect(high + 1) == math.inf


def test_an_unknown_size_takes_at_most_what_the_quickest_larger_one_takes() -> None:
    times = RunTimes()
    for rows, seconds in ((8, 0.3), (16, 0.2), (32, 0.4)):
        times.observe(rows, seconds)
    assert times.expect(1) == 0.2
    assert times.expect(8) == 0.3
    assert times.expect(31) == 0.2
    assert times.expect(64) == math.inf


def test_the_means_are_shown_by_size() -> None:
    for times, shown in ((RunTimes(), "<2: 12 us, <16: 250 us"), (RunTimes(exact=True), "1: 12 us, 9: 250 us")):
        times.observe(9, 0.000_25)
        times.observe(1, 0.000_012_4)
        assert repr(times) == f"<RunTimes {shown}>"


@given(st.dictionaries(st.integers(1, 100), SECONDS, min_size=1), st.lists(st.integers(1, 100), max_size=20))
def test_exact_sizes_are_expected_to_take_what_was_measured_for_them(
    measured: dict[int, float], asked: list[int]
) -> None:
    times = RunTimes(exact=True)
    for size, seconds in measured.items():
        times.observe(size, seconds)
    for size in (*measured, *asked):
        larger = [seconds for other, seconds in measured.items() if other > size]
        assert times.expect(size) == measured.get(size, min(larger, default=math.inf))


@pytest.mark.parametrize("sizes", [(3, 7, 50), (1, 5, 6, 7, 100), (48, 50), (129, 200, 255)])
def test_a_line_through_uneven_sizes_meets_what_was_measured(sizes: tuple[int, ...]) -> None:
    times = LinearRunTime()
    for size in sizes:
        times.observe(size, 0.001 + 0.0001 * size)
    for size in sizes:
        assert times.expect(size) == pytest.approx(0.001 + 0.0001 * size, rel=0.02)
