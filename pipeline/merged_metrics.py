"""The numbers of several processes as those of one server."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]  # a sample's name and labels

#: Gauges of something that all processes see alike: the largest of them is shown, and not their sum.
LARGEST: Final = frozenset(
    (
        "process_start_time_seconds",
        "waterspout_backbone_round_trip_seconds",
        "waterspout_backbone_up",
        "waterspout_certificate_expiry_timestamp_seconds",
        "waterspout_queue_entries",
        "waterspout_workers",
    )
)


class Family(Struct, array_like=True):
    """A metric as one process has it."""

    name: str
    documentation: str
    type: str
    samples: list[tuple[str, Labels, float]]

    @property
    def is_gauge(self) -> bool:
        """Whether it says what is, and not what has been counted."""
        return self.type == "gauge"


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """Return what a registry shows now."""
    return [
        Family(
            family.name,
            family.documentation,
            family.type,
            [(sample.name, tuple(sample.labels.items()), sample.value) for sample in family.samples],
        )
        for family in registry.collect()
    ]


class Ledger:
    """Adds up what processes told; their counts never sink, since whoever reads them would take that for a restart.

    So what a process counted stays when it dies, when it does not answer, and when another still shows what it shows no
    more. The counts of a model's version end when no process has that version.
    """

    def __init__(self, largest: Collection[str] = LARGEST) -> None:
        self._largest = largest
        self._kinds: dict[str, tuple[str, str]] = {}  # documentation and type by name
        self._gauges: dict[int, dict[str, dict[Key, float]]] = {}
        self._counts: dict[int, dict[str, dict[Key, float]]] = {}
        self._past: dict[str, dict[Key, float]] = {}

    def __repr__(self) -> str:
        return f"<Ledger processes={len(self._counts)} past={sum(map(len, self._past.values()))}>"

    def tell(self, process: int, families: Iterable[Family]) -> None:
        """Take the numbers of a process."""
        gauges: dict[str, dict[Key, float]] = {}
        counts: dict[str, dict[Key, float]] = {}
        for family in families:
            self._kinds[family.name] = family.documentation, family.type
            rows = {(name, labels): value for name, labels, value in family.samples}
            (gauges if family.is_gauge else counts)[family.name] = rows
        self._keep_missing(self._counts.get(process, {}), counts)
        self._gauges[process], self._counts[process] = gauges, counts

    def forget(self, process: int) -> None:
        """Keep of a process that ended what it counted."""
        self._gauges.pop(process, None)
        self._keep_missing(self._counts.pop(process, {}), {})

    def metrics(self, present: Collection[int]) -> list[Metric]:
        """Return the sums of all; gauges only of the processes that are `present`."""
        sums: dict[str, dict[Key, float]] = {name: {} for name in self._kinds}
        for process, gauges in self._gauges.items():
            for name, rows in gauges.items() if process in present else ():
                _merge(sums[name], rows, largest=name in self._largest)
        for counts in self._counts.values():
            for name, rows in counts.items():
                _merge(sums[name], rows)
        self._drop_retired(sums)
        for name, rows in self._past.items():
            _merge(sums[name], rows)
        return [_metric(name, *self._kinds[name], rows) for name, rows in sums.items()]

    def _keep_missing(
        self, before: Mapping[str, Mapping[Key, float]], after: Mapping[str, Mapping[Key, float]]
    ) -> None:
        for name, rows in before.items():
            still = after.get(name, {})
            _merge(self._past.setdefault(name, {}), {key: value for key, value in rows.items() if key not in still})

    def _drop_retired(self, shown: Mapping[str, Mapping[Key, float]]) -> None:
        places = {None, *(_place_of(key) for rows in shown.values() for key in rows)}
        for name, rows in self._past.items():
            self._past[name] = {key: value for key, value in rows.items() if _place_of(key) in places}


class _Listed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def process_metrics(states: Mapping[str, int], restarts: int) -> list[Metric]:
    """Return what is told of the processes themselves."""
    processes = GaugeMetricFamily("waterspout_processes", "Server processes by state", labels=["state"])
    for state, count in states.items():
        processes.add_metric([state], count)
    return [
        processes,
        CounterMetricFamily("waterspout_process_restarts", "Processes that were started again", restarts),
    ]


def expose(metrics: list[Metric], accept: str) -> tuple[str, bytes]:
    """Return the Content-Type and the body of an exposition, as the HTTP header `accept` has it."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Listed(metrics))
    return content_type, encode(registry)


def _merge(sums: dict[Key, float], rows: Mapping[Key, float], *, largest: bool = False) -> None:
    for key, value in rows.items():
        if key not in sums:
            sums[key] = value
        else:
            sums[key] = max(sums[key], value) if largest else sums[key] + value


def _metric(name: str, documentation: str, kind: str, rows: Mapping[Key, float]) -> Metric:
    metric = Metric(name, documentation, kind)
    for (sample, labels), value in rows.items():
        metric.add_sample(sample, dict(labels), value)
    return metric


def _place_of(key: Key) -> Labels | None:
    """Return the model and version that a sample is of, if any."""
    labels = dict(key[1])
    return (("model", labels["model"]), ("version", labels["version"])) if "version" in labels else None
