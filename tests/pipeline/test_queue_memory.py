"""The bound on the bytes of all queues: whose rows are shed, and that each of them is told so."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching import NEVER, BatchPolicy, Job, MicroBatcher
from pipeline.engine import Engine
from pipeline.errors import ModelUnavailable, Overloaded, WaterspoutError
from pipeline.queue_memory import ROW_BYTES, QueueMemory, bytes_of, level_of
from pipeline.tensors import Row
from pipeline.workers import WorkerPool

from .engine_parts import Desk, Gated, Inbox

ROOM = BatchPolicy(max_batch_size=4, max_queue_size=10_000)


class Sender:
    """The owner and source of rows; keeps which of them failed, and why."""

    def __init__(self) -> None:
        self.outlet = None
        self.failed: list[tuple[int, str]] = []

    @property
    def source(self) -> "Sender":
        return self

    def fail(self, job: Job, error: WaterspoutError) -> None:
        self.failed.append((job.number, error.code))


class Queue:
    """A batcher that counts, in the face of an engine."""

    def __init__(self, memory: QueueMemory) -> None:
        self.batcher = MicroBatcher(ROOM, memory=memory)
        self.cancel = self.batcher.cancel
        memory.join(self)

    def waiting(self) -> list[Job]:
        return self.batcher.waiting()


class Turns:
    """What is to be called when the loop has its next turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def memory_of(limit: int) -> tuple[QueueMemory, Turns]:
    turns = Turns()
    return QueueMemory(limit, turns.soon), turns


def row(owner: Sender, number: int, size: int, at: float = 0.0) -> Job:
    return Job(owner, number, (bytes(size - ROW_BYTES),), at or float(number), None, NEVER, True)


def test_a_row_costs_its_cells_and_its_keep() -> None:
    cases: list[tuple[Row, int]] = [((b"",), 0), ((b"abc", b"d"), 4), ((("ab", "c"), b"xy"), 5)]
    for cells, size in cases:
        assert bytes_of(cells) == ROW_BYTES + size


def test_below_the_mark_nothing_happens() -> None:
    memory, turns = memory_of(80_000)
    queue, sender = Queue(memory), Sender()
    for number in range(70):
        queue.batcher.offer(row(sender, number, 1000))
    assert (memory.held, turns.calls, queue.batcher.room) == (70_000, [], 10_000 - 70)
    while queue.batcher.take():
        pass
    assert memory.held == 0


def test_the_newest_rows_of_those_who_have_the_most_are_shed() -> None:
    memory, turns = memory_of(80_000)
    first, second = Queue(memory), Queue(memory)
    flood, large, small = Sender(), Sender(), Sender()
    for number in range(5):
        first.batcher.offer(row(small, number, 1000))
    for number in range(15):
        second.batcher.offer(row(large, number, 1000))
    for number in range(51):
        (first if number % 2 else second).batcher.offer(row(flood, number, 1000))
    assert len(turns.calls) == 1
    assert first.batcher.room == first.batcher.room_for(small) == 0
    turns.run()
    assert memory.held == 60_000
    assert (small.failed, large.failed) == ([], [])
    assert flood.failed == [(number, "overloaded") for number in range(50, 39, -1)]
    assert memory.shed_events == 11
    assert first.batcher.room_for(small) > 0


def test_before_the_loop_has_its_turn_no_more_than_the_limit_comes_in() -> None:
    memory, turns = memory_of(80_000)
    queue, sender, other = Queue(memory), Sender(), Sender()
    for number in range(80):
        queue.batcher.offer(row(sender, number, 1000))
    with pytest.raises(Overloaded, match="max_queue_bytes: 80000") as caught:
        queue.batcher.offer(row(other, 0, 1000))
    assert caught.value.retry_after_ms == 1000
    assert (memory.held, len(queue.batcher), len(turns.calls)) == (80_000, 80, 1)
    turns.run()
    queue.batcher.offer(row(other, 0, 1000))
    assert (other.failed, len(sender.failed)) == ([], 20)


def test_what_an_ensemble_has_let_in_is_never_refused_and_shed_like_all() -> None:
    memory, turns = memory_of(80_000)
    queue, sender = Queue(memory), Sender()
    for number in range(100):
        queue.batcher.admit(row(sender, number, 1000))
    turns.run()
    assert (memory.held, len(sender.failed)) == (60_000, 40)


