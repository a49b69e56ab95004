"""Runs one model's batches: takes them from the batcher, gives them to worker threads, hands the outcomes back."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.delivery import fail_all, finish_all
from pipeline.errors import DeadlineExceeded, InferenceFailed, ModelUnavailable, WaterspoutError
from pipeline.idle import Idle
from pipeline.queue_memory import QueueMemory
from pipeline.results import BatchResult
from pipeline.run_times import LinearRunTime, RunTimes
from pipeline.slo import LatencySlo
from pipeline.stats import ModelStats
from pipeline.tensors import Row, Shapes
from pipeline.workers import WorkerPool

log: Final = logging.getLogger(__name__)

_monotonic: Final = time.monotonic
_thread_time: Final = time.thread_time

TIMER_GRAIN: Final = 0.001  # seconds; uvloop's timers are no finer
LATENESS: Final = 0.005  # seconds that a timer may ring late on a busy machine, and yet a row makes its deadline
SURPRISE: Final = 10  # an inline run that takes this many times what is allowed is the model's last for a while
LONGEST_CAUTION: Final = 60.0  # seconds

Outcome = BatchResult | list[BatchResult | WaterspoutError]


class Runner(Protocol):
    """What an engine needs of a loaded model; `run` may be called from any thread."""

    def run(self, rows: Sequence[Row], shapes: Shapes | None = None) -> BatchResult:
        """Run rows as one batch. Raises `InferenceFailed`."""

    def blank_row(self) -> tuple[Row, Shapes | None]:
        """Return what fills a batch up to an allowed size."""


class Engine:
    """One model's batcher, worker slots and threads. All methods belong to the loop's thread.

    A free slot takes what waits at once. A batch crosses to a thread and back once, whatever its size; a batch that is
    expected to take less than `inline_below` seconds of CPU does not cross at all, since the crossing would cost more.
    With a `latency_slo` (seconds from arrival to answer) batches are as large as that allows, and a row that would be
    late is refused before it runs; `wall_times` is what is known of run times on the clock.
    """

    def __init__(
        self,
        runner: Runner,
        policy: BatchPolicy,
        workers: WorkerPool,
        *,
        stackable: bool = True,
        slots: int = 1,
        inline_below: float = 0.0,
        run_times: RunTimes | None = None,
        latency_slo: float = NEVER,
        wall_times: LinearRunTime | None = None,
        memory: QueueMemory | None = None,
    ) -> None:
        self._runner = runner
        self._policy = policy
        self._workers = workers
        self._stackable = stackable
        self._free_slots = self._slots = slots
        self._inline_below = self._inline_limit = inline_below
        self._inline_again = NEVER  # when a model that has surprised may run on the loop again
        self.caution = 1.0  # seconds from a surprise until then; twice as many the next time
        self._run_times = run_times or RunTimes(exact=bool(policy.allowed_batch_sizes))
        self._loop = asyncio.get_running_loop()
        self._batcher = MicroBatcher(policy, self._schedule, self._on_earlier_deadline, memory)
        self._memory = memory
        if memory is not None:
            memory.join(self)
        self._due_timer: asyncio.TimerHandle | None = None
        self._due_at = NEVER  # when that timer rings
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._late: list[Job] = []  # taken out and not yet told
        self._idle = Idle(lambda: self.is_busy)
        #: Queue a row; its owner gets exactly one `finish` or `fail`. Raises as `MicroBatcher.offer` does.
        self.submit = self._batcher.offer
        self._slo = LatencySlo(latency_slo, policy, wall_times) if latency_slo < NEVER else None
        self._chooses = self._slo is not None or policy.max_queue_delay > 0  # else what waits leaves at once
        if self._slo is not None or policy.priority_levels:
            self.submit = self._submit
        self._blank = runner.blank_row()[0] if policy.allowed_batch_sizes and stackable else None
        self.stats = ModelStats(self._batcher.__len__)
        self.observer: Any = None  # an `Observer` while somebody watches

    def __repr__(self) -> str:
        running = self._slots - self._free_slots
        return f"<Engine {self._batcher!r} running={running}/{self._slots} {self._run_times!r}>"

    @property
    def room(self) -> int:
        """How many rows can still be queued."""
        return self._batcher.room

    @property
    def is_busy(self) -> bool:
        """Whether anything waits or runs."""
        return len(self._batcher) > 0 or self._free_slots < self._slots

    def room_for(self, source: Any) -> int:
        """Return how many rows a source (see `rings.source_of`) can still queue."""
        return self._batcher.room_for(source)

    def check_priority(self, priority: int) -> None:
        """Raise `InvalidInput` for a level that the model does not have."""
        self._policy.check_priority(priority)

    def admit(self, job: Job) -> None:
        """Queue a row that an ensemble has let in, whatever waits here. Raises `ModelUnavailable` after `close`."""
        if self._slo is not None:
            job.deadline = self._slo.deadline(job.enqueued_at, job.deadline)
        self._batcher.admit(job)

    def is_waiting(self, job: Job) -> bool:
        """Return whether a row that was submitted has not begun to run."""
        return job.queued

    def cancel(self, job: Job) -> None:
        """Take a row out if it still waits; its owner hears nothing more of it."""
        if self._batcher.cancel(job):
            self._idle.notify()

    def waiting(self) -> list[Job]:
        """Return the rows that wait."""
        return self._batcher.waiting()

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        await self._idle.wait()

    def close(self) -> None:
        """Refuse further rows and fail those that wait; a running batch is still answered."""
        self._batcher.close()
        for timer in (self._due_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        while jobs := self._batcher.take():
            fail_all(jobs, ModelUnavailable("the model is being unloaded"))
        if self._memory is not None:
            self._memory.leave(self)
        self._idle.notify()

    def _submit(self, job: Job) -> None:
        """Queue a row of a model that has priorities or an SLO."""
        self._policy.check_priority(job.priority)
        if self._slo is not None:
            job.deadline = self._slo.deadline(job.enqueued_at, job.deadline)
        self._batcher.offer(job)

    def _schedule(self) -> None:
        self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._start_batches()
        self._tell_late()
        self._idle.notify()

    def _start_batches(self) -> None:
        """Start batches while there are rows and free slots; ask to be woken when it takes a new row to go on."""
        batcher = self._batcher
        self._late += batcher.expire(_monotonic())
        while self._free_slots and len(batcher):
            rows = min(len(batcher), self._policy.max_batch_size)
            if self._chooses:
                rows = self._rows_to_run()
                if not rows:
                    break
            if self._run_times.expect(self._policy.padded(rows)) < self._inline_below:
                self._run_inline(batcher.take(rows))
                self._late += batcher.expire(_monotonic())  # what waited out the run on the loop
            elif self._workers.acquire(self._dispatch):
                self._free_slots -= 1
                self._workers.start(self._run_in_thread, batcher.take(rows))
            else:
                return  # the workers will wake it
        batcher.asleep = self._free_slots > 0

    def _rows_to_run(self) -> int:
        """Return how many rows leave now; 0 where all of them wait for others, or none is left."""
        batcher, slo, now = self._batcher, self._slo, _monotonic()
        rows = batcher.due_rows(now)
        if slo is None:
            return rows or self._wake_at(batcher.due_at(), now)
        if not rows:
            waiting = len(batcher)
            due_at = min(batcher.due_at(), batcher.earliest_deadline() - slo.seconds_of(waiting) - LATENESS)
            if due_at > now:
                return self._wake_at(due_at, now)
            rows = waiting
        while waiting := len(batcher):
            earliest = batcher.earliest_deadline()
            fitting = slo.batch_rows(waiting, earliest - now)
            if fitting:
                return min(rows, fitting)
            self._late += batcher.expire(max(earliest, now + slo.late_within(waiting)), slo.late_rows(waiting))
        return 0

    def _run_inline(self, jobs: list[Job]) -> None:
        """Run a batch on the loop; after one that took far too long the model gets threads for a while.

        It may be the machine that paused. A model whose run time depends on its data shows it again, and less and less.
        """
        self.stats.inline_batches += 1
        outcome, seconds = self._run(jobs)
        if seconds > SURPRISE * self._inline_below:
            self._inline_below = 0.0
            self._inline_again = _monotonic() + self.caution
            self.caution = min(2 * self.caution, LONGEST_CAUTION)
        self._learn(jobs, outcome)
        self._deliver(jobs, outcome)

    def _wake_at(self, due_at: float, now: float) -> int:
        """Look again then; return 0 rows."""
        if self._due_timer is not None:
            if due_at >= self._due_at:
                return 0
            self._due_timer.cancel()
        self._due_at = due_at
        self._due_timer = self._loop.call_later(due_at - now, self._on_due)
        return 0

    def _on_due(self) -> None:
        self._due_timer = None
        self._dispatch()

    def _run_in_thread(self, jobs: list[Job]) -> None:
        outcome, _ = self._run(jobs)
        try:
            self._loop.call_soon_threadsafe(self._on_done, jobs, outcome)
        except RuntimeError:
            log.warning("the event loop closed before a batch of %d rows was done", len(jobs))

    def _on_done(self, jobs: list[Job], outcome: Outcome) -> None:
        self._free_slots += 1
        self._workers.release()
        if self._inline_again < NEVER and _monotonic() >= self._inline_again:
            self._inline_below, self._inline_again = self._inline_limit, NEVER
        self._learn(jobs, outcome)
        self._start_batches()
        self._deliver(jobs, outcome)
        self._tell_late()
        self._idle.notify()

    def _run(self, jobs: list[Job]) -> tuple[Outcome, float]:
        """Run a batch; if it fails, run its rows one by one, so that a row's fault is its own.

        Return the outcome and the CPU seconds of this thread.
        """
        started = _thread_time()
        outcome: Outcome
        if self._stackable or len(jobs) == 1:
            try:
                rows = [job.row for job in jobs]
                shapes = jobs[0].shapes
                outcome = self._runner.run(rows, shapes) if self._blank is None else self._run_padded(rows, shapes)
            except Exception as error:
                if len(jobs) == 1:
                    return [_as_failure(error)], _thread_time() - started
            else:
                seconds = _thread_time() - started
                self._run_times.observe(self._policy.padded(len(jobs)), seconds)
                return outcome, seconds
        outcome = [self._run_single(job) for job in jobs]
        return outcome, _thread_time() - started

    def _run_padded(self, rows: list[Row], shapes: Shapes | None) -> BatchResult:
        """Run rows in a batch of an allowed size; nobody sees what comes of the others in it."""
        assert self._blank is not None
        count = len(rows)
        blank = self._blank if shapes is None else rows[0]
        result = self._runner.run(rows + [blank] * (self._policy.padded(count) - count), shapes)
        result.keep(count)
        return result

    def _run_single(self, job: Job) -> BatchResult | WaterspoutError:
        try:
            if self._blank is not None:
                return self._run_padded([job.row], job.shapes)
            return self._runner.run([job.row], job.shapes)
        except Exception as error:
            return _as_failure(error)

    def _learn(self, jobs: list[Job], outcome: Outcome) -> None:
        """Note what the run took on the clock, with the way back to the loop."""
        if self._slo is None:
            return
        first = outcome if isinstance(outcome, BatchResult) else outcome[0]
        if isinstance(first, BatchResult) and (first is outcome or not self._stackable):
            self._slo.times.observe(self._policy.padded(len(jobs)), _monotonic() - first.started_at)

    def _deliver(self, jobs: list[Job], outcome: Outcome) -> None:
        if isinstance(outcome, BatchResult):
            outcome.observer = self.observer
            finish_all(jobs, outcome)
            self.stats.observe(jobs, outcome.started_at, _monotonic(), outcome.run_seconds)
            return
        for job, result in zip(jobs, outcome, strict=True):
            if isinstance(result, BatchResult):
                self._deliver([job], result)
            else:
                fail_all([job], result)

    def _tell_late(self) -> None:
        """Fail the rows that were not run, once all that could run does."""
        if self._late:
            late, self._late = self._late, []
            fail_all(late, DeadlineExceeded("the deadline has passed or cannot be met any more; the event was not run"))

    def _on_earlier_deadline(self) -> None:
        """Set the expiry timer, which runs whether or not a slot is free."""
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        wait = max(0.0, self._batcher.next_deadline - _monotonic())
        self._expiry_timer = self._loop.call_later(wait + TIMER_GRAIN, self._on_expiry)

    def _on_expiry(self) -> None:
        self._expiry_timer = None
        self._late += self._batcher.expire(_monotonic())
        if self._batcher.next_deadline < NEVER:
            self._on_earlier_deadline()
        self._tell_late()
        self._idle.notify()


def _as_failure(error: Exception) -> WaterspoutError:
    if isinstance(error, WaterspoutError):
        return error
    log.error("a model raised an error that is not its own", exc_info=error)
    return InferenceFailed(f"the model failed: {type(error).__name__}")
