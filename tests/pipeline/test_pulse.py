"""Rates and quantiles of the last seconds, against what was counted one by one."""

import math
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pulse import WINDOW, Gauges, Pulse, quantile
from pipeline.pulse_messages import Quantiles
from pipeline.stats import ROWS, SECONDS, Histogram, ModelStats
from tests.pipeline.pulse_parts import STARTED_AT, Counting, model_in, place

NAMES = ("a", "b")


@given(st.lists(st.floats(1e-6, 9.9), min_size=1, max_size=200), st.floats(1e-6, 1))
def test_a_quantile_lies_in_the_bucket_of_the_value_that_it_stands_for(values: list[float], q: float) -> None:
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.observe(value)
    edges = np.array([0.0, *SECONDS])
    shown = quantile(SECONDS, np.cumsum(histogram.counts).tolist(), q)
    around = np.quantile(values, np.clip([q - 1e-9, q, q + 1e-9], 0, 1), method="inverted_cdf")  # as rounding has it
    buckets = np.searchsorted(edges, around)
    assert any(edges[bucket - 1] <= shown <= edges[bucket] for bucket in buckets)


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(any))
def test_quantiles_rise_with_their_order(counts: list[int]) -> None:
    shown = [quantile([1.0, 2.0], np.cumsum(counts).tolist(), q) for q in np.linspace(0.05, 1, 20)]
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ([4, 0, 0], 0.5, 0.5),  # half of the way through the only bucket, from 0
        ([0, 4, 0], 0.25, 1.25),
        ([1, 1, 0], 0.5, 1.0),
        ([1, 3, 0], 0.5, 1 + 1 / 3),
        ([1, 0, 1], 0.9, 2.0),  # there is no upper bound: the one below it
        ([0, 0, 7], 0.01, 2.0),
        ([2, 0, 2], 0.5, 1.0),
        ([3, 1, 0], 1.0, 2.0),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(counts: list[int], q: float, expected: float) -> None:
    assert quantile([1.0, 2.0], np.cumsum(counts).tolist(), q) == pytest.approx(expected)


def test_what_was_before_the_window_is_in_the_totals_alone() -> None:
    server = Counting("a")
    server.events = 7
    server.run("a", rows=3)
    server.cpu_seconds = 3.0
    server.pulse.restart(server.now)
    stats = server.beat()
    assert (stats.events, stats.predictions, stats.uptime_seconds) == (7, 3, 0.25)
    assert (stats.events_per_second, stats.predictions_per_second, stats.cpu) == (0.0, 0.0, 0.0)
    model = model_in(stats, "a")
    assert (model.predictions, model.predictions_per_second) == (3, 0.0)
    assert model.queue_ms is model.run_ms is model.total_ms is None
    assert set(model.batch_rows.values()) == {0}


def test_what_is_asked_is_told() -> None:
    server = Counting("a")
    server.gauges |= {
        "states": lambda: [("a", "1", "ready"), ("b", "2", "unavailable")],
        "keys": lambda: 40,
        "watchers": lambda: 2,
        "memory_bytes": lambda: 2**20,
    }
    pulse = Pulse(server.stats, Gauges(**server.gauges), STARTED_AT)
    server.stats.sockets = lambda: 12
    server.stats.errors["overloaded"] += 3
    server.put("a", depth=5)
    pulse.restart(STARTED_AT)
    stats = pulse.beat(STARTED_AT + 1, 0.0125)
    assert (stats.sockets, stats.watchers, stats.keys, stats.memory_bytes) == (12, 2, 40, 2**20)
    assert stats.errors == {"overloaded": 3}
    assert stats.loop_lag_ms == 12.5
    assert [(m.name, m.version, m.state, m.queue_depth) for m in stats.models] == [
        ("a", "1", "ready", 5),
        ("b", "2", "unavailable", 0),
    ]


def test_rates_are_of_the_time_since_the_restart_then_of_the_last_five_seconds() -> None:
    server = Counting("a")
    server.run("a", rows=4)
    server.events += 6
    server.cpu_seconds += 0.1
    stats = server.beat(0.5)
    assert (stats.predictions_per_second, stats.events_per_second, stats.cpu) == (8.0, 12.0, 0.2)
    assert model_in(stats, "a").predictions_per_second == 8.0
    for _ in range(18):
        assert server.beat().cpu == 0.0
    assert server.beat(0.0).predictions_per_second == 0.8  # after 5 s
    stats = server.beat()
    assert stats.predictions_per_second == round(4 / 5.25, 3)
    stats = server.beat()
    assert (stats.predictions_per_second, stats.predictions) == (0.0, 4)
    assert (model_in(stats, "a").predictions_per_second, model_in(stats, "a").total_ms) == (0.0, None)


def test_quantiles_and_batches_are_of_what_ran_meanwhile() -> None:
    server = Counting("a")
    server.run("a", rows=1000, queue=5.0, run=5.0, total=10.0)
    server.pulse.restart(server.now)
    for _ in range(3):
        server.run("a", rows=5, queue=0.0015, run=0.02, total=0.04)
    server.run("a", rows=1, queue=0.0015, run=0.02, total=0.04)
    server.run("a", rows=2000, queue=0.0015, run=0.02, total=0.04)
    model = model_in(server.beat(), "a")
    assert model.batch_rows == {**dict.fromkeys([str(rows) for rows in ROWS], 0), "1": 1, "8": 3, "+Inf": 1}
    assert model.queue_ms == Quantiles(1.75, 2.35, 2.485)
    assert model.run_ms == Quantiles(17.5, 23.5, 24.85)
    assert model.total_ms == Quantiles(37.5, 47.5, 49.75)


