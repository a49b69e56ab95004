"""Runs one model's batches: takes them from the batcher, gives them to worker threads, hands the outcomes back."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.errors import DeadlineExceeded, InferenceFailed, ModelUnavailable, WaterspoutError
from pipeline.results import BatchResult
from pipeline.run_times import RunTimes
from pipeline.stats import ModelStats
from pipeline.tensors import Row, Shapes
from pipeline.workers import WorkerPool

log: Final = logging.getLogger(__name__)

_monotonic: Final = time.monotonic
_thread_time: Final = time.thread_time

TIMER_GRAIN: Final = 0.001  # seconds; uvloop's timers are no finer
SURPRISE: Final = 10  # an inline run that takes this many times what is allowed is the model's last

Outcome = BatchResult | list[BatchResult | WaterspoutError]


class Runner(Protocol):
    """What an engine needs of a loaded model; `run` may be called from any thread."""

    def run(self, rows: Sequence[Row], shapes: Shapes | None = None) -> BatchResult:
        """Run rows as one batch. Raises `InferenceFailed`."""


class Engine:
    """One model's batcher, worker slots and threads. All methods belong to the loop's thread.

    A free slot takes what waits at once. A batch crosses to a thread and back once, whatever its size; a batch that is
    expected to take less than `inline_below` seconds of CPU does not cross at all, since the crossing would cost more.
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
    ) -> None:
        self._runner = runner
        self._workers = workers
        self._stackable = stackable
        self._free_slots = self._slots = slots
        self._inline_below = inline_below
        self._run_times = run_times or RunTimes()
        self._loop = asyncio.get_running_loop()
        self._batcher = MicroBatcher(policy, self._schedule, self._on_earlier_deadline)
        self._due_timer: asyncio.TimerHandle | None = None
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        #: Queue a row; its owner gets exactly one `finish` or `fail`. Raises as `MicroBatcher.offer` does.
        self.submit = self._batcher.offer
        self.stats = ModelStats(self._batcher.__len__)

    def __repr__(self) -> str:
        running = self._slots - self._free_slots
        return f"<Engine {self._batcher!r} running={running}/{self._slots} {self._run_times!r}>"

    @property
    def room(self) -> int:
        """How many rows can still be queued."""
        return self._batcher.room

    def cancel(self, job: Job) -> None:
        """Take a row out if it still waits; its owner hears nothing more of it."""
        if self._batcher.cancel(job):
            self._settle_idle()

    async def drained(self) -> None:
        """Wait until nothing waits and nothing runs."""
        while len(self._batcher) or self._free_slots < self._slots:
            if self._idle is None or self._idle.done():
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    def close(self) -> None:
        """Refuse further rows and fail those that wait; a running batch is still answered."""
        self._batcher.close()
        for timer in (self._due_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        while jobs := self._batcher.take():
            self._fail(jobs, ModelUnavailable("the model is being unloaded"))
        self._settle_idle()

    def _schedule(self) -> None:
        self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Start batches while there are rows and free slots; ask to be woken when it takes a new row to go on."""
        self._fail_expired()
        batcher = self._batcher
        while self._free_slots and len(batcher):
            if batcher.policy.max_queue_delay and not self._is_due():
                break
            if self._run_times.expect(min(len(batcher), batcher.policy.max_batch_size)) < self._inline_below:
                self._run_inline(batcher.take())
                self._fail_expired()  # what waited out the run on the loop
            elif self._workers.acquire(self._dispatch):
                self._free_slots -= 1
                self._workers.start(self._run_in_thread, batcher.take())
            else:
                return  # the workers will wake it
        batcher.asleep = self._free_slots > 0
        self._settle_idle()

    def _run_inline(self, jobs: list[Job]) -> None:
        """Run a batch on the loop. A model whose run time depends on its data shows it once, and gets threads then."""
        self.stats.inline_batches += 1
        outcome, seconds = self._run(jobs)
        if seconds > SURPRISE * self._inline_below:
            self._inline_below = 0.0
        self._deliver(jobs, outcome)

    def _is_due(self) -> bool:
        wait = self._batcher.due_at() - _monotonic()
        if wait <= 0:
            return True
        if self._due_timer is None:
            self._due_timer = self._loop.call_later(wait, self._on_due)
        return False

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
        self._dispatch()
        self._deliver(jobs, outcome)

    def _run(self, jobs: list[Job]) -> tuple[Outcome, float]:
        """Run a batch; if it fails, run its rows one by one, so that a row's fault is its own.

        Return the outcome and the CPU seconds of this thread.
        """
        started = _thread_time()
        outcome: Outcome
        if self._stackable or len(jobs) == 1:
            try:
                outcome = self._runner.run([job.row for job in jobs], jobs[0].shapes)
            except Exception as error:
                if len(jobs) == 1:
                    return [_as_failure(error)], _thread_time() - started
            else:
                seconds = _thread_time() - started
                self._run_times.observe(len(jobs), seconds)
                return outcome, seconds
        outcome = [self._run_single(job) for job in jobs]
        return outcome, _thread_time() - started

    def _run_single(self, job: Job) -> BatchResult | WaterspoutError:
        try:
            return self._runner.run([job.row], job.shapes)
        except Exception as error:
            return _as_failure(error)

    def _deliver(self, jobs: list[Job], outcome: Outcome) -> None:
        if isinstance(outcome, BatchResult):
            self._finish(jobs, outcome)
            self.stats.observe(jobs, outcome.started_at, _monotonic(), outcome.run_seconds)
            return
        for job, result in zip(jobs, outcome, strict=True):
            if isinstance(result, BatchResult):
                self._deliver([job], result)
            else:
                self._fail([job], result)

    def _finish(self, jobs: list[Job], result: BatchResult) -> None:
        """Answer each row; neighbours with the same outlet leave in one write."""
        corked: Any = None
        last = len(jobs) - 1
        for row, job in enumerate(jobs):
            owner = job.owner
            outlet = owner.outlet
            if outlet is not corked:
                if corked is not None:
                    corked.uncork()
                    corked = None
                if row < last and outlet is not None and jobs[row + 1].owner.outlet is outlet:
                    outlet.cork()
                    corked = outlet
            try:
                owner.finish(job, result, row)
            except Exception:
                log.exception("an answer could not be delivered")
        if corked is not None:
            corked.uncork()

    def _fail(self, jobs: list[Job], error: WaterspoutError) -> None:
        for job in jobs:
            try:
                job.owner.fail(job, error)
            except Exception:
                log.exception("an error could not be delivered")

    def _fail_expired(self) -> None:
        expired = self._batcher.expire(_monotonic())
        if expired:
            self._fail(expired, DeadlineExceeded("the event waited past its deadline and was not run"))

    def _on_earlier_deadline(self) -> None:
        """Set the expiry timer, which runs whether or not a slot is free."""
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        wait = max(0.0, self._batcher.next_deadline - _monotonic())
        self._expiry_timer = self._loop.call_later(wait + TIMER_GRAIN, self._on_expiry)

    def _on_expiry(self) -> None:
        self._expiry_timer = None
        self._fail_expired()
        if self._batcher.next_deadline < NEVER:
            self._on_earlier_deadline()
        self._settle_idle()

    def _settle_idle(self) -> None:
        waiter = self._idle
        if waiter is not None and not waiter.done() and not len(self._batcher) and self._free_slots == self._slots:
            waiter.set_result(None)


def _as_failure(error: Exception) -> WaterspoutError:
    if isinstance(error, WaterspoutError):
        return error
    log.error("a model raised an error that is not its own", exc_info=error)
    return InferenceFailed(f"the model failed: {type(error).__name__}")
