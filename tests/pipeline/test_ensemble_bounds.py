"""What an ensemble takes, for how long, and how its rows can be given up."""

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ensemble import Ensemble
from pipeline.errors import InvalidInput, ModelUnavailable, Overloaded
from pipeline.interfaces import Overflow, SessionOptions
from pipeline.job import NEVER, Job
from pipeline.messages import Failure, Prediction
from pipeline.served_model import ServedModel
from tests import onnx_models as onnx
from tests.pipeline.engine_parts import Inbox
from tests.pipeline.ensemble_parts import (
    SCALED,
    ask,
    diagonal,
    outputs,
    put_diamond,
    put_ensemble,
    put_model,
    put_scaled,
)
from tests.pipeline.session_parts import Client
from tests.pipeline.test_repository import repository


class Desk:
    """An ensemble, and an inbox for what becomes of its rows."""

    def __init__(self, model: ServedModel) -> None:
        assert isinstance(model.engine, Ensemble)
        self.engine = model.engine
        self.inbox = Inbox()

    def job(self, *values: float, deadline: float = NEVER, source: Any = None, number: int = 0) -> Job:
        owner = self.inbox if source is None else Inbox(source)
        return Job(owner, number, (np.array(values, np.float32).tobytes(),), time.monotonic(), None, deadline, True)


QUEUE_OF_8 = """
max_batch_size = 2
inline_below_microseconds = 0
[dynamic_batching]
max_queue_delay_microseconds = 10000000
[dynamic_batching.default_queue_policy]
max_queue_size = 8
"""
"""A model that begins when two rows wait."""


async def test_what_is_under_way_is_bounded_and_shared_between_sources(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "classify", onnx.argmax(), QUEUE_OF_8.replace("max_batch_size = 2", "max_batch_size = 4"))
    async with repository(tmp_path) as models:
        desk = Desk(models.get("whole"))
        flooder, polite = object(), object()
        taken = 0
        while desk.engine.room_for(flooder):
            desk.engine.submit(desk.job(1, 2, 3, source=flooder))
            taken += 1
        assert 4 <= taken < 8
        with pytest.raises(Overloaded, match="share of the ensemble"):
            desk.engine.submit(desk.job(1, 2, 3, source=flooder))
        assert desk.engine.room_for(polite) > 0
        desk.engine.submit(desk.job(1, 2, 3, source=polite))
        assert len(desk.engine) == taken + 1
        assert models.get("whole").max_queue_size == 8


async def test_a_row_that_was_let_in_is_not_refused_by_a_later_step(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "classify", onnx.argmax(), QUEUE_OF_8)
    async with repository(tmp_path) as models:
        classify = models.get("classify")
        direct = [
            Job(Inbox(), number, (bytes(12),), time.monotonic(), None, NEVER, True)
            for number in range(classify.max_queue_size)
        ]
        answers = asyncio.create_task(ask(models, [1, 2, 3], [3, 2, 1]))
        await asyncio.sleep(0)
        for job in direct:
            classify.submit(job)
        assert classify.room == 0
        assert [type(answer) for answer in await answers] == [Prediction, Prediction]


async def test_a_deadline_counts_over_all_steps(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "classify", onnx.argmax(), QUEUE_OF_8)
    async with repository(tmp_path) as models:
        (late,) = await ask(models, [1, 2, 3], timeout_ms=30)
        assert isinstance(late, Failure)
        assert late.error.code == "deadline_exceeded"
        assert not models.get("whole").engine.is_busy
        assert not models.get("classify").engine.is_busy


async def test_a_step_has_the_default_timeout_of_its_model(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "classify", onnx.argmax(), QUEUE_OF_8 + "default_timeout_microseconds = 30000\n")
    async with repository(tmp_path) as models:
        (late,) = await ask(models, [1, 2, 3])
        assert isinstance(late, Failure)
        assert late.error.code == "deadline_exceeded"


