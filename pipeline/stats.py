"""Counts and distributions of what the server does; `metrics` shows them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from pipeline.job import Job

SECONDS: Final[Sequence[float]] = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
)
ROWS: Final[Sequence[float]] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

Place = tuple[str, str]  # name and version of a model

_bucket_of: Final = bisect_left


class Histogram:
    """Counts of observations by upper bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def __repr__(self) -> str:
        return f"<Histogram n={sum(self.counts)} total={self.total:.6g}>"

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[_bucket_of(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative buckets as Prometheus wants them."""
        cumulative = 0
        rows: list[tuple[str, float]] = []
        for at, count in enumerate(self.counts):
            cumulative += count
            bound = "+Inf" if at == len(self.bounds) else str(float(self.bounds[at]))
            rows.append((bound, float(cumulative)))
        return rows


class ModelStats:
    """The numbers of one model version.

    `runs` has for each batch size how many batches of it ran, and their seconds. `shared_rows` counts the rows that
    were not the first of their request, so that `predictions - shared_rows` is how many requests were answered.
    """

    __slots__ = (
        "batch_rows",
        "depth",
        "end_to_end_seconds",
        "failed_requests",
        "failed_seconds",
        "inline_batches",
        "last_done_at",
        "predictions",
        "queue_seconds",
        "row_run_seconds",
        "run_seconds",
        "runs",
        "shared_rows",
    )

    def __init__(self, depth: Callable[[], int]) -> None:
        self.depth = depth
        self.predictions = 0
        self.inline_batches = 0
        self.batch_rows = Histogram(ROWS)
        self.queue_seconds = Histogram(SECONDS)
        self.run_seconds = Histogram(SECONDS)
        self.end_to_end_seconds = Histogram(SECONDS)
        self.runs: dict[int, list[float]] = {}
        self.row_run_seconds = 0.0  # of each row the seconds of its run
        self.last_done_at = 0.0  # monotonic; 0: never
        self.shared_rows = 0
        self.failed_requests = 0  # of several rows, or of one
        self.failed_seconds = 0.0

    def observe(self, jobs: list[Job], started_at: float, done_at: float, run_seconds: float) -> None:
        """Count a batch whose answers were handed to their sockets at `done_at`."""
        rows = len(jobs)
        self.predictions += rows
        self.batch_rows.observe(float(rows))
        self.row_run_seconds += rows * run_seconds
        self.last_done_at = done_at
        runs = self.runs.get(rows)
        if runs is None:
            self.runs[rows] = [1.0, run_seconds]
        else:
            runs[0] += 1.0
            runs[1] += run_seconds
        self.run_seconds.observe(run_seconds)
        queue_seconds, end_to_end_seconds = self.queue_seconds, self.end_to_end_seconds
        for job in jobs:
            enqueued_at = job.enqueued_at
            queue_seconds.observe(started_at - enqueued_at)
            end_to_end_seconds.observe(done_at - enqueued_at)

    def observe_failed_request(self, seconds: float) -> None:
        """Count a request that was queued and not answered by a prediction."""
        self.failed_requests += 1
        self.failed_seconds += seconds


class ServerStats:
    """The numbers of the whole server. `models` has those that serve, or did last, by name and version."""

    __slots__ = (
        "_replaced",
        "alerts",
        "closes",
        "errors",
        "events",
        "models",
        "past_predictions",
        "requests",
        "sockets",
        "sockets_opened",
        "states",
        "webhooks",
    )

    def __init__(self) -> None:
        self.events: Callable[[], int] = int
        self.errors: Counter[str] = Counter()
        self.sockets: Callable[[], int] = int
        self.states: Callable[[], list[tuple[str, str, str]]] = list  # of models: name, version and state
        self.sockets_opened = 0
        self.requests: Counter[tuple[str, int]] = Counter()  # over HTTP, by door and status
        self.closes: Counter[int] = Counter()  # of sockets by the server, by code
        self.models: dict[Place, ModelStats] = {}
        self.alerts: Counter[tuple[str, str, str]] = Counter()  # by model, version and rule
        self.webhooks: Counter[str] = Counter()  # by outcome
        self.past_predictions = 0  # of models that are gone
        self._replaced: list[tuple[Place, ModelStats]] = []

    @property
    def predictions(self) -> int:
        """How many rows ran since the start; one of an ensemble counts in each of its steps too."""
        return self.past_predictions + sum(model.predictions for _, model in self.counted())

    def counted(self) -> list[tuple[Place, ModelStats]]:
        """Return everything that may still count, also what finishes its work where another has its place."""
        return [*self.models.items(), *self._replaced]

    def add(self, place: Place, model: ModelStats) -> None:
        """Show a model; what had its place is counted until it is discarded."""
        former = self.models.get(place)
        if former is not None:
            self._replaced.append((place, former))
        self.models[place] = model

    def discard(self, place: Place, model: ModelStats) -> None:
        """Show a model no more; what it did stays in the sum."""
        self.past_predictions += model.predictions
        if self.models.get(place) is model:
            del self.models[place]
        else:
            self._replaced.remove((place, model))
