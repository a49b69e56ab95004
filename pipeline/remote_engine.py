"""The rows of one model on their way to workers and back: what a gateway has in the place of an `Engine`."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from pipeline.batching import NEVER, BatchPolicy, MicroBatcher
from pipeline.cluster_messages import FORMAT, Entry, Failed, ForeignEntry, Outputs, Reply, encode
from pipeline.cluster_rows import pack_columns, pack_shapes, unpack_outputs
from pipeline.delivery import fail_all, finish_all
from pipeline.errors import BY_CODE, DeadlineExceeded, InferenceFailed, ModelUnavailable, WaterspoutError
from pipeline.graph_spec import ModelSpec
from pipeline.idle import Idle
from pipeline.job import Job
from pipeline.queue_memory import QueueMemory
from pipeline.stats import ModelStats

log = logging.getLogger(__name__)

_monotonic: Final = time.monotonic

TIMER_GRAIN: Final = 0.001
MAX_ENTRY_ROWS: Final = 512
ENTRIES_PER_WORKER: Final = 2  # one that runs, one that waits
SOON: Final = 0.25  # seconds within which an answer is expected; what takes longer holds nothing back


class Shipment:
    """An entry under way: what it is made of, and which of its rows have not been answered."""

    __slots__ = ("deadline", "engine", "id", "jobs", "left", "lost", "number", "payload", "queue", "sent_at")

    def __init__(self, engine: "RemoteEngine", number: int, queue: str, payload: bytes, jobs: list[Job]) -> None:
        self.engine = engine
        self.number = number
        self.queue = queue
        self.payload = payload
        self.jobs: list[Job | None] = list(jobs)  # None: answered
        self.left = len(jobs)
        self.sent_at = _monotonic()
        self.deadline = min(job.deadline for job in jobs)  # the earliest of all
        self.id: str | None = None  # in its queue; None: not known to be there
        self.lost = 0  # looks in a row that have not found it there

    def __repr__(self) -> str:
        return f"<Shipment {self.number} to {self.queue} left={self.left}/{len(self.jobs)}>"

    def take(self, places: Sequence[int] | None) -> list[tuple[int, Job]]:
        """Take jobs out that have not been answered, of these places or all; each with its index in `places`."""
        taken = []
        for index, place in enumerate(places if places is not None else range(len(self.jobs))):
            job = self.jobs[place] if 0 <= place < len(self.jobs) else None
            if job is not None:
                self.jobs[place] = None
                taken.append((index, job))
        self.left -= len(taken)
        return taken


class Carrier(Protocol):
    """What brings entries to workers (a `gateway_link.GatewayLink`)."""

    @property
    def gateway(self) -> str:
        """The box that replies go to."""

    def next_number(self) -> int:
        """Return a number for an entry."""

    def is_free(self, engine: "RemoteEngine") -> bool:
        """Return whether something can be sent at once; if not, call the engine's `go_on` when it can."""

    def ship(self, shipment: Shipment) -> None:
        """Send it."""

    def leave(self, queues: Sequence[str]) -> None:
        """Look after queues no more: nothing goes there."""

    def refusal(self, queue: str) -> WaterspoutError | None:
        """Return why nothing more should be sent to a queue now."""


