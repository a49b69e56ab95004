"""A loaded graph answers rows as plain ONNX Runtime answers a batch, in every type it takes."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.tensors import DTYPES
from tests import onnx_models as onnx
from tests.pipeline.runtime_parts import load, outputs_of, reference, rows_of, samples

FOREIGN = [name for name, dtype in DTYPES.items() if dtype.foreign]
NUMERIC = [name for name in DTYPES if name != "string"]
PLAIN = [name for name in NUMERIC if name not in FOREIGN]


@pytest.mark.parametrize("dims", [("N", 3), ("N", 2, 2), ("N",)], ids=str)
@pytest.mark.parametrize("dtype", NUMERIC)
def test_every_type_goes_in_and_comes_out_as_its_own_bytes(
    dtype: str, dims: tuple[str | int, ...], tmp_path: Path
) -> None:
    model = load(onnx.identity(dtype, dims), tmp_path)
    (spec,) = model.spec.inputs
    assert (spec.dtype.name, spec.shape, model.spec.stackable) == (dtype, dims[1:], True)
    batch = samples(dtype, (4, *(n for n in dims if isinstance(n, int))))
    rows = rows_of(batch)
    result = model.run(rows)
    assert [row["y"] for row in result.rows(lists=False)] == [row[0] for row in rows]
    expected = batch.astype(np.float64) if dtype in FOREIGN else batch
    assert [row["y"] for row in result.rows(lists=True)] == expected.tolist()
    assert result.size == 4


@pytest.mark.parametrize("dtype", PLAIN)
def test_extreme_values_survive(dtype: str, tmp_path: Path) -> None:
    numpy = DTYPES[dtype].numpy
    if numpy.kind == "f":
        limits = np.finfo(numpy)
        values = np.array([limits.max, limits.min, limits.tiny, np.inf, -np.inf, -0.0], numpy)
    elif numpy.kind == "b":
        values = np.array([True, False] * 3)
    else:
        values = np.array([np.iinfo(numpy).max, np.iinfo(numpy).min, 0, 1, 2, 3], numpy)
    model = load(onnx.identity(dtype, ("N", 6)), tmp_path)
    (row,) = model.run([(values.tobytes(),)]).rows(lists=False)
    assert row["y"] == values.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_arithmetic_is_that_of_onnx_runtime(dtype: str, tmp_path: Path) -> None:
    proto = onnx.add(dtype)
    model = load(proto, tmp_path)
    a, b = samples(dtype, (5, 3)), samples(dtype, (5, 3))[::-1].copy()
    (expected,) = reference(proto, a=a, b=b)
    assert [row["sum"] for row in outputs_of(model, rows_of(a, b))] == expected.tolist()


@pytest.mark.parametrize("dtype", FOREIGN)
def test_types_that_numpy_lacks_are_computed_with(dtype: str, tmp_path: Path) -> None:
    batch = np.array([[0.0, 1.0, -2.0], [0.5, 4.0, 1.75], [-0.25, 8.0, 3.0]], DTYPES[dtype].numpy)
    from_foreign = load(onnx.cast(dtype, "float32"), tmp_path / "from")
    assert [row["y"] for row in outputs_of(from_foreign, rows_of(batch))] == batch.astype(np.float32).tolist()
    to_foreign = load(onnx.cast("float32", dtype), tmp_path / "to")
    (first, *_) = to_foreign.run(rows_of(batch.astype(np.float32))).rows(lists=False)
    assert first["y"] == batch[0].tobytes()


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_a_batch_of_any_size_is_that_of_onnx_runtime(rows: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    proto = onnx.gemm(generator.normal(size=(6, 4)), generator.normal(size=4))
    batch = generator.normal(size=(rows, 6)).astype(np.float32)
    (expected,) = reference(proto, x=batch)
    result = load(proto, tmp_path).run(rows_of(batch))
    assert [row["scores"] for row in result.rows(lists=False)] == [row.tobytes() for row in expected]


def test_several_inputs_and_outputs_of_different_types(tmp_path: Path) -> None:
    model = load(onnx.two_by_two(), tmp_path)
    assert [str(spec) for spec in model.spec.inputs] == ["bool[2]", "int64[]"]
    mask, count = np.array([[True, False], [False, False]]), np.array([3, -4])
    assert outputs_of(model, rows_of(mask, count)) == [
        {"flipped": [False, True], "doubled": 6},
        {"flipped": [True, True], "doubled": -8},
    ]


def test_strings(tmp_path: Path) -> None:
    model = load(onnx.concat_strings(), tmp_path)
    first = np.array([["a", ""], ["é", "𝄞"]], object)
    last = np.array([["b", "c"], ["日本", "\x00\n"]], object)
    expected = [{"joined": ["ab", "c"]}, {"joined": ["é日本", "𝄞\x00\n"]}]
    assert outputs_of(model, rows_of(first, last)) == expected
    assert model.run(rows_of(first, last)).rows(lists=False) == expected
