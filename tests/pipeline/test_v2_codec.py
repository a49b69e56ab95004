"""The Open Inference Protocol's codec: any tensors go in and out in any form, and what is malformed is refused."""

import json
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.compression import choose, compress, decompress
from pipeline.errors import InvalidInput, InvalidMessage, TooLarge
from pipeline.results import BatchResult
from pipeline.tensors import DTYPES, STRING, Array, DType, TensorSpec
from pipeline.v2_messages import InferInput, InferRequest, decode_infer
from pipeline.v2_responses import encode_response, plan_outputs, read_schedule
from pipeline.v2_tensors import DATATYPES, is_binary_only, pack_strings, read_raw, read_rows, unpack_strings

MOST = 100
NUMERIC = [dtype for dtype in DTYPES.values() if dtype is not STRING]


@dataclass(frozen=True)
class Tensors:
    """A model, as far as the codec is concerned."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    batched: bool = True


def elements_of(dtype: DType, count: int) -> st.SearchStrategy[Array]:
    """Make `count` elements from any bytes that are some."""
    if dtype is STRING:
        texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=count, max_size=count)
        return texts.map(lambda made: np.array([*made, ""], object)[:-1])
    if dtype.name == "bool":
        return st.lists(st.booleans(), min_size=count, max_size=count).map(lambda made: np.array(made, bool))
    size = count * dtype.numpy.itemsize
    return st.binary(min_size=size, max_size=size).map(lambda made: np.frombuffer(made, dtype.numpy))


@st.composite
def tensors(draw: st.DrawFn) -> tuple[TensorSpec, list[int], Array]:
    """Make an input's spec, the shape of a row and the elements of some rows."""
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    row = draw(st.lists(st.integers(0, 3), max_size=3))
    is_open = draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)))
    rows = draw(st.integers(1, 4))
    elements = draw(elements_of(dtype, rows * int(np.prod(row, dtype=int))))
    declared = tuple(None if opened else size for size, opened in zip(row, is_open, strict=True))
    return TensorSpec("x", dtype, declared), row, elements.reshape(rows, *row)


def as_bytes(array: Array, dtype: DType) -> bytes:
    return pack_strings(array.ravel().tolist()) if dtype is STRING else array.tobytes()


@given(tensors(), st.booleans(), st.booleans())
def test_rows_are_the_same_whatever_form_they_come_in(
    made: tuple[TensorSpec, list[int], Array], batched: bool, nested: bool
) -> None:
    spec, row, array = made
    array = array if batched else array[:1]
    shape = [len(array), *row] if batched else row
    signature = Tensors((spec,), batched=batched)
    blob = as_bytes(array, spec.dtype)
    request = InferRequest([InferInput("x", shape, DATATYPES[spec.dtype.name], {"binary_data_size": len(blob)})])
    rows, shapes = read_rows(request, blob, signature, MOST)
    assert len(rows) == (len(array) if batched else 1)
    assert shapes == (None if spec.is_static else (tuple(row),))
    for (cell,), expected in zip(rows, array, strict=True):
        assert cell == (tuple(np.ravel(expected).tolist()) if spec.dtype is STRING else expected.tobytes())
    is_finite = spec.dtype is STRING or spec.dtype.foreign or bool(np.isfinite(array).all())
    if not is_binary_only(spec.dtype) and is_finite:
        whole = array.reshape(shape)
        listed = whole.tolist() if nested and shape else whole.ravel().tolist()
        message = {"inputs": [{"name": "x", "shape": shape, "datatype": DATATYPES[spec.dtype.name], "data": listed}]}
        assert read_rows(decode_infer(json.dumps(message).encode()), b"", signature, MOST) == (rows, shapes)


