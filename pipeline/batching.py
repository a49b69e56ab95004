"""Micro-batching without any I/O or clock: which rows run next, and when."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mypy_extensions import mypyc_attr

from pipeline.errors import ModelUnavailable, Overloaded
from pipeline.tensors import Row, Shapes

NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How rows are gathered.

    Work-conserving by default: a free worker takes what waits. With `max_queue_delay` (seconds) it waits up to that
    long for a fuller batch. `grouped`: rows of different shapes must not share a batch.
    """

    max_batch_size: int = 64
    max_queue_size: int = 16384
    max_queue_delay: float = 0.0
    grouped: bool = False

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise ValueError("max_batch_size: expected at least 1")
        if self.max_queue_size < 1:
            raise ValueError("max_queue_size: expected at least 1")
        if not 0 <= self.max_queue_delay <= 60:
            raise ValueError("max_queue_delay: expected 0 to 60 seconds")


@mypyc_attr(acyclic=True)
class Job:
    """One row on its way through the queue. Times are seconds on one monotonic clock.

    `owner` is who gets the outcome by its `finish` and `fail`; its `outlet` (`interfaces.Outlet`, or None) is where
    that goes in the end. `number` orders the answers of one stream. `shapes` is set where the model has
    dynamic dimensions. `queued` is true while the row waits.
    """

    __slots__ = ("deadline", "enqueued_at", "number", "owner", "queued", "row", "shapes")

    def __init__(
        self,
        owner: Any,
        number: int,
        row: Row,
        enqueued_at: float,
        shapes: Shapes | None,
        deadline: float,
        queued: bool,
    ) -> None:
        self.owner = owner
        self.number = number
        self.row = row
        self.enqueued_at = enqueued_at
        self.shapes = shapes
        self.deadline = deadline
        self.queued = queued


class MicroBatcher:
    """A bounded FIFO of rows.

    `wake` is called when a row is offered while `asleep` is set (and clears it), `wake_earlier` when a row expires
    before `next_deadline`: the engine needs to look at the queue then, and at no other time.

    Cancelled rows stay in the list as dead entries until they are the majority, which makes `cancel` O(1)
    amortised and keeps the memory within twice `max_queue_size`.
    """

    __slots__ = ("_dead", "_limit", "_queue", "asleep", "next_deadline", "policy", "wake", "wake_earlier")

    def __init__(
        self,
        policy: BatchPolicy,
        wake: Callable[[], object] = lambda: None,
        wake_earlier: Callable[[], object] = lambda: None,
    ) -> None:
        self.policy = policy
        self.wake = wake
        self.wake_earlier = wake_earlier
        self.asleep = True
        self.next_deadline = NEVER  # no waiting row expires earlier
        self._limit = policy.max_queue_size
        self._queue: list[Job] = []
        self._dead = 0

    def __len__(self) -> int:
        """Return the number of rows that wait."""
        return len(self._queue) - self._dead

    def __repr__(self) -> str:
        return f"<MicroBatcher queued={len(self)}/{self.policy.max_queue_size}>"

    @property
    def room(self) -> int:
        """How many rows can still be offered."""
        return self._limit - len(self)

    def offer(self, job: Job) -> None:
        """Queue a row.

        Raises `Overloaded` when `max_queue_size` rows wait, `ModelUnavailable` after `close`; then nothing has changed.
        """
        queue = self._queue
        if len(queue) - self._dead >= self._limit:
            if not self._limit:
                raise ModelUnavailable("the model is being unloaded")
            raise Overloaded(f"the model's queue is full ({self._limit} rows)")
        queue.append(job)
        if job.deadline < self.next_deadline:
            self.next_deadline = job.deadline
            self.wake_earlier()
        if self.asleep:
            self.asleep = False
            self.wake()

    def close(self) -> None:
        """Refuse all further rows."""
        self._limit = 0

    def cancel(self, job: Job) -> bool:
        """Take a waiting row out; return whether it was still waiting."""
        if not job.queued:
            return False
        job.queued = False
        self._dead += 1
        if self._dead * 2 > len(self._queue):
            self._compact()
        return True

    def due_at(self) -> float:
        """Return when the next batch should start: a time in the past for at once, `NEVER` when nothing waits."""
        if len(self) == 0:
            return NEVER
        delay = self.policy.max_queue_delay
        if not delay or len(self) >= self.policy.max_batch_size:
            return -NEVER
        return next(job.enqueued_at for job in self._queue if job.queued) + delay

    def take(self) -> list[Job]:
        """Return the next batch, oldest row first; empty when nothing waits."""
        if self._dead:
            self._compact()
        queue, size = self._queue, self.policy.max_batch_size
        if self.policy.grouped:
            batch = self._take_group(size)
        elif len(queue) <= size:
            self._queue, batch = [], queue
        else:
            batch = queue[:size]
            del queue[:size]
        for job in batch:
            job.queued = False
        return batch

    def expire(self, now: float) -> list[Job]:
        """Take out and return the rows whose deadline has passed."""
        if now < self.next_deadline:
            return []
        expired = [job for job in self._queue if job.queued and job.deadline <= now]
        for job in expired:
            job.queued = False
        self._compact()
        self.next_deadline = min((job.deadline for job in self._queue), default=NEVER)
        return expired

    def _take_group(self, size: int) -> list[Job]:
        if not self._queue:
            return []
        shapes = self._queue[0].shapes
        batch = [job for job in self._queue if job.shapes == shapes][:size]
        taken = {id(job) for job in batch}
        self._queue = [job for job in self._queue if id(job) not in taken]
        return batch

    def _compact(self) -> None:
        self._queue = [job for job in self._queue if job.queued]
        self._dead = 0
