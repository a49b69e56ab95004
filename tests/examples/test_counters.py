"""Samples of a machine's counters: from readings made up by hand and by Hypothesis, and from this machine's own."""

import dataclasses
import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.counters import CHANNELS, CoreTimes, Counters, core_times, sample
from examples.host import read_counters
from tests.system.process import until

SHARES = ("cpu", "system", "busiest", "iowait", "memory")

amounts = st.integers(0, 1 << 50)
seconds = st.integers(0, 10**9).map(lambda ticks: ticks / 100)
readings = st.builds(
    Counters,
    seconds=seconds,
    cores=st.lists(st.builds(CoreTimes, seconds, seconds, seconds, seconds), max_size=4).map(tuple),
    memory=st.floats(0, 1),
    switches=amounts,
    interrupts=amounts,
    read_bytes=amounts,
    written_bytes=amounts,
    received_bytes=amounts,
    sent_bytes=amounts,
)

START = Counters(50.0, (CoreTimes(100, 90, 2, 3),) * 2, 0.25, 1000, 500, 1 << 20, 1 << 21, 1 << 22, 1 << 23)


def named(before: Counters, after: Counters) -> dict[str, float]:
    return dict(zip(CHANNELS, sample(before, after), strict=True))


def test_nothing_happened() -> None:
    still = dict.fromkeys(CHANNELS, 0.0) | {"memory": 0.25}
    assert named(START, START) == still
    assert named(START, dataclasses.replace(START, seconds=51.0)) == still


def test_shares_of_the_cores_time() -> None:
    cores = (CoreTimes(101, 90.5, 2.1, 3.2), CoreTimes(101, 91, 2, 3))
    shares = named(START, dataclasses.replace(START, seconds=51.0, cores=cores, memory=0.5))
    assert shares["cpu"] == pytest.approx(0.4 / 2)
    assert shares["busiest"] == pytest.approx(0.4)
    assert shares["system"] == pytest.approx(0.2 / 2)
    assert shares["iowait"] == pytest.approx(0.1 / 2)
    assert shares["memory"] == 0.5


def test_rates_are_logarithms() -> None:
    after = dataclasses.replace(
        START,
        seconds=START.seconds + 0.1,
        switches=START.switches + 2 * 99,
        interrupts=START.interrupts + 20,
        read_bytes=START.read_bytes + 99_900,
        written_bytes=START.written_bytes + 900,
        received_bytes=START.received_bytes + 99_999_900,
        sent_bytes=START.sent_bytes,
    )
    rates = named(START, after)
    assert rates["switches"] == pytest.approx(math.log10(1 + 990))
    assert rates["interrupts"] == pytest.approx(math.log10(1 + 100))
    assert rates["disk_read"] == pytest.approx(3)
    assert rates["disk_write"] == pytest.approx(1)
    assert rates["net_in"] == pytest.approx(6, abs=1e-6)
    assert rates["net_out"] == 0


@given(before=readings, after=readings)
def test_any_two_readings_make_a_sample(before: Counters, after: Counters) -> None:
    values = named(before, after)
    assert all(math.isfinite(value) and value >= 0 for value in values.values())
    assert all(values[name] <= 1 for name in SHARES)


@given(after=readings, times=st.integers(2, 32))
def test_a_machine_with_more_cores_that_does_as_much_on_each_looks_alike(after: Counters, times: int) -> None:
    cores = after.cores or START.cores
    small = dataclasses.replace(after, seconds=START.seconds + 1, cores=cores)
    before = dataclasses.replace(START, cores=START.cores[:1] * len(cores), switches=0, interrupts=0)
    large = dataclasses.replace(
        small, cores=cores * times, switches=small.switches * times, interrupts=small.interrupts * times
    )
    same = dataclasses.replace(before, cores=before.cores * times)
    assert sample(same, large) == pytest.approx(sample(before, small))


class LinuxTimes(NamedTuple):
    user: float = 10.0
    nice: float = 1.0
    system: float = 2.0
    idle: float = 50.0
    iowait: float = 3.0
    irq: float = 0.5
    softirq: float = 0.25
    steal: float = 4.0
    guest: float = 5.0
    guest_nice: float = 0.5


class WindowsTimes(NamedTuple):
    user: float = 10.0
    system: float = 2.0
    idle: float = 50.0
    interrupt: float = 0.5
    dpc: float = 0.25


def test_guests_are_part_of_the_user_time_and_stolen_time_is_not_idle() -> None:
    assert core_times(LinuxTimes()) == CoreTimes(70.75, 50.0, 3.0, 2.75)


def test_platforms_that_count_less() -> None:
    assert core_times(WindowsTimes()) == CoreTimes(62.75, 50.0, 0.0, 2.75)


def test_this_machine_counts() -> None:
    before = read_counters()

    def looked() -> dict[str, float]:
        values = named(before, read_counters())
        return values if values["cpu"] > 0 and values["switches"] > 0 else {}

    values = until(looked)
    assert 0 < values["memory"] < 1
    assert values["busiest"] >= values["cpu"]
