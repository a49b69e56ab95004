"""Threads are one budget for all models: who finds none is woken in turn, and no turn is lost."""

import asyncio
import threading

import pytest

from pipeline.batching import BatchPolicy
from pipeline.workers import WorkerPool
from tests.pipeline.engine_parts import Desk, Echo, Gated, instant


def test_threads_are_handed_out_until_none_is_free() -> None:
    pool = WorkerPool(2)
    assert [pool.acquire(lambda: None) for _ in range(3)] == [True, True, False]
    assert repr(pool) == "<WorkerPool free=0/2 waiting=1>"


def test_released_threads_go_to_those_who_found_none_in_the_order_they_came() -> None:
    pool = WorkerPool(1)
    got: list[str] = []

    def first() -> None:
        assert pool.acquire(first)
        got.append("first")

    def second() -> None:
        assert pool.acquire(second)
        got.append("second")

    assert pool.acquire(lambda: None)
    assert [pool.acquire(wake) for wake in (first, second, first)] == [False] * 3
    pool.release()
    assert got == ["first"]
    pool.release()
    assert got == ["first", "second"]
    pool.release()
    assert got == ["first", "second"]
    assert pool.acquire(lambda: None)


def test_what_is_started_runs_in_a_thread_of_the_pool() -> None:
    pool = WorkerPool(1)
    threads: list[str] = []
    assert pool.acquire(lambda: None)
    pool.start(lambda prefix: threads.append(prefix + threading.current_thread().name), "in ")
    pool.shutdown(wait=True)
    assert threads == ["in inference_0"]


async def test_models_that_share_a_thread_take_turns() -> None:
    pool, runner = WorkerPool(1), Gated()
    async with (
        Desk(runner, BatchPolicy(max_batch_size=1), workers=pool) as first,
        Desk(runner, BatchPolicy(max_batch_size=1), workers=pool) as second,
    ):
        first.submit(1, 2)
        second.submit(-1, -2)
        runner.open()
        await first.inbox.hears(2)
        await second.inbox.hears(2)
    assert runner.batches == [[1.0], [-1.0], [2.0], [-2.0]]


async def test_rows_that_wait_for_a_thread_still_gather() -> None:
    pool, busy, runner = WorkerPool(1), Gated(), Echo()
    async with Desk(busy, workers=pool) as other, Desk(runner, workers=pool) as desk:
        other.submit(0)
        await busy.begun()
        for value in (1, 2, 3):
            desk.submit(value)
            await asyncio.sleep(0)
        busy.open()
        await desk.inbox.hears(3)
    assert runner.batches == [[1.0, 2.0, 3.0]]


async def test_a_quick_batch_needs_no_thread() -> None:
    pool, busy, runner = WorkerPool(1), Gated(), Echo()
    async with (
        Desk(busy, workers=pool) as other,
        Desk(runner, workers=pool, inline_below=1.0, run_times=instant()) as desk,
    ):
        other.submit(0)
        await busy.begun()
        desk.submit(1)
        assert await desk.inbox.hears(1) == [(0, 1.0)]
        assert other.inbox.heard == []


@pytest.mark.parametrize("how", ["cancelled", "expired", "closed"])
async def test_a_turn_that_is_needed_no_more_goes_to_the_next_who_waits(how: str) -> None:
    pool, busy = WorkerPool(1), Gated()
    async with (
        Desk(busy, workers=pool) as running,
        Desk(Echo(), workers=pool) as gone,
        Desk(Echo(), workers=pool) as last,
    ):
        running.submit(0)
        await busy.begun()
        (job,) = gone.submit(1, waits=0.001 if how == "expired" else 3600.0)
        await asyncio.sleep(0)
        last.submit(2)
        await asyncio.sleep(0)
        match how:
            case "cancelled":
                gone.engine.cancel(job)
            case "expired":
                await gone.inbox.hears(1)
            case _:
                gone.engine.close()
        busy.open()
        await running.inbox.hears(1)
        assert await last.inbox.hears(1) == [(0, 2.0)]
