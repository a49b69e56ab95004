"""How rows become batches, on real loops and real threads: which leave together, when, and who runs them."""

import asyncio
import threading
import time

import pytest

from pipeline.batching import BatchPolicy, Job
from pipeline.errors import Overloaded
from pipeline.results import BatchResult
from pipeline.tensors import Shapes
from pipeline.workers import WorkerPool
from tests.pipeline.engine_parts import PATIENCE, Desk, Echo, Gated, Inbox, instant


async def test_a_row_is_answered() -> None:
    async with Desk(Echo()) as desk:
        desk.submit(1.5)
        assert await desk.inbox.hears(1) == [(0, 1.5)]


async def test_rows_submitted_together_leave_together() -> None:
    async with Desk(Echo()) as desk:
        desk.submit(1, 2, 3)
        assert await desk.inbox.hears(3) == [(0, 1.0), (1, 2.0), (2, 3.0)]
        assert isinstance(desk.runner, Echo)
        assert desk.runner.batches == [[1.0, 2.0, 3.0]]


async def test_what_gathers_during_a_run_leaves_as_one_batch() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        desk.submit(0)
        await runner.begun()
        for value in range(1, 6):
            desk.submit(value)
            await asyncio.sleep(0)
        runner.let_go(2)
        await desk.inbox.hears(6)
        assert runner.batches == [[0.0], [1.0, 2.0, 3.0, 4.0, 5.0]]


async def test_a_batch_holds_max_batch_size_rows_oldest_first() -> None:
    runner = Echo()
    async with Desk(runner, BatchPolicy(max_batch_size=4)) as desk:
        desk.submit(*range(10))
        assert await desk.inbox.hears(10) == [(n, float(n)) for n in range(10)]
        assert runner.batches == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [8.0, 9.0]]


async def test_slots_run_batches_at_the_same_time() -> None:
    together = threading.Barrier(3)
    runner = Echo(lambda values: together.wait(PATIENCE))
    async with Desk(runner, BatchPolicy(max_batch_size=1), threads=3, slots=3) as desk:
        desk.submit(1, 2, 3)
        await desk.inbox.hears(3)
        assert len(set(runner.threads)) == 3


async def test_no_more_batches_run_than_there_are_slots() -> None:
    runner = Gated()
    async with Desk(runner, BatchPolicy(max_batch_size=1), threads=4, slots=2) as desk:
        desk.submit(0, 1, 2)
        begun = [await runner.begun(), await runner.begun()]
        assert sorted(begun) == [[0.0], [1.0]]
        assert "queued=1/16384> running=2/2" in repr(desk.engine)
        runner.let_go()
        assert await runner.begun() == [2.0]


async def test_a_full_queue_refuses_the_next_row_and_running_rows_take_no_room() -> None:
    runner = Gated()
    async with Desk(runner, BatchPolicy(max_queue_size=2)) as desk:
        desk.submit(0)
        await runner.begun()
        assert desk.engine.room == 2
        desk.submit(1, 2)
        assert desk.engine.room == 0
        with pytest.raises(Overloaded):
            desk.submit(3)
        runner.let_go(2)
        assert await desk.inbox.hears(3) == [(0, 0.0), (1, 1.0), (2, 2.0)]


async def test_a_quick_batch_runs_on_the_loop_and_a_slow_one_in_a_thread() -> None:
    here = threading.get_ident()
    for inline_below, is_inline in ((1.0, True), (0.0, False)):
        runner = Echo()
        async with Desk(runner, inline_below=inline_below, run_times=instant()) as desk:
            desk.submit(1, 2, 3)
            assert await desk.inbox.hears(3) == [(0, 1.0), (1, 2.0), (2, 3.0)]
            assert runner.batches == [[1.0, 2.0, 3.0]]
            assert (runner.threads == [here]) is is_inline
            assert desk.engine.stats.inline_batches == is_inline


async def test_a_batch_of_unknown_cost_runs_in_a_thread() -> None:
    runner = Echo()
    async with Desk(runner, inline_below=1.0) as desk:
        desk.submit(1)
        await desk.inbox.hears(1)
        assert runner.threads != [threading.get_ident()]


def burn_on_one(values: list[float]) -> None:
    """Take far too long for a batch in which there is a 1."""
    until = time.thread_time() + (0.05 if 1.0 in values else 0.0)
    while time.thread_time() < until:
        pass


async def test_after_a_run_that_turns_out_to_be_slow_the_next_does_not_run_on_the_loop() -> None:
    runner = Echo(burn_on_one)
    async with Desk(runner, inline_below=0.001, run_times=instant()) as desk:
        for values in ((0,), (1,), (0, 0, 0, 0)):
            desk.submit(*values)
            await desk.inbox.hears(len(desk.inbox.heard) + len(values))
        here = threading.get_ident()
        assert [thread == here for thread in runner.threads] == [True, True, False]


async def test_a_model_that_was_slow_once_runs_on_the_loop_again_later() -> None:
    runner = Echo(burn_on_one)
    async with Desk(runner, inline_below=0.001, run_times=instant()) as desk:
        desk.engine.caution = 0.0
        for values in ((1,), (0, 0, 0, 0), (0, 0)):
            desk.submit(*values)
            await desk.inbox.hears(len(desk.inbox.heard) + len(values))
        here = threading.get_ident()
        assert [thread == here for thread in runner.threads] == [True, False, True]


async def test_many_batches_on_the_loop_are_all_answered_in_order() -> None:
    runner = Echo()
    policy = BatchPolicy(max_batch_size=2)
    async with Desk(runner, policy, inline_below=1.0, run_times=instant()) as desk:
        desk.submit(*range(5))
        assert await desk.inbox.hears(5) == [(n, float(n)) for n in range(5)]
        assert runner.batches == [[0.0, 1.0], [2.0, 3.0], [4.0]]


