"""Inputs that a client may leave out: optional tensors, and initializers that are inputs too."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

from pipeline.batching import NEVER, Job
from pipeline.codec import JSON, MSGPACK
from pipeline.errors import ConfigError, InferenceFailed, InvalidInput
from pipeline.model_config import ModelConfig, to_config
from pipeline.served_model import LoadedModel, serve_graph
from pipeline.tensors import ABSENT, DTYPES, Shared, TensorSpec, bare_input
from pipeline.v2_descriptions import configuration, metadata
from pipeline.v2_messages import InferInput, InferRequest
from pipeline.v2_tensors import read_raw, read_rows
from pipeline.workers import WorkerPool
from tests import onnx_models as onnx
from tests.pipeline.runtime_parts import load, outputs_of, samples
from tests.pipeline.served_parts import Served

SCALE = {"name": "scale", "data_type": "float32", "dims": [3], "optional": True}
SHIFT = {"name": "shift", "data_type": "float32", "dims": [], "optional": True}
ONES = np.ones(3, np.float32).tobytes()


def optional(*inputs: dict[str, Any], **table: Any) -> ModelConfig:
    return to_config({"input": list(inputs), **table})


def plain(proto: ModelProto, **feeds: Any) -> Any:
    """Return the first output of plain ONNX Runtime, fed as its users feed it."""
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def refusal(proto: ModelProto, folder: Path, config: ModelConfig) -> str:
    path = onnx.save(proto, folder / "model.onnx")
    with pytest.raises(ConfigError) as caught:
        LoadedModel(path, config)
    return str(caught.value).removeprefix(f"{path}: ")


def test_an_optional_tensor_that_is_left_out_is_what_none_is_to_onnx_runtime(tmp_path: Path) -> None:
    proto = onnx.either()
    model = load(proto, tmp_path)
    assert [spec.optional for spec in model.spec.inputs] == [False, True]
    x, b = samples("float32", (2, 3)), samples("float32", (2, 3)) + 10
    given_rows = list(zip([row.tobytes() for row in x], [row.tobytes() for row in b], strict=True))
    assert [row["y"] for row in outputs_of(model, given_rows)] == plain(proto, x=x, b=b).tolist()
    absent_rows = [(row.tobytes(), b"") for row in x]
    expected = plain(proto, x=x, b=None).tolist()
    assert [row["y"] for row in outputs_of(model, absent_rows, (None, ABSENT))] == expected


FOREIGN = [name for name, dtype in DTYPES.items() if dtype.foreign]  # operators take no optional tensor of these


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name not in FOREIGN])
def test_an_optional_tensor_of_every_type_may_be_left_out(dtype: str, tmp_path: Path) -> None:
    model = load(onnx.either(dtype, ("N", 2)), tmp_path)
    numbers = samples(dtype, (6,)) if dtype != "string" else None
    x, b = (("p", "q"), ("r", "s")) if numbers is None else (numbers[:2].tobytes(), numbers[4:].tobytes())
    for row, entry, expected in (((x, b), None, b), ((x, b""), ABSENT, x)):
        shapes = None if entry is None else (None, entry)
        (answer,) = model.run([row], shapes).rows(lists=False)
        assert answer["y"] == (list(expected) if isinstance(expected, tuple) else expected)


@pytest.mark.parametrize("dtype", FOREIGN)
def test_inputs_may_be_left_out_beside_types_that_numpy_lacks(dtype: str, tmp_path: Path) -> None:
    proto = onnx.either()
    proto.graph.node.append(helper.make_node("Cast", ["y"], ["z"], to=onnx.DTYPES[dtype]))
    proto.graph.output.append(onnx.tensor("z", dtype))
    model = load(proto, tmp_path)
    expected = np.ones(3, DTYPES[dtype].numpy).tobytes()
    for row, shapes in (((ONES, b""), (None, ABSENT)), ((bytes(12), ONES), None)):
        assert model.run([row, row], shapes).rows(lists=False)[1] == {"y": ONES, "z": expected}


@pytest.mark.parametrize("dtype", FOREIGN)
def test_an_initializer_may_have_a_type_that_numpy_lacks(dtype: str, tmp_path: Path) -> None:
    value = helper.make_tensor("w", onnx.DTYPES[dtype], [1], np.ones(1, DTYPES[dtype].numpy).tobytes(), raw=True)
    proto = onnx.model(
        [helper.make_node("Cast", ["w"], ["c"], to=onnx.DTYPES["float32"]), helper.make_node("Mul", ["x", "c"], ["y"])],
        [onnx.tensor("x"), onnx.tensor("w", dtype, [1])],
        [onnx.tensor("y")],
    )
    proto.graph.initializer.append(value)
    said = {"name": "w", "data_type": dtype, "dims": [1], "optional": True}
    model = LoadedModel(onnx.save(proto, tmp_path / "model.onnx"), optional(said)).model
    two = np.full(1, 2, DTYPES[dtype].numpy).tobytes()
    assert outputs_of(model, [(ONES, b"")], (None, ABSENT)) == [{"y": [1.0] * 3}]
    assert outputs_of(model, [(ONES, two)] * 9, (None, Shared(None, two))) == [{"y": [2.0] * 3}] * 9


def test_an_initializer_is_constant_unless_it_is_named(tmp_path: Path) -> None:
    path = onnx.save(onnx.scaled(), tmp_path / "model.onnx")
    assert [spec.name for spec in LoadedModel(path, ModelConfig()).model.spec.inputs] == ["x"]
    spec = LoadedModel(path, optional(SCALE)).model.spec
    assert [(tensor.name, tensor.optional, tensor.initializer) for tensor in spec.inputs] == [
        ("x", False, False),
        ("scale", True, True),
    ]
    assert (spec.batched, spec.stackable) == (True, True)


def test_an_initializer_has_its_own_value_or_that_of_the_run(tmp_path: Path) -> None:
    proto = onnx.scaled()
    model = LoadedModel(onnx.save(proto, tmp_path / "model.onnx"), optional(SCALE)).model
    x, scale = samples("float32", (20, 3)), np.array([2, 3, 4], np.float32)
    rows = [(row.tobytes(), b"") for row in x]
    assert [row["y"] for row in outputs_of(model, rows, (None, ABSENT))] == plain(proto, x=x).tolist()
    rows = [(row.tobytes(), scale.tobytes()) for row in x]
    shapes = (None, Shared(None, scale.tobytes()))
    assert [row["y"] for row in outputs_of(model, rows, shapes)] == plain(proto, x=x, scale=scale).tolist()


REFUSED: dict[str, tuple[ModelProto, dict[str, Any]]] = {
    "input.x.optional: only optional(tensor) inputs and initializers that are inputs too can be left out, the graph "
    "has ['scale']": (onnx.scaled(), {"name": "x", "data_type": "float32", "dims": [3], "optional": True}),
    "input.y.optional: only optional(tensor) inputs and initializers that are inputs too can be left out, the graph "
    "has ['b']": (onnx.either(), {"name": "y", "data_type": "float32", "dims": [3], "optional": True}),
    "input.weights.optional: only optional(tensor) inputs and initializers that are inputs too can be left out, the "
    "graph has none": (
        onnx.gemm([[1.0]], [0.0]),
        {"name": "weights", "data_type": "float32", "dims": [1, 1], "optional": True},
    ),
    "input.scale.dims: the graph has [3] for a row, found [4]": (onnx.scaled(), {**SCALE, "dims": [4]}),
    "input.scale.data_type: the graph has float32, found int64": (onnx.scaled(), {**SCALE, "data_type": "int64"}),
    "input.scale: the graph has no such input, expected one of ['x']": (onnx.scaled(), {**SCALE, "optional": False}),
}


@pytest.mark.parametrize(("reason", "case"), REFUSED.items(), ids=list(REFUSED))
def test_what_cannot_be_optional_is_refused_by_key(
    reason: str, case: tuple[ModelProto, dict[str, Any]], tmp_path: Path
) -> None:
    proto, told = case
    assert refusal(proto, tmp_path, optional(told)) == reason


def test_initializers_of_old_graphs_are_constants_and_cannot_be_optional(tmp_path: Path) -> None:
    proto = onnx.scaled()
    proto.ir_version = 3
    proto.opset_import[0].version = 8
    assert "input.scale.optional: only" in refusal(proto, tmp_path, optional(SCALE))
    assert len(LoadedModel(tmp_path / "model.onnx", ModelConfig()).model.spec.inputs) == 1


def test_an_optional_tensor_may_be_called_so_or_not(tmp_path: Path) -> None:
    path = onnx.save(onnx.either(), tmp_path / "model.onnx")
    told = {"name": "b", "data_type": "TYPE_FP32", "dims": [3]}
    for config in (optional({**told, "optional": True}), optional(told), ModelConfig()):
        assert LoadedModel(path, config).model.spec.inputs[1].optional


def test_a_model_with_a_window_has_no_optional_inputs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="window: events are samples, the input 'scale' cannot be optional"):
        optional(SCALE, window={"length": 3, "hop": 1})
    proto = onnx.model(
        [helper.make_node("OptionalGetElement", ["x"], ["y"])], [onnx.optional_tensor("x")], [onnx.tensor("y")]
    )
    path = onnx.save(proto, tmp_path / "model.onnx")
    windowed = LoadedModel(path, to_config({"window": {"length": 3, "hop": 1}}))
    assert not windowed.model.spec.inputs[0].optional  # every window is given


def test_rows_run_one_by_one_where_the_batch_dimension_goes_with_what_is_left_out(tmp_path: Path) -> None:
    proto = onnx.either()
    (otherwise,) = (each.g for each in proto.graph.node[1].attribute if each.name == "else_branch")
    otherwise.node[0].input[0] = "table"
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    proto.graph.initializer.append(numpy_helper.from_array(table, "table"))
    model = load(proto, tmp_path)
    assert (model.spec.batched, model.spec.stackable) == (True, False)

    async def ask() -> list[Any]:
        async with Served(proto, tmp_path) as served:
            x = [1.0, 2.0, 3.0]
            return await served.ask(x, x, {"x": x, "b": x})

    assert asyncio.run(ask()) == [{"y": table.tolist()}, {"y": table.tolist()}, {"y": [[1.0, 2.0, 3.0]]}]


def test_what_fails_with_zeros_is_learnt_from_a_row_that_leaves_them_out(tmp_path: Path) -> None:
    """With zeros and with ones the optional index, to which 7 is added, is beyond the table."""
    nodes = [
        helper.make_node("Add", ["at", "seven"], ["beyond"]),
        helper.make_node("Gather", ["table", "beyond"], ["found"]),
    ]
    then = helper.make_graph(
        [helper.make_node("OptionalGetElement", ["i"], ["at"]), *nodes], "then", [], [onnx.tensor("found", dims=None)]
    )
    otherwise = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["same"])], "otherwise", [], [onnx.tensor("same", dims=None)]
    )
    proto = onnx.model(
        [
            helper.make_node("OptionalHasElement", ["i"], ["has"]),
            helper.make_node("If", ["has"], ["y"], then_branch=then, else_branch=otherwise),
        ],
        [onnx.tensor("x", dims=("N",)), onnx.optional_tensor("i", "int64", ("N",))],
        [onnx.tensor("y", dims=("N",))],
        {"seven": np.int64(7), "table": np.zeros(1, np.float32)},
    )
    model = load(proto, tmp_path)
    assert model.sample is not None
    assert model.sample[1] == (None, ABSENT)
    assert model.spec.stackable


def test_an_output_that_the_model_does_not_give_is_an_error_of_the_row(tmp_path: Path) -> None:
    proto = onnx.model(
        [helper.make_node("Identity", ["x"], ["y"])], [onnx.optional_tensor("x")], [onnx.optional_tensor("y")]
    )
    model = load(proto, tmp_path)
    assert outputs_of(model, [(ONES,)]) == [{"y": [1.0, 1.0, 1.0]}]
    with pytest.raises(InferenceFailed, match="output y: the model gave none"):
        model.run([(b"",)], (ABSENT,))


def test_rows_of_model_warmup_may_give_what_is_optional(tmp_path: Path) -> None:
    path = onnx.save(onnx.all_options(), tmp_path / "model.onnx")
    rows = [{}, {"inputs": {"b": {"values": [1, 2, 3]}, "shift": {"values": 7.0}}, "batch_size": 4}]
    loaded = LoadedModel(path, optional(SHIFT, model_warmup=rows))
    assert loaded.model.sample is not None
    assert loaded.model.sample[1] == (None, ABSENT, ABSENT)
    assert loaded.max_batch_size > 16  # it was measured
    wrong = optional(SHIFT, model_warmup=[{"inputs": {"scale": {"values": [1.0]}}}])
    assert refusal(onnx.all_options(), tmp_path, wrong).startswith("model_warmup[0].inputs.scale: no such input")


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
                [(tensor.name, tensor.shape) for tensor in metadata(model).inputs],
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
