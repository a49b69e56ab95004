"""An engine with everything around it in the test's hands: when its runs begin and end, and who hears of them."""

import asyncio
import math
import queue
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from pipeline.batching import BatchPolicy, Job
from pipeline.engine import Engine, Runner
from pipeline.errors import WaterspoutError
from pipeline.results import BatchResult
from pipeline.run_times import RunTimes
from pipeline.tensors import Row, Shapes
from pipeline.workers import WorkerPool
from tests.pipeline.session_parts import result_of

PATIENCE = 30.0  # seconds a thread waits for what should come at once

BLANK = -1.0

Heard = float | str  # a prediction, or an error's code


def row_of(value: float) -> Row:
    """Return a row of one number."""
    return (struct.pack("<d", value),)


def numbers_in(rows: Sequence[Row]) -> list[float]:
    """Return the numbers of rows made by `row_of`."""
    return [struct.unpack("<d", row[0])[0] for row in rows if isinstance(row[0], bytes)]


class Echo:
    """A model that answers each row with its own number; `refuses` may raise at what it is given."""

    def __init__(self, refuses: Callable[[list[float]], object] = lambda values: None) -> None:
        self.batches: list[list[float]] = []
        self.shapes: list[Shapes | None] = []
        self.threads: list[int] = []
        self._refuses = refuses

    def run(self, rows: Sequence[Row], shapes: Shapes | None = None) -> BatchResult:
        values = numbers_in(rows)
        self.batches.append(values)
        self.shapes.append(shapes)
        self.threads.append(threading.get_ident())
        started_at = time.monotonic()
        self._refuses(values)
        result = result_of(rows)
        result.started_at, result.run_seconds = started_at, time.monotonic() - started_at
        return result

    def blank_row(self) -> tuple[Row, Shapes | None]:
        return row_of(BLANK), None


class Gated(Echo):
    """An echo whose runs begin, and then wait until they are let go."""

    def __init__(self, refuses: Callable[[list[float]], object] = lambda values: None) -> None:
        super().__init__(refuses)
        self._begun: queue.SimpleQueue[list[float]] = queue.SimpleQueue()
        self._permits = threading.Semaphore(0)
        self._is_open = False

    def run(self, rows: Sequence[Row], shapes: Shapes | None = None) -> BatchResult:
        self._begun.put(numbers_in(rows))
        assert self._is_open or self._permits.acquire(timeout=PATIENCE)
        return super().run(rows, shapes)

    async def begun(self) -> list[float]:
        """Wait until the next run has begun; return its rows."""
        return await asyncio.to_thread(self._begun.get, timeout=PATIENCE)

    def let_go(self, runs: int = 1) -> None:
        """Let so many runs end."""
        self._permits.release(runs)

    def open(self) -> None:
        """Let all runs end, now and later."""
        self._is_open = True
        self._permits.release(1000)


class Inbox:
    """The owner of rows: keeps what it hears of each."""

    def __init__(self, outlet: Any = None) -> None:
        self.outlet = outlet
        self.heard: list[tuple[int, Heard]] = []
        self._changed = asyncio.Event()

    @property
    def source(self) -> Any:
        return self if self.outlet is None else self.outlet

    def finish(self, job: Job, result: BatchResult, row: int) -> None:
        (value,) = result.rows(lists=True)[row].values()
        self._note(job, float(value))

    def fail(self, job: Job, error: WaterspoutError) -> None:
        self._note(job, error.code)

    def _note(self, job: Job, what: Heard) -> None:
        self.heard.append((job.number, what))
        self._changed.set()

    async def hears(self, count: int) -> list[tuple[int, Heard]]:
        """Wait until so many outcomes have come; return them."""
        while len(self.heard) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.heard


class Desk:
    """An engine, its threads, and an inbox for all of its rows."""

    def __init__(
        self,
        runner: Runner,
        policy: BatchPolicy | None = None,
        threads: int = 2,
        workers: WorkerPool | None = None,
        **options: Any,
    ) -> None:
        self.runner = runner
        self.inbox = Inbox()
        self.workers = workers or WorkerPool(threads)
        self.engine = Engine(runner, policy or BatchPolicy(), self.workers, **options)
        self._number = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if isinstance(self.runner, Gated):
            self.runner.open()
        self.engine.close()
        await self.engine.drained()
        self.workers.shutdown()

    def submit(
        self,
        *values: float,
        waits: float = math.inf,
        shapes: Shapes | None = None,
        enqueued_at: float | None = None,
        owner: Any = None,
        priority: int = 0,
    ) -> list[Job]:
        """Submit a row for each number; `waits` seconds from now is their deadline."""
        now = time.monotonic()
        arrived_at = now if enqueued_at is None else enqueued_at
        jobs = []
        for value in values:
            job = Job(owner or self.inbox, self._number, row_of(value), arrived_at, shapes, now + waits, True)
            job.priority = priority
            self.engine.submit(job)
            self._number += 1
            jobs.append(job)
        return jobs


def instant(largest: int = 1024) -> RunTimes:
    """Return run times by which every batch takes no time at all."""
    run_times = RunTimes()
    for bits in range(largest.bit_length()):
        run_times.observe(1 << bits, 0.0)
    return run_times