async def test_a_queue_delay_waits_for_a_fuller_batch() -> None:
    runner = Echo()
    async with Desk(runner, BatchPolicy(max_batch_size=3, max_queue_delay=60.0)) as desk:
        for value in (1, 2, 3):
            assert runner.batches == []
            desk.submit(value)
            for _ in range(3):
                await asyncio.sleep(0)
        await desk.inbox.hears(3)
        assert runner.batches == [[1.0, 2.0, 3.0]]


async def test_a_queue_delay_ends_although_the_batch_is_not_full() -> None:
    delay = 0.005
    runner = Echo()
    async with Desk(runner, BatchPolicy(max_batch_size=3, max_queue_delay=delay)) as desk:
        for number in range(3):
            (job,) = desk.submit(1)
            await desk.inbox.hears(number + 1)
            assert time.monotonic() >= job.enqueued_at + delay
    assert runner.batches == [[1.0]] * 3


async def test_a_queue_delay_counts_from_the_arrival_of_the_oldest_row() -> None:
    runner = Echo()
    async with Desk(runner, BatchPolicy(max_queue_delay=60.0)) as desk:
        desk.submit(1, enqueued_at=time.monotonic() - 60.0)
        desk.submit(2)
        await desk.inbox.hears(2)
        assert runner.batches == [[1.0, 2.0]]


async def test_a_queue_delay_does_not_count_from_a_row_that_was_cancelled() -> None:
    runner = Gated()
    long_ago = time.monotonic() - 60.0
    async with Desk(runner, BatchPolicy(max_batch_size=2, max_queue_delay=60.0)) as desk:
        desk.submit(0, enqueued_at=long_ago)
        await runner.begun()
        (cancelled,) = desk.submit(1, enqueued_at=long_ago)
        desk.submit(2)
        desk.engine.cancel(cancelled)
        runner.open()
        await desk.inbox.hears(1)
        desk.submit(3)
        await desk.inbox.hears(3)
        assert runner.batches == [[0.0], [2.0, 3.0]]


async def test_rows_of_different_shapes_do_not_share_a_batch() -> None:
    narrow: Shapes = ((1,),)
    wide: Shapes = ((2,),)
    runner = Gated()
    async with Desk(runner, BatchPolicy(grouped=True)) as desk:
        desk.submit(0, shapes=narrow)
        await runner.begun()
        desk.submit(1, shapes=narrow)
        desk.submit(2, shapes=wide)
        desk.submit(3, shapes=((1,),))
        desk.submit(4, shapes=wide)
        runner.let_go(3)
        await desk.inbox.hears(5)
        assert runner.batches == [[0.0], [1.0, 3.0], [2.0, 4.0]]
        assert runner.shapes == [narrow, narrow, wide]


async def test_rows_of_a_model_without_a_batch_dimension_run_one_by_one() -> None:
    runner = Echo()
    shapes: Shapes = ((1,),)
    async with Desk(runner, stackable=False) as desk:
        desk.submit(1, 2, shapes=shapes)
        desk.submit(3)
        assert await desk.inbox.hears(3) == [(0, 1.0), (1, 2.0), (2, 3.0)]
        assert runner.batches == [[1.0], [2.0], [3.0]]
        assert runner.shapes == [shapes, shapes, None]
        assert len(set(runner.threads)) == 1


async def test_a_quick_row_of_a_model_without_a_batch_dimension_runs_on_the_loop() -> None:
    runner = Echo()
    async with Desk(runner, stackable=False, inline_below=1.0) as desk:
        for value in (1, 2):
            desk.submit(value)
            await desk.inbox.hears(value)
        here = threading.get_ident()
        assert [thread == here for thread in runner.threads] == [False, True]


async def test_engines_that_share_threads_do_not_wait_for_each_other() -> None:
    gated, quick = Gated(), Echo()
    workers = WorkerPool(2)
    async with Desk(gated, workers=workers) as first, Desk(quick, workers=workers) as second:
        first.submit(1)
        await gated.begun()
        second.submit(2)
        assert await second.inbox.hears(1) == [(0, 2.0)]
        gated.let_go()
        assert await first.inbox.hears(1) == [(0, 1.0)]


class CorkedOutlet:
    """Writes down when it is corked and what comes meanwhile."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def cork(self) -> None:
        self.seen.append("cork")

    def uncork(self) -> None:
        self.seen.append("uncork")


class Writer(Inbox):
    """An owner that writes to its outlet."""

    def finish(self, job: Job, result: BatchResult, row: int) -> None:
        self.outlet.seen.append(str(job.number))
        super().finish(job, result, row)


async def test_answers_that_follow_each_other_to_one_outlet_are_sent_together() -> None:
    first, second = CorkedOutlet(), CorkedOutlet()
    async with Desk(Echo()) as desk:
        for outlet in (first, first, second, first, first, first):
            desk.submit(1, owner=Writer(outlet))
        last = Writer(second)
        desk.submit(1, owner=last)
        await last.hears(1)
        assert first.seen == ["cork", "0", "1", "uncork", "cork", "3", "4", "5", "uncork"]
        assert second.seen == ["2", "6"]


async def test_an_outlet_is_uncorked_where_an_answer_fails() -> None:
    class Failing(Writer):
        def finish(self, job: Job, result: BatchResult, row: int) -> None:
            super().finish(job, result, row)
            raise ValueError("cannot take an answer")

    outlet = CorkedOutlet()
    async with Desk(Echo()) as desk:
        owner = Failing(outlet)
        desk.submit(1, 2, owner=owner)
        await owner.hears(2)
        assert outlet.seen == ["cork", "0", "1", "uncork"]
