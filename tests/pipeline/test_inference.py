"""A request of many rows: all of them are answered in order, or the request fails and nothing of it stays behind."""

import asyncio
import struct
import time
from pathlib import Path

import pytest

from pipeline.errors import DeadlineExceeded, InferenceFailed, InvalidInput, ModelUnavailable, Overloaded
from pipeline.inference import Inference, Outcome
from pipeline.model_config import DynamicBatching, ModelConfig, QueuePolicy
from pipeline.tensors import Row
from tests import onnx_models as onnx
from tests.pipeline.served_parts import Served

FULL = 8
LONG = 60.0

WAITING = ModelConfig(
    max_batch_size=64,
    dynamic_batching=DynamicBatching(
        max_queue_delay_microseconds=60_000_000, default_queue_policy=QueuePolicy(max_queue_size=FULL)
    ),
)


def rows(*indices: int) -> list[Row]:
    return [(struct.pack("<q", index),) for index in indices]


def lookup(folder: Path, config: ModelConfig | None = None) -> Served:
    return Served(onnx.lookup([0.0, 10.0, 20.0]), folder, config)


def values(outcomes: list[Outcome]) -> list[float]:
    return [float(result.arrays[0][row]) for result, row in outcomes]


async def run(served: Served, asked: list[Row], within: float = LONG) -> list[Outcome]:
    now = time.monotonic()
    return await Inference(served.model).run(asked, None, now, now + within)


async def begun(served: Served, asked: list[Row]) -> tuple[Inference, "asyncio.Task[list[Outcome]]"]:
    """Return a request that waits in the queue."""
    now, inference = time.monotonic(), Inference(served.model)
    task = asyncio.create_task(inference.run(asked, None, now, now + LONG))
    await asyncio.sleep(0)
    return inference, task


def test_rows_are_answered_in_order_over_however_many_batches(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path, ModelConfig(max_batch_size=4)) as served:
            asked = [number % 3 for number in range(50)]
            outcomes = await run(served, rows(*asked))
            assert values(outcomes) == [10.0 * index for index in asked]
            assert len({id(result) for result, _ in outcomes}) >= 50 / 4

    asyncio.run(ask())


def test_a_row_that_fails_is_the_requests_failure_and_no_other_requests(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path) as served:
            good, bad = run(served, rows(1, 2)), run(served, rows(1, 99, 2))
            outcomes, failure = await asyncio.gather(good, bad, return_exceptions=True)
            assert isinstance(outcomes, list)
            assert values(outcomes) == [10.0, 20.0]
            assert isinstance(failure, InferenceFailed)

    asyncio.run(ask())


def test_a_request_that_does_not_fit_the_queue_takes_none_of_it(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path, WAITING) as served:
            with pytest.raises(InvalidInput, match=f"at most {FULL} rows"):
                await run(served, rows(*[0] * (FULL + 1)))
            inference, task = await begun(served, rows(0, 0, 0))
            with pytest.raises(Overloaded):
                await run(served, rows(*[0] * (FULL - 2)))
            assert served.model.room == FULL - 3
            inference.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert served.model.room == FULL

    asyncio.run(ask())


def test_a_request_whose_task_is_cancelled_leaves_the_queue(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path, WAITING) as served:
            _, task = await begun(served, rows(0, 1))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert served.model.room == FULL

    asyncio.run(ask())


def test_a_request_that_waits_too_long_fails_whole(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path, WAITING) as served:
            with pytest.raises(DeadlineExceeded):
                await run(served, rows(0, 1), within=0.01)
            assert served.model.room == FULL

    asyncio.run(ask())


def test_a_model_that_is_unloaded_refuses_and_fails_what_waits(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path, WAITING) as served:
            _, task = await begun(served, rows(0, 1))
            served.model.engine.close()
            with pytest.raises(ModelUnavailable):
                await task
            with pytest.raises(ModelUnavailable):
                await run(served, rows(0))

    asyncio.run(ask())
