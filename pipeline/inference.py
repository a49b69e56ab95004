"""One request of several rows: into a model's queue together, and out when the last of them is answered."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from pipeline.batching import Job
from pipeline.errors import InvalidInput, Overloaded, WaterspoutError
from pipeline.results import BatchResult
from pipeline.tensors import Row, Shapes

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


class Inference:
    """The rows of one request; each is a job of its own, so they share batches with whatever else is queued."""

    __slots__ = ("_done", "_jobs", "_left", "_model", "_outcomes", "outlet")

    def __init__(self, model: QueuedModel) -> None:
        self.outlet = None  # nothing is sent row by row
        self._model = model
        self._jobs: list[Job] = []
        self._outcomes: list[Outcome | None] = []
        self._left = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Inference rows={len(self._outcomes)} left={self._left}>"

    @property
    def source(self) -> "Inference":
        """A request has one share, whatever its number of rows."""
        return self

    async def run(
        self, rows: Sequence[Row], shapes: Shapes | None, now: float, deadline: float, priority: int = 0
    ) -> list[Outcome]:
        """Return the outcome of each row, in the order of the rows.

        `shapes` is that of every row, None where all is static; `now` and `deadline` are monotonic seconds; 0 is the
        model's default `priority`. Raises `InvalidInput` for more rows than the queue ever holds or a priority that the
        model lacks, `Overloaded` where they do not fit now, and what the first row that fails fails with, whereupon the
        others are given up; `asyncio.CancelledError` after `cancel`.
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
                model.submit(job)
                self._jobs.append(job)
            await self._done
        finally:
            self._give_up()
        return self._outcomes  # type: ignore[return-value]

    def finish(self, job: Job, result: BatchResult, row: int) -> None:
        """Take a row's outcome."""
        self._outcomes[job.number] = (result, row)
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(None)

    def fail(self, job: Job, error: WaterspoutError) -> None:
        """Take a row's error, which is the request's."""
        del job
        if not self._done.done():
            self._done.set_exception(error)

    def cancel(self) -> None:
        """Give the request up: there is nobody left to answer."""
        self._done.cancel()

    def _give_up(self) -> None:
        """Take out what still waits; the outcomes of what runs are not looked at."""
        if self._left:
            for job in self._jobs:
                self._model.cancel(job)
        self._jobs.clear()
        if self._done.done() and not self._done.cancelled():
            self._done.exception()  # it is told by `run`, or by what was raised before
