"""Token buckets: what they give out is bounded in every stretch of time, and what is put back is there for others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.token_bucket import HELD, Quota, TokenBucket

RATES = st.floats(0.1, 1e6)
NEEDS = st.integers(1, 50)
STEPS = st.lists(st.tuples(st.floats(0, 3), NEEDS, st.floats(0, 1)), max_size=40)


def taken(bucket: TokenBucket, need: int, now: float) -> int:
    """Take a grant and return how many of its tokens are held."""
    grant = bucket.offer(need, now)
    if grant:
        bucket.take(need, grant)
    return grant - need if grant else -1


def test_a_new_bucket_is_full_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(10.0, 20.0, 100.0)
    assert bucket.is_full
    assert taken(bucket, 20, 100.0) == 0
    assert bucket.offer(1, 100.0) == 0
    assert bucket.wait(1, 100.0) == pytest.approx(0.1)
    assert bucket.offer(1, 100.11) == 1
    bucket.fill(110.0)
    assert bucket.is_full


def test_a_grant_has_more_than_is_needed_at_once() -> None:
    bucket = TokenBucket(1000.0, 2000.0, 0.0)
    held = taken(bucket, 1, 0.0)
    assert held == 50
    assert not bucket.is_full
    bucket.put_back(held, held)
    bucket.fill(1.0)
    assert bucket.is_full


def test_those_who_hold_and_do_not_use_starve_nobody() -> None:
    bucket = TokenBucket(1000.0, 1000.0, 0.0)
    held = 0
    while taken(bucket, 1, 0.0) > 0:
        held += 1
    assert 4 < held < 100
    bucket.fill(10.0)
    assert bucket.offer(int(1000 * (1 - HELD)), 10.0)


def test_what_is_larger_than_a_burst_waits_for_a_full_bucket_and_is_paid_back() -> None:
    bucket = TokenBucket(10.0, 20.0, 0.0)
    assert taken(bucket, 50, 0.0) == 0
    assert bucket.wait(1, 0.0) == pytest.approx(3.1)
    assert bucket.offer(50, 4.9) == 0
    assert bucket.offer(50, 5.01) == 50


def test_a_share_is_a_part_of_rate_and_burst() -> None:
    bucket = TokenBucket(10.0, 20.0, 0.0)
    bucket.resize(0.25, 0.0)
    assert bucket.offer(6, 0.0) == 6  # a full bucket gives more than it can save
    assert taken(bucket, 5, 0.0) == 0
    assert bucket.wait(1, 0.0) == pytest.approx(0.4)
    bucket.resize(1.0, 0.2)
    assert bucket.wait(1, 0.2) == pytest.approx(0.05)
    assert "x 1" in repr(bucket)


def test_what_was_asked_for_is_what_was_used() -> None:
    bucket = TokenBucket(1000.0, 2000.0, 0.0)
    held = taken(bucket, 1, 0.0)
    bucket.put_back(held, held - 10)
    assert bucket.asked == 11


@given(RATES, st.floats(0.1, 10), STEPS)
def test_in_any_stretch_of_time_no_more_is_used_than_rate_and_burst(
    rate: float, seconds: float, steps: list[tuple[float, int, float]]
) -> None:
    burst = max(rate * seconds, 1.0)
    bucket, now = TokenBucket(rate, burst, 0.0), 0.0
    used = [(0.0, 0.0)]
    excess = 0.0
    for pause, need, part in steps:
        now += pause
        held = taken(bucket, need, now)
        if held >= 0:
            left = int(held * part)
            bucket.put_back(held, left)
            used.append((now, need + held - left))
            excess = max(excess, need - (1 - HELD) * burst)
    for first in range(len(used)):
        total = 0.0
        for at, amount in used[first:]:
            total += amount
            assert total <= rate * (at - used[first][0]) + burst + excess + 1e-6 * max(total, 1.0)


@given(RATES, st.integers(1, 200), st.integers(1, 200))
def test_after_the_wait_that_was_told_it_is_there(rate: float, first: int, second: int) -> None:
    bucket = TokenBucket(rate, max(2 * rate, 1.0), 1e6)
    taken(bucket, first, 1e6)
    assert bucket.offer(second, 1e6 + bucket.wait(second, 1e6) + 1e-3) >= second


def test_time_that_goes_backwards_gives_nothing() -> None:
    bucket = TokenBucket(10.0, 10.0, 100.0)
    taken(bucket, 10, 100.0)
    assert bucket.offer(1, 50.0) == 0
    assert bucket.offer(1, 100.05) == 0


def test_a_quota_ends_until_it_is_renewed() -> None:
    quota = Quota(1000, 0.0)
    quota.renew(900, 500.0)
    assert quota.left == 100
    held = taken(quota, 1, 0.0)
    assert held == 6
    quota.put_back(held, held)
    assert quota.left == 99
    assert quota.offer(100, 499.0) == 0
    assert quota.wait(100, 400.0) == 100.0
    assert quota.wait(100, 600.0) == 1.0, "renewed soon"
    assert quota.wait(99, 400.0) == 0.0
    quota.resize(0.5, 1.0)
    quota.renew(0, 1000.0)
    assert quota.offer(1000, 500.0) == 1000


@given(st.integers(1, 5000), st.lists(st.tuples(NEEDS, st.floats(0, 1)), max_size=60))
def test_a_quota_is_never_passed_and_nothing_of_it_is_lost(most: int, steps: list[tuple[int, float]]) -> None:
    quota, used = Quota(most, 0.0), 0
    for need, part in steps:
        held = taken(quota, need, 0.0)
        if held >= 0:
            left = int(held * part)
            quota.put_back(held, left)
            used += need + held - left
    assert used <= most
    assert quota.left == most - used
