"""Counts and distributions, kept per batch and read by Prometheus when it asks."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.batching import Job

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_FOLD_EVERY = 256  # batches


class Histogram:
    """Counts of observations by upper bound."""

    __slots__ = ("_array", "bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._array = np.array(bounds)

    def __repr__(self) -> str:
        return f"<Histogram n={sum(self.counts)} total={self.total:.6g}>"

    def observe(self, values: NDArray[Any]) -> None:
        """Count values."""
        found = np.bincount(self._array.searchsorted(values), minlength=len(self.counts))
        self.counts = [a + b for a, b in zip(self.counts, found.tolist(), strict=True)]
        self.total += float(values.sum())

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative buckets as Prometheus wants them."""
        cumulative, rows = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            cumulative += count
            rows.append(("+Inf" if bound == float("inf") else str(float(bound)), float(cumulative)))
        return rows


class ModelStats:
    """The numbers of one model version; true after `fold`."""

    __slots__ = (
        "_fresh",
        "batch_rows",
        "depth",
        "end_to_end_seconds",
        "inline_batches",
        "predictions",
        "queue_seconds",
        "run_seconds",
    )

    def __init__(self, depth: Callable[[], int]) -> None:
        self.depth = depth
        self._fresh: list[tuple[list[float], float, float, float]] = []
        self.predictions = 0
        self.inline_batches = 0
        self.batch_rows = Histogram(ROWS)
        self.queue_seconds = Histogram(SECONDS)
        self.run_seconds = Histogram(SECONDS)
        self.end_to_end_seconds = Histogram(SECONDS)

    def observe(self, jobs: Sequence[Job], started_at: float, done_at: float, run_seconds: float) -> None:
        """Count a batch whose answers were handed to their sockets at `done_at`."""
        self._fresh.append(([job.enqueued_at for job in jobs], started_at, done_at, run_seconds))
        if len(self._fresh) >= _FOLD_EVERY:
            self.fold()

    def fold(self) -> None:
        """Bring the counts up to date: many batches at once cost little more than one."""
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return
        sizes = np.array([len(arrivals) for arrivals, *_ in fresh])
        arrived_at = np.array([at for arrivals, *_ in fresh for at in arrivals])
        started_at = np.repeat([started for _, started, _, _ in fresh], sizes)
        done_at = np.repeat([done for _, _, done, _ in fresh], sizes)
        self.predictions += len(arrived_at)
        self.batch_rows.observe(sizes)
        self.run_seconds.observe(np.array([seconds for *_, seconds in fresh]))
        self.queue_seconds.observe(started_at - arrived_at)
        self.end_to_end_seconds.observe(done_at - arrived_at)


class ServerStats:
    """The numbers of the whole server."""

    __slots__ = ("errors", "events", "models", "sockets", "sockets_opened")

    def __init__(self) -> None:
        self.events: Callable[[], int] = int
        self.errors: Counter[str] = Counter()
        self.sockets: Callable[[], int] = int
        self.sockets_opened = 0
        self.models: dict[tuple[str, str], ModelStats] = {}


class StatsCollector(Collector):
    """Shows `ServerStats` as Prometheus metrics."""

    def __init__(self, stats: ServerStats) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        stats = self._stats
        yield GaugeMetricFamily("waterspout_sockets", "Open WebSockets", stats.sockets())
        yield CounterMetricFamily("waterspout_sockets_opened", "WebSockets opened", stats.sockets_opened)
        yield CounterMetricFamily("waterspout_events", "Events received, refused ones included", stats.events())
        errors = CounterMetricFamily("waterspout_errors", "Errors sent to clients", labels=["code"])
        for code, count in sorted(stats.errors.items()):
            errors.add_metric([code], count)
        yield errors
        yield from self._collect_models()

    def _collect_models(self) -> Iterable[Metric]:
        labels = ["model", "version"]
        models = sorted(self._stats.models.items())
        predictions = CounterMetricFamily("waterspout_predictions", "Predictions made", labels=labels)
        inline = CounterMetricFamily("waterspout_inline_batches", "Batches run without a thread hop", labels=labels)
        depth = GaugeMetricFamily("waterspout_queue_depth", "Rows waiting for a batch", labels=labels)
        for name, model in models:
            model.fold()
            predictions.add_metric(name, model.predictions)
            inline.add_metric(name, model.inline_batches)
            depth.add_metric(name, model.depth())
        yield from (predictions, inline, depth)
        for attribute, title in (
            ("batch_rows", "Rows per batch"),
            ("queue_seconds", "Seconds from arrival to the start of the run"),
            ("run_seconds", "Seconds of a run"),
            ("end_to_end_seconds", "Seconds from arrival to the answer's hand-over to the socket"),
        ):
            family = HistogramMetricFamily(f"waterspout_{attribute}", title, labels=labels)
            for name, model in models:
                histogram: Histogram = getattr(model, attribute)
                family.add_metric(name, histogram.buckets(), histogram.total)
            yield family


def make_registry(stats: ServerStats) -> CollectorRegistry:
    """Return a registry that shows `stats`."""
    registry = CollectorRegistry()
    registry.register(StatsCollector(stats))
    return registry
