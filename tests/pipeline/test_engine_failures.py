"""A row that fails is its own fault: its neighbours are answered, and whoever is left hears exactly once."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from pipeline.batching import BatchPolicy, Job
from pipeline.engine import Engine
from pipeline.errors import InferenceFailed, Overloaded, WaterspoutError
from pipeline.results import BatchResult
from pipeline.workers import WorkerPool
from tests.pipeline.engine_parts import Desk, Echo, Gated, Inbox, instant, row_of


def refuse(*bad: float, error: Callable[[], Exception] = lambda: InferenceFailed("bad row")) -> Callable[..., None]:
    """Return what raises where a batch holds a bad number."""

    def check(values: list[float]) -> None:
        if not set(bad).isdisjoint(values):
            raise error()

    return check


@pytest.mark.parametrize("inline_below", [0.0, 1.0])
async def test_a_failing_batch_is_run_again_row_by_row_and_only_once(inline_below: float) -> None:
    runner = Echo(refuse(2, 4))
    async with Desk(runner, inline_below=inline_below, run_times=instant()) as desk:
        desk.submit(1, 2, 3, 4)
        assert await desk.inbox.hears(4) == [(0, 1.0), (1, "inference_failed"), (2, 3.0), (3, "inference_failed")]
        assert runner.batches == [[1.0, 2.0, 3.0, 4.0], [1.0], [2.0], [3.0], [4.0]]


async def test_a_failing_row_on_its_own_is_not_run_again() -> None:
    runner = Echo(refuse(1))
    async with Desk(runner) as desk:
        desk.submit(1)
        assert await desk.inbox.hears(1) == [(0, "inference_failed")]
        assert runner.batches == [[1.0]]


async def test_a_row_that_fails_only_in_company_is_answered() -> None:
    def refuse_company(values: list[float]) -> None:
        if len(values) > 1:
            raise InferenceFailed("too many")

    async with Desk(Echo(refuse_company)) as desk:
        desk.submit(1, 2)
        assert await desk.inbox.hears(2) == [(0, 1.0), (1, 2.0)]


async def test_a_failing_row_of_a_model_without_a_batch_dimension_leaves_the_others_alone() -> None:
    runner = Echo(refuse(2))
    async with Desk(runner, stackable=False) as desk:
        desk.submit(1, 2, 3)
        assert await desk.inbox.hears(3) == [(0, 1.0), (1, "inference_failed"), (2, 3.0)]
        assert runner.batches == [[1.0], [2.0], [3.0]]


class Told(Inbox):
    """An inbox that keeps the words of errors too."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def fail(self, job: Job, error: WaterspoutError) -> None:
        super().fail(job, error)
        self.words.append(str(error))


async def test_an_error_of_ours_keeps_its_code_and_its_words() -> None:
    owner = Told()
    async with Desk(Echo(refuse(1, error=lambda: Overloaded("try later")))) as desk:
        desk.submit(1, owner=owner)
        assert await owner.hears(1) == [(0, "overloaded")]
    assert owner.words == ["try later"]


async def test_a_foreign_error_is_told_by_name_alone_and_logged_in_full(caplog: pytest.LogCaptureFixture) -> None:
    owner = Told()
    async with Desk(Echo(refuse(1, error=lambda: ZeroDivisionError("a secret path")))) as desk:
        desk.submit(1, owner=owner)
        assert await owner.hears(1) == [(0, "inference_failed")]
    assert owner.words == ["the model failed: ZeroDivisionError"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "a secret path" in str(record.exc_info[1])


async def test_after_a_failure_the_engine_goes_on() -> None:
    runner = Gated(refuse(0))
    runner.open()
    async with Desk(runner, BatchPolicy(max_batch_size=2)) as desk:
        for value in (0, 1, 0, 2):
            desk.submit(value)
            await desk.inbox.hears(len(desk.inbox.heard) + 1)
        assert [what for _, what in desk.inbox.heard] == ["inference_failed", 1.0, "inference_failed", 2.0]
        assert "queued=0/16384> running=0/1" in repr(desk.engine)


class Brittle(Inbox):
    """An owner that cannot take what it is told."""

    def finish(self, job: Job, result: BatchResult, row: int) -> None:
        raise ValueError("cannot take an answer")

    def fail(self, job: Job, error: WaterspoutError) -> None:
        raise ValueError("cannot take an error")


@pytest.mark.parametrize("value", [1.0, 2.0], ids=["answer", "error"])
async def test_an_owner_that_raises_does_not_take_its_neighbours_with_it(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    async with Desk(Echo(refuse(2))) as desk:
        desk.submit(value, owner=Brittle())
        desk.submit(1, 1)
        assert await desk.inbox.hears(2) == [(1, 1.0), (2, 1.0)]
    assert [record.message for record in caplog.records] == [
        "an answer could not be delivered" if value == 1.0 else "an error could not be delivered"
    ]


async def test_an_owner_may_submit_and_cancel_while_it_is_told() -> None:
    class Chain(Inbox):
        def finish(self, job: Job, result: BatchResult, row: int) -> None:
            super().finish(job, result, row)
            if job.number == 0:
                desk.engine.cancel(waiting)
                desk.submit(7)

    runner = Gated()
    owner = Chain()
    async with Desk(runner, BatchPolicy(max_batch_size=1)) as desk:
        desk.submit(0, owner=owner)
        await runner.begun()
        runner_up, waiting = desk.submit(1, 2)
        assert runner_up.queued
        runner.open()
        assert await desk.inbox.hears(2) == [(1, 1.0), (3, 7.0)]
        await desk.engine.drained()
    assert owner.heard == [(0, 0.0)]


def test_a_batch_that_ends_after_the_loop_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    runner = Gated()
    workers = WorkerPool(1)

    async def leave_a_batch_behind() -> None:
        engine = Engine(runner, BatchPolicy(), workers)
        engine.submit(Job(Inbox(), 0, row_of(1), 0.0, None, float("inf"), True))
        await runner.begun()

    asyncio.run(leave_a_batch_behind())
    runner.open()
    workers.shutdown(wait=True)
    assert [record.message for record in caplog.records] == ["the event loop closed before a batch of 1 rows was done"]