def test_a_model_that_is_replaced_keeps_the_rate_of_its_name_and_counts_from_zero() -> None:
    server = Counting("a")
    server.run("a", rows=100)
    server.beat(1.0)
    old = server.stats.models[place("a")]
    server.put("a")
    server.run("a", rows=1)
    stats = server.beat(1.0)
    assert (stats.predictions, stats.predictions_per_second) == (101, 50.5)
    assert (model_in(stats, "a").predictions, model_in(stats, "a").predictions_per_second) == (1, 50.5)
    server.stats.discard(place("a"), old)
    stats = server.beat(2.0)
    assert (stats.predictions, stats.predictions_per_second) == (101, 25.25)


def test_what_a_replaced_model_still_does_counts_for_its_name() -> None:
    server = Counting("a")
    server.run("a", rows=2)
    old = server.stats.models[place("a")]
    server.pulse.restart(server.now)
    server.put("a")
    former, server.stats.models[place("a")] = server.stats.models[place("a")], old
    server.run("a", rows=3)
    server.stats.models[place("a")] = former
    stats = server.beat(1.0)
    assert (stats.predictions, stats.predictions_per_second) == (5, 3.0)
    assert model_in(stats, "a").predictions_per_second == 3.0


def test_a_model_that_is_unloaded_is_gone_and_its_work_stays() -> None:
    server = Counting("a", "b")
    server.run("a", rows=10)
    server.beat(1.0)
    server.unload("a")
    stats = server.beat(1.0)
    assert [model.name for model in stats.models] == ["b"]
    assert (stats.predictions, stats.predictions_per_second) == (10, 5.0)


def test_counts_that_were_set_back_give_no_negative_rate() -> None:
    server = Counting("a")
    server.run("a", rows=10)
    server.events = 50
    server.pulse.restart(server.now)
    model = server.stats.models[place("a")]
    model.predictions = 0
    for name in ("batch_rows", "queue_seconds", "run_seconds", "end_to_end_seconds"):
        setattr(model, name, Histogram(getattr(model, name).bounds))
    server.run("a", rows=4)
    server.events = 3
    stats = server.beat(1.0)
    assert (stats.events_per_second, stats.predictions_per_second) == (0.0, 0.0)
    assert model_in(stats, "a").predictions_per_second == 4.0


def test_after_a_restart_nothing_from_before_is_in_a_rate() -> None:
    server = Counting("a")
    server.beat()
    server.run("a", rows=10)
    server.beat()
    server.run("a", rows=10)
    server.now += 60.0
    server.pulse.restart(server.now)
    stats = server.beat(1.0)
    assert (stats.predictions_per_second, stats.predictions, stats.cpu) == (0.0, 20, 0.0)


def test_a_beat_that_comes_after_a_long_time_is_of_that_time() -> None:
    server = Counting("a")
    server.run("a", rows=60)
    assert server.beat(60.0).predictions_per_second == 1.0
    assert server.beat(1.0).predictions_per_second == round(60 / 61, 3)
    assert server.beat(4.0).predictions_per_second == 0.0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.sampled_from(NAMES), st.integers(1, 40)),
        st.tuples(st.just("beat"), st.just(""), st.integers(1, 400)),
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.just(0)),
        st.tuples(st.just("retire"), st.just(""), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_any_history_gives_the_rates_of_what_happened_in_it(steps: list[tuple[str, str, int]]) -> None:
    """Of a model that is retired only the sum over all models knows what it did since the last beat."""
    server = Counting(*NAMES)
    beats = [server.now]
    ran: list[tuple[float, str, int, ModelStats]] = []
    unseen: list[tuple[float, str, int, ModelStats]] = []
    for step, name, number in steps:
        if step == "run":
            server.run(name, rows=number)
            ran.append((server.now, name, number, server.stats.models[place(name)]))
        elif step == "put":
            server.put(name)
        elif step == "retire" and server.stats._replaced:
            where, gone = server.stats._replaced[0]
            server.stats.discard(where, gone)
            unseen += [batch for batch in ran if batch[3] is gone and batch[0] >= beats[-1]]
        elif step == "beat":
            stats = server.beat(number / 128)  # so that sums are exact
            since = max([at for at in beats if at <= server.now - WINDOW], default=beats[0])
            beats.append(server.now)
            seconds = server.now - since
            recent = [batch for batch in ran if batch[0] >= since]
            assert stats.predictions == sum(rows for _, _, rows, _ in ran)
            assert stats.predictions_per_second == round(sum(rows for _, _, rows, _ in recent) / seconds, 3)
            for model in stats.models:
                sizes = [batch[2] for batch in recent if batch[1] == model.name and batch not in unseen]
                assert model.predictions_per_second == round(sum(sizes) / seconds, 3)
                bounds = Counter(str(2 ** math.ceil(math.log2(rows))) for rows in sizes)
                assert +Counter(model.batch_rows) == bounds
                assert (model.run_ms is None) is (not sizes)


def test_the_numbers_survive_both_encodings() -> None:
    server = Counting("a")
    server.beat()
    server.run("a")
    stats = server.beat()
    for encoding in (msgspec.json, msgspec.msgpack):
        assert encoding.decode(encoding.encode(stats), type=type(stats)) == stats
