"""The server's numbers as Prometheus reads them."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.queue_memory import QueueMemory
from pipeline.stats import Histogram, ServerStats


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
        requests = CounterMetricFamily("waterspout_http_requests", "Requests answered", labels=["door", "status"])
        for (door, status), count in sorted(stats.requests.items()):
            requests.add_metric([door, str(status)], count)
        yield requests
        closes = CounterMetricFamily("waterspout_sockets_closed", "WebSockets that the server closed", labels=["code"])
        for number, count in sorted(stats.closes.items()):
            closes.add_metric([str(number)], count)
        yield closes
        alerts = CounterMetricFamily("waterspout_alerts", "Alerts", labels=["model", "version", "rule"])
        for rule, count in sorted(stats.alerts.items()):
            alerts.add_metric(rule, count)
        yield alerts
        webhooks = CounterMetricFamily(
            "waterspout_webhooks", "Alerts by what came of their webhook", labels=["outcome"]
        )
        for outcome, count in sorted(stats.webhooks.items()):
            webhooks.add_metric([outcome], count)
        yield webhooks
        versions = GaugeMetricFamily(
            "waterspout_model_versions", "Versions of models by state", labels=["model", "version", "state"]
        )
        for state in sorted(stats.states()):
            versions.add_metric(state, 1)
        yield versions
        yield from self._collect_models()

    def _collect_models(self) -> Iterable[Metric]:
        labels = ["model", "version"]
        models = sorted(self._stats.models.items())
        predictions = CounterMetricFamily("waterspout_predictions", "Predictions made", labels=labels)
        inline = CounterMetricFamily("waterspout_inline_batches", "Batches run without a thread hop", labels=labels)
        depth = GaugeMetricFamily("waterspout_queue_depth", "Rows waiting for a batch", labels=labels)
        for name, model in models:
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


class QueueCollector(Collector):
    """Shows what all queues of a process hold together."""

    def __init__(self, memory: QueueMemory) -> None:
        self._memory = memory

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        yield GaugeMetricFamily("waterspout_queue_bytes", "Bytes of all rows that wait", self._memory.held)
        shed = self._memory.shed_events
        yield CounterMetricFamily("waterspout_events_shed", "Events refused or failed for max_queue_bytes", shed)


def make_registry(stats: ServerStats) -> CollectorRegistry:
    """Return a registry that shows `stats`."""
    registry = CollectorRegistry()
    registry.register(StatsCollector(stats))
    return registry
