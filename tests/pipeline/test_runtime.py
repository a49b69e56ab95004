"""What a loaded graph makes of its shapes: with a batch dimension, without one, declared or found by probing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from pipeline.errors import InferenceFailed
from pipeline.tensors import DTYPES, Row, Shapes
from tests import onnx_models as onnx
from tests.pipeline.runtime_parts import load, outputs_of, reference, rows_of, samples


def test_a_dynamic_dimension_is_read_from_the_shapes_of_the_rows(tmp_path: Path) -> None:
    proto = onnx.mean_over_time()
    model = load(proto, tmp_path)
    assert [str(spec) for spec in model.spec.inputs] == ["float32[?, 2]"]
    for length in (1, 3, 8):
        batch = np.arange(4 * length, dtype=np.float32).reshape(2, length, 2)
        (expected,) = reference(proto, x=batch)
        assert [row["mean"] for row in outputs_of(model, rows_of(batch), ((length, 2),))] == expected.tolist()


def test_a_dynamic_output_comes_with_its_shape_as_bytes(tmp_path: Path) -> None:
    model = load(onnx.identity(dims=("N", "T")), tmp_path)
    batch = np.arange(6, dtype=np.float32).reshape(2, 3)
    rows = model.run(rows_of(batch), ((3,),)).rows(lists=False)
    assert [row["y"] for row in rows] == [{"shape": [3], "data": row.tobytes()} for row in batch]


@pytest.mark.parametrize("dims", [[2, 3], [1, 3], [3]], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "string", "bool"])
def test_a_graph_without_a_batch_dimension_takes_one_row(dims: list[int], dtype: str, tmp_path: Path) -> None:
    model = load(onnx.identity(dtype, dims), tmp_path)
    assert (model.spec.batched, model.spec.stackable) == (False, False)
    assert model.spec.inputs[0].shape == tuple(dims)
    size = int(np.prod(dims))
    batch = np.array([["a", "b"] * 3], object)[:, :size] if dtype == "string" else samples(dtype, (1, size))
    (row,) = outputs_of(model, rows_of(batch))
    assert np.array(row["y"]).shape == tuple(dims)
    assert np.ravel(row["y"]).tolist() == batch.ravel().tolist()


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_a_graph_without_a_batch_dimension_takes_a_scalar(dtype: str, tmp_path: Path) -> None:
    model = load(onnx.identity(dtype, []), tmp_path)
    row: Row = (("text",) if dtype == "string" else samples(dtype, (2,))[1].tobytes(),)
    (output,) = outputs_of(model, [row])
    assert output["y"] == ("text" if dtype == "string" else 1)


def test_a_graph_with_a_dynamic_first_dimension_can_be_told_to_have_no_batch(tmp_path: Path) -> None:
    model = load(onnx.identity(dims=("T", 2)), tmp_path, batched=False)
    assert [str(spec) for spec in model.spec.inputs] == ["float32[?, 2]"]
    row = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    assert outputs_of(model, rows_of(row), ((3, 2),)) == [{"y": row[0].tolist()}]


def test_an_output_without_a_batch_dimension_is_of_the_row_it_was_run_for(tmp_path: Path) -> None:
    for proto, outputs in ((onnx.total(("N", 2)), [3.0, 7.0]), (onnx.column_sums(), [[1.0, 2.0], [3.0, 4.0]])):
        model = load(proto, tmp_path)
        rows = rows_of(np.array([[1, 2], [3, 4]], np.float32))
        assert [value for row in rows for value in outputs_of(model, [row])[0].values()] == outputs


def test_a_graph_that_fails_on_two_rows_is_served_row_by_row(tmp_path: Path) -> None:
    model = load(onnx.one_row_only(), tmp_path)
    assert outputs_of(model, rows_of(np.array([[1, 2, 3]], np.float32))) == [{"y": [1.0, 2.0, 3.0]}]


@pytest.mark.parametrize("out_dims", [("N", 3), ("M", 3), ("a", "b"), None], ids=str)
def test_what_an_output_does_not_declare_is_found_by_probing(out_dims: Any, tmp_path: Path) -> None:
    model = load(onnx.identity(out_dims=out_dims), tmp_path)
    assert model.spec.stackable
    batch = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    assert [row["y"] for row in outputs_of(model, rows_of(batch))] == batch.tolist()


def test_a_shape_that_only_a_run_tells_comes_along_with_the_bytes(tmp_path: Path) -> None:
    model = load(onnx.undeclared_classes([1, 2]), tmp_path)
    assert (model.spec.stackable, [str(spec) for spec in model.spec.outputs]) == (True, ["float32[?]"])
    rows = model.run(rows_of(np.array([[0, 0], [1, 1]], np.float32))).rows(lists=False)
    assert [row["scores"] for row in rows] == [
        {"shape": [2], "data": np.array(scores, np.float32).tobytes()} for scores in ([1, 2], [2, 3])
    ]


@pytest.mark.parametrize(
    ("proto", "output", "stackable"),
    [
        (onnx.undeclared_classes([1, 2], (1, 2)), "float32[2]", True),
        (onnx.undeclared_classes([1, 2], None), "float32[?]", True),
        (onnx.undeclared_rank(), "float32[?]", True),
        (onnx.column_sums(), "float32[2]", False),
        (onnx.undeclared_column_sums(), "float32[?, 2]", False),
        (onnx.total(), "float32[]", False),
        (onnx.one_row_only(), "float32[3]", False),
    ],
    ids=[
        "one row declared",
        "no shape",
        "no rank",
        "other first dimension",
        "no batch dimension",
        "scalar",
        "one row taken",
    ],
)
def test_probing_finds_the_outputs_of_one_row(proto: ModelProto, output: str, stackable: bool, tmp_path: Path) -> None:
    model = load(proto, tmp_path)
    assert ([str(spec) for spec in model.spec.outputs], model.spec.stackable) == ([output], stackable)


def test_one_input_without_a_dynamic_first_dimension_means_no_batch(tmp_path: Path) -> None:
    add = onnx.add()
    add.graph.input[1].CopyFrom(onnx.tensor("b", dims=(1, 3)))
    model = load(add, tmp_path)
    assert (model.spec.batched, [str(spec) for spec in model.spec.inputs]) == (
        False,
        ["float32[?, 3]", "float32[1, 3]"],
    )
    row = (np.arange(6, dtype=np.float32).tobytes(), np.ones(3, np.float32).tobytes())
    assert outputs_of(model, [row], ((2, 3), None)) == [{"sum": [[1, 2, 3], [4, 5, 6]]}]


def test_a_graph_that_does_not_take_the_sizes_probed_is_served_as_declared(tmp_path: Path) -> None:
    model = load(onnx.pairs(), tmp_path)
    assert model.spec.stackable
    batch = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert [row["y"] for row in outputs_of(model, rows_of(batch), ((4,),))] == batch.reshape(2, 2, 2).tolist()
    with pytest.raises(InferenceFailed):
        model.run(rows_of(batch[:, :3]), ((3,),))


def test_a_graph_that_loses_rows_fails_where_it_does(tmp_path: Path) -> None:
    model = load(onnx.without_negatives(), tmp_path)
    assert outputs_of(model, rows_of(np.array([1, 2], np.float32))) == [{"y": 1.0}, {"y": 2.0}]
    with pytest.raises(InferenceFailed, match="output y: expected 2 rows"):
        model.run(rows_of(np.array([1, -2], np.float32)))


def test_a_row_that_the_graph_refuses_is_an_error_in_one_line(tmp_path: Path) -> None:
    model = load(onnx.lookup([10, 20, 30]), tmp_path)
    assert outputs_of(model, rows_of(np.array([2, 0]))) == [{"value": 30.0}, {"value": 10.0}]
    with pytest.raises(InferenceFailed) as caught:
        model.run(rows_of(np.array([0, 7])))
    assert "idx=7" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_result_tells_when_its_run_was_and_how_long_it_took(tmp_path: Path) -> None:
    model = load(onnx.identity(), tmp_path)
    results = [model.run([model.blank_row()[0]]) for _ in range(2)]
    assert results[0].started_at > 0
    assert results[0].started_at + results[0].run_seconds <= results[1].started_at


@pytest.mark.parametrize(
    ("proto", "row", "shapes"),
    [
        (onnx.identity("int16"), (bytes(6),), None),
        (onnx.identity("string"), (("", "", ""),), None),
        (onnx.two_by_two(), (bytes(2), bytes(8)), None),
        (onnx.mean_over_time(), (bytes(8),), ((1, 2),)),
    ],
    ids=["numbers", "strings", "several", "dynamic"],
)
def test_a_blank_row_fits_the_graph(proto: ModelProto, row: Row, shapes: Shapes | None, tmp_path: Path) -> None:
    model = load(proto, tmp_path)
    assert model.blank_row() == (row, shapes)
    assert model.run([row], shapes).size == 1
