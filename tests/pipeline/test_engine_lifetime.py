"""Rows that end without a run: expired, cancelled, or left when the model is unloaded. And what is counted."""

import asyncio
import time

import pytest

from pipeline.batching import BatchPolicy
from pipeline.errors import InferenceFailed, ModelUnavailable
from pipeline.workers import WorkerPool
from tests.pipeline.engine_parts import Desk, Echo, Gated, instant

LONG = 3600.0


async def test_a_deadline_passes_while_the_worker_is_busy_and_the_row_is_never_run() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        desk.submit(0)
        await runner.begun()
        desk.submit(1, waits=0.001)
        desk.submit(2, waits=LONG)
        desk.submit(3)
        assert await desk.inbox.hears(1) == [(1, "deadline_exceeded")]
        runner.let_go(2)
        await desk.inbox.hears(4)
        assert runner.batches == [[0.0], [2.0, 3.0]]


async def test_deadlines_pass_in_their_own_order_whatever_the_order_of_arrival() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        desk.submit(0)
        await runner.begun()
        desk.submit(1, waits=LONG)
        desk.submit(2, waits=0.02)
        desk.submit(3, waits=0.001)
        assert sorted(await desk.inbox.hears(2)) == [(2, "deadline_exceeded"), (3, "deadline_exceeded")]
        desk.submit(4, waits=0.001)
        assert (await desk.inbox.hears(3))[2:] == [(4, "deadline_exceeded")]


async def test_a_row_whose_deadline_has_passed_already_is_not_run() -> None:
    runner = Echo()
    async with Desk(runner) as desk:
        desk.submit(1, waits=-1.0)
        desk.submit(2)
        assert sorted(await desk.inbox.hears(2)) == [(0, "deadline_exceeded"), (1, 2.0)]
        assert runner.batches == [[2.0]]


async def test_a_deadline_passes_while_a_row_waits_for_a_fuller_batch() -> None:
    runner = Echo()
    async with Desk(runner, BatchPolicy(max_batch_size=2, max_queue_delay=60.0)) as desk:
        desk.submit(1, waits=0.001)
        assert await desk.inbox.hears(1) == [(0, "deadline_exceeded")]
        assert runner.batches == []


async def test_a_row_that_runs_is_answered_although_its_deadline_passes() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        (job,) = desk.submit(1, waits=LONG)
        assert await runner.begun() == [1.0]
        job.deadline = time.monotonic()
        desk.submit(2, waits=0.001)
        assert await desk.inbox.hears(1) == [(1, "deadline_exceeded")]
        runner.let_go()
        assert await desk.inbox.hears(2) == [(1, "deadline_exceeded"), (0, 1.0)]


async def test_a_deadline_passes_during_a_run_on_the_loop_and_the_row_is_never_run() -> None:
    def outlast(values: list[float]) -> None:
        while 1.0 in values and time.monotonic() <= late.deadline:
            pass

    runner = Echo(outlast)
    policy = BatchPolicy(max_batch_size=1)
    async with Desk(runner, policy, inline_below=1.0, run_times=instant()) as desk:
        desk.submit(1)
        (late,) = desk.submit(2, waits=0.005)
        assert sorted(await desk.inbox.hears(2)) == [(0, 1.0), (1, "deadline_exceeded")]
        assert runner.batches == [[1.0]]


async def test_a_deadline_passes_while_another_models_run_holds_the_thread() -> None:
    """A free slot of its own does not mean that a thread is free: the row has not begun to run."""
    gated, runner = Gated(), Echo()
    workers = WorkerPool(1)
    async with Desk(gated, workers=workers) as busy, Desk(runner, workers=workers) as desk:
        busy.submit(0)
        await gated.begun()
        desk.submit(1, waits=0.001)
        busy.submit(2, waits=0.01)
        await busy.inbox.hears(1)
        gated.open()
        assert await desk.inbox.hears(1) == [(0, "deadline_exceeded")]
        assert runner.batches == []


async def test_a_cancelled_row_is_never_run_and_nobody_hears_of_it() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        desk.submit(0)
        await runner.begun()
        first, _, third = desk.submit(1, 2, 3)
        desk.engine.cancel(first)
        desk.engine.cancel(third)
        desk.engine.cancel(third)
        runner.let_go(2)
        await desk.engine.drained()
        assert desk.inbox.heard == [(0, 0.0), (2, 2.0)]
        assert runner.batches == [[0.0], [2.0]]


async def test_a_row_that_runs_cannot_be_cancelled() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        (job,) = desk.submit(1)
        await runner.begun()
        desk.engine.cancel(job)
        runner.let_go()
        assert await desk.inbox.hears(1) == [(0, 1.0)]