@given(tensors(), st.booleans(), st.booleans())
def test_answers_hold_the_rows_in_order_wherever_they_ran(
    made: tuple[TensorSpec, list[int], Array], is_binary: bool, apart: bool
) -> None:
    spec, row, array = made
    if apart:
        results = [BatchResult((spec,), [array[at : at + 1]], {}) for at in range(len(array))]
        outcomes = [(result, 0) for result in results]
    else:
        result = BatchResult((spec,), [array], {})
        outcomes = [(result, at) for at in range(len(array))]
    plans = plan_outputs(InferRequest([]), Tensors((), (spec,)), is_binary=is_binary)
    body, length = encode_response(("m", "1"), "mine", plans, outcomes, batched=True, labels={})
    answer = json.loads(body[:length])
    (output,) = answer["outputs"]
    assert (answer["id"], output["shape"], output["datatype"]) == (
        "mine",
        [len(array), *row],
        DATATYPES[spec.dtype.name],
    )
    if is_binary or is_binary_only(spec.dtype):
        assert body[length:] == as_bytes(array, spec.dtype)
        assert output["parameters"] == {"binary_data_size": len(body) - (length or 0)}
    else:
        assert length is None
        assert "parameters" not in output
        expected = [None if isinstance(n, float) and not np.isfinite(n) else n for n in array.ravel().tolist()]
        if spec.dtype.name == "float32":
            np.testing.assert_array_equal(np.array(output["data"], np.float32), np.array(expected, np.float32))
        else:
            assert output["data"] == expected


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
SHAPES = st.lists(st.integers(-1, 5) | st.just(2**31 - 1), max_size=4)
PARAMETERS = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "classification", "timeout", "priority", "binary_data_output"]),
    st.integers(-2, 40) | JSON_VALUES,
    max_size=3,
)
TENSORS = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y", "z"]), "shape": SHAPES, "datatype": st.sampled_from(["FP32", "BYTES", "BOOL"])},
    optional={"data": st.lists(st.integers(0, 2), max_size=8) | JSON_VALUES, "parameters": PARAMETERS},
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=3) | JSON_VALUES},
    optional={"outputs": st.lists(TENSORS, max_size=3) | JSON_VALUES, "parameters": PARAMETERS, "id": JSON_VALUES},
)
MODELS = st.builds(
    Tensors,
    st.lists(
        st.builds(
            TensorSpec,
            st.sampled_from(["x", "y"]),
            st.sampled_from([DTYPES["float32"], STRING, DTYPES["bool"]]),
            st.lists(st.none() | st.integers(0, 3), max_size=2).map(tuple),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda spec: spec.name,
    ).map(tuple),
    st.just((TensorSpec("y", DTYPES["float32"], (2,)),)),
    st.booleans(),
)


@given(REQUESTS | JSON_VALUES, st.binary(max_size=40), MODELS)
def test_whatever_comes_is_read_or_refused(message: Any, body: bytes, model: Tensors) -> None:
    with suppress(InvalidInput, InvalidMessage):
        request = decode_infer(json.dumps(message).encode(errors="replace"))
        plan_outputs(request, model)
        read_schedule(request)
        rows, _ = read_rows(request, body, model, MOST)
        assert 1 <= len(rows) <= MOST
        assert all(len(row) == len(model.inputs) for row in rows)


@given(st.binary(max_size=60))
@example(b"")
@example(b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[Infinity]}]}')
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_infer(body)


@given(st.binary(max_size=40), MODELS)
def test_any_raw_body_is_read_or_refused(body: bytes, model: Tensors) -> None:
    with suppress(InvalidInput):
        rows, _ = read_raw(body, model, MOST)
        (spec,) = model.inputs
        cells = [cell for (cell,) in rows]
        if spec.dtype is STRING:
            assert cells == [(body.decode(),)]
        else:
            assert b"".join(cell for cell in cells if isinstance(cell, bytes)) == body


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.binary(min_size=1, max_size=8))
def test_strings_travel_as_bytes(texts: list[str], more: bytes) -> None:
    packed = pack_strings(texts)
    assert unpack_strings(packed, len(texts), "x") == texts
    for wrong, count in ((packed[:-1], len(texts)), (packed + more, len(texts)), (packed, len(texts) + 1)):
        if wrong != packed or count != len(texts):
            if not texts and wrong == packed[:-1] and count == len(texts):
                continue  # nothing can be cut off nothing
            with pytest.raises(InvalidInput, match=r"^x"):
                unpack_strings(wrong, count, "x")


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]), st.integers(0, 2000))
def test_what_is_compressed_comes_back_unless_it_is_too_large(body: bytes, coding: str, limit: int) -> None:
    packed = compress(body, coding)
    if len(body) > limit:
        with pytest.raises(TooLarge):
            decompress(packed, coding, limit)
    else:
        assert decompress(packed, f" {coding.upper()} ", limit) == body
    with pytest.raises(InvalidMessage):
        decompress(packed[:-1], coding, 10_000)
    with pytest.raises(InvalidMessage):
        decompress(packed + b"x", coding, 10_000)


@given(st.binary(max_size=50), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_decompressed_or_refused(body: bytes, coding: str) -> None:
    with suppress(InvalidMessage, TooLarge):
        assert len(decompress(body, coding, 100)) <= 100


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br, zstd", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, GZIP;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.000", None),
        ("*", None),
    ],
)
def test_the_first_coding_that_is_spoken_here_is_chosen(accepted: str, coding: str | None) -> None:
    assert choose(accepted) == coding


def test_rows_of_different_shapes_do_not_fit_into_one_answer() -> None:
    spec = TensorSpec("y", DTYPES["float32"], (None,))
    results = [BatchResult((spec,), [np.zeros((1, size), np.float32)], {}) for size in (2, 3)]
    plans = plan_outputs(InferRequest([]), Tensors((), (spec,)))
    with pytest.raises(InvalidInput, match=r"^outputs\.y: its rows have different shapes"):
        encode_response(("m", "1"), None, plans, [(result, 0) for result in results], batched=True, labels={})


def test_no_number_of_elements_is_too_large_to_be_refused() -> None:
    spec = TensorSpec("x", DTYPES["float32"], (None, None, None))
    request = InferRequest([InferInput("x", [1, 2**31 - 1, 2**31 - 1, 2**31 - 1], "FP32", data=[1.0])])
    with pytest.raises(InvalidInput, match=r"^inputs\.x\.shape: expected fewer than 2\*\*31 elements"):
        read_rows(request, b"", Tensors((spec,)), MOST)
    blob = struct.pack("<f", 1)
    request.inputs[0] = InferInput("x", [1, 2**31 - 1, 2**31 - 1, 1], "FP32", {"binary_data_size": 4})
    with pytest.raises(InvalidInput, match=r"^inputs\.x: expected 18446744"):
        read_rows(request, blob, Tensors((spec,)), MOST)
