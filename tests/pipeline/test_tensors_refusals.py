"""What is said of data that is no tensor of the model: the field first, then what was expected."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidInput
from pipeline.tensors import DTYPES, TensorSpec


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec("x", DTYPES[dtype], shape)


FLOATS = spec("float32", 2)
MATRIX = spec("float32", 2, 2)
DYNAMIC = spec("float32", None, 3)
VECTOR = spec("float32", None)

COUNTS: list[tuple[TensorSpec, Any, str]] = [
    (FLOATS, [1.0], "data: expected 2 numbers, got 1"),
    (FLOATS, [1, 2, 3], "data: expected 2 numbers, got 3"),
    (FLOATS, [], "data: expected 2 numbers, got 0"),
    (spec("int8", 2), [1], "data: expected 2 integers, got 1"),
    (spec("bool", 2), [True], "data: expected 2 booleans, got 1"),
    (spec("string", 2), ["a"], "data: expected 2 strings, got 1"),
    (spec("string", 2), "ab", "data: expected 2 strings, got a string"),
    (FLOATS, 5, "data: expected 2 numbers, got an integer"),
    (FLOATS, 5.0, "data: expected 2 numbers, got a float"),
    (FLOATS, None, "data: expected 2 numbers, got null"),
    (FLOATS, "12", "data: expected 2 numbers, got a string"),
    (spec("float32"), [], "data: expected 1 numbers, got 0"),
    (FLOATS, b"1234567", "data: expected 8 bytes (float32[2]), got 7 bytes"),
    (spec("bool", 2), b"\0\1\1", "data: expected 2 bytes (bool[2]), got 3 bytes"),
    (DYNAMIC, bytes(13), "data: expected a multiple of 12 bytes for float32[?, 3], got 13"),
]
TYPES: list[tuple[TensorSpec, Any, str]] = [
    (FLOATS, [1, True], "data: expected numbers, got a boolean at element 1"),
    (FLOATS, [1, "2"], "data: expected numbers, got a string at element 1"),
    (FLOATS, [None, 2], "data: expected numbers, got null at element 0"),
    (FLOATS, [1, {}], "data: expected numbers, got a map at element 1"),
    (FLOATS, [b"1234", 1], "data: expected numbers, got bytes at element 0"),
    (FLOATS, {"shape": [2], "data": [1, False]}, "data.data: expected numbers, got a boolean at element 1"),
    (MATRIX, [[1, 2], [3, None]], "data: expected numbers, got null at element 3"),
    (spec("bfloat16", 2), [1, True], "data: expected numbers, got a boolean at element 1"),
    (spec("int32", 2), [1, 2.0], "data: expected integers, got a float at element 1"),
    (spec("uint8", 2), [True, 2], "data: expected integers, got a boolean at element 0"),
    (spec("bool", 2), [True, 1], "data: expected booleans, got an integer at element 1"),
    (spec("bool", 2), b"\0\2", "data: expected bytes 0 or 1 for booleans"),
    (spec("bool", None), b"\0\2", "data: expected bytes 0 or 1 for booleans"),
    (spec("string", 2), ["a", 1], "data: expected strings, got an integer at element 1"),
    (spec("string", 2), ["a", b"b"], "data: expected strings, got bytes at element 1"),
    (spec("string", 2), b"ab", "data: expected a list of 2 strings, got bytes"),
    (spec("string", None), b"ab", 'data: a dynamic tensor string[?] as bytes needs {"shape": [...], "data": ...}'),
    (spec("string", 1), {"shape": [1], "data": b"a"}, "data.data: expected a list of 1 strings, got bytes"),
    (spec("float32"), True, "data: expected numbers, got a boolean at element 0"),
    (VECTOR, None, "data: expected numbers, got null at element 0"),
]
SHAPES: list[tuple[TensorSpec, Any, str]] = [
    (FLOATS, [[1, 2]], "data: expected shape [2], got [1, 2]"),
    (MATRIX, [[1, 2, 3, 4]], "data: expected shape [2, 2], got [1, 4]"),
    (spec("float32"), [[1]], "data: expected shape [], got [1, 1]"),
    (MATRIX, [[1, 2], [3]], "data[1]: expected a list of 2, got 1"),
    (MATRIX, [[1, 2], 3], "data[1]: expected a list of 2, got an integer"),
    (MATRIX, [[[1], [2]], [[3], [4, 5]]], "data[1][1]: expected a list of 1, got 2"),
    (MATRIX, [[[1], [2]], [[3], None]], "data[1][1]: expected a list of 1, got null"),
    (FLOATS, [1, [2]], "data: lists of different depths"),
    (MATRIX, [[1, [2]], [3, 4]], "data: lists of different depths"),
    (DYNAMIC, [[1, 2, 3], [4, 5]], "data[1]: expected a list of 3, got 2"),
    (DYNAMIC, [[1, 2], [3, 4]], "data: expected float32[?, 3], got shape [2, 2]"),
    (DYNAMIC, [[[1, 2, 3]]], "data: expected a nested list of float32[?, 3], got a list"),
    (DYNAMIC, [1, 2, 3], "data: expected a nested list of float32[?, 3], got a list"),
    (DYNAMIC, 3, "data: expected a nested list of float32[?, 3], got an integer"),
    (VECTOR, [[1]], "data: expected a nested list of float32[?], got a list"),
    (
        spec("float32", None, None),
        bytes(4),
        'data: a dynamic tensor float32[?, ?] as bytes needs {"shape": [...], "data": ...}',
    ),
    (
        spec("float32", None, 0),
        b"",
        'data: a dynamic tensor float32[?, 0] as bytes needs {"shape": [...], "data": ...}',
    ),
]
MAPS: list[tuple[TensorSpec, Any, str]] = [
    (FLOATS, {}, 'data: expected a tensor float32[2] or a map of "shape" and "data"'),
    (FLOATS, {"shape": [2]}, 'data: expected a tensor float32[2] or a map of "shape" and "data"'),
    (
        FLOATS,
        {"shape": [2], "data": [1, 2], "dtype": "f"},
        'data: expected a tensor float32[2] or a map of "shape" and "data"',
    ),
    (DYNAMIC, {1: 2}, 'data: expected a tensor float32[?, 3] or a map of "shape" and "data"'),
    (FLOATS, {"shape": [3], "data": [1, 2, 3]}, "data.shape: expected float32[2], got [3]"),
    (DYNAMIC, {"shape": [2, 4], "data": []}, "data.shape: expected float32[?, 3], got [2, 4]"),
    (DYNAMIC, {"shape": [3], "data": [1, 2, 3]}, "data.shape: expected float32[?, 3], got [3]"),
    *((FLOATS, {"shape": shape, "data": [1, 2]}, "data.shape: expected a list of sizes") for shape in (2, None, "2")),
    *((VECTOR, {"shape": [n], "data": []}, "data.shape: expected a list of sizes") for n in (-1, True, 2.0, 2**31)),
    (FLOATS, {"shape": [2], "data": {}}, "data.data: expected 2 numbers, got a map"),
    (DYNAMIC, {"shape": [2, 3], "data": [1, 2]}, "data.data: expected 6 numbers, got 2"),
    (DYNAMIC, {"shape": [2, 3], "data": [[1, 2, 3]]}, "data.data: expected shape [2, 3], got [1, 3]"),
    (DYNAMIC, {"shape": [9, 3], "data": bytes(4)}, "data.data: expected 108 bytes (float32[?, 3]), got 4 bytes"),
]


@pytest.mark.parametrize(("tensor", "data", "message"), COUNTS + TYPES + SHAPES + MAPS)
def test_the_error_names_the_field_and_what_was_expected(tensor: TensorSpec, data: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        tensor.parse(data, "data")
    assert str(caught.value) == message


@pytest.mark.parametrize("tensor", [FLOATS, MATRIX, DYNAMIC, VECTOR, spec("string", 2), spec("bfloat16")], ids=str)
def test_lists_of_any_depth_are_refused_without_recursion(tensor: TensorSpec) -> None:
    data: Any = 1
    for _ in range(2000):
        data = [data]
    with pytest.raises(InvalidInput, match=r"^data: expected"):
        tensor.parse(data, "data")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(width=16) | st.text(max_size=3) | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.fixed_dictionaries({"shape": st.lists(st.integers(-1, 4), max_size=3), "data": inner})
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=12,
)
SPECS = st.builds(
    lambda dtype, shape: TensorSpec("x", DTYPES[dtype], tuple(shape)),
    st.sampled_from(["float32", "int8", "bool", "string"]),
    st.lists(st.none() | st.integers(0, 3), max_size=3),
)


@given(SPECS, ANYTHING)
def test_whatever_comes_is_a_cell_of_the_right_size_or_an_error_that_names_the_field(
    tensor: TensorSpec, data: Any
) -> None:
    try:
        cell, shape = tensor.parse(data, "inputs.x")
    except InvalidInput as error:
        message = str(error)
    else:
        message = ""
        assert (shape is None) == tensor.is_static
        sizes = shape if shape is not None else tuple(n or 0 for n in tensor.shape)
        assert all(want in (None, n) for want, n in zip(tensor.shape, sizes, strict=True))
        assert tensor.stack([cell], sizes).shape == (1, *sizes)
    assert not message or message.startswith(("inputs.x: ", "inputs.x.data", "inputs.x.shape: ", "inputs.x["))


SAMPLE = spec("float32", 2, 2)
ONE = [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("tensor", "data", "count"),
    [
        (SAMPLE, ONE, 1),
        (SAMPLE, [ONE], 1),
        (SAMPLE, [ONE, ONE, ONE], 3),
        (SAMPLE, [1, 2, 3, 4], 1),
        (SAMPLE, [1.0, 2, 3, 4] * 3, 3),
        (spec("float32"), 5, 1),
        (spec("float32"), [5, 6], 2),
        (spec("float32", 1), [[5], [6]], 2),
        (spec("bfloat16", 2), [[5, 6], [7, 8]], 2),
        (spec("bool", 2), [True, False], 1),
    ],
)
def test_samples_come_one_by_one_or_in_chunks(tensor: TensorSpec, data: Any, count: int) -> None:
    octets, found = tensor.samples(data, "data")
    assert (found, octets) == (count, np.array(data, tensor.dtype.numpy).tobytes())
    assert tensor.samples(octets, "data") == (octets, count)


@pytest.mark.parametrize(
    ("tensor", "data", "message"),
    [
        (SAMPLE, [1, 2, 3], "data: expected 4 numbers per sample, got 3"),
        (SAMPLE, [], "data: expected 4 numbers per sample, got 0"),
        (SAMPLE, b"", "data: expected whole samples of 16 bytes, got 0 bytes"),
        (SAMPLE, bytes(17), "data: expected whole samples of 16 bytes, got 17 bytes"),
        (
            SAMPLE,
            {"shape": [2, 2], "data": ONE},
            "data: expected a sample float32[2, 2] or a list of samples, got a map",
        ),
        (SAMPLE, [[1, 2, 3, 4]], "data: expected samples of shape [2, 2], got [1, 4]"),
        (SAMPLE, [[ONE]], "data: expected samples of shape [2, 2], got [1, 1, 2, 2]"),
        (SAMPLE, [[1, 2], [3]], "data[1]: expected a list of 2, got 1"),
        (SAMPLE, [1, 2, 3, True], "data: expected numbers, got a boolean at element 3"),
        (spec("int8"), "7", "data: expected integers, got a string at element 0"),
        (spec("int8"), [1, 128], "data: the number at element 1 does not fit int8"),
        (spec("bool", 2), b"\0\2", "data: expected bytes 0 or 1 for booleans"),
    ],
)
def test_what_is_no_sample_is_refused(tensor: TensorSpec, data: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        tensor.samples(data, "data")
    assert str(caught.value) == message
