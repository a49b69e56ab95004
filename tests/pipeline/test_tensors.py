"""One row's tensor: what is taken, as which octets, and what is said of the rest."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.errors import InvalidInput
from pipeline.tensors import DTYPES, STRING, DType, Shape, TensorSpec, to_wire

NUMERIC = [dtype for dtype in DTYPES.values() if dtype is not STRING]
PLAIN = [dtype for dtype in NUMERIC if not dtype.foreign]
FOREIGN = [dtype for dtype in NUMERIC if dtype.foreign]


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec("x", DTYPES[dtype], shape)


def values_of(dtype: DType) -> list[Any]:
    if dtype is STRING:
        return ["", "zwölf", "c", "d", "e", "f"]
    if dtype.name == "bool":
        return [True, False, True, True, False, False]
    return [0, 1, 2, 3, 4, 5] if dtype.numpy.kind in "iu" else [0.0, 1, -2.0, 0.5, 4, -0.25]


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_dtype_comes_flat_nested_shaped_and_as_bytes(dtype: DType) -> None:
    tensor, values = TensorSpec("x", dtype, (2, 3)), values_of(dtype)
    expected = np.array(values, dtype.numpy).reshape(2, 3)
    forms: list[Any] = [values, [values[:3], values[3:]], {"shape": [2, 3], "data": values}]
    if dtype is not STRING:
        forms += [expected.tobytes(), {"shape": [2, 3], "data": expected.tobytes()}]
    for form in forms:
        cell, shape = tensor.parse(form, "data")
        assert shape is None
        batch = tensor.stack([cell, cell], (2, 3))
        assert batch.dtype == dtype.numpy
        assert batch.tolist() == [expected.tolist()] * 2


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_dtype_may_be_a_scalar(dtype: DType) -> None:
    tensor, value = TensorSpec("x", dtype, ()), values_of(dtype)[1]
    for form in (value, [value], {"shape": [], "data": value}):
        cell, _ = tensor.parse(form, "data")
        assert tensor.stack([cell], ()).tolist() == np.array([value], dtype.numpy).tolist()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_dtype_may_have_no_elements(dtype: DType) -> None:
    cases: list[tuple[TensorSpec, Any]] = [
        (TensorSpec("x", dtype, (0,)), []),
        (TensorSpec("x", dtype, (2, 0)), [[], []]),
        (TensorSpec("x", dtype, (None,)), []),
        (TensorSpec("x", dtype, (None, 3)), {"shape": [0, 3], "data": []}),
    ]
    for tensor, form in cases:
        cell, shape = tensor.parse(form, "data")
        assert not cell
        shape = shape or tuple(n or 0 for n in tensor.shape)
        assert tensor.stack([cell, cell], shape).shape == (2, *shape)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_a_dynamic_dimension_is_found_in_the_data(dtype: DType) -> None:
    tensor, values = TensorSpec("x", dtype, (None, 2)), values_of(dtype)
    nested = [values[:2], values[2:4], values[4:]]
    forms: list[Any] = [nested, {"shape": [3, 2], "data": nested}, {"shape": [3, 2], "data": values}]
    if dtype is not STRING:
        octets = np.array(values, dtype.numpy).tobytes()
        forms += [octets, {"shape": [3, 2], "data": octets}]
    for form in forms:
        cell, shape = tensor.parse(form, "data")
        assert shape == (3, 2)
        assert tensor.stack([cell], shape).tolist() == [np.array(nested, dtype.numpy).tolist()]


def test_a_vector_of_dynamic_length_may_be_a_flat_list_or_one_number() -> None:
    assert spec("int8", None).parse([1, 2, 3], "data") == (b"\1\2\3", (3,))
    assert spec("int8", None).parse(7, "data") == (b"\7", (1,))


def test_several_dynamic_dimensions_are_found_in_nested_lists() -> None:
    tensor = spec("uint8", None, 2, None)
    assert tensor.parse([[[1, 2, 3], [4, 5, 6]]], "data") == (bytes(range(1, 7)), (1, 2, 3))
    assert tensor.parse({"shape": [1, 2, 3], "data": bytes(6)}, "data") == (bytes(6), (1, 2, 3))
    assert spec("uint8", None, None).parse([[], []], "data") == (b"", (2, 0))


@given(st.data(), st.sampled_from(PLAIN), arrays.array_shapes(min_dims=0, max_dims=4, max_side=4))
def test_parse_then_stack_gives_what_numpy_gives(data: st.DataObject, dtype: DType, shape: Shape) -> None:
    rows = data.draw(arrays.arrays(dtype.numpy, (data.draw(st.integers(1, 4)), *shape)))
    static = TensorSpec("x", dtype, shape)
    dynamic = TensorSpec("x", dtype, tuple(data.draw(st.sampled_from([n, None])) for n in shape))
    for tensor in (static, dynamic):
        from_lists = [tensor.parse(row.tolist(), "data") for row in rows]
        from_shaped = [tensor.parse({"shape": list(shape), "data": row.tobytes()}, "data") for row in rows]
        assert {found for _, found in from_lists + from_shaped} == {None if tensor.is_static else shape}
        np.testing.assert_array_equal(tensor.stack([cell for cell, _ in from_lists], shape), rows)
        assert tensor.stack([cell for cell, _ in from_shaped], shape).tobytes() == rows.tobytes()
    assert static.stack([static.parse(row.flatten().tolist(), "data")[0] for row in rows], shape).shape == rows.shape


@pytest.mark.parametrize("dtype", FOREIGN, ids=lambda dtype: dtype.name)
def test_numbers_of_types_that_numpy_lacks_survive_the_wire(dtype: DType) -> None:
    octets = np.arange(65536, dtype=np.uint16).tobytes() if dtype.numpy.itemsize == 2 else bytes(range(256))
    every = np.frombuffer(octets, dtype.numpy)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        every = every[~np.isnan(every)]
    tensor = TensorSpec("x", dtype, every.shape)
    cell, _ = tensor.parse(to_wire(every, dtype), "data")
    assert tensor.stack([cell], every.shape).tobytes() == every.tobytes()


@pytest.mark.parametrize("dtype", PLAIN, ids=lambda dtype: dtype.name)
def test_the_wire_gets_numbers_and_booleans_nested_as_the_array_is(dtype: DType) -> None:
    values = values_of(dtype)
    assert to_wire(np.array(values, dtype.numpy).reshape(3, 2), dtype) == [values[:2], values[2:4], values[4:]]
    assert to_wire(np.array(values[1], dtype.numpy), dtype) == values[1]


@pytest.mark.parametrize(
    "dtype", [d for d in NUMERIC if d.numpy.kind == "f" or d.name == "bfloat16"], ids=lambda dtype: dtype.name
)
def test_nan_and_infinities_are_taken_as_bytes_and_as_numbers(dtype: DType) -> None:
    tensor, values = TensorSpec("x", dtype, (3,)), [math.nan, math.inf, -math.inf]
    octets = np.array(values, dtype.numpy).tobytes()
    forms: list[Any] = [octets, values]
    for form in forms:
        cell, _ = tensor.parse(form, "data")
        np.testing.assert_array_equal(tensor.stack([cell], (3,))[0].astype(np.float64), values)


INTEGERS = [dtype for dtype in PLAIN if dtype.numpy.kind in "iu"]


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda dtype: dtype.name)
def test_integers_are_taken_up_to_the_ends_of_their_range_and_no_further(dtype: DType) -> None:
    tensor, limits = TensorSpec("x", dtype, (2,)), np.iinfo(dtype.numpy)
    cell, _ = tensor.parse([limits.min, limits.max], "data")
    assert tensor.stack([cell], (2,)).tolist() == [[limits.min, limits.max]]
    for outside in (limits.min - 1, limits.max + 1, 10**400):
        with pytest.raises(InvalidInput, match=f"^data: the number at element 1 does not fit {dtype.name}$"):
            tensor.parse([0, outside], "data")


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [("float16", 65504.0), ("float32", 3.4028234663852886e38), ("float64", 1.7976931348623157e308)],
)
def test_floats_that_overflow_are_refused(dtype: str, largest: float) -> None:
    for tensor in (spec(dtype, 2), spec(dtype, None)):
        cell, _ = tensor.parse([0, largest], "data")
        assert tensor.stack([cell], (2,)).tolist() == [[0, largest]]
        for outside in (int(largest) * 2, -int(largest) * 2, 10**400):
            with pytest.raises(InvalidInput, match=f"^data: the number at element 1 does not fit {dtype}$"):
                tensor.parse([0, outside], "data")


@given(st.lists(st.floats(width=32) | st.integers(-(2**80), 2**80).map(float), max_size=5))
def test_pack_numbers_gives_the_same_cell_as_parse_or_leaves_it_to_that(numbers: list[float]) -> None:
    for tensor in (spec("float32", 3), spec("float64", 3), spec("float16", 3)):
        packed = tensor.pack_numbers(numbers)
        try:
            expected, _ = tensor.parse(numbers, "data")
        except InvalidInput:
            assert packed is None
        else:
            assert packed == expected


def test_pack_numbers_leaves_what_struct_cannot_pack_to_parse() -> None:
    assert spec("bfloat16", 1).pack_numbers([1.0]) is None
    assert spec("float32", None).pack_numbers([1.0]) is None


@pytest.mark.parametrize(
    ("tensor", "text", "size", "nbytes"),
    [
        (spec("float32"), "float32[]", 1, 4),
        (spec("int16", 2, 3), "int16[2, 3]", 6, 12),
        (spec("bfloat16", 0, 3), "bfloat16[0, 3]", 0, 0),
        (spec("float64", None, 3), "float64[?, 3]", -1, -1),
        (spec("string", 2), "string[2]", 2, -1),
    ],
    ids=str,
)
def test_a_spec_knows_its_size_and_how_it_is_written(tensor: TensorSpec, text: str, size: int, nbytes: int) -> None:
    assert (str(tensor), tensor.size, tensor.nbytes, tensor.is_static) == (text, size, nbytes, size >= 0)
