"""Counts and distributions, against numpy and through the eyes of a Prometheus server."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.batching import Job
from pipeline.metrics import make_registry
from pipeline.stats import ROWS, SECONDS, Histogram, ModelStats, ServerStats

FINITE = st.floats(-1e6, 1e6)


def jobs(*enqueued_at: float) -> list[Job]:
    return [Job(None, number, (b"",), at, None, 1e9, False) for number, at in enumerate(enqueued_at)]


@given(st.lists(FINITE, min_size=1, max_size=8, unique=True).map(sorted), st.lists(st.lists(FINITE, max_size=20)))
def test_a_histogram_counts_what_numpy_counts(bounds: list[float], batches: list[list[float]]) -> None:
    histogram = Histogram(bounds)
    values = np.array([value for batch in batches for value in batch])
    for value in values.tolist():
        histogram.observe(value)
    assert histogram.buckets() == [
        *((str(bound), np.count_nonzero(values <= bound)) for bound in bounds),
        ("+Inf", len(values)),
    ]
    assert histogram.total == pytest.approx(values.sum())


@given(st.lists(st.sampled_from([0.05, 0.1, 0.2, 0.5, 1.0, 3.0])))
def test_a_value_on_a_bound_belongs_to_it(values: list[float]) -> None:
    histogram = Histogram([0.1, 0.5, 1.0])
    for value in values:
        histogram.observe(value)
    edges = [-np.inf, 0.1, 0.5, 1.0, np.inf]
    mirrored, _ = np.histogram(-np.array(values), [-edge for edge in reversed(edges)])  # numpy's bins hold their start
    assert histogram.counts == mirrored[::-1].tolist()


def test_a_histogram_shows_number_and_sum() -> None:
    histogram = Histogram([1.0])
    histogram.observe(0.5)
    histogram.observe(2.0)
    assert repr(histogram) == "<Histogram n=2 total=2.5>"


@pytest.mark.parametrize("bounds", [SECONDS, ROWS])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_a_batch_is_counted_by_its_rows() -> None:
    stats = ModelStats(int)
    stats.observe(jobs(1.0, 1.5, 3.0), started_at=4.0, done_at=6.0, run_seconds=0.25)
    stats.observe(jobs(7.0), started_at=7.5, done_at=7.75, run_seconds=0.125)
    assert stats.predictions == 4
    assert (stats.batch_rows.total, sum(stats.batch_rows.counts)) == (4, 2)
    assert (stats.queue_seconds.total, sum(stats.queue_seconds.counts)) == (3.0 + 2.5 + 1.0 + 0.5, 4)
    assert (stats.run_seconds.total, sum(stats.run_seconds.counts)) == (0.375, 2)
    assert (stats.end_to_end_seconds.total, sum(stats.end_to_end_seconds.counts)) == (5.0 + 4.5 + 3.0 + 0.75, 4)


def exposed(stats: ServerStats) -> dict[tuple[str, ...], float]:
    """Return what Prometheus reads: value by name and label values, these in the order of the label names."""
    text = generate_latest(make_registry(stats)).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_new_server_exposes_zeros() -> None:
    assert exposed(ServerStats()) == {
        ("waterspout_sockets",): 0,
        ("waterspout_sockets_opened_total",): 0,
        ("waterspout_events_total",): 0,
    }


def test_prometheus_reads_what_was_counted() -> None:
    stats = ServerStats()
    stats.sockets = lambda: 3
    stats.events = lambda: 12
    stats.sockets_opened = 5
    stats.errors["overloaded"] += 2
    stats.errors["invalid_input"] += 1
    stats.alerts["a", "1", "fall"] += 3
    stats.webhooks["delivered"] += 4
    stats.models["a", "1"] = first = ModelStats(lambda: 7)
    stats.models["b", "20"] = ModelStats(int)
    first.inline_batches = 1
    first.observe(jobs(0.0, 0.5), started_at=1.0, done_at=2.0, run_seconds=0.004)
    values = exposed(stats)
    expected = {
        ("waterspout_sockets",): 3,
        ("waterspout_sockets_opened_total",): 5,
        ("waterspout_events_total",): 12,
        ("waterspout_errors_total", "overloaded"): 2,
        ("waterspout_errors_total", "invalid_input"): 1,
        ("waterspout_alerts_total", "a", "fall", "1"): 3,
        ("waterspout_webhooks_total", "delivered"): 4,
        ("waterspout_predictions_total", "a", "1"): 2,
        ("waterspout_predictions_total", "b", "20"): 0,
        ("waterspout_inline_batches_total", "a", "1"): 1,
        ("waterspout_queue_depth", "a", "1"): 7,
        ("waterspout_batch_rows_count", "a", "1"): 1,
        ("waterspout_batch_rows_sum", "a", "1"): 2,
        ("waterspout_batch_rows_bucket", "1.0", "a", "1"): 0,
        ("waterspout_batch_rows_bucket", "2.0", "a", "1"): 1,
        ("waterspout_queue_seconds_count", "a", "1"): 2,
        ("waterspout_queue_seconds_sum", "a", "1"): 1.5,
        ("waterspout_queue_seconds_bucket", "0.5", "a", "1"): 1,
        ("waterspout_run_seconds_sum", "a", "1"): 0.004,
        ("waterspout_run_seconds_bucket", "0.0025", "a", "1"): 0,
        ("waterspout_run_seconds_bucket", "0.005", "a", "1"): 1,
        ("waterspout_end_to_end_seconds_sum", "a", "1"): 3.5,
        ("waterspout_end_to_end_seconds_bucket", "+Inf", "a", "1"): 2,
        ("waterspout_end_to_end_seconds_count", "b", "20"): 0,
    }
    assert {key: values.get(key) for key in expected} == expected


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_model_name_survives_the_exposition(name: str, version: str) -> None:
    stats = ServerStats()
    stats.models[name, version] = ModelStats(lambda: 1)
    assert exposed(stats).get(("waterspout_queue_depth", name, version)) == 1
