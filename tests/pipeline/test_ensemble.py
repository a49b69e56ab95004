"""Ensembles: rows go from model to model, in batches of each model's own."""

import asyncio
import struct
import time
from pathlib import Path

import pytest

from pipeline.codec import MSGPACK
from pipeline.interfaces import SessionOptions
from pipeline.messages import Prediction, StepInfo
from tests import onnx_models as onnx
from tests.pipeline.ensemble_parts import (
    SCALED,
    ask,
    outputs,
    put_diamond,
    put_ensemble,
    put_model,
    put_scaled,
)
from tests.pipeline.session_parts import Client
from tests.pipeline.test_repository import repository


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
