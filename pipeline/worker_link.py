"""A worker's end of the backbone: entries come in, their rows join the batches of the local engines, replies go out."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pipeline.backbone import Backbone, Delivery, shard_of
from pipeline.batching import NEVER
from pipeline.cluster_messages import FORMAT, Entry, Failed, ForeignEntry, Outputs, Reply, decode_entry, encode
from pipeline.cluster_rows import pack_outputs, unpack_columns, unpack_shapes
from pipeline.errors import InferenceFailed, WaterspoutError
from pipeline.job import Job
from pipeline.model_cards import box_of
from pipeline.persistence import persist
from pipeline.results import BatchResult
from pipeline.served_model import ServedModel

log = logging.getLogger(__name__)

_monotonic: Final = time.monotonic

MAX_DELIVERIES: Final = 3  # an entry that comes once more has brought workers down
ENTRIES_AT_ONCE: Final = 16
MAX_ROWS_HELD: Final = 8192  # no more entries are taken while so many rows are not answered
WAIT: Final = 1.0  # seconds for entries to come


class HeldEntry:
    """An entry whose rows are in a model's queue; it is the owner of their jobs, and their source in it."""

    __slots__ = ("_errors", "_left", "_link", "_results", "delivery", "entry", "model", "outlet", "started_at")

    def __init__(self, link: "WorkerLink", delivery: Delivery, entry: Entry, model: ServedModel) -> None:
        self.outlet = None
        self.delivery = delivery
        self.entry = entry
        self.model = model
        self.started_at = _monotonic()
        self._link = link
        self._left = entry.rows
        self._results: dict[BatchResult, tuple[list[int], list[int]]] = {}  # places in the entry, and rows in the run
        self._errors: dict[tuple[str, str, int | None], list[int]] = {}

    def __repr__(self) -> str:
        return f"<HeldEntry {self.entry.number} of {self.entry.gateway} left={self._left}/{self.entry.rows}>"

    @property
    def source(self) -> str:
        """Gateways have shares; what their sockets get of it is their own business."""
        return self.entry.gateway

    def submit(self) -> None:
        """Queue all rows. Raises `ForeignEntry` where they do not fit the model; then none is queued."""
        entry, specs, now = self.entry, self.model.spec.inputs, self.started_at
        rows = unpack_columns(specs, entry.columns, entry.rows)
        shapes = unpack_shapes(specs, entry.shapes, entry.rows)
        sent_at = now - self.delivery.age
        for place, row in enumerate(rows):
            left = entry.left[place] if entry.left is not None else None
            deadline = NEVER if left is None else sent_at + left
            job = Job(self, place, row, now, shapes[place], deadline, True)
            if entry.priorities is not None:
                job.priority = entry.priorities[place]
            try:
                self.model.admit(job)
            except WaterspoutError as error:
                self.fail(job, error)

    def finish(self, job: Job, result: BatchResult, row: int) -> None:
        """Take a row's outcome."""
        places, rows = self._results.setdefault(result, ([], []))
        places.append(job.number)
        rows.append(row)
        self._settle()

    def fail(self, job: Job, error: WaterspoutError) -> None:
        """Take a row's error."""
        self._errors.setdefault((error.code, str(error), error.retry_after_ms), []).append(job.number)
        self._settle()

    def _settle(self) -> None:
        self._left -= 1
        if not self._left:
            self._link.settled(self)

    def reply(self, worker: str) -> bytes:
        """Return what became of all rows."""
        parts: list[Outputs | Failed] = []
        for result, (places, rows) in self._results.items():
            if places != sorted(places):
                pairs = sorted(zip(places, rows, strict=True))
                places, rows = [place for place, _ in pairs], [row for _, row in pairs]
            is_whole = len(places) == self.entry.rows
            parts.append(pack_outputs(self.model.spec.outputs, result, None if is_whole else places, rows))
        parts += [Failed(places, *error) for error, places in self._errors.items()]
        return encode(Reply(FORMAT, self.entry.number, worker, parts))


