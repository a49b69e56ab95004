"""Watchers see the tensors that clients get, in whatever form those got them."""

import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hub import Hub
from pipeline.messages import Prediction
from pipeline.observer import Observer, Sighting
from pipeline.results import BatchResult
from pipeline.tensors import ABSENT, DTYPES, STRING, Row, Shapes, Shared, TensorSpec

ROWS = 3


def batch(dtype: str, shape: tuple[int, ...], seed: int) -> Any:
    """Return `[ROWS, *shape]` of random values."""
    random = np.random.default_rng(seed)
    if dtype == "string":
        return random.choice(np.array(["", "ä", "fall"], object), (ROWS, *shape))
    if dtype == "bool":
        return random.integers(0, 2, (ROWS, *shape)).astype(bool)
    return random.integers(0, 5, (ROWS, *shape)).astype(DTYPES[dtype].numpy)


def update(observer: Observer, result: BatchResult, row: int, *, answered_in: str, lists: bool) -> Any:
    """Return the outputs that a watcher sees of a row that a client got as lists or as bytes."""
    answer = Prediction(1, None, None, result.rows(lists=answered_in == "lists")[row])
    sighting = Sighting(observer)
    sighting.answer = answer
    return sighting.message(Hub().topic("m/k"), lists=lists, inputs=False).outputs


@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    is_static=st.booleans(),
    seed=st.integers(0, 99),
)
def test_outputs_are_the_same_in_every_form(dtype: str, shape: tuple[int, ...], is_static: bool, seed: int) -> None:
    declared = shape if is_static else tuple(None for _ in shape)
    spec = TensorSpec("y", DTYPES[dtype], declared)
    result = BatchResult([spec], [batch(dtype, shape, seed)], {})
    observer = Observer(Hub(), "m", "1", [], [spec])
    for row in range(ROWS):
        for lists in (True, False):
            for answered_in in ("lists", "bytes"):
                expected = result.rows(lists=lists)[row]
                seen = update(observer, result, row, answered_in=answered_in, lists=lists)
                if seen != expected:
                    assert (answered_in, is_static, 0 in shape) == ("lists", False, True)  # it does not tell the shape
                    assert seen == result.rows(lists=True)[row]


def test_numbers_that_lists_cannot_hold_exactly_are_those_of_the_answer() -> None:
    spec = TensorSpec("y", DTYPES["bfloat16"], (2,))
    array = np.array([[0.1, np.inf]] * ROWS).astype(ml_dtypes.bfloat16)
    result = BatchResult([spec], [array], {})
    observer = Observer(Hub(), "m", "1", [], [spec])
    seen = update(observer, result, 0, answered_in="bytes", lists=True)
    assert seen == {"y": [0.10009765625, float("inf")]}


@pytest.mark.parametrize("lists", [True, False])
def test_inputs_are_the_row_that_the_model_got(lists: bool) -> None:
    inputs = [
        TensorSpec("static", DTYPES["float32"], (2,)),
        TensorSpec("dynamic", DTYPES["int64"], (None,)),
        TensorSpec("left_out", DTYPES["float32"], (1,), optional=True),
        TensorSpec("scalar", DTYPES["bool"], ()),
        TensorSpec("words", STRING, (2,)),
        TensorSpec("shared", DTYPES["int32"], (None,), optional=True, initializer=True),
    ]
    words = ("a", "<b>")
    cells = struct.pack("<2f", 1, 2), struct.pack("<3q", 3, 4, 5), b"", b"\x01", words, struct.pack("<i", 6)
    row: Row = cells
    shapes: Shapes = (None, (3,), ABSENT, None, None, Shared((1,), cells[5]))
    observer = Observer(Hub(), "m", "1", inputs, [])
    sighting = Sighting(observer)
    sighting.answer, sighting.row, sighting.shapes = Prediction(1), row, shapes
    seen = sighting.message(Hub().topic("m/k"), lists=lists, inputs=True)
    as_lists = {"static": [1, 2], "dynamic": [3, 4, 5], "scalar": True, "words": ["a", "<b>"], "shared": [6]}
    as_bytes = {
        "static": cells[0],
        "dynamic": {"shape": [3], "data": cells[1]},
        "scalar": b"\x01",
        "words": ["a", "<b>"],
        "shared": {"shape": [1], "data": cells[5]},
    }
    assert seen.inputs == (as_lists if lists else as_bytes)
