"""Inputs that a client may leave out: optional tensors, and initializers that are inputs too."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, helper, numpy_helper

from pipeline.errors import ConfigError, InferenceFailed
from pipeline.loaded_model import LoadedModel
from pipeline.model_config import ModelConfig, to_config
from pipeline.tensors import ABSENT, DTYPES, Shared
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
