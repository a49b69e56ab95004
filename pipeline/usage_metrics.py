"""What identities have used, and what they and addresses were refused, as Prometheus reads it."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.allowances import Allowances
from pipeline.usage import Usage

USED = {
    "events": "Events let in, by who sent them",
    "predictions": "Predictions answered, by who asked",
    "errors": "Events answered with an error, by who sent them",
    "bytes": "Bytes of events let in, by who sent them",
    "compute_seconds": "Seconds of runs, by who asked",
}


class UsageCollector(Collector):
    """Shows the totals of `Usage`, whose identities are bounded; they are those of the last fold."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        totals = sorted(self._usage.totals.items())
        for counter, title in USED.items():
            family = CounterMetricFamily(f"waterspout_usage_{counter}", title, labels=["identity", "model"])
            for place, total in totals:
                family.add_metric(place, getattr(total, counter))
            yield family


class LimitsCollector(Collector):
    """Shows how many identities and addresses are known, and what was refused, by limit."""

    def __init__(self, allowances: Allowances) -> None:
        self._tables = {"identity": allowances.identities, "address": allowances.addresses}

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        known = GaugeMetricFamily("waterspout_allowances", "Identities and addresses that are known", labels=["of"])
        refused = CounterMetricFamily("waterspout_rate_limited", "Refusals by limit", labels=["of", "limit"])
        for of, table in self._tables.items():
            known.add_metric([of], len(table))
            for limit, count in sorted(table.refusals.items()):
                refused.add_metric([of, limit], count)
        yield from (known, refused)