def test_what_has_left_by_then_need_not_be_shed() -> None:
    memory, turns = memory_of(80_000)
    queue, sender = Queue(memory), Sender()
    for number in range(75):
        queue.batcher.offer(row(sender, number, 1000))
    queue.batcher.take()
    queue.batcher.take()
    turns.run()
    assert sender.failed == []
    queue.batcher.offer(row(sender, 75, 4000))
    assert len(turns.calls) == 1, "it is due again"


def test_a_closed_queue_counts_nothing() -> None:
    memory, _ = memory_of(80_000)
    queue, sender = Queue(memory), Sender()
    queue.batcher.offer(row(sender, 0, 1000))
    queue.batcher.close()
    with pytest.raises(ModelUnavailable):
        queue.batcher.offer(row(sender, 1, 1000))
    assert memory.held == 1000
    queue.batcher.take()
    assert memory.held == 0
    memory.leave(queue)
    assert "0/80000 bytes of 0 queues" in repr(memory)


@given(st.lists(st.integers(1, 100), min_size=1), st.integers(0, 2000))
def test_the_level_leaves_what_fits(sizes: list[int], most: int) -> None:
    level = level_of(sizes, most)
    kept = sum(min(size, level) for size in sizes)
    assert kept <= most
    assert sum(sizes) <= most or sum(min(size, level + 1) for size in sizes) > most


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(ROW_BYTES, 9000)), max_size=120))
def test_nobody_loses_rows_while_others_hold_more(offers: list[tuple[int, int, int]]) -> None:
    memory, turns = memory_of(100_000)
    queues, senders = [Queue(memory) for _ in range(3)], [Sender() for _ in range(5)]
    refused = 0
    for number, (who, where, size) in enumerate(offers):
        try:
            queues[where].batcher.offer(row(senders[who], number, size))
        except Overloaded:
            refused += 1
        assert memory.held <= 100_000
        if number % 8 == 7:
            due = bool(turns.calls) and memory.held > memory.mark
            before = [len(sender.failed) for sender in senders]
            turns.run()
            held = [0] * 5
            for queue in queues:
                for job in queue.waiting():
                    held[senders.index(job.owner)] += bytes_of(job.row)
            assert sum(held) == memory.held
            assert memory.held <= 75_000 or not due
            lost = [len(sender.failed) > count for sender, count in zip(senders, before, strict=True)]
            for who in range(5):
                if lost[who]:
                    assert held[who] + 9000 >= max(held)
    waiting = sum(len(queue.waiting()) for queue in queues)
    failed = [number for sender in senders for number, _ in sender.failed]
    assert len(failed) == len(set(failed))
    assert waiting + len(failed) + refused == len(offers)
    assert memory.shed_events == len(failed) + refused


async def test_engines_share_it_and_answer_every_row_once() -> None:
    loop = asyncio.get_running_loop()
    memory = QueueMemory(40 * (ROW_BYTES + 8), loop.call_soon)
    workers = WorkerPool(1)
    async with (
        Desk(Gated(), ROOM, workers=workers, memory=memory) as busy,
        Desk(Gated(), ROOM, workers=workers, memory=memory) as quiet,
    ):
        busy.submit(0.0)
        assert isinstance(busy.runner, Gated)
        assert await busy.runner.begun() == [0.0]
        polite = Inbox()
        quiet.submit(1.0, 2.0, owner=polite)
        busy.submit(*map(float, range(1, 36)))
        heard = await busy.inbox.hears(7)
        assert {what for _, what in heard} == {"overloaded"}
        assert polite.heard == []
        busy.runner.open()
        assert isinstance(quiet.runner, Gated)
        quiet.runner.open()
        assert len(await busy.inbox.hears(36)) == 36
        assert len(await polite.hears(2)) == 2
        assert memory.held == 0
    assert len({number for number, _ in busy.inbox.heard}) == 36
    assert "of 0 queues" in repr(memory)


async def test_an_engine_whose_rows_were_all_shed_is_drained() -> None:
    memory = QueueMemory(10 * (ROW_BYTES + 8), asyncio.get_running_loop().call_soon)
    async with Desk(Gated(), BatchPolicy(max_batch_size=100, max_queue_delay=60.0), memory=memory) as desk:
        desk.submit(*map(float, range(10)))
        await desk.inbox.hears(3)
        engine: Engine = desk.engine
        for job in engine.waiting():
            engine.cancel(job)
        await engine.drained()
        assert memory.held == 0
