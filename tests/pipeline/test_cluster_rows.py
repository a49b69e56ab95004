"""Rows and outputs travel unchanged, and bytes that are none of ours are told and never believed."""

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster_messages import (
    FORMAT,
    Entry,
    Failed,
    ForeignEntry,
    Outputs,
    Reply,
    decode_entry,
    decode_reply,
    encode,
)
from pipeline.cluster_rows import pack_columns, pack_outputs, pack_shapes, unpack_columns, unpack_outputs, unpack_shapes
from pipeline.results import BatchResult
from pipeline.tensors import ABSENT, DTYPES, Row, Shapes, Shared, TensorSpec

SPECS = [
    TensorSpec("plain", DTYPES["float32"], (3,)),
    TensorSpec("nothing", DTYPES["int8"], (0,)),
    TensorSpec("open", DTYPES["bfloat16"], (None, 2)),
    TensorSpec("texts", DTYPES["string"], (2,)),
    TensorSpec("some", DTYPES["bool"], (2,), optional=True),
    TensorSpec("shared", DTYPES["int64"], (1,), optional=True, initializer=True),
]


@st.composite
def whole_rows(draw: st.DrawFn) -> tuple[Row, Shapes]:
    length = draw(st.integers(0, 3))
    has_some, has_shared = draw(st.booleans()), draw(st.booleans())
    shared = draw(st.binary(min_size=8, max_size=8))
    row: Row = (
        draw(st.binary(min_size=12, max_size=12)),
        b"",
        draw(st.binary(min_size=4 * length, max_size=4 * length)),
        draw(st.tuples(st.text(max_size=5), st.text(max_size=5))),
        draw(st.sampled_from([b"\0\1", b"\1\1"])) if has_some else b"",
        shared if has_shared else b"",
    )
    shapes: Shapes = (
        None,
        None,
        (length, 2),
        None,
        None if has_some else ABSENT,
        Shared(None, shared) if has_shared else ABSENT,
    )
    return row, shapes


@given(st.lists(whole_rows(), min_size=1, max_size=9))
def test_rows_of_every_kind_travel_unchanged(items: list[tuple[Row, Shapes]]) -> None:
    rows, shapes = [row for row, _ in items], [entries for _, entries in items]
    entry = Entry(FORMAT, "g", 7, len(rows), pack_columns(SPECS, rows), pack_shapes(shapes))
    seen = decode_entry(encode(entry))
    assert unpack_columns(SPECS, seen.columns, seen.rows) == rows
    assert unpack_shapes(SPECS, seen.shapes, seen.rows) == shapes


def test_static_rows_need_no_shapes_and_one_column_of_bytes() -> None:
    rows: list[Row] = [(struct.pack("<3f", number, 0, 0),) for number in range(100)]
    assert pack_shapes([None] * 100) is None
    (column,) = pack_columns(SPECS[:1], rows)
    assert isinstance(column, bytes)
    assert len(column) == 1200
    assert unpack_columns(SPECS[:1], [column], 100) == rows
    assert unpack_shapes(SPECS[:1], None, 2) == [None, None]


def test_a_model_without_inputs_has_rows_all_the_same() -> None:
    assert unpack_columns([], pack_columns([], [(), ()]), 2) == [(), ()]


OUTPUTS = [
    TensorSpec("y", DTYPES["float32"], (2,)),
    TensorSpec("brain", DTYPES["bfloat16"], (1,)),
    TensorSpec("name", DTYPES["string"], (1,)),
]


def result() -> BatchResult:
    arrays = [
        np.arange(10, dtype=np.float32).reshape(5, 2),
        np.arange(5).astype(DTYPES["bfloat16"].numpy).reshape(5, 1),
        np.array([[f"n{number}"] for number in range(5)], object),
    ]
    run = BatchResult(OUTPUTS, arrays, {})
    run.run_seconds = 0.5
    return run


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [1, 2], [4], [3, 0, 2]])
def test_outputs_travel_unchanged(rows: list[int]) -> None:
    reply = Reply(FORMAT, 1, "w", [pack_outputs(OUTPUTS, result(), rows, rows)])
    (part,) = decode_reply(encode(reply)).parts
    assert isinstance(part, Outputs)
    assert (part.rows, part.ran, part.size) == (rows, 0.5, 5)
    seen = unpack_outputs(OUTPUTS, part, list(range(len(rows))), len(rows), {})
    assert seen.size == 5
    for array, expected in zip(seen.arrays, result().arrays, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected[rows])


def test_some_rows_of_a_reply_can_be_taken() -> None:
    part = pack_outputs(OUTPUTS, result(), None, [0, 1, 2, 3, 4])
    seen = unpack_outputs(OUTPUTS, part, [1, 3], 5, {})
    np.testing.assert_array_equal(seen.arrays[0], result().arrays[0][[1, 3]])


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [b"", b""],
        [b"123"],
        [[b"123"]],
        [["text"]],
        [[struct.pack("<3f", 0, 0, 0)]],
    ],
)
def test_columns_that_do_not_fit_the_model_are_foreign(columns: list[Any]) -> None:
    with pytest.raises(ForeignEntry):
        unpack_columns(SPECS[:1], columns, 1)


@pytest.mark.parametrize("count", [0, -1, 65537])
def test_a_number_of_rows_that_cannot_be_is_foreign(count: int) -> None:
    with pytest.raises(ForeignEntry):
        unpack_columns([], [], count)


@pytest.mark.parametrize("column", [["text"], [["a", 1]], [[b"a"]], [7], b"ab"])
def test_texts_that_are_none_are_foreign(column: Any) -> None:
    with pytest.raises(ForeignEntry):
        unpack_columns([SPECS[3]], [column], 1)


@pytest.mark.parametrize("shapes", [[], [[]], [[[-1, 2]]], [[[1.5]]], [["?"]], [7], [[{"shape": None}]], [[[1 << 40]]]])
def test_shapes_that_are_none_are_foreign(shapes: list[Any]) -> None:
    with pytest.raises(ForeignEntry):
        unpack_shapes([SPECS[2]], shapes, 1)


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [([1, 2], b"1234567"), ([1, 1], b"12"), ([1, 1], ["a"])],
        [([2, 2], b"1234567812345678"), ([1, 1], b"12"), ([1, 1], ["a"])],
        [([], b"1234"), ([1, 1], b"12"), ([1, 1], ["a"])],
        [([1, 2], ["a", "b"]), ([1, 1], b"12"), ([1, 1], ["a"])],
        [([1, 2], b"12345678"), ([1, 1], b"12"), ([1, 1], b"a")],
        [([1, 2], b"12345678"), ([1, 1], b"12"), ([1, 1], ["a", "b"])],
    ],
)
def test_outputs_that_do_not_fit_the_model_are_foreign(tensors: list[Any]) -> None:
    with pytest.raises(ForeignEntry):
        unpack_outputs(OUTPUTS, Outputs(None, tensors, 0.0, 1), [0], 1, {})


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_foreign(payload: bytes) -> None:
    for decode in (decode_entry, decode_reply):
        with contextlib.suppress(ForeignEntry):
            decode(payload)


def test_other_formats_are_foreign() -> None:
    with pytest.raises(ForeignEntry, match="format: expected 1, got 2"):
        decode_entry(encode(Entry(2, "g", 1, 1, [])))
    with pytest.raises(ForeignEntry, match="format: expected 1, got 2"):
        decode_reply(encode(Reply(2, 1, "w", [Failed(None, "x", "y")])))
