"""A model as clients meet it: what they may send, what they get back, and which field is named when it does not fit."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from onnx import ModelProto

from pipeline.codec import JSON, MSGPACK
from pipeline.errors import InvalidInput
from pipeline.loaded_model import AUTO_MAX_BATCH_SIZE, UNMEASURED_MAX_BATCH_SIZE, LoadedModel
from pipeline.messages import BatchingInfo, Failure, Prediction, TensorInfo, WindowInfo
from pipeline.model_config import DynamicBatching, InstanceGroup, ModelConfig, QueuePolicy, WindowConfig
from pipeline.tensors import DTYPES
from tests import onnx_models as onnx
from tests.pipeline.served_parts import Served

THREADS_ONLY = ModelConfig(inline_below_microseconds=0)
LOOP_ONLY = ModelConfig(inline_below_microseconds=60_000_000)
NUMERIC = [name for name in DTYPES if name not in ("string", "bool")]


@pytest.mark.parametrize("dtype", NUMERIC)
async def test_numbers_of_every_type_come_back_as_they_went_in(dtype: str, tmp_path: Path) -> None:
    async with Served(onnx.identity(dtype), tmp_path) as served:
        assert await served.ask([0, 1, 4], [2, 2, 2]) == [{"y": [0, 1, 4]}, {"y": [2, 2, 2]}]
        cell = np.array([3, 0, 1]).astype(DTYPES[dtype].numpy).tobytes()
        assert await served.ask(cell, [3, 0, 1], codec=MSGPACK) == [{"y": cell}, {"y": cell}]


async def test_booleans_and_strings_come_back_as_they_went_in(tmp_path: Path) -> None:
    async with Served(onnx.identity("bool"), tmp_path / "bool") as served:
        assert await served.ask([True, False, True]) == [{"y": [True, False, True]}]
        assert await served.ask(b"\x00\x01\x01", codec=MSGPACK) == [{"y": b"\x00\x01\x01"}]
        (message,) = await served.ask(b"\x00\x02\x01", codec=MSGPACK)
        assert message == "data: expected bytes 0 or 1 for booleans"
    async with Served(onnx.identity("string"), tmp_path / "string") as served:
        for codec in (JSON, MSGPACK):
            assert await served.ask(["a", "", "ü"], codec=codec) == [{"y": ["a", "", "ü"]}]


@pytest.mark.parametrize("config", [THREADS_ONLY, LOOP_ONLY], ids=["threads", "loop"])
async def test_answers_do_not_depend_on_where_a_batch_runs(config: ModelConfig, tmp_path: Path) -> None:
    proto = onnx.gemm([[1, 10], [2, 20], [3, 30]], [0.5, 0])
    rows = [[value, value + 1, 0] for value in range(20)]
    async with Served(proto, tmp_path, config) as served:
        answers = await served.ask(*rows)
        assert answers == [{"scores": [a + 2 * b + 0.5, 10 * a + 20 * b]} for a, b, _ in rows]
        assert bool(served.model.engine.stats.inline_batches) is (config is LOOP_ONLY)


async def test_a_configured_queue_delay_is_waited_for(tmp_path: Path) -> None:
    config = ModelConfig(dynamic_batching=DynamicBatching(max_queue_delay_microseconds=5000))
    async with Served(onnx.identity(), tmp_path, config) as served:
        started_at = time.monotonic()
        assert await served.ask([1, 2, 3]) == [{"y": [1, 2, 3]}]
        assert time.monotonic() >= started_at + 0.005


async def test_a_scalar_row_is_a_number(tmp_path: Path) -> None:
    async with Served(onnx.identity("float32", ("N",)), tmp_path) as served:
        assert await served.ask(1.5, 2, [3]) == [{"y": 1.5}, {"y": 2.0}, {"y": 3.0}]
        assert await served.ask("1.5") == ["data: expected numbers, got a string at element 0"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "data: expected 3 numbers, got 2"),
        ([1, 2, "x"], "data: expected numbers, got a string at element 2"),
        ([[1], [2], [3]], "data: expected shape [3], got [3, 1]"),
        ({"y": [1, 2, 3]}, "data"),
        ({}, "data"),
        (None, "data: expected 3 numbers, got null"),
    ],
)
async def test_a_tensor_that_does_not_fit_is_named(data: Any, message: str, tmp_path: Path) -> None:
    async with Served(onnx.identity(), tmp_path) as served:
        first, good, second = await served.ask(data, [1, 2, 3], data)
        assert message in first
        assert first == second
        assert good == {"y": [1, 2, 3]}


async def test_the_only_input_may_be_named(tmp_path: Path) -> None:
    async with Served(onnx.identity(), tmp_path) as served:
        assert await served.ask({"x": [1, 2, 3]}) == [{"y": [1, 2, 3]}]
        assert await served.ask({"x": [1]}) == ["data.x: expected 3 numbers, got 1"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1, 2, 3]}, "data.b: missing, expected float32[3]"),
        ({"a": [1, 2, 3], "b": [1, 2, 3], "c": 1}, "data.c: no such input, expected a, b"),
        ({"a": [1, 2, 3], "b": [1]}, "data.b: expected 3 numbers, got 1"),
        ([1, 2, 3], "data: expected a map of the inputs a, b"),
    ],
)
async def test_several_inputs_are_a_map_and_a_wrong_one_is_named(data: Any, message: str, tmp_path: Path) -> None:
    async with Served(onnx.add(), tmp_path) as served:
        assert await served.ask(data) == [message]
        assert await served.ask({"b": [1, 2, 3], "a": [10, 20, 30]}) == [{"sum": [11, 22, 33]}]


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (onnx.identity(), "data: missing, expected float32[3]"),
        (onnx.add(), "data: expected a map of the inputs a, b"),
    ],
    ids=["one input", "two inputs"],
)
async def test_an_event_without_data_is_told_what_is_missing(proto: ModelProto, message: str, tmp_path: Path) -> None:
    async with Served(proto, tmp_path) as served:
        with pytest.raises(InvalidInput) as caught:
            served.model.parse(UNSET)
        assert str(caught.value) == message


async def test_rows_of_different_lengths_are_answered_each_by_its_own(tmp_path: Path) -> None:
    async with Served(onnx.mean_over_time(), tmp_path, LOOP_ONLY) as served:
        rows = [[[float(step), 1.0] for step in range(length)] for length in (1, 3, 1, 2, 3)]
        assert await served.ask(*rows) == [{"mean": [(len(row) - 1) / 2, 1.0]} for row in rows]
        stats = served.model.engine.stats
        assert stats.batch_rows.counts[:3] == [1, 2, 0], "rows of one length share a batch, and no others do"
        assert stats.inline_batches == 0, "the cost of a row depends on its length, so none is known"
        shaped = {"shape": [2, 2], "data": np.array([1, 2, 3, 4], np.float32).tobytes()}
        (answer,) = await served.ask(shaped, codec=MSGPACK)
        assert answer == {"mean": np.array([2, 3], np.float32).tobytes()}


@pytest.mark.parametrize("proto", [onnx.identity(dims=[2, 3]), onnx.identity(dims=[1, 2, 3])], ids=["2x3", "1x2x3"])
async def test_a_model_without_a_batch_dimension_answers_every_row(proto: ModelProto, tmp_path: Path) -> None:
    async with Served(proto, tmp_path) as served:
        rows = [[float(n + at) for at in range(6)] for n in range(10)]
        assert [np.ravel(answer["y"]).tolist() for answer in await served.ask(*rows)] == rows


async def test_a_model_of_a_scalar_without_a_batch_dimension_answers_every_row(tmp_path: Path) -> None:
    async with Served(onnx.identity(dims=[]), tmp_path) as served:
        assert await served.ask(1, 2.5) == [{"y": 1.0}, {"y": 2.5}]


async def test_an_output_without_a_batch_dimension_is_of_its_own_row_alone(tmp_path: Path) -> None:
    async with Served(onnx.total(), tmp_path) as served:
        assert await served.ask([1, 2, 3], [4, 5, 6]) == [{"total": 6.0}, {"total": 15.0}]


async def test_a_row_that_the_graph_loses_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    async with Served(onnx.without_negatives(), tmp_path) as served:
        first, second, third = await served.ask(1, -2, 3)
        assert (first, third) == ({"y": 1.0}, {"y": 3.0})
        assert "expected 1 rows" in second


async def test_a_row_that_the_graph_refuses_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    async with Served(onnx.lookup([10, 20, 30]), tmp_path) as served:
        first, second, third = await served.ask_whole(2, 7, 0)
        assert isinstance(second, Failure)
        assert second.error.code == "inference_failed"
        assert "idx=7" in second.error.message
        assert [m.outputs for m in (first, third) if isinstance(m, Prediction)] == [{"value": 30.0}, {"value": 10.0}]


async def test_labels_name_the_highest_score_or_the_class_at_an_index(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    async with Served(onnx.identity(), tmp_path / "scores", ModelConfig(labels={"y": names})) as served:
        answers = await served.ask_whole([0, 5, 1], [3, 2, 1])
        assert [m.label for m in answers if isinstance(m, Prediction)] == ["b", "a"]
    async with Served(onnx.argmax(), tmp_path / "class", ModelConfig(labels={"class": names})) as served:
        answers = await served.ask_whole([0, 5, 1], [1, 2, 3])
        assert [m.label for m in answers if isinstance(m, Prediction)] == ["b", "c"]


async def test_several_labelled_outputs_have_a_label_each(tmp_path: Path) -> None:
    labels = {"flipped": ["left", "right"], "doubled": ["zero", "one", "two"]}
    async with Served(onnx.two_by_two(), tmp_path, ModelConfig(labels=labels)) as served:
        answers = await served.ask_whole({"mask": [True, False], "count": 1}, {"mask": [False, True], "count": 4})
        assert [m.label for m in answers if isinstance(m, Prediction)] == [
            {"flipped": "right", "doubled": "two"},
            {"flipped": "left", "doubled": "8"},
        ]


async def test_info_tells_what_a_client_must_know(tmp_path: Path) -> None:
    config = ModelConfig(
        max_batch_size=8,
        dynamic_batching=DynamicBatching(500, QueuePolicy(max_queue_size=99, default_timeout_microseconds=250_000)),
        instance_group=InstanceGroup(2),
        window=WindowConfig(4, 2),
        labels={"mean": ["a", "b"]},
    )
    async with Served(onnx.mean_over_time(("N", 4, 2)), tmp_path, config) as served:
        info = served.model.info()
        assert (info.name, info.version, info.state, info.reason) == ("m", "1", "ready", None)
        assert info.inputs == [TensorInfo("x", "float32", [4, 2])]
        assert info.outputs == [TensorInfo("mean", "float32", [2])]
        assert (info.batching, info.window) == (BatchingInfo(8, 99, 500), WindowInfo(4, 2))
        assert info.labels == {"mean": ["a", "b"]}
        assert (served.model.default_timeout, served.model.room) == (0.25, 99)
        assert repr(served.model).startswith("<ServedModel m/1 <Engine <MicroBatcher queued=0/99> running=0/2")


async def test_dynamic_dimensions_are_null_in_info_and_timeouts_are_off_by_default(tmp_path: Path) -> None:
    async with Served(onnx.mean_over_time(), tmp_path) as served:
        assert served.model.info().inputs == [TensorInfo("x", "float32", [None, 2])]
        assert served.model.default_timeout == float("inf")


def load(proto: ModelProto, folder: Path, config: ModelConfig | None = None) -> LoadedModel:
    return LoadedModel(onnx.save(proto, folder / "model.onnx"), config or ModelConfig())


def test_the_largest_batch_is_found_by_measuring(tmp_path: Path) -> None:
    slow = load(onnx.slow(), tmp_path / "slow").max_batch_size
    assert slow in {1, 2, 4, 8, 16, 32, 64, 128}
    assert load(onnx.identity(), tmp_path / "quick").max_batch_size == AUTO_MAX_BATCH_SIZE


@pytest.mark.parametrize(
    ("proto", "configured", "expected"),
    [
        (onnx.identity(), 5, 5),
        (onnx.identity(), 1, 1),
        (onnx.identity(), 1000, 1000),
        (onnx.slow(), 128, 128),
        (onnx.total(), None, UNMEASURED_MAX_BATCH_SIZE),
        (onnx.total(), 7, 7),
        (onnx.identity(dims=[3]), None, UNMEASURED_MAX_BATCH_SIZE),
        (onnx.identity(dims=[3]), 0, UNMEASURED_MAX_BATCH_SIZE),
        (onnx.mean_over_time(), None, UNMEASURED_MAX_BATCH_SIZE),
        (onnx.mean_over_time(), 50, 50),
    ],
)
def test_the_largest_batch_is_what_is_configured(
    proto: ModelProto, configured: int | None, expected: int, tmp_path: Path
) -> None:
    assert load(proto, tmp_path, ModelConfig(max_batch_size=configured)).max_batch_size == expected


def test_warming_learns_the_cost_of_every_batch_size(tmp_path: Path) -> None:
    run_times = load(onnx.identity(), tmp_path, ModelConfig(max_batch_size=100)).run_times
    assert all(run_times.expect(size) < float("inf") for size in range(1, 101))


def test_warming_measures_each_allowed_size_by_itself(tmp_path: Path) -> None:
    loaded = load(onnx.identity(), tmp_path, ModelConfig(allowed_batch_sizes=[1, 5, 6, 7, 100]))
    assert loaded.max_batch_size == 100
    assert [name.partition(":")[0] for name in repr(loaded.run_times).split()[1::3]] == ["1", "5", "6", "7", "100"]
    measured = loaded.run_times.expect(5), loaded.run_times.expect(7)
    loaded.run_times.observe(6, 60.0)
    assert (loaded.run_times.expect(5), loaded.run_times.expect(7)) == measured
    assert loaded.wall_times.is_known


async def test_a_model_without_inputs_answers_an_empty_map(tmp_path: Path) -> None:
    proto = onnx.model([], [], [onnx.tensor("y", dims=[2])], {"y": np.array([1, 2], np.float32)})
    async with Served(proto, tmp_path) as served:
        assert await served.ask({}, {}) == [{"y": [1.0, 2.0]}, {"y": [1.0, 2.0]}]
        assert await served.ask([1.0]) == ["data: expected an empty map, the model has no inputs"]