async def test_a_row_can_be_dropped_until_its_first_step_begins(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "scale", onnx.identity(), QUEUE_OF_8)
    put_ensemble(tmp_path, SCALED.replace("scores", "y"))
    async with repository(tmp_path) as models:
        options = SessionOptions(max_in_flight=1, overflow=Overflow.DROP_OLDEST)
        client = Client(models.get("whole"), served=models, options=options)
        came = asyncio.Event()
        client.outlet.on_send = came.set
        for data in ([1, 0, 0], [0, 1, 0], [0, 0, 1]):  # one waits for a second, and makes room for the next
            client.now = time.monotonic()
            client.send(data)
        assert len(models.get("scale").engine.stats.runs) == 0
        models.get("scale").submit(Job(Inbox(), 0, (bytes(12),), time.monotonic(), None, NEVER, True))
        while not any(isinstance(sent.message, Prediction) for sent in client.outlet.sent):
            came.clear()
            await came.wait()
        gap, answer = (sent.message for sent in client.outlet.sent)
        assert getattr(gap, "count", None) == 2
        assert getattr(answer, "outputs", None) == {"class": 2}


async def test_a_row_that_is_cancelled_is_taken_out_of_the_step_it_waits_in(tmp_path: Path) -> None:
    put_diamond(tmp_path)
    for name, factor in (("double", 2), ("negate", -1)):
        put_model(tmp_path, name, onnx.gemm(diagonal(factor), [0, 0, 0]), QUEUE_OF_8)
    async with repository(tmp_path) as models:
        desk = Desk(models.get("whole"))
        job = desk.job(1, 2, 3)
        desk.engine.submit(job)
        assert desk.engine.is_waiting(job)
        desk.engine.cancel(job)
        desk.engine.cancel(job)
        assert not desk.engine.is_waiting(job)
        assert not any(model.engine.is_busy for model in models)
        assert desk.inbox.heard == []


async def test_what_the_second_of_two_first_steps_refuses_is_taken_out_of_the_first(tmp_path: Path) -> None:
    put_diamond(tmp_path)
    for name, factor in (("double", 2), ("negate", -1)):
        put_model(tmp_path, name, onnx.gemm(diagonal(factor), [0, 0, 0]), QUEUE_OF_8)
    async with repository(tmp_path) as models:
        desk, negate = Desk(models.get("whole")), models.get("negate")
        while negate.room:
            negate.submit(Job(Inbox(), 0, (bytes(12),), time.monotonic(), None, NEVER, True))
        with pytest.raises(Overloaded):
            desk.engine.submit(desk.job(1, 2, 3))
        assert not desk.engine.is_busy
        assert not models.get("double").engine.is_busy
        assert desk.inbox.heard == []


async def test_priorities_are_those_of_the_steps(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    levels = "[dynamic_batching]\npriority_levels = 2\ndefault_priority_level = 2\n"
    put_model(tmp_path, "classify", onnx.argmax(), levels)
    async with repository(tmp_path) as models:
        assert await outputs(models, [1, 2, 3], priority=2) == [{"class": 2}]
        assert await outputs(models, [1, 2, 3], priority=3) == ["priority: expected 0 to 2, got 3"]
        with pytest.raises(InvalidInput):
            models.get("whole").check_priority(3)


async def test_closing_fails_what_is_under_way_and_refuses_the_rest(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    async with repository(tmp_path) as models:
        desk = Desk(models.get("whole"))
        desk.engine.submit(desk.job(1, 2, 3))
        desk.engine.close()
        desk.engine.close()
        assert desk.inbox.heard == [(0, "model_unavailable")]
        with pytest.raises(ModelUnavailable):
            desk.engine.submit(desk.job(1, 2, 3))
        await desk.engine.drained()


async def test_draining_waits_for_the_last_step(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    async with repository(tmp_path) as models:
        desk = Desk(models.get("whole"))
        for number in range(10):
            desk.engine.submit(desk.job(1, 2, 3, number=number))
        await models.drained()
        assert len(desk.inbox.heard) == 10
