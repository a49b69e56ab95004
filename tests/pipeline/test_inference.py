"""A request of many rows: all of them are answered in order, or the request fails and nothing of it stays behind."""

import asyncio
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelUnavailable,
    Overloaded,
    WaterspoutError,
)
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


class Waiting:
    """Who asked, and what became of it."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        self.outcome.set_result(list(outcomes))

    def refuse(self, error: WaterspoutError) -> None:
        self.outcome.set_exception(error)


def begin(served: Served, asked: list[Row], within: float = LONG) -> tuple[Inference, "asyncio.Future[list[Outcome]]"]:
    """Return a request that is queued, and its outcome, which is set once or never."""
    now, asker = time.monotonic(), Waiting()
    inference = Inference(served.model, asker)
    inference.start(asked, None, now, now + within)
    return inference, asker.outcome


async def run(served: Served, asked: list[Row], within: float = LONG) -> list[Outcome]:
    return await begin(served, asked, within)[1]


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


def test_the_first_row_that_fails_takes_the_others_out_of_the_queue(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path, WAITING) as served:
            inference, outcome = begin(served, rows(0, 1, 2))
            inference.fail(inference._jobs[1], InferenceFailed("one of them"))
            with pytest.raises(InferenceFailed, match="one of them"):
                await outcome
            assert served.model.room == FULL

    asyncio.run(ask())


def test_a_request_that_does_not_fit_the_queue_takes_none_of_it(tmp_path: Path) -> None:
    async def ask() -> None:
        async with lookup(tmp_path, WAITING) as served:
            with pytest.raises(InvalidInput, match=f"at most {FULL} rows"):
                await run(served, rows(*[0] * (FULL + 1)))
            inference, outcome = begin(served, rows(0, 0, 0))
            with pytest.raises(Overloaded):
                await run(served, rows(*[0] * (FULL - 2)))
            assert served.model.room == FULL - 3
            inference.cancel()
            assert served.model.room == FULL
            assert not outcome.done()

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
            _, outcome = begin(served, rows(0, 1))
            served.model.engine.close()
            with pytest.raises(ModelUnavailable):
                await outcome
            with pytest.raises(ModelUnavailable):
                await run(served, rows(0))

    asyncio.run(ask())
