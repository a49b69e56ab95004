"""Ensembles: rows go from model to model, in batches of each model's own."""

import asyncio
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.codec import MSGPACK
from pipeline.ensemble import Ensemble
from pipeline.errors import InvalidInput, ModelUnavailable, Overloaded
from pipeline.interfaces import Overflow, SessionOptions
from pipeline.job import NEVER, Job
from pipeline.messages import Failure, Prediction, StepInfo
from pipeline.served_model import ServedModel
from tests import onnx_models as onnx
from tests.pipeline.engine_parts import Inbox
from tests.pipeline.ensemble_parts import SCALED, ask, outputs, put_ensemble, put_model, put_scaled
from tests.pipeline.session_parts import Client
from tests.pipeline.test_repository import repository

DIAMOND = """
[[input]]
name = "a"
data_type = "TYPE_FP32"
dims = [3]

[[output]]
name = "sum"
data_type = "float32"
dims = [3]
[[output]]
name = "left"
data_type = "float32"
dims = [3]

[[ensemble_scheduling.step]]
model_name = "add"
input_map = { a = "left", b = "right" }
output_map = { sum = "sum" }

[[ensemble_scheduling.step]]
model_name = "double"
input_map = { x = "a" }
output_map = { scores = "left" }

[[ensemble_scheduling.step]]
model_name = "negate"
input_map = { x = "a" }
output_map = { scores = "right" }
"""


def diagonal(factor: float) -> list[list[float]]:
    return [[factor, 0, 0], [0, factor, 0], [0, 0, factor]]


def put_diamond(root: Path, config: str = DIAMOND) -> None:
    put_model(root, "add", onnx.add())
    put_model(root, "double", onnx.gemm(diagonal(2), [0, 0, 0]))
    put_model(root, "negate", onnx.gemm(diagonal(-1), [0, 0, 0]))
    put_ensemble(root, config)


async def test_a_row_goes_from_step_to_step(tmp_path: Path) -> None:
    put_scaled(tmp_path, factors=(1, 1, 100))
    async with repository(tmp_path) as models:
        assert await outputs(models, [3, 2, 1], [3, 2, 0], [0, 1, 0]) == [{"class": 2}, {"class": 0}, {"class": 1}]
        info = models.get("whole").info()
        assert [(t.name, t.dtype, t.shape) for t in (*info.inputs, *info.outputs)] == [
            ("raw", "float32", [3]),
            ("class", "int64", []),
        ]
        assert info.steps == [StepInfo("scale", "1"), StepInfo("classify", "1")]


async def test_steps_run_side_by_side_and_in_any_order_of_the_file(tmp_path: Path) -> None:
    put_diamond(tmp_path)
    async with repository(tmp_path) as models:
        rows = [[n, 0, -n] for n in range(1, 20)]
        expected = [{"sum": row, "left": [2 * n for n in row]} for row in rows]
        assert await outputs(models, *rows) == expected


