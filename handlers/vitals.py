"""How a process itself is: how late its loop, how long the pauses of the garbage collector, and what it uses."""

import asyncio
import gc
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.stats import Histogram

PROBE_SECONDS: Final = 0.1

_LAG: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_PAUSES: Final = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

_monotonic: Final = time.monotonic


class Vitals(Collector):
    """Measured from `start` to `stop`, at the cost of ten turns of the loop a second and two calls for each collection.

    A probe that comes late was kept waiting by whatever ran in the loop, as every event was that came in that time.
    """

    def __init__(self) -> None:
        self._process = ProcessCollector(registry=None)
        self._lag = Histogram(_LAG)
        self._pauses = [Histogram(_PAUSES) for _ in gc.get_threshold()]  # by generation
        self._paused_at = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Vitals lag={self._lag!r}>"

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.get_running_loop()
        gc.callbacks.append(self._on_collection)
        self._wait()

    def stop(self) -> None:
        """End, for good."""
        if self._timer is not None:
            self._timer.cancel()
            gc.callbacks.remove(self._on_collection)

    def collect(self) -> Iterable[Metric]:
        """Yield all metric families."""
        lag = HistogramMetricFamily("waterspout_loop_lag_seconds", "How late a turn of the event loop came")
        lag.add_metric([], self._lag.buckets(), self._lag.total)
        yield lag
        title = "Collections of garbage, in which nothing else runs"
        pauses = HistogramMetricFamily("waterspout_gc_pause_seconds", title, labels=["generation"])
        for generation, pause in enumerate(self._pauses):
            pauses.add_metric([str(generation)], pause.buckets(), pause.total)
        yield pauses
        tasks = len(asyncio.all_tasks(self._loop)) if self._loop is not None else 0
        yield GaugeMetricFamily("waterspout_tasks", "Tasks of the event loop", tasks)
        yield from self._process.collect()

    def _wait(self) -> None:
        self._due = _monotonic() + PROBE_SECONDS
        self._timer = asyncio.get_running_loop().call_later(PROBE_SECONDS, self._probe)

    def _probe(self) -> None:
        self._lag.observe(max(0.0, _monotonic() - self._due))
        self._wait()

    def _on_collection(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._paused_at = _monotonic()
        else:
            self._pauses[info["generation"]].observe(_monotonic() - self._paused_at)
