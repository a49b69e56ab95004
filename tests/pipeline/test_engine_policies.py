"""Engines with an SLO, priorities, preferred and allowed batch sizes, on real loops and real threads."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.batching import BatchPolicy
from pipeline.errors import InferenceFailed, InvalidInput
from pipeline.results import BatchResult
from pipeline.run_times import LinearRunTime, RunTimes
from pipeline.tensors import Row, Shapes
from tests.pipeline.engine_parts import BLANK, Desk, Echo, Gated, Inbox, instant
from tests.pipeline.test_slo import learned


def seconds_a_row(seconds: float) -> LinearRunTime:
    """Return run times by which each row takes so long, and nothing else does."""
    return learned(0.0, seconds, [1, 2, 4, 8] * 100)


async def test_a_batch_is_the_largest_that_the_oldest_deadline_allows() -> None:
    runner = Gated()
    async with Desk(runner, latency_slo=10.5, wall_times=seconds_a_row(1.0)) as desk:
        desk.submit(*range(20))
        assert await runner.begun() == [float(n) for n in range(10)]
        runner.open()
        await desk.inbox.hears(20)
    assert sorted(desk.inbox.heard) == [(n, float(n)) for n in range(20)]


async def test_a_row_with_a_deadline_of_its_own_makes_the_batch_smaller() -> None:
    runner = Gated()
    async with Desk(runner, latency_slo=40.0, wall_times=seconds_a_row(1.0)) as desk:
        desk.submit(*range(10), waits=4.5)
        assert await runner.begun() == [0.0, 1.0, 2.0, 3.0]
        runner.open()


async def test_where_more_waits_than_a_full_batch_the_oldest_rows_are_refused_and_not_the_batch_made_small() -> None:
    runner = Gated()
    long_ago = time.monotonic() - 9.0  # 1.5 s are left of 10.5 s, and 5 rows are a full batch
    async with Desk(runner, latency_slo=10.5, wall_times=seconds_a_row(1.0)) as desk:
        desk.submit(*range(7), enqueued_at=long_ago)
        desk.submit(*range(7, 20))
        assert await runner.begun() == [float(n) for n in range(7, 17)]
        assert desk.inbox.heard == [(n, "deadline_exceeded") for n in range(7)]
        runner.open()
        await desk.inbox.hears(20)
        assert all(what == float(number) for number, what in desk.inbox.heard[7:])


async def test_what_cannot_be_in_time_any_more_is_refused_before_it_runs() -> None:
    runner = Gated()
    async with Desk(runner, latency_slo=10.0, wall_times=seconds_a_row(1.0)) as desk:
        desk.submit(1, enqueued_at=time.monotonic() - 9.5)
        assert await desk.inbox.hears(1) == [(0, "deadline_exceeded")]
        desk.submit(2)
        assert await runner.begun() == [2.0]
        runner.open()
        await desk.inbox.hears(2)
    assert runner.batches == [[2.0]]


@pytest.mark.parametrize("inline_below", [0.0, 1.0])
async def test_run_times_are_learned_as_the_engine_runs(inline_below: float) -> None:
    times = LinearRunTime()
    options: dict[str, Any] = {"inline_below": inline_below, "run_times": instant(), "wall_times": times}
    async with Desk(Echo(), latency_slo=60.0, **options) as desk:
        for value in range(40):
            desk.submit(value)
            await desk.inbox.hears(value + 1)
        assert times.is_known
        assert 0 < times.expect(1) < 1.0


async def test_a_delay_for_a_fuller_batch_does_not_make_its_rows_late() -> None:
    policy = BatchPolicy(max_queue_delay=60.0)
    async with Desk(Echo(), policy, latency_slo=1.05, wall_times=seconds_a_row(0.5)) as desk:
        desk.submit(1, 2)
        assert await desk.inbox.hears(2) == [(0, 1.0), (1, 2.0)]


async def test_a_row_that_is_more_urgent_than_those_before_it_ends_their_delay_earlier() -> None:
    policy = BatchPolicy(max_queue_delay=60.0)
    async with Desk(Echo(), policy, latency_slo=3600.0, wall_times=seconds_a_row(1.0)) as desk:
        desk.submit(1)
        for _ in range(3):
            await asyncio.sleep(0)
        desk.submit(2, waits=2.05)  # due in 50 ms, and there is a second to spare for a machine that stalls
        assert await desk.inbox.hears(2) == [(0, 1.0), (1, 2.0)]


async def test_a_preferred_size_leaves_at_once_and_the_rest_waits_for_its_own() -> None:
    runner = Echo()
    policy = BatchPolicy(max_batch_size=8, max_queue_delay=60.0, preferred_batch_sizes=(3,))
    async with Desk(runner, policy) as desk:
        desk.submit(1, 2, 3, 4)
        await desk.inbox.hears(3)
        assert desk.engine.stats.depth() == 1
        desk.submit(5, 6)
        await desk.inbox.hears(6)
        assert runner.batches == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


async def test_a_batch_is_filled_with_blank_rows_up_to_an_allowed_size_and_nobody_sees_them() -> None:
    runner = Echo()
    policy = BatchPolicy(max_batch_size=8, allowed_batch_sizes=(4, 8))
    async with Desk(runner, policy) as desk:
        desk.submit(1, 2, 3)
        assert await desk.inbox.hears(3) == [(0, 1.0), (1, 2.0), (2, 3.0)]
        desk.submit(*range(5))
        await desk.inbox.hears(8)
        assert runner.batches == [[1.0, 2.0, 3.0, BLANK], [0.0, 1.0, 2.0, 3.0, 4.0, BLANK, BLANK, BLANK]]
        assert desk.engine.stats.predictions == 8


async def test_a_padded_batch_is_expected_to_take_what_its_size_takes() -> None:
    run_times = RunTimes(exact=True)
    run_times.observe(5, 0.0)
    run_times.observe(7, 60.0)
    runner, policy = Echo(), BatchPolicy(max_batch_size=7, allowed_batch_sizes=(5, 7))
    async with Desk(runner, policy, inline_below=1.0, run_times=run_times) as desk:
        for rows in (4, 5, 6, 3):
            desk.submit(*range(rows))
            await desk.inbox.hears(len(desk.inbox.heard) + rows)
    here = threading.get_ident()
    assert [thread == here for thread in runner.threads] == [True, True, False, True]
    assert [len(batch) for batch in runner.batches] == [5, 5, 7, 5]


async def test_a_batch_of_dynamic_shape_is_filled_with_a_row_of_that_shape() -> None:
    runner = Echo()
    policy = BatchPolicy(max_batch_size=4, allowed_batch_sizes=(4,), grouped=True)
    async with Desk(runner, policy) as desk:
        desk.submit(7, 8, shapes=((1,),))
        assert await desk.inbox.hears(2) == [(0, 7.0), (1, 8.0)]
        assert runner.batches == [[7.0, 8.0, 7.0, 7.0]]


async def test_a_row_that_is_run_again_is_padded_as_well() -> None:
    def refuse(values: list[float]) -> None:
        if 2.0 in values:
            raise InferenceFailed("bad row")

    runner = Echo(refuse)
    async with Desk(runner, BatchPolicy(max_batch_size=4, allowed_batch_sizes=(2, 4))) as desk:
        desk.submit(1, 2, 3)
        assert await desk.inbox.hears(3) == [(0, 1.0), (1, "inference_failed"), (2, 3.0)]
        assert runner.batches[1:] == [[1.0, BLANK], [2.0, BLANK], [3.0, BLANK]]


class Sizes(Echo):
    """Notes the sizes that owners are told."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[BatchResult] = []

    def run(self, rows: Sequence[Row], shapes: Shapes | None = None) -> BatchResult:
        result = super().run(rows, shapes)
        self.results.append(result)
        return result