async def test_each_step_shares_batches_with_all_that_is_queued_for_its_model(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_ensemble(tmp_path, SCALED.replace('"raw"', '"other"'), "second")
    async with repository(tmp_path) as models:
        clients = [Client(models.get(name), served=models) for name in ("whole", "second", "scale")]
        changed = asyncio.Event()
        for client in clients:
            client.outlet.on_send = changed.set
            client.now = time.monotonic()
            for _ in range(4):
                client.send([1, 2, 3])
        while any(len(client.outlet.sent) < 4 for client in clients):
            changed.clear()
            await changed.wait()
        assert models.get("scale").engine.stats.runs.keys() == {12}
        assert models.get("classify").engine.stats.runs.keys() == {8}
        assert models.get("whole").engine.stats.runs.keys() == {4}


async def test_rows_that_ran_together_are_answered_together_with_their_times(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    async with repository(tmp_path) as models:
        answers = await ask(models, *[[1, 2, 3]] * 5, options=SessionOptions(timings=True))
        for answer in answers:
            assert isinstance(answer, Prediction)
            assert answer.us is not None
            assert answer.us["batch"] == 5
            assert min(answer.us.values()) >= 0
        stats = models.get("whole").engine.stats
        assert (stats.predictions, stats.depth()) == (5, 0)
        steps = [models.get(name).engine.stats.run_seconds.total for name in ("scale", "classify")]
        assert stats.run_seconds.total == pytest.approx(sum(steps))


async def test_outputs_are_bytes_for_messagepack(tmp_path: Path) -> None:
    put_diamond(tmp_path)
    async with repository(tmp_path) as models:
        row = struct.pack("<3f", 1, 2, 3)
        (answer,) = await outputs(models, row, codec=MSGPACK)
        assert answer == {"sum": row, "left": struct.pack("<3f", 2, 4, 6)}


async def test_strings_and_dynamic_shapes_go_from_step_to_step(tmp_path: Path) -> None:
    put_model(tmp_path, "join", onnx.concat_strings())
    put_model(tmp_path, "pair", onnx.pairs())
    put_model(tmp_path, "mean", onnx.mean_over_time())
    put_ensemble(
        tmp_path,
        """
        [[ensemble_scheduling.step]]
        model_name = "join"
        input_map = { first = "a", last = "b" }
        output_map = { joined = "ab" }
        [[ensemble_scheduling.step]]
        model_name = "join"
        input_map = { first = "ab", last = "a" }
        output_map = { joined = "aba" }
        """,
        "joined",
    )
    put_ensemble(
        tmp_path,
        """
        [[ensemble_scheduling.step]]
        model_name = "pair"
        input_map = { x = "flat" }
        output_map = { y = "pairs" }
        [[ensemble_scheduling.step]]
        model_name = "mean"
        input_map = { x = "pairs" }
        output_map = { mean = "mean" }
        """,
        "meant",
    )
    async with repository(tmp_path) as models:
        event = {"a": ["x", "é"], "b": ["y", ""]}
        assert await outputs(models, event, model="joined") == [{"aba": ["xyx", "éé"]}]
        assert await outputs(models, [1, 2, 3, 4], [1, 2], [5, 6, 7, 8, 9, 10], model="meant") == [
            {"mean": [2, 3]},
            {"mean": [1, 2]},
            {"mean": [7, 8]},
        ]
        (failed,) = await outputs(models, [1, 2, 3], model="meant")
        assert failed.startswith("step[0], pair: the model failed")


async def test_a_shape_that_shows_late_is_checked_when_it_comes(tmp_path: Path) -> None:
    put_model(tmp_path, "open", onnx.identity(dims=("N", "T")))
    put_model(tmp_path, "three", onnx.identity())
    put_ensemble(
        tmp_path,
        """
        [[ensemble_scheduling.step]]
        model_name = "open"
        input_map = { x = "x" }
        output_map = { y = "t" }
        [[ensemble_scheduling.step]]
        model_name = "three"
        input_map = { x = "t" }
        output_map = { y = "y" }
        """,
    )
    async with repository(tmp_path) as models:
        assert await outputs(models, [1, 2, 3], [1, 2]) == [
            {"y": [1, 2, 3]},
            "step[1]: input x: expected float32[3], got [2]",
        ]


async def test_a_row_that_fails_in_a_step_fails_alone(tmp_path: Path) -> None:
    put_model(tmp_path, "class", onnx.argmax())
    put_model(tmp_path, "name", onnx.lookup([10, 20]))
    put_ensemble(
        tmp_path,
        """
        [[ensemble_scheduling.step]]
        model_name = "class"
        input_map = { x = "x" }
        output_map = { class = "class" }
        [[ensemble_scheduling.step]]
        model_name = "name"
        input_map = { index = "class" }
        output_map = { value = "value" }
        """,
    )
    async with repository(tmp_path) as models:
        good, bad, other = await outputs(models, [1, 0, 0], [0, 0, 1], [0, 1, 0])
        assert (good, other) == ({"value": 10}, {"value": 20})
        assert bad.startswith("step[1], name: the model failed")
        assert not models.get("whole").engine.is_busy


async def test_an_input_may_be_left_out_where_every_step_can_do_without(tmp_path: Path) -> None:
    put_model(
        tmp_path, "scaled", onnx.scaled(), "[[input]]\nname='scale'\ndata_type='float32'\ndims=[3]\noptional=true\n"
    )
    step = """
        [[ensemble_scheduling.step]]
        model_name = "scaled"
        input_map = {{ x = "{}"{} }}
        output_map = {{ y = "{}" }}
    """
    put_ensemble(tmp_path, step.format("x", ', scale = "s"', "mid") + step.format("mid", "", "y"))
    put_ensemble(tmp_path, step.format("x", ', scale = "x"', "y"), "squared")
    async with repository(tmp_path) as models:
        events = [{"x": [1, 1, 1]}, {"x": [1, 1, 1], "s": [2, 2, 2]}, {"x": [3, 0, 0], "s": [2, 2, 2]}]
        answers = [{"y": [1, 100, 10000]}, {"y": [2, 20, 200]}, {"y": [6, 0, 0]}]
        assert await outputs(models, *events) == answers
        assert [tensor.optional for tensor in models.get("whole").spec.inputs] == [False, True]
        assert models.get("scaled").engine.stats.runs.keys() == {1, 2, 3}
        assert await outputs(models, [1, 2, 3], [4, 5, 6], model="squared") == [{"y": [1, 4, 9]}, {"y": [16, 25, 36]}]
        (refused,) = await outputs(models, {"s": [2, 2, 2]})
        assert refused == "data.x: missing, expected float32[3]"


async def test_models_without_a_batch_dimension_are_steps_too(tmp_path: Path) -> None:
    put_model(tmp_path, "fixed", onnx.identity(dims=(3,)))
    put_model(tmp_path, "classify", onnx.argmax())
    put_ensemble(tmp_path, SCALED.replace("scale", "fixed").replace("scores", "y"))
    async with repository(tmp_path) as models:
        assert await outputs(models, [1, 2, 3], [3, 2, 1]) == [{"class": 2}, {"class": 0}]


async def test_an_ensemble_has_windows_labels_and_timeouts_of_its_own(tmp_path: Path) -> None:
    config = (
        "[window]\nlength = 2\nhop = 1\n[labels]\nscores = ['low', 'high']\n"
        "[dynamic_batching.default_queue_policy]\ndefault_timeout_microseconds = 5000000\n"
    )
    put_model(tmp_path, "mean", onnx.mean_over_time())
    put_model(tmp_path, "score", onnx.gemm([[1, 0], [0, 1]], [0, 0]))
    put_ensemble(
        tmp_path,
        config
        + """
        [[ensemble_scheduling.step]]
        model_name = "mean"
        input_map = { x = "samples" }
        output_map = { mean = "mean" }
        [[ensemble_scheduling.step]]
        model_name = "score"
        input_map = { x = "mean" }
        output_map = { scores = "scores" }
        """,
    )
    async with repository(tmp_path) as models:
        model = models.get("whole")
        assert model.default_timeout == 5
        assert [(t.name, t.shape) for t in model.spec.inputs] == [("samples", (2, 2))]
        (answer,) = await ask(models, [[1, 2], [3, 8]])
        assert isinstance(answer, Prediction)
        assert (answer.outputs, answer.label) == ({"scores": [2, 5]}, "high")


async def test_names_of_classes_come_from_the_step_that_makes_the_output(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "classify", onnx.argmax(), "labels.class = ['a', 'b', 'c']")
    async with repository(tmp_path) as models:
        (answer,) = await ask(models, [0, 1, 0])
        assert isinstance(answer, Prediction)
        assert answer.label == "b"
        assert models.get("whole").info().labels == {"class": ["a", "b", "c"]}


async def test_an_ensemble_is_a_step_of_another(tmp_path: Path) -> None:
    put_scaled(tmp_path)
    put_model(tmp_path, "name", onnx.lookup([10, 20, 30]))
    put_ensemble(
        tmp_path,
        """
        [[ensemble_scheduling.step]]
        model_name = "whole"
        input_map = { raw = "x" }
        output_map = { class = "class" }
        [[ensemble_scheduling.step]]
        model_name = "name"
        input_map = { index = "class" }
        output_map = { value = "value" }
        """,
        "all",
    )
    async with repository(tmp_path) as models:
        assert await outputs(models, [0, 1, 0], [0, 0, 1], model="all") == [{"value": 20}, {"value": 30}]


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