class WorkerLink:
    """Runs the entries of all queues of the models that are served here.

    An entry is acknowledged once its reply is written. One that another worker has had for `claim_seconds` without a
    word is taken over; one that has come too often is laid with the dead letters, and its rows fail.
    """

    def __init__(
        self,
        backbone: Backbone,
        worker: str,
        models: Callable[[], Mapping[str, ServedModel]],
        *,
        shards: int,
        claim_seconds: float,
    ) -> None:
        """`models` returns what is served now, by the names of their queues, which are of so many `shards`."""
        self._backbone = backbone
        self.worker = worker
        self._models = models
        self._claim_seconds = claim_seconds
        self._held: dict[tuple[str, str], HeldEntry] = {}  # by queue and id
        self._rows_held = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._replies: deque[tuple[Delivery, str, bytes]] = deque()  # with the box that it goes to
        self._has_mail = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._takers: list[asyncio.Task[None]] = []
        self._taking = [asyncio.Lock() for _ in range(shards)]
        self._last_chance: tuple[str, str] | None = None  # an entry that nothing else is taken over beside
        self._is_acknowledged = asyncio.Event()
        self.entries = 0
        self.claimed = 0
        self.unwanted = 0  # replies to gateways that are gone

    def __repr__(self) -> str:
        return f"<WorkerLink {self.worker} held={len(self._held)} replies={len(self._replies)}>"

    @property
    def held(self) -> int:
        """How many entries are not answered yet."""
        return len(self._held) + len(self._replies)

    @property
    def dead_letters(self) -> int:
        """How many entries were given up."""
        return self._backbone.buried

    def start(self) -> None:
        """Begin to take entries."""
        takes = [self._begin(f"takes of {shard}", partial(self._take, shard)) for shard in range(len(self._taking))]
        self._takers = [*takes, self._begin("claims", self._claim)]
        self._tasks = [
            self._begin("keeps", self._keep),
            self._begin("replies", self._reply),
        ]

    async def drain(self) -> None:
        """Take nothing more; return when all that was taken is answered and acknowledged."""
        async with contextlib.AsyncExitStack() as stack:
            for taking in self._taking:  # an entry that comes is not to wait until others take it over
                await stack.enter_async_context(taking)
            await _cancelled(self._takers)
        await self._idle.wait()

    async def stop(self) -> None:
        """Let go of everything; what is held goes to other workers after a while."""
        await _cancelled([*self._tasks, *self._takers])

    def settled(self, held: HeldEntry) -> None:
        """Take an entry of which every row has its outcome."""
        delivery = held.delivery
        if _place(delivery) not in self._held:
            return
        self._let_go(held)
        self._replies.append((delivery, _box(delivery, held.entry), held.reply(self.worker)))
        self._has_mail.set()

    def _begin(self, what: str, step: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(persist(step, f"{self!r} {what}"), name=f"worker {what}")

    async def _take(self, shard: int) -> None:
        await self._has_room.wait()
        models = self._models()
        queues = [queue for queue in models if shard_of(queue) == shard]
        if not queues:
            await asyncio.sleep(WAIT)
            return
        async with self._taking[shard]:
            await self._handle(await self._backbone.take(queues, self.worker, ENTRIES_AT_ONCE, WAIT), models)

    async def _claim(self) -> None:
        """Take entries over one by one, the last time that they may come each alone.

        So one that brings workers down is not given up together with its neighbours.
        """
        models = self._models()
        for queue in models:
            while taken := await self._backbone.claim(queue, self.worker, self._claim_seconds, 1):
                self.claimed += 1
                await self._handle(taken, models)
                if taken[0].count >= MAX_DELIVERIES:
                    await self._acknowledged(taken[0])
                await self._has_room.wait()
        await asyncio.sleep(self._claim_seconds / 4)

    async def _acknowledged(self, delivery: Delivery) -> None:
        """Wait until nothing is left to be done about an entry."""
        place = _place(delivery)
        if place in self._held or any(place == _place(other) for other, _, _ in self._replies):
            self._last_chance = place
            self._is_acknowledged.clear()
            await self._is_acknowledged.wait()

    async def _keep(self) -> None:
        """Say of what is held for longer that it is not forgotten."""
        await asyncio.sleep(self._claim_seconds / 4)
        since = _monotonic() - self._claim_seconds / 4
        slow = [held.delivery for held in self._held.values() if held.started_at <= since]
        slow += [delivery for delivery, _, _ in self._replies]
        for queue in {delivery.queue for delivery in slow}:
            await self._backbone.keep(queue, self.worker, [one.id for one in slow if one.queue == queue])

    async def _handle(self, deliveries: Iterable[Delivery], models: Mapping[str, ServedModel]) -> None:
        """Take entries in; `models` are those that were served when they were asked for."""
        models = {**models, **self._models()}  # some may have been replaced meanwhile
        for delivery in deliveries:
            entry = None
            try:
                entry = decode_entry(delivery.payload)
                model = models[delivery.queue]
                if delivery.count > MAX_DELIVERIES:
                    await self._bury(delivery, entry, f"delivered {delivery.count} times")
                else:
                    self._hold(HeldEntry(self, delivery, entry, model))
            except ForeignEntry as error:
                await self._bury(delivery, entry, str(error))

    def _hold(self, held: HeldEntry) -> None:
        place = _place(held.delivery)
        if place in self._held:
            return
        self._idle.clear()
        self._held[place] = held
        self._rows_held += held.entry.rows
        try:
            held.submit()
        except ForeignEntry:
            self._let_go(held)
            self._settle_idle()
            raise
        self.entries += 1
        if self._rows_held >= MAX_ROWS_HELD:
            self._has_room.clear()

    def _let_go(self, held: HeldEntry) -> None:
        del self._held[_place(held.delivery)]
        self._rows_held -= held.entry.rows
        if self._rows_held < MAX_ROWS_HELD:
            self._has_room.set()

    async def _bury(self, delivery: Delivery, entry: Entry | None, reason: str) -> None:
        """Lay an entry with the dead letters, and tell its gateway where that is known."""
        log.error("entry %s of %s is a dead letter: %s", delivery.id, delivery.queue, reason)
        if entry is not None:
            error = InferenceFailed(f"the event was given up: {reason}")
            parts: list[Any] = [Failed(None, error.code, str(error))]
            await self._backbone.reply(_box(delivery, entry), [encode(Reply(FORMAT, entry.number, self.worker, parts))])
        await self._backbone.bury(delivery, reason)

    async def _reply(self) -> None:
        """Write replies, and acknowledge what they answer."""
        await self._has_mail.wait()
        while self._replies:
            (delivery, box, _), count = self._replies[0], len(self._replies)
            going = [reply for reply in self._replies if (reply[0].queue, reply[1]) == (delivery.queue, box)]
            others = [reply for reply in self._replies if (reply[0].queue, reply[1]) != (delivery.queue, box)]
            payloads, ids = [payload for _, _, payload in going], [answered.id for answered, _, _ in going]
            if not await self._backbone.settle(box, payloads, delivery.queue, ids):
                self.unwanted += len(going)
            if any(_place(answered) == self._last_chance for answered, _, _ in going):
                self._is_acknowledged.set()
            self._replies = deque([*others, *itertools.islice(self._replies, count, None)])
        self._has_mail.clear()
        self._settle_idle()

    def _settle_idle(self) -> None:
        if not self._held and not self._replies:
            self._idle.set()


def _box(delivery: Delivery, entry: Entry) -> str:
    return box_of(entry.gateway, shard_of(delivery.queue))


def _place(delivery: Delivery) -> tuple[str, str]:
    return delivery.queue, delivery.id


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