async def test_a_cancelled_row_does_not_expire() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        desk.submit(0)
        await runner.begun()
        cancelled, _ = desk.submit(1, 2, waits=0.001)
        desk.engine.cancel(cancelled)
        assert await desk.inbox.hears(1) == [(2, "deadline_exceeded")]


async def test_drained_waits_for_what_runs_and_what_waits_and_for_its_answers() -> None:
    runner = Gated()
    async with Desk(runner, BatchPolicy(max_batch_size=1)) as desk:
        desk.submit(1, 2)
        drained = asyncio.create_task(desk.engine.drained())
        for _ in range(2):
            await runner.begun()
            assert not drained.done()
            runner.let_go()
        await drained
        assert desk.inbox.heard == [(0, 1.0), (1, 2.0)]


async def test_drained_returns_at_once_where_nothing_is_under_way() -> None:
    async with Desk(Echo()) as desk:
        await desk.engine.drained()
        desk.submit(1)
        await desk.engine.drained()
        assert desk.inbox.heard == [(0, 1.0)]
        await desk.engine.drained()


async def test_drained_does_not_wait_for_rows_that_end_without_a_run() -> None:
    runner = Echo()
    async with Desk(runner, BatchPolicy(max_queue_delay=60.0)) as desk:
        (cancelled,) = desk.submit(1)
        drained = [asyncio.create_task(desk.engine.drained()) for _ in range(2)]
        await asyncio.sleep(0)
        desk.engine.cancel(cancelled)
        await asyncio.gather(*drained)
        desk.submit(2, waits=0.001)
        await desk.engine.drained()
        assert desk.inbox.heard == [(1, "deadline_exceeded")]
        assert runner.batches == []


async def test_giving_up_waiting_does_not_disturb_others_who_wait() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        desk.submit(1)
        await runner.begun()
        impatient, patient = (asyncio.create_task(desk.engine.drained()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        runner.let_go()
        await patient
        assert desk.inbox.heard == [(0, 1.0)]


async def test_closing_fails_what_waits_and_answers_what_runs() -> None:
    runner = Gated()
    async with Desk(runner, BatchPolicy(max_batch_size=2)) as desk:
        desk.submit(0)
        await runner.begun()
        desk.submit(1, 2, 3, waits=LONG)
        desk.engine.close()
        assert desk.inbox.heard == [(n, "model_unavailable") for n in (1, 2, 3)]
        runner.let_go()
        await desk.engine.drained()
        assert desk.inbox.heard[3:] == [(0, 0.0)]


async def test_a_closed_engine_refuses_rows_and_closing_twice_is_harmless() -> None:
    runner = Echo()
    async with Desk(runner, BatchPolicy(max_queue_delay=0.001)) as desk:
        desk.submit(1)
        desk.engine.close()
        desk.engine.close()
        with pytest.raises(ModelUnavailable):
            desk.submit(2)
        await desk.engine.drained()
        assert desk.inbox.heard == [(0, "model_unavailable")]
    assert runner.batches == []


async def test_statistics_count_predictions_batches_and_times() -> None:
    def refuse(values: list[float]) -> None:
        if 9.0 in values:
            raise InferenceFailed("bad row")

    async with Desk(Echo(refuse), BatchPolicy(max_batch_size=4)) as desk:
        stats = desk.engine.stats
        desk.submit(1, 2, 3, 4, 5)
        await desk.inbox.hears(5)
        desk.submit(6, 9)
        await desk.inbox.hears(7)
        assert stats.predictions == 6
        assert dict(zip(stats.batch_rows.bounds, stats.batch_rows.counts, strict=False))[1] == 2
        assert dict(zip(stats.batch_rows.bounds, stats.batch_rows.counts, strict=False))[4] == 1
        assert sum(stats.batch_rows.counts) == sum(stats.run_seconds.counts) == 3
        assert sum(stats.queue_seconds.counts) == sum(stats.end_to_end_seconds.counts) == 6
        assert stats.end_to_end_seconds.total >= stats.queue_seconds.total >= 0
        assert stats.inline_batches == 0


async def test_statistics_tell_how_deep_the_queue_is_and_what_ran_on_the_loop() -> None:
    runner = Gated()
    async with Desk(runner) as desk:
        desk.submit(0)
        await runner.begun()
        desk.submit(1, 2)
        assert desk.engine.stats.depth() == 2
    async with Desk(Echo(), inline_below=1.0, run_times=instant()) as desk:
        for value in range(3):
            desk.submit(value)
            await desk.inbox.hears(value + 1)
        assert desk.engine.stats.inline_batches == 3