async def test_the_size_of_a_padded_batch_is_that_of_its_rows() -> None:
    runner = Sizes()
    async with Desk(runner, BatchPolicy(max_batch_size=4, allowed_batch_sizes=(4,))) as desk:
        desk.submit(1, 2)
        await desk.inbox.hears(2)
    (result,) = runner.results
    assert (result.size, len(result.rows(lists=True)), len(result.rows(lists=False))) == (2, 2, 2)


async def test_a_flood_does_not_keep_others_waiting() -> None:
    runner = Gated()
    async with Desk(runner, BatchPolicy(max_batch_size=4)) as desk:
        desk.submit(0)
        await runner.begun()
        flooder, polite = Inbox(), Inbox()
        desk.submit(*range(100), owner=flooder)
        desk.submit(7, owner=polite)
        runner.let_go(2)
        assert await polite.hears(1) == [(101, 7.0)]
        assert runner.batches[1] == [0.0, 7.0, 1.0, 2.0]
        assert len(flooder.heard) == 3


async def test_a_high_priority_gets_more_and_a_low_one_something() -> None:
    runner = Gated()
    policy = BatchPolicy(max_batch_size=3, priority_levels=2, default_priority_level=2)
    async with Desk(runner, policy) as desk:
        desk.submit(0)
        await runner.begun()
        desk.submit(*range(100, 120))
        for _ in range(20):
            desk.submit(7, priority=1)
        runner.open()
        await desk.inbox.hears(41)
        early = [value for batch in runner.batches[1:5] for value in batch]
        assert early.count(7.0) == 8
        assert [value for value in early if value != 7.0] == [100.0, 101.0, 102.0, 103.0]


async def test_a_priority_that_the_model_does_not_have_is_refused_and_without_levels_ignored() -> None:
    async with Desk(Echo(), BatchPolicy(priority_levels=2, default_priority_level=1)) as desk:
        with pytest.raises(InvalidInput, match="priority: expected 0 to 2, got 3"):
            desk.submit(1, priority=3)
        desk.submit(1, priority=2)
        await desk.inbox.hears(1)
    async with Desk(Echo()) as desk:
        desk.submit(1, priority=255)
        assert await desk.inbox.hears(1) == [(0, 1.0)]
