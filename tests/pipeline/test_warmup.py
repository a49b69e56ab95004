"""Rows of `model_warmup` are made and run at load, and what a configuration declares must be what the graph has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from pipeline.errors import ConfigError, InferenceFailed
from pipeline.loaded_model import UNMEASURED_MAX_BATCH_SIZE, LoadedModel
from pipeline.model_config import DeclaredInput, DeclaredTensor, ModelConfig, Warmup, WarmupInput, to_config
from pipeline.tensors import DTYPES, TensorSpec
from pipeline.warmup import warmup_rows
from tests import onnx_models as onnx

X = TensorSpec("x", DTYPES["float32"], (2,))
T = TensorSpec("t", DTYPES["int64"], (None, 2))
S = TensorSpec("s", DTYPES["string"], (2,))
B = TensorSpec("b", DTYPES["bfloat16"], (2,))


def row_of(spec: TensorSpec, **told: Any) -> Any:
    ((row, shapes),) = warmup_rows([Warmup(inputs={spec.name: WarmupInput(**told)})], [spec])
    return row[0] if shapes is None else (row[0], shapes[0])


def test_rows_are_the_values_that_were_given_or_made_up() -> None:
    assert row_of(X, values=[1.5, 2.5]) == np.array([1.5, 2.5], np.float32).tobytes()
    assert row_of(X, zero_data=True) == row_of(X) == bytes(8)
    random = np.frombuffer(row_of(X, random_data=True), np.float32)
    assert ((random >= 0) & (random < 1)).all()
    assert random.any()
    assert row_of(T, values=[[1, 2], [3, 4]]) == (np.arange(1, 5).tobytes(), (2, 2))
    assert row_of(T, values=[1, 2, 3, 4], dims=[2, 2]) == (np.arange(1, 5).tobytes(), (2, 2))
    assert row_of(T, zero_data=True, dims=[3, 2]) == (bytes(48), (3, 2))
    assert row_of(T, zero_data=True) == (bytes(16), (1, 2))
    assert row_of(S, values=["a", "b"]) == ("a", "b")
    assert row_of(S) == ("", "")
    assert set(row_of(S, random_data=True)) <= {"0", "1"}
    assert len(row_of(B, random_data=True)) == 4


def test_inputs_that_are_not_named_are_zeros() -> None:
    ((row, shapes),) = warmup_rows([Warmup(inputs={"x": WarmupInput([1.0, 1.0])})], [X, S, T])
    assert row == (np.ones(2, np.float32).tobytes(), ("", ""), bytes(16))
    assert shapes == (None, None, (1, 2))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"y": {}}, "model_warmup[0].inputs.y: no such input, expected one of ['x', 't']"),
        ({"x": {"values": [1.0]}}, "model_warmup[0].inputs.x: expected 2 numbers, got 1"),
        ({"x": {"values": ["a", "b"]}}, "model_warmup[0].inputs.x: expected numbers, got a string"),
        ({"x": {"dims": [3]}}, "model_warmup[0].inputs.x.shape: expected float32[2], got [3]"),
        ({"x": {"data_type": "int64"}}, "model_warmup[0].inputs.x.data_type: the graph has float32, found int64"),
        ({"t": {"dims": [2**31, 2]}}, "model_warmup[0].inputs.t.dims: [2147483648, 2] is more than"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_key(told: dict[str, Any], reason: str) -> None:
    config = to_config({"model_warmup": [{"inputs": told}]})
    with pytest.raises(ConfigError) as caught:
        warmup_rows(config.model_warmup, [X, T])
    assert str(caught.value).startswith(reason)


def loaded(proto: ModelProto, folder: Path, **table: Any) -> LoadedModel:
    return LoadedModel(onnx.save(proto, folder / "model.onnx"), to_config(table))


def test_a_row_that_the_model_fails_on_keeps_it_from_being_served(tmp_path: Path) -> None:
    proto = onnx.lookup([1.0, 2.0])
    loaded(proto, tmp_path, model_warmup=[{"batch_size": 3, "count": 2, "inputs": {"index": {"values": 1}}}])
    with pytest.raises(ConfigError) as caught:
        loaded(proto, tmp_path, model_warmup=[{}, {"inputs": {"index": {"values": 7}}}])
    assert str(caught.value).startswith(f"{tmp_path / 'model.onnx'}: model_warmup[1]: the model failed")


def test_a_row_teaches_what_zeros_cannot(tmp_path: Path) -> None:
    """The dynamic dimension must be even, so only the configured row shows the rank of the output."""
    row = {"inputs": {"x": {"values": [1.0, 2.0, 3.0, 4.0]}}}
    model = loaded(onnx.pairs(), tmp_path, model_warmup=[row]).model
    assert model.sample == ((np.arange(1, 5, dtype=np.float32).tobytes(),), ((4,),))
    assert model.spec.outputs[0].shape == (None, 2)
    assert model.spec.stackable


def reshape() -> ModelProto:
    """Return `y = x` in a shape that an input says: zeros and ones are no shape for it."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    inputs = [onnx.tensor("x", dims=[4]), onnx.tensor("shape", "int64", [2])]
    return onnx.model([node], inputs, [onnx.tensor("y", dims=["A", "B"])])


