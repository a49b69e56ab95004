"""Meters and allowances: what all sockets of an identity may do together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.allowances import Allowances, AllowanceTable
from pipeline.errors import RateLimited
from pipeline.limit_config import Limits
from pipeline.limits import ABUSE_SECONDS, LARGE, TOLERATED, Allowance, Meter
from pipeline.token_bucket import HELD

NONE = Limits()


def allowances(identity: Limits = NONE, address: Limits = NONE, most: int = 1000) -> Allowances:
    return Allowances(
        AllowanceTable("identity", identity, {}, most),
        AllowanceTable("address", address, {}, most),
    )


def allowance_of(everyone: Allowances, name: str = "acme") -> Allowance:
    return everyone.identities.of(name, 0.0)


def test_without_limits_everything_goes() -> None:
    everyone = allowances()
    meter = everyone.open_socket("acme", "10.0.0.1", 0.0)
    assert [meter.take_event(1 << 30, 0.0) for _ in range(1000)] == [0] * 1000
    assert meter.take_events(100_000, 1 << 40, 0.0) == 0
    assert meter.take_control(0.0) == 0
    for _ in range(100):
        meter.take_key()
        meter.take_subscription()
    meter.close()
    assert everyone.identities.refusals == {}
    assert allowance_of(everyone).keys.used == 0


def test_events_are_refused_with_the_time_to_wait_and_then_taken() -> None:
    everyone = allowances(Limits(events_per_second=10, burst_seconds=1))
    meter = everyone.open_socket("acme", "10.0.0.1", 0.0)
    assert [meter.take_event(100, 0.0) for _ in range(10)] == [0] * 10
    wait = meter.take_event(100, 0.0)
    assert wait == 101
    assert (meter.refused.code, meter.refused.retry_after_ms) == ("rate_limited", wait)
    assert str(meter.refused) == "events_per_second: this identity may have 10"
    assert meter.take_event(100, wait / 1000) == 0
    assert everyone.identities.refusals == {"events_per_second": 1}
    assert everyone.addresses.refusals == {}


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(bytes_per_second=1000), "bytes_per_second: this address may have 1000"),
        (Limits(events_per_second=2), "events_per_second: this address may have 2"),
    ],
)
def test_the_limit_that_takes_longest_is_told(limits: Limits, named: str) -> None:
    everyone = allowances(Limits(events_per_second=100), limits)
    meter = everyone.open_socket("acme", "10.0.0.1", 0.0)
    while not meter.take_event(400, 0.0):
        pass
    assert str(meter.refused) == named


def test_a_request_takes_all_its_events_or_none() -> None:
    everyone = allowances(Limits(events_per_second=10, burst_seconds=1))
    everyone.take_request("acme", "10.0.0.1", 8, 100, 0.0)
    with pytest.raises(RateLimited) as caught:
        everyone.take_request("acme", "10.0.0.1", 3, 100, 0.0)
    assert caught.value.retry_after_ms == 101
    everyone.take_request("acme", "10.0.0.1", 2, 100, 0.0)


def test_what_a_socket_has_not_used_is_there_for_others_when_it_closes_or_rests() -> None:
    everyone = allowances(Limits(events_per_second=1000, burst_seconds=1))
    first = everyone.open_socket("acme", "10.0.0.1", 0.0)
    second = everyone.open_socket("acme", "10.0.0.2", 0.0)
    assert first.take_event(1, 0.0) == 0
    assert second.take_events(999, 1, 0.0) > 0, "some of it is with the first"
    first.rest()
    assert second.take_events(999, 1, 0.0) == 0
    third = everyone.open_socket("acme", "10.0.0.1", 10.0)
    assert third.take_event(1, 10.0) == 0
    third.close()
    assert second.take_events(999, 1, 10.0) == 0


def test_sockets_are_bounded_at_the_same_time_and_per_second() -> None:
    everyone = allowances(Limits(sockets=2), Limits(new_sockets_per_second=1, burst_seconds=4))
    first = everyone.open_socket("acme", "10.0.0.1", 0.0)
    everyone.open_socket("acme", "10.0.0.1", 0.0)
    with pytest.raises(RateLimited, match=r"^sockets: this identity may have 2$"):
        everyone.open_socket("acme", "10.0.0.1", 0.0)
    first.close()
    everyone.open_socket("acme", "10.0.0.1", 0.0)
    everyone.open_socket("other", "10.0.0.1", 0.0)
    with pytest.raises(RateLimited, match=r"^new_sockets_per_second: this address may have 1$") as caught:
        everyone.open_socket("other", "10.0.0.1", 0.0)
    assert caught.value.retry_after_ms == 1001
    assert allowance_of(everyone, "other").sockets.used == 1, "nothing was counted"
    everyone.open_socket("other", "10.0.0.2", 0.0)
    everyone.open_socket("other2", "10.0.0.1", 1.1)


def test_keys_and_subscriptions_are_bounded_and_given_back() -> None:
    everyone = allowances(Limits(keys=3, subscriptions=1), Limits(keys=100))
    first = everyone.open_socket("acme", "10.0.0.1", 0.0)
    second = everyone.open_socket("acme", "10.0.0.1", 0.0)
    first.take_key()
    first.take_key()
    second.take_key()
    second.take_subscription()
    with pytest.raises(RateLimited, match=r"^keys: this identity may have 3$"):
        second.take_key()
    with pytest.raises(RateLimited, match=r"^subscriptions: "):
        first.take_subscription()
    first.give_keys(2)
    second.give_subscriptions()
    first.take_subscription()
    second.take_key()
    first.close()
    second.close()
    used = allowance_of(everyone)
    assert (used.sockets.used, used.keys.used, used.subscriptions.used) == (0, 0, 0)


def test_control_frames_are_bounded() -> None:
    everyone = allowances(address=Limits(control_frames_per_second=5, burst_seconds=1))
    meter = everyone.open_socket(None, "10.0.0.1", 0.0)
    assert [meter.take_control(0.0) for _ in range(6)] == [0, 0, 0, 0, 0, 201]
    assert meter.take_control(0.201) == 0
    assert everyone.addresses.refusals == {"control_frames_per_second": 1}


def test_an_identity_that_becomes_known_later_counts_from_then_on() -> None:
    everyone = allowances(Limits(sockets=1, events_per_second=10, burst_seconds=1), Limits(keys=10))
    meter = everyone.open_socket(None, "10.0.0.1", 0.0)
    meter.take_key()
    assert [meter.take_event(1, 0.0) for _ in range(50)] == [0] * 50
    everyone.identify(meter, "acme", 0.0)
    everyone.identify(meter, "acme", 0.0)  # a credential that was renewed
    assert [meter.take_event(1, 0.0) > 0 for _ in range(11)] == [False] * 10 + [True]
    assert (allowance_of(everyone).sockets.used, allowance_of(everyone).keys.used) == (1, 1)
    other = everyone.open_socket(None, "10.0.0.1", 0.0)
    with pytest.raises(RateLimited, match=r"^sockets: "):
        everyone.identify(other, "acme", 0.0)
    everyone.identify(meter, "umbrella", 0.0)
    everyone.identify(other, "acme", 0.0)
    meter.close()
    other.close()
    for name in ("acme", "umbrella"):
        assert (allowance_of(everyone, name).sockets.used, allowance_of(everyone, name).keys.used) == (0, 0)
    assert everyone.addresses.of("10.0.0.1", 0.0).sockets.used == 0


def refused_for(meter: Meter, seconds: int, per_second: int, start: float = 0.0) -> None:
    for second in range(seconds):
        for index in range(per_second):
            assert meter.take_events(1 << 20, 1, start + second + index / per_second) > 0


def test_who_does_not_heed_refusals_is_abusive_after_some_time() -> None:
    meter = allowances(Limits(events_per_second=1)).open_socket("acme", "10.0.0.1", 0.0)
    assert meter.take_events(1 << 20, 1, 0.0) == 0, "a full bucket"
    refused_for(meter, ABUSE_SECONDS, TOLERATED + 1, 1.0)
    before = meter.is_abusive
    assert meter.take_event(1, ABUSE_SECONDS + 1.0) > 0
    assert (before, meter.is_abusive) == (False, True)
    assert "bad=10" in repr(meter)


@pytest.mark.parametrize(("seconds", "per_second"), [(1, 10_000), (100, TOLERATED)])
def test_a_burst_or_a_few_refusals_are_no_abuse(seconds: int, per_second: int) -> None:
    meter = allowances(Limits(events_per_second=1)).open_socket("acme", "10.0.0.1", 0.0)
    assert meter.take_events(1 << 20, 1, 0.0) == 0
    refused_for(meter, seconds, per_second, 1.0)
    assert meter.take_event(1, 200.0) > 0
    assert not meter.is_abusive


def test_large_refusals_count_for_more() -> None:
    meter = allowances(Limits(bytes_per_second=1000)).open_socket("acme", "10.0.0.1", 0.0)
    assert meter.take_event(1 << 20, 0.0) == 0, "a full bucket"
    for second in range(1, ABUSE_SECONDS + 2):
        assert not meter.is_abusive
        assert meter.take_event(TOLERATED * LARGE, second) > 0
    assert meter.is_abusive


def test_bytes_that_are_looked_at_are_not_taken() -> None:
    everyone = allowances(Limits(bytes_per_second=1000, burst_seconds=1))
    meter = everyone.open_socket("acme", "10.0.0.1", 0.0)
    assert [meter.check_size(1000, 0.0) for _ in range(3)] == [0, 0, 0]
    assert meter.take_event(900, 0.0) == 0
    assert meter.check_size(50, 0.0) == 0
    assert meter.check_size(500, 0.0) == 401
    assert str(meter.refused) == "bytes_per_second: this identity may have 1000"
    assert everyone.identities.refusals == {"bytes_per_second": 1}
    assert meter.check_size(500, 0.401) == 0
    assert allowances().open_socket("acme", "10.0.0.1", 0.0).check_size(1 << 40, 0.0) == 0


def test_who_pauses_begins_anew() -> None:
    meter = allowances(Limits(events_per_second=1)).open_socket("acme", "10.0.0.1", 0.0)
    assert meter.take_events(1 << 20, 1, 0.0) == 0
    for start in range(1, 100, 9):
        refused_for(meter, 7, TOLERATED + 1, float(start))
    assert not meter.is_abusive


SOCKETS = 5
STEPS = st.lists(
    st.tuples(
        st.floats(0, 0.5),  # a pause
        st.integers(0, SOCKETS - 1),  # who acts
        st.sampled_from(["event", "events", "rest", "reopen"]),
        st.integers(1, 40),  # events, times ten bytes
    ),
    max_size=80,
)


@given(
    st.floats(1, 2000),
    st.floats(10, 50_000),
    st.floats(0.1, 4),
    STEPS,
)
def test_over_all_sockets_of_an_identity_no_more_is_taken_than_rate_and_burst(
    events: float, size: float, seconds: float, steps: list[tuple[float, int, str, int]]
) -> None:
    limits = Limits(events_per_second=events, bytes_per_second=size, burst_seconds=seconds)
    everyone, now = allowances(limits), 0.0
    meters = [everyone.open_socket("acme", f"10.0.0.{n}", 0.0) for n in range(SOCKETS)]
    history: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    for pause, who, what, count in steps:
        now += pause
        if what == "event" and not meters[who].take_event(10 * count, now):
            history.append((now, 1, 10 * count))
        elif what == "events" and not meters[who].take_events(count, 10 * count, now):
            history.append((now, count, 10 * count))
        elif what == "rest":
            meters[who].rest()
        elif what == "reopen":
            meters[who].close()
            meters[who] = everyone.open_socket("acme", "10.0.0.1", now)
    for column, rate in ((1, events), (2, size)):
        burst = max(rate * seconds, 1.0)
        excess = max(0.0, *(row[column] - (1 - HELD) * burst for row in history))
        for first in range(len(history)):
            total = 0.0
            for row in history[first:]:
                total += row[column]
                assert total <= rate * (row[0] - history[first][0]) + burst + excess + 1e-6 * max(total, 1)


@given(st.floats(1, 2000), STEPS)
def test_nothing_starves_and_nothing_is_lost(rate: float, steps: list[tuple[float, int, str, int]]) -> None:
    """Whatever others have drawn and do not use, a socket that waits as it is told gets through."""
    everyone, now = allowances(Limits(events_per_second=rate, bytes_per_second=100 * rate)), 0.0
    meters = [everyone.open_socket("acme", "10.0.0.1", 0.0) for _ in range(SOCKETS)]
    for pause, who, _, count in steps:
        now += pause
        meters[who].take_events(count, 10 * count, now)
    meter = everyone.open_socket("acme", "10.0.0.9", now)
    wait = meter.take_event(10, now)
    if wait:
        assert meter.take_event(10, now + wait / 1000) == 0
    for other in [*meters, meter]:
        other.close()
    now += 1000.0
    assert allowance_of(everyone).is_idle(now)
    assert everyone.open_socket("acme", "10.0.0.1", now).take_events(max(int(2 * rate), 1), 1, now) == 0