class RemoteEngine:
    """A `served_model.RowEngine` whose runs happen elsewhere. All methods belong to the loop's thread.

    What is submitted in one turn of the loop, or while others are on their way out, leaves in one entry. Up to
    `max_sent` rows are under way at once; what is more waits here, where each source has its turn, and can be
    cancelled. A row that nobody has answered `patience` seconds after it was sent fails, and so does one whose deadline
    passes.
    """

    def __init__(
        self,
        carrier: Carrier,
        queues: Sequence[str],
        spec: ModelSpec,
        labels: dict[str, list[str]],
        policy: BatchPolicy,
        *,
        max_sent: int,
        patience: float,
        workers: Callable[[], int] = lambda: 1,
        memory: QueueMemory | None = None,
    ) -> None:
        """`queues`: entries go to them in turn; `workers` returns how many there are that take them."""
        self._carrier = carrier
        self._queues = queues
        self._spec = spec
        self._labels = labels
        self._policy = policy
        self._max_sent = max_sent
        self.patience = patience
        self._workers = workers
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._batcher = MicroBatcher(policy, self._schedule, self._on_earlier_deadline, memory)
        self._memory = memory
        if memory is not None:
            memory.join(self)
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._idle = Idle(lambda: self.is_busy)
        self._is_scheduled = False
        self._under_way: dict[int, Shipment] = {}
        self.stats = ModelStats(self._batcher.__len__)
        self.observer: Any = None

    def __repr__(self) -> str:
        return f"<RemoteEngine {self._batcher!r} sent={self._sent}/{self._max_sent}>"

    @property
    def room(self) -> int:
        """How many rows can still be queued."""
        return self._batcher.room

    @property
    def is_busy(self) -> bool:
        """Whether anything waits or is under way."""
        return len(self._batcher) > 0 or self._sent > 0

    def submit(self, job: Job) -> None:
        """Queue a row; its owner gets exactly one `finish` or `fail`. Raises `Overloaded`."""
        self._policy.check_priority(job.priority)
        for queue in self._queues:
            refusal = self._carrier.refusal(queue)
            if refusal is not None:
                raise refusal
        self._batcher.offer(job)

    def admit(self, job: Job) -> None:
        """Queue a row that an ensemble has let in. Raises `ModelUnavailable`."""
        self._batcher.admit(job)

    def is_waiting(self, job: Job) -> bool:
        """Return whether a row has not been sent."""
        return job.queued

    def cancel(self, job: Job) -> None:
        """Take a row out if it still waits here."""
        if self._batcher.cancel(job):
            self._idle.notify()

    def room_for(self, source: Any) -> int:
        """Return how many rows a source can still queue."""
        return self._batcher.room_for(source)

    def check_priority(self, priority: int) -> None:
        """Raise `InvalidInput` for a level that the model does not have."""
        self._policy.check_priority(priority)

    def waiting(self) -> list[Job]:
        """Return the rows that wait here."""
        return self._batcher.waiting()

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is under way."""
        await self._idle.wait()

    def close(self) -> None:
        """Refuse further rows and fail all that there are."""
        self._batcher.close()
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        error = ModelUnavailable("the model is being unloaded")
        while jobs := self._batcher.take():
            fail_all(jobs, error)
        for shipment in list(self._under_way.values()):
            self.give_up(shipment, error)
        self._carrier.leave(self._queues)
        if self._memory is not None:
            self._memory.leave(self)

    def go_on(self) -> None:
        """Send what has been waiting, as far as that may leave now."""
        if len(self._batcher):
            self._schedule()

    def accept(self, shipment: Shipment, reply: Reply) -> None:
        """Hand the outcomes of rows to their owners; those that were answered before are left alone."""
        for part in reply.parts:
            taken = shipment.take(part.rows)
            if taken:
                self._sent -= len(taken)
                self._deliver(part, taken, len(shipment.jobs) if part.rows is None else len(part.rows))
        if not shipment.left:
            self._under_way.pop(shipment.number, None)
        self._after_settling()

    def give_up(self, shipment: Shipment, error: WaterspoutError) -> None:
        """Fail what is left of an entry."""
        self._fail([job for _, job in shipment.take(None)], error)
        self._under_way.pop(shipment.number, None)
        self._after_settling()

    def expire(self, shipment: Shipment, now: float) -> None:
        """Fail those rows of an entry whose deadline has passed."""
        late = [place for place, job in enumerate(shipment.jobs) if job is not None and job.deadline <= now]
        error = DeadlineExceeded("the deadline has passed before a worker answered")
        self._fail([job for _, job in shipment.take(late)], error)
        shipment.deadline = min((job.deadline for job in shipment.jobs if job is not None), default=NEVER)
        if not shipment.left:
            self._under_way.pop(shipment.number, None)
        self._after_settling()

    def _deliver(self, part: Outputs | Failed, taken: list[tuple[int, Job]], count: int) -> None:
        """Hand over what a part of `count` rows says of those at the indices that `taken` has."""
        jobs = [job for _, job in taken]
        if isinstance(part, Failed):
            fail_all(jobs, _error_of(part))
            return
        try:
            result = unpack_outputs(self._spec.outputs, part, [index for index, _ in taken], count, self._labels)
        except (ForeignEntry, InferenceFailed):
            log.exception("a worker's reply does not fit the model")
            fail_all(jobs, InferenceFailed("the worker's reply does not fit the model"))
            return
        now = _monotonic()
        result.started_at = now - part.ran
        result.observer = self.observer
        finish_all(jobs, result)
        self.stats.observe(jobs, result.started_at, now, part.ran)

    def _fail(self, jobs: list[Job], error: WaterspoutError) -> None:
        self._sent -= len(jobs)
        fail_all(jobs, error)

    def _after_settling(self) -> None:
        if len(self._batcher):
            self._schedule()
        self._idle.notify()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_scheduled = False
        batcher = self._batcher
        self._tell_late()
        room = self._max_sent - self._sent
        if len(batcher) and room > 0 and self._carrier.is_free(self):
            most = ENTRIES_PER_WORKER * max(1, self._workers())
            while room > 0 and len(batcher) and self._expected() < most:
                self._send(batcher.take(min(room, MAX_ENTRY_ROWS)))
                room = self._max_sent - self._sent
        batcher.asleep = not len(batcher)
        self._idle.notify()

    def _expected(self) -> int:
        """Return how many entries should be answered soon: each that leaves later, and with more rows, costs less."""
        since = _monotonic() - SOON
        return sum(shipment.sent_at > since for shipment in self._under_way.values())

    def _send(self, jobs: list[Job]) -> None:
        number, now = self._carrier.next_number(), _monotonic()
        has_deadline = any(job.deadline < NEVER for job in jobs)
        entry = Entry(
            FORMAT,
            self._carrier.gateway,
            number,
            len(jobs),
            pack_columns(self._spec.inputs, [job.row for job in jobs]),
            pack_shapes([job.shapes for job in jobs]),
            [job.deadline - now if job.deadline < NEVER else None for job in jobs] if has_deadline else None,
            [job.priority for job in jobs] if any(job.priority for job in jobs) else None,
        )
        queue = self._queues[number % len(self._queues)]
        shipment = self._under_way[number] = Shipment(self, number, queue, encode(entry), jobs)
        self._sent += len(jobs)
        self._carrier.ship(shipment)

    def _tell_late(self) -> None:
        late = self._batcher.expire(_monotonic())
        if late:
            fail_all(late, DeadlineExceeded("the deadline has passed; the event was not run"))

    def _on_earlier_deadline(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        wait = max(0.0, self._batcher.next_deadline - _monotonic())
        self._expiry_timer = self._loop.call_later(wait + TIMER_GRAIN, self._on_expiry)

    def _on_expiry(self) -> None:
        self._expiry_timer = None
        self._tell_late()
        if self._batcher.next_deadline < NEVER:
            self._on_earlier_deadline()
        self._idle.notify()


def _error_of(part: Failed) -> WaterspoutError:
    """Return a worker's error as our own."""
    error = BY_CODE.get(part.code, InferenceFailed)(part.message)
    if part.retry_after_ms is not None:
        error.retry_after_ms = part.retry_after_ms
    return error