def test_integers_may_steer_a_graph_so_failing_on_made_up_ones_proves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(reshape(), tmp_path)
    assert model.max_batch_size == UNMEASURED_MAX_BATCH_SIZE
    assert f"{tmp_path / 'model.onnx'} takes neither zeros nor ones" in caplog.text
    x, shape = np.arange(4, dtype=np.float32).tobytes(), np.array([2, 2]).tobytes()
    assert model.model.run([(x, shape)]).rows(lists=True) == [{"y": [[0.0, 1.0], [2.0, 3.0]]}]
    caplog.clear()
    warm = loaded(reshape(), tmp_path, model_warmup=[{"inputs": {"shape": {"values": [2, 2]}}}])
    assert warm.model.sample is not None
    assert not caplog.records


def test_integers_that_must_not_be_zero_are_tried_as_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = helper.make_node("Div", ["a", "b"], ["c"])
    inputs = [onnx.tensor("a", "int64"), onnx.tensor("b", "int64")]
    model = loaded(onnx.model([node], inputs, [onnx.tensor("c", "int64")]), tmp_path)
    assert model.max_batch_size > UNMEASURED_MAX_BATCH_SIZE
    assert not caplog.records


DECLARED = {
    "input.z: the graph has no such input, expected one of ['x']": {"input": [DeclaredInput("z", "TYPE_FP32", [3])]},
    "input.x.data_type: the graph has float32, found TYPE_INT64": {"input": [DeclaredInput("x", "TYPE_INT64", [3])]},
    "input.x.dims: the graph has [3] for a row, found [4]": {"input": [DeclaredInput("x", "float32", [4])]},
    "input.x.dims: the graph has [3] for a row, found [-1]": {"input": [DeclaredInput("x", "float32", [-1])]},
    "input.x.dims: the graph has [3] for a row, found [1, 3]": {"input": [DeclaredInput("x", "float32", [1, 3])]},
    "output.y.dims: the graph has [3] for a row, found []": {"output": [DeclaredTensor("y", "float32", [])]},
}


@pytest.mark.parametrize(("reason", "told"), DECLARED.items(), ids=list(DECLARED))
def test_what_is_declared_must_be_what_the_graph_has(reason: str, told: dict[str, Any], tmp_path: Path) -> None:
    path = onnx.save(onnx.identity(), tmp_path / "model.onnx")
    with pytest.raises(ConfigError) as caught:
        LoadedModel(path, ModelConfig(**told))
    assert str(caught.value) == f"{path}: {reason}"


def test_a_dynamic_dimension_may_be_narrowed(tmp_path: Path) -> None:
    path = onnx.save(onnx.mean_over_time(), tmp_path / "model.onnx")
    for dims in ([-1, 2], [7, 2]):
        LoadedModel(path, ModelConfig(input=[DeclaredInput("x", "TYPE_FP32", dims)]))


def test_allowed_batch_sizes_are_the_ones_that_are_warmed(tmp_path: Path) -> None:
    model = loaded(onnx.identity(), tmp_path, allowed_batch_sizes=[3, 12])
    assert model.max_batch_size == 12
    assert [model.run_times.expect(size) < 1 for size in (3, 12)] == [True, True]


def test_strings_go_in_beside_types_that_numpy_lacks(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["s"], ["t"]),
        helper.make_node("Cast", ["b"], ["f"], to=onnx.DTYPES["float32"]),
    ]
    inputs = [onnx.tensor("s", "string"), onnx.tensor("b", "bfloat16")]
    model = loaded(onnx.model(nodes, inputs, [onnx.tensor("t", "string"), onnx.tensor("f")]), tmp_path).model
    cell = np.array([1, 2, 3], DTYPES["bfloat16"].numpy).tobytes()
    assert model.run([(("a", "b", "c"), cell)]).rows(lists=True) == [{"t": ["a", "b", "c"], "f": [1.0, 2.0, 3.0]}]


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if dtype.foreign])
def test_strings_go_in_where_types_that_numpy_lacks_come_out(dtype: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["s"], ["t"]), helper.make_node("Identity", ["b"], ["c"])]
    inputs = [onnx.tensor("s", "string"), onnx.tensor("b", dtype)]
    outputs = [onnx.tensor("t", "string"), onnx.tensor("c", dtype)]
    model = loaded(onnx.model(nodes, inputs, outputs), tmp_path).model
    cell = np.array([1, 2, 3], DTYPES[dtype].numpy).tobytes()
    texts = [("", "b\x00ä", "日本" * 100), ("x", "y", "z")]
    expected = [{"t": list(text), "c": cell} for text in texts]
    assert model.run([(text, cell) for text in texts]).rows(lists=False) == expected
    with pytest.raises(InferenceFailed, match="surrogates not allowed"):
        model.run([(("\ud800", "", ""), cell)])


def test_an_optional_tensor_that_is_given_is_an_input_like_others(tmp_path: Path) -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(onnx.DTYPES["float32"], ["N", 3]))
    node = helper.make_node("OptionalGetElement", ["x"], ["y"])
    model = loaded(onnx.model([node], [helper.make_value_info("x", kind)], [onnx.tensor("y")]), tmp_path).model
    assert str(model.spec.inputs[0]) == "float32[3]"
    rows = [(np.full(3, n, np.float32).tobytes(),) for n in range(4)]
    assert [row["y"] for row in model.run(rows).rows(lists=False)] == [row[0] for row in rows]
