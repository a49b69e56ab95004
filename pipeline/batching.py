"""Micro-batching without any I/O or clock: which rows run next, and when."""

from collections.abc import Callable
from typing import Any, Final

from pipeline.batch_policy import BatchPolicy
from pipeline.errors import ModelUnavailable, Overloaded
from pipeline.fair_queue import FairQueue
from pipeline.job import NEVER, Job
from pipeline.queue_memory import UNBOUNDED, QueueMemory, bytes_of
from pipeline.rings import source_of
from pipeline.shares import room_of_share

__all__ = ["NEVER", "BatchPolicy", "Job", "MicroBatcher"]

ALL: Final = 1 << 60


class MicroBatcher:
    """A bounded queue of rows.

    `wake` is called when a row is offered while `asleep` is set (and clears it), `wake_earlier` when a row expires
    before `next_deadline`: the engine needs to look at the queue then, and at no other time.

    As long as all that waits fits into one batch, order means nothing and rows lie in a plain list. What is more
    goes to a `FairQueue`, where each source has its turn; once that is empty, rows go to the list again.

    Bounds: `max_queue_size` rows wait at most. Once a full batch waits, each source has a share (`room_of_share`).
    `memory` bounds the bytes of all queues that share it.

    Cancelled rows stay as dead entries until they are the majority, which makes `cancel` O(1) amortised
    and keeps the memory within twice `max_queue_size`.
    """

    __slots__ = ("_dead", "_fair", "_limit", "_memory", "_queue", "_short", "asleep", "next_deadline", "policy",
                 "wake", "wake_earlier")  # fmt: skip

    def __init__(
        self,
        policy: BatchPolicy,
        wake: Callable[[], object] = lambda: None,
        wake_earlier: Callable[[], object] = lambda: None,
        memory: QueueMemory | None = None,
    ) -> None:
        self.policy = policy
        self.wake = wake
        self.wake_earlier = wake_earlier
        self.asleep = True
        self.next_deadline = NEVER  # no waiting row expires earlier
        self._memory = memory or QueueMemory(UNBOUNDED, _ignore)
        self._limit = policy.max_queue_size
        self._queue: list[Job] = []
        self._dead = 0  # entries of the list that do not wait any more
        self._fair = FairQueue(policy.grouped, policy.priority_levels, policy.default_priority_level)
        self._short = 0  # how long the list may get; 0 while the fair queue has rows
        self._fair_is_empty()

    def __len__(self) -> int:
        """Return the number of rows that wait."""
        waiting = len(self._queue) - self._dead
        return waiting if self._short else waiting + len(self._fair)

    def __repr__(self) -> str:
        return f"<MicroBatcher queued={len(self)}/{self.policy.max_queue_size}>"

    @property
    def room(self) -> int:
        """How many rows can still be offered by all sources together."""
        return max(self._limit - len(self), 0) if self._memory.held <= self._memory.mark else 0

    def room_for(self, source: Any) -> int:
        """Return how many rows a source can offer now, one after the other."""
        waiting = len(self)
        if self._memory.held > self._memory.mark:
            return 0
        room = max(self._limit - waiting, 0)  # rows that were admitted may be above the limit
        if waiting >= self.policy.max_batch_size and self._queue:
            self._move_to_fair()  # in the list, sources are not told apart
        held = self._fair.held(source) if len(self._fair) else waiting
        return room_of_share(room, waiting, held, self.policy.max_batch_size)

    def offer(self, job: Job) -> None:
        """Queue a row.

        Raises `Overloaded` when `max_queue_size` rows wait, the row's source holds its share, or all queues hold too
        many bytes, `ModelUnavailable` after `close`; then nothing has changed.
        """
        memory, size = self._memory, bytes_of(job.row)
        if memory.held + size > memory.mark:
            memory.check(size)
        queue = self._queue
        if len(queue) < self._short:
            queue.append(job)
        else:
            self._offer_fairly(job)
        memory.held += size
        self._attend_to(job)

    def admit(self, job: Job) -> None:
        """Queue a row that was let in elsewhere, whatever waits here. Raises `ModelUnavailable` after `close`."""
        if len(self._queue) < self._short:
            self._queue.append(job)
        elif not self._limit:
            raise ModelUnavailable("the model is being unloaded")
        else:
            self._move_to_fair()
            self._fair.push(job)
        memory, size = self._memory, bytes_of(job.row)
        memory.held += size
        if memory.held > memory.mark:
            memory.remind()
        self._attend_to(job)

    def waiting(self) -> list[Job]:
        """Return the rows that wait."""
        return [job for job in self._queue if job.queued] + (self._fair.rows() if len(self._fair) else [])

    def close(self) -> None:
        """Refuse all further rows."""
        self._limit = self._short = 0

    def cancel(self, job: Job) -> bool:
        """Take a waiting row out; return whether it was still waiting."""
        if not job.queued:
            return False
        job.queued = False
        self._memory.held -= bytes_of(job.row)
        if len(self._fair):
            self._fair.remove(job)
            self._fair_is_empty()
            return True
        self._dead += 1
        if self._dead * 2 > len(self._queue):
            self._compact()
        return True

    def due_at(self) -> float:
        """Return when the next batch should start: a time in the past for at once, `NEVER` when nothing waits."""
        waiting, policy = len(self), self.policy
        if waiting == 0:
            return NEVER
        if not policy.max_queue_delay or waiting >= policy.max_batch_size or policy.preferred(waiting):
            return -NEVER
        return self._oldest() + policy.max_queue_delay

    def due_rows(self, now: float) -> int:
        """Return how many rows should leave now."""
        if self.due_at() > now:
            return 0
        waiting, policy = len(self), self.policy
        if waiting >= policy.max_batch_size:
            return policy.max_batch_size
        reached = policy.preferred(waiting) if policy.max_queue_delay else 0
        return reached if reached and self._oldest() + policy.max_queue_delay > now else waiting

    def take(self, most: int = 0) -> list[Job]:
        """Return the next batch, of up to `most` rows (0: `max_batch_size`); empty when nothing waits."""
        size = most or self.policy.max_batch_size
        fair = self._fair
        if not len(fair):
            if self._dead:
                self._compact()
            queue = self._queue
            if len(queue) <= size and not (self.policy.grouped and _is_mixed(queue)):
                self._queue = []
                for job in queue:
                    job.queued = False
                self._count_out(queue)
                return queue
            self._move_to_fair()
        batch = fair.take(size)
        self._count_out(batch)
        self._fair_is_empty()
        return batch

    def earliest_deadline(self) -> float:
        """Return the earliest deadline of the rows that wait; never before `next_deadline`."""
        if len(self._fair):
            return self._fair.earliest()
        return min([job.deadline for job in self._queue if job.queued], default=NEVER)

    def expire(self, now: float, most: int = ALL) -> list[Job]:
        """Take out and return up to `most` rows whose deadline is not after `now`, the earliest first."""
        if now < self.next_deadline:
            return []
        if len(self._fair):
            expired = self._fair.expire(now, most)
            self._fair_is_empty()
        else:
            expired = sorted([job for job in self._queue if job.queued and job.deadline <= now], key=_deadline_of)
            del expired[most:]
            for job in expired:
                job.queued = False
            self._compact()
        self.next_deadline = self.earliest_deadline()
        self._count_out(expired)
        return expired

    def _count_out(self, jobs: list[Job]) -> None:
        """Take note that rows do not wait any more."""
        size = 0
        for job in jobs:
            size += bytes_of(job.row)
        self._memory.held -= size

    def _attend_to(self, job: Job) -> None:
        """Wake whom a row that was queued concerns."""
        if job.deadline < self.next_deadline:
            self.next_deadline = job.deadline
            self.wake_earlier()
        if self.asleep:
            self.asleep = False
            self.wake()

    def _offer_fairly(self, job: Job) -> None:
        limit, waiting = self._limit, len(self)
        if not limit:
            raise ModelUnavailable("the model is being unloaded")
        if waiting >= limit:
            raise Overloaded(f"the model's queue is full ({limit} rows)")
        self._move_to_fair()
        room = limit - waiting
        if not room_of_share(room, waiting, self._fair.held(source_of(job)), self.policy.max_batch_size):
            raise Overloaded(f"this connection's share of the model's queue is full ({room} of {limit} rows)")
        self._fair.push(job)

    def _move_to_fair(self) -> None:
        for job in self._queue:
            if job.queued:
                self._fair.push(job)
        self._queue = []
        self._dead = 0
        self._short = 0

    def _fair_is_empty(self) -> None:
        """Use the list again if so."""
        if not len(self._fair):
            self._fair.forget()
            self._short = min(self._limit, self.policy.max_batch_size)

    def _oldest(self) -> float:
        """Return when the oldest row came; at most a batch waits."""
        if len(self._fair):
            return self._fair.oldest()
        return next(job.enqueued_at for job in self._queue if job.queued)

    def _compact(self) -> None:
        self._queue = [job for job in self._queue if job.queued]
        self._dead = 0


def _is_mixed(jobs: list[Job]) -> bool:
    """Return whether the shapes of rows differ."""
    return any(job.shapes != jobs[0].shapes for job in jobs)


def _deadline_of(job: Job) -> float:
    return job.deadline


def _ignore(call: Callable[[], None]) -> None:
    """Do nothing: a bound that is never reached."""
