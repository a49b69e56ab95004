"""How large a batch may be for its rows to be in time: the run times that are learned, and what is chosen by them."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batch_policy import BatchPolicy
from pipeline.batching import Job, MicroBatcher
from pipeline.run_times import LinearRunTime
from pipeline.slo import PROBE_EVERY, LatencySlo


def learned(fixed: float, per_row: float, sizes: list[int] | None = None) -> LinearRunTime:
    times = LinearRunTime()
    for rows in sizes or [1, 2, 4, 8, 16, 32] * 10:
        times.observe(rows, fixed + per_row * rows)
    return times


def test_nothing_is_known_before_anything_ran() -> None:
    assert not LinearRunTime().is_known
    times = LinearRunTime()
    times.observe(4, 0.1)
    assert times.is_known
    assert times.expect(4) == pytest.approx(0.1)


@given(st.floats(1e-5, 0.1), st.floats(1e-6, 0.01))
def test_a_line_is_found(fixed: float, per_row: float) -> None:
    times = learned(fixed, per_row, [1, 2, 4, 8, 16, 32] * 30)
    for rows in (1, 16, 32):
        assert times.expect(rows) == pytest.approx(fixed + per_row * rows, rel=0.05)


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(0, 100)), min_size=1, max_size=80))
def test_neither_part_becomes_negative_or_leaves_the_numbers_whatever_is_measured(
    measured: list[tuple[int, float]],
) -> None:
    times = LinearRunTime()
    for rows, seconds in measured:
        times.observe(rows, seconds)
        assert times.fixed >= 0
        assert times.per_row >= 0
        assert 0 < times.expect(512) < math.inf
        assert times.upper(1) <= times.upper(2) <= times.upper(512)
        assert times.expect(7) <= times.upper(7) < math.inf


@given(st.integers(1, 256), st.floats(1e-4, 1.0))
def test_batches_of_one_size_tell_what_that_size_takes(rows: int, seconds: float) -> None:
    times = learned(0.01, 0.001)
    for _ in range(400):
        times.observe(rows, seconds)
    assert times.expect(rows) == pytest.approx(seconds, rel=0.05)


def test_one_run_that_is_far_off_changes_little_and_a_lasting_change_is_followed() -> None:
    times = learned(0.01, 0.001)
    before = times.upper(16)
    times.observe(16, 5.0)
    assert times.expect(16) < 1.05 * before
    for _ in range(60):
        times.observe(16, 0.26)
    assert times.expect(16) == pytest.approx(0.26, rel=0.1)
    for _ in range(120):
        times.observe(16, 0.026)
    assert times.expect(16) == pytest.approx(0.026, rel=0.1)


def test_the_upper_bound_covers_what_varies() -> None:
    times = LinearRunTime()
    for turn in range(400):
        times.observe(8, 0.1 if turn % 2 else 0.14)
    assert 0.14 < times.upper(8) < 0.25


def test_what_is_known_is_shown() -> None:
    slo = LatencySlo(0.05, BatchPolicy(), learned(0.001, 0.0001))
    assert repr(slo).startswith("<LatencySlo 50 ms, full at 64, <LinearRunTime ")


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_bound_of_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="latency_slo: expected more than 0 seconds"):
        LatencySlo(seconds, BatchPolicy())


def test_a_rows_own_deadline_counts_where_it_is_earlier() -> None:
    slo = LatencySlo(2.0, BatchPolicy())
    assert slo.deadline(10.0, math.inf) == 12.0
    assert slo.deadline(10.0, 11.0) == 11.0


policies = st.builds(BatchPolicy, max_batch_size=st.integers(1, 100)) | st.builds(
    lambda sizes: BatchPolicy(max_batch_size=max(sizes), allowed_batch_sizes=tuple(sorted(sizes))),
    st.sets(st.integers(1, 100), min_size=1, max_size=5),
)
slos = st.builds(
    LatencySlo,
    st.floats(0.001, 1.0),
    policies,
    st.builds(learned, st.floats(0, 0.1), st.floats(0, 0.01)),
)


@given(slos, policies, st.integers(1, 300), st.floats(-1, 2))
def test_a_batch_is_the_largest_that_meets_the_oldest_deadline(
    slo: LatencySlo, policy: BatchPolicy, waiting: int, left: float
) -> None:
    del policy
    rows = slo.batch_rows(waiting, left)
    is_probe = rows == 1 and slo.seconds_of(1) > left
    if rows and not is_probe:
        assert slo.seconds_of(rows) <= left
        assert rows == waiting or rows == slo.largest(left)
    elif is_probe:
        assert slo.seconds_of(1) > 0.001


@given(slos, st.integers(1, 300), st.floats(-1, 2))
def test_only_what_stands_in_the_way_of_a_full_batch_is_refused(slo: LatencySlo, waiting: int, left: float) -> None:
    if slo.batch_rows(waiting, left):
        return
    assert left < slo.late_within(waiting)
    if waiting > slo.full:
        assert waiting - slo.late_rows(waiting) == slo.full
        assert slo.batch_rows(waiting, slo.late_within(waiting)) >= slo.full
    else:
        assert slo.late_within(waiting) == slo.seconds_of(1)
        assert slo.late_rows(waiting) == waiting


@given(slos, st.floats(0, 2))
def test_the_largest_batch_is_exact(slo: LatencySlo, within: float) -> None:
    rows = slo.largest(within)
    assert rows == 0 or slo.seconds_of(rows) <= within
    larger = [n for n in range(rows + 1, slo.largest(math.inf) + 1) if slo.seconds_of(n) <= within]
    assert not larger


def test_a_full_batch_leaves_time_for_the_run_before_it() -> None:
    slo = LatencySlo(0.1, BatchPolicy(), learned(0.01, 0.001, [1, 64] * 400))
    assert slo.full == pytest.approx(40, abs=1)
    assert LatencySlo(1e-6, BatchPolicy(), learned(0.01, 0.001)).full == 1


def test_a_model_that_is_too_slow_for_its_slo_is_tried_now_and_then() -> None:
    slo = LatencySlo(0.001, BatchPolicy(), learned(0.01, 0.001))
    runs = [slo.batch_rows(1, 0.001) for _ in range(3 * PROBE_EVERY)]
    assert runs == ([1] + [0] * (PROBE_EVERY - 1)) * 3


def simulate(load: float, noise: float, slo_seconds: float, seconds: float = 60.0) -> tuple[float, float]:
    """Return the goodput and the share of late answers, by capacity, of a model of 8 ms + 0.4 ms a row.

    Time is simulated; a run takes up to `noise` more or less than that.
    """
    random = Random(1)
    policy = BatchPolicy(max_batch_size=32)
    slo, batcher = LatencySlo(slo_seconds, policy), MicroBatcher(policy)
    capacity = 32 / (0.008 + 0.0004 * 32)
    interval = 1 / (load * capacity)
    now = arrived = 0.0
    in_time = late = 0
    while now < seconds:
        while arrived <= now:
            batcher.offer(Job(Inboxless(), 0, (b"",), arrived, None, slo.deadline(arrived, math.inf), True))
            arrived += interval
        batcher.expire(now)
        waiting = len(batcher)
        if not waiting:
            now = arrived
            continue
        earliest = batcher.earliest_deadline()
        rows = slo.batch_rows(waiting, earliest - now)
        if not rows:
            batcher.expire(max(earliest, now + slo.late_within(waiting)), slo.late_rows(waiting))
            continue
        jobs = batcher.take(rows)
        took = (0.008 + 0.0004 * len(jobs)) * random.uniform(1 - noise, 1 + noise)
        now += took
        slo.times.observe(len(jobs), took)
        in_time += sum(now <= job.deadline for job in jobs)
        late += sum(now > job.deadline for job in jobs)
    return in_time / now / capacity, late / now / capacity


class Inboxless:
    outlet = source = None


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("runs", [2.5, 4.0, 10.0])
def test_under_one_and_a_half_times_its_capacity_a_model_answers_what_it_can_and_in_time(
    noise: float, runs: float
) -> None:
    goodput, late = simulate(1.5, noise, runs * 0.0208)
    assert goodput >= 0.9
    assert late <= 0.01


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_below_its_capacity_a_model_answers_nearly_all_and_in_time(noise: float) -> None:
    goodput, late = simulate(0.9, noise, 4 * 0.0208)
    assert goodput >= 0.99 * 0.9
    assert late <= 0.01 * 0.9


def test_before_anything_ran_all_that_waits_is_run() -> None:
    assert LatencySlo(0.001, BatchPolicy(max_batch_size=4)).batch_rows(7, 0.001) == 4
