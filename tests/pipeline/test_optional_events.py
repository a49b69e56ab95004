"""Events and requests that leave inputs out, and which of them share a run."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from pipeline.batching import NEVER, Job
from pipeline.codec import JSON, MSGPACK
from pipeline.errors import InvalidInput
from pipeline.loaded_model import LoadedModel
from pipeline.served_model import serve_graph
from pipeline.tensors import ABSENT, DTYPES, Shared, TensorSpec, bare_input
from pipeline.v2_descriptions import configuration, metadata
from pipeline.v2_messages import InferInput, InferRequest
from pipeline.v2_tensors import read_raw, read_rows
from pipeline.workers import WorkerPool
from tests import onnx_models as onnx
from tests.pipeline.served_parts import Served
from tests.pipeline.test_optional_inputs import ONES, SCALE, SHIFT, optional


def test_the_input_that_a_bare_tensor_is_for() -> None:
    x, y = (TensorSpec(name, DTYPES["float32"], ()) for name in "xy")
    a = TensorSpec("a", DTYPES["float32"], (), optional=True)
    assert [bare_input(inputs) for inputs in ([], [x], [x, y], [x, a], [a], [a, a])] == [None, x, None, x, a, None]


def test_events_may_leave_out_what_is_optional(tmp_path: Path) -> None:
    async def ask() -> list[Any]:
        async with Served(onnx.all_options(), tmp_path, optional(SCALE, SHIFT)) as served:
            x, b = [1.0, 2.0, 3.0], [10.0, 20.0, 30.0]
            in_json = await served.ask(
                {"x": x},
                {"x": x, "b": b},
                {"x": x, "b": None, "scale": None},
                {"x": x, "scale": [1, 0, -1]},
                {"x": x, "shift": 5},
                {"x": x, "b": {"shape": [3], "data": b}, "scale": [1, 1, 1], "shift": 0},
                x,
                {"shape": [3], "data": x},
                {"b": b},
                {"x": x, "bias": b},
                {"x": x, "scale": [1, 1]},
                {"x": x, "shift": "a"},
            )
            in_msgpack = await served.ask({"x": np.array(x, np.float32).tobytes(), "scale": ONES}, codec=MSGPACK)
            return [*in_json, *(np.frombuffer(answer["y"], np.float32).tolist() for answer in in_msgpack)]

    assert asyncio.run(ask()) == [
        {"y": [3.0, 5.0, 7.0]},
        {"y": [21.0, 41.0, 61.0]},
        {"y": [3.0, 5.0, 7.0]},
        {"y": [2.0, 1.0, -2.0]},
        {"y": [7.0, 9.0, 11.0]},
        {"y": [10.0, 20.0, 30.0]},
        {"y": [3.0, 5.0, 7.0]},
        {"y": [3.0, 5.0, 7.0]},
        "data.x: missing, expected float32[3]",
        "data.bias: no such input, expected x, b, scale, shift",
        "data.scale: expected 3 numbers, got 2",
        "data.shift: expected numbers, got a string at element 0",
        [2.0, 3.0, 4.0],
    ]


def test_an_only_input_that_is_optional(tmp_path: Path) -> None:
    node = helper.make_node("OptionalHasElement", ["x"], ["y"])
    lonely = onnx.model([node], [onnx.optional_tensor("x")], [onnx.tensor("y", "bool", [])])
    node = helper.make_node("Add", ["s", "s"], ["y"])
    defaulted = onnx.model(
        [node], [onnx.tensor("s", dims=[2])], [onnx.tensor("y", dims=[2])], {"s": np.ones(2, np.float32)}
    )
    said = {"name": "s", "data_type": "float32", "dims": [2], "optional": True}

    async def ask() -> list[Any]:
        async with Served(lonely, tmp_path / "lonely") as served:
            first = await served.ask([1, 2, 3], {"x": [1, 2, 3]}, {}, {"x": None}, {"shape": [3], "data": [1, 2, 3]})
        async with Served(defaulted, tmp_path / "defaulted", optional(said)) as served:
            second = await served.ask([3, 4], {"s": [5, 6]}, {}, {"t": 1})
        return [*first, *second]

    assert asyncio.run(ask()) == [
        *({"y": has} for has in (True, True, False, False, True)),
        *({"y": [float(n) for n in y]} for y in ([6, 8], [10, 12], [2, 2])),
        "data.t: no such input, expected s",
    ]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    path = onnx.save(onnx.all_options(), tmp_path_factory.mktemp("options") / "model.onnx")
    return LoadedModel(path, optional(SCALE, SHIFT, max_batch_size=64))


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    return ort.InferenceSession(onnx.all_options().SerializeToString(), providers=["CPUExecutionProvider"])


vectors = st.sampled_from([(1.0, 2.0, 3.0), (-1.0, 0.0, 0.5), (4.0, 4.0, 4.0)])
events = st.fixed_dictionaries(
    {"x": vectors}, optional={"b": vectors, "scale": vectors, "shift": st.sampled_from([0.0, 1.0, -2.5])}
)


class Collector:
    """Takes the outcomes of jobs."""

    def __init__(self, rows: int) -> None:
        self.outlet = self.source = None
        self.answers: dict[int, Any] = {}
        self.left = rows
        self.done = asyncio.Event()

    def finish(self, job: Any, result: Any, row: int) -> None:
        self.answers[job.number] = result.rows(lists=True)[row]["y"]
        self._count()

    def fail(self, job: Any, error: Exception) -> None:
        self.answers[job.number] = error
        self._count()

    def _count(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=30), st.sampled_from([(), (8, 64)]))
def test_rows_share_a_run_exactly_where_they_agree(
    loaded: LoadedModel, session: ort.InferenceSession, rows: list[dict[str, Any]], allowed: tuple[int, ...]
) -> None:
    """Whatever waits together is answered as ONNX Runtime answers each row alone, in as few runs as there can be."""

    async def ask() -> tuple[dict[int, Any], Counter[int]]:
        workers = WorkerPool(1)
        loaded.config = optional(SCALE, SHIFT, max_batch_size=64, allowed_batch_sizes=list(allowed))
        model = serve_graph("m", "1", loaded, workers)
        collector = Collector(len(rows))
        for number, event in enumerate(rows):
            row, shapes = model.parse({name: list(v) if isinstance(v, tuple) else v for name, v in event.items()})
            model.submit(Job(collector, number, row, 0.0, shapes, NEVER, True))
        await collector.done.wait()
        await model.engine.drained()
        workers.shutdown()
        return collector.answers, Counter({size: int(count) for size, (count, _) in model.engine.stats.runs.items()})

    answers, runs = asyncio.run(ask())
    for number, event in enumerate(rows):
        feeds = {name: np.array(value, np.float32) for name, value in event.items()}
        feeds.update({name: feeds[name][np.newaxis] for name in ("x", "b") if name in feeds})
        assert answers[number] == session.run(None, feeds)[0][0].tolist()
    groups = Counter(("b" in event, event.get("scale"), event.get("shift")) for event in rows)
    assert runs == Counter(groups.values())


def test_what_is_optional_is_told(tmp_path: Path) -> None:
    async def describe() -> tuple[Any, Any, Any]:
        async with Served(onnx.all_options(), tmp_path, optional(SCALE)) as served:
            model = served.model
            return (
                JSON.encode([model.info()]),  # type: ignore[list-item]
                [(tensor.name, tensor.shape) for tensor in metadata(model, ["1"]).inputs],
                [(tensor.name, tensor.dims, tensor.optional) for tensor in configuration(model).input],
            )

    info, described, configured = asyncio.run(describe())
    assert b'{"name":"x","dtype":"float32","shape":[3]}' in info
    assert b'{"name":"b","dtype":"float32","shape":[3],"optional":true}' in info
    assert b'{"name":"scale","dtype":"float32","shape":[3],"optional":true}' in info
    assert described == [("x", [-1, 3]), ("b", [-1, 3]), ("scale", [3])]
    assert configured == [("x", [3], False), ("b", [3], True), ("scale", [3], True)]


def v2_input(name: str, shape: list[int], data: Any) -> InferInput:
    return InferInput(name, shape, "FP32", None, data)


def test_requests_of_the_open_inference_protocol_may_leave_out_what_is_optional(tmp_path: Path) -> None:
    path = onnx.save(onnx.all_options(), tmp_path / "model.onnx")
    spec = LoadedModel(path, optional(SCALE)).model.spec
    x = v2_input("x", [2, 3], [1, 2, 3, 4, 5, 6])
    scale, b = v2_input("scale", [3], [7, 8, 9]), v2_input("b", [2, 3], [[1, 1, 1], [2, 2, 2]])
    rows, shapes = read_rows(InferRequest([x]), b"", spec, 10)
    assert ([len(cell) for cell in rows[1]], shapes) == ([12, 0, 0], (None, ABSENT, ABSENT))
    rows, shapes = read_rows(InferRequest([scale, b, x]), b"", spec, 10)
    value = np.array([7, 8, 9], np.float32).tobytes()
    assert shapes == (None, None, Shared(None, value))
    assert [row[2] for row in rows] == [value, value]
    assert rows[1][1] == np.full(3, 2, np.float32).tobytes()
    raw, shapes = read_raw(ONES + ONES, spec, 10)
    assert ([row[0] for row in raw], shapes) == ([ONES, ONES], (None, ABSENT, ABSENT))
    for request, reason in (
        ([scale], "inputs.x: missing, expected float32[3]"),
        ([x, v2_input("scale", [1, 3], [1, 2, 3])], "inputs.scale.shape: expected [3], got [1, 3]"),
        ([x, v2_input("b", [1, 3], [1, 2, 3])], "inputs.b.shape: expected 2 rows as the other inputs have, got 1"),
        ([x, v2_input("d", [3], [1, 2, 3])], "inputs: 'd' is no input, expected x, b, scale"),
    ):
        with pytest.raises(InvalidInput) as caught:
            read_rows(InferRequest(request), b"", spec, 10)
        assert str(caught.value) == reason
