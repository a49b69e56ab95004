"""One request of several rows: into a model's queue together, and out when the last of them is answered."""

from collections.abc import Sequence
from typing import Any, Protocol

from pipeline.batching import Job
from pipeline.errors import InvalidInput, Overloaded, WaterspoutError
from pipeline.results import BatchResult
from pipeline.tensors import Row, Shapes
from pipeline.trace_context import TraceContext

Outcome = tuple[BatchResult, int]  # a run's result, and which row of it is ours


class QueuedModel(Protocol):
    """What a request needs of a model."""

    max_queue_size: int

    @property
    def room(self) -> int:
        """Return how many rows can still be queued."""

    def submit(self, job: Any) -> None:
        """Queue a row. Raises `Overloaded`."""

    def cancel(self, job: Any) -> None:
        """Take a row out if it still waits."""

    def check_priority(self, priority: int) -> None:
        """Raise `InvalidInput` for a priority that the model does not have."""


class Asker(Protocol):
    """Who waits for the outcomes of a request."""

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcome of each row, in the order of the rows."""

    def refuse(self, error: WaterspoutError) -> None:
        """Take the error of the first row that failed."""


class Inference:
    """The rows of one request; each is a job of its own, so they share batches with whatever else is queued."""

    __slots__ = ("_asker", "_jobs", "_left", "_model", "_outcomes", "outlet", "trace")

    def __init__(self, model: QueuedModel, asker: Asker) -> None:
        self.outlet = None  # nothing is sent row by row
        self.trace: TraceContext | None = None
        self._model = model
        self._asker: Asker | None = asker  # None: told already, or gone
        self._jobs: list[Job] = []
        self._outcomes: list[Outcome | None] = []
        self._left = 0

    def __repr__(self) -> str:
        return f"<Inference rows={len(self._outcomes)} left={self._left}>"

    @property
    def source(self) -> "Inference":
        """A request has one share, whatever its number of rows."""
        return self

    def start(self, rows: Sequence[Row], shapes: Shapes | None, now: float, deadline: float, priority: int = 0) -> None:
        """Queue all rows; the asker is told once, when the last of them is answered or the first fails.

        `shapes` is that of every row, None where all is static; `now` and `deadline` are monotonic seconds; 0 is the
        model's default `priority`. Raises `InvalidInput` for more rows than the queue ever holds or a priority that the
        model lacks, and `Overloaded` where they do not fit now; nothing is queued then, and the asker is not told.
        """
        model = self._model
        model.check_priority(priority)
        if len(rows) > model.max_queue_size:
            raise InvalidInput(f"expected at most {model.max_queue_size} rows (max_queue_size), got {len(rows)}")
        if len(rows) > model.room > 0:
            raise Overloaded(f"the model's queue has room for {model.room} rows, got {len(rows)}")
        self._left = len(rows)
        self._outcomes = [None] * len(rows)
        try:
            for number, row in enumerate(rows):
                job = Job(self, number, row, now, shapes, deadline, True)
                job.priority = priority
                self._jobs.append(job)
                model.submit(job)
                if self._asker is None:
                    return  # a row has failed at once
        except BaseException:
            self.cancel()
            raise

    def finish(self, job: Job, result: BatchResult, row: int) -> None:
        """Take a row's outcome."""
        self._outcomes[job.number] = (result, row)
        self._left -= 1
        if not self._left and self._asker is not None:
            asker, self._asker = self._asker, None
            self._jobs.clear()
            asker.answer(self._outcomes)  # type: ignore[arg-type]

    def fail(self, job: Job, error: WaterspoutError) -> None:
        """Take a row's error, which is the request's: the others are given up."""
        del job
        asker = self._asker
        self.cancel()
        if asker is not None:
            asker.refuse(error)

    def cancel(self) -> None:
        """Take out what still waits and tell nobody; the outcomes of what runs are not looked at."""
        self._asker = None
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            self._model.cancel(job)
