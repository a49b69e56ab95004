"""How one row of a run's outputs is read, and which label it gets."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.results import BatchResult
from pipeline.tensors import DTYPES, STRING, Array, DType, TensorSpec

PLAIN = [dtype for dtype in DTYPES.values() if not dtype.foreign and dtype is not STRING]


def spec(name: str, dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name, DTYPES[dtype], shape)


def result(*outputs: tuple[TensorSpec, Array], labels: dict[str, list[str]] | None = None) -> BatchResult:
    return BatchResult([spec for spec, _ in outputs], [array for _, array in outputs], labels or {})


SCORES = spec("scores", "float32", 3)


def floats(*rows: Any) -> Array:
    return np.array(rows, np.float32)


def test_rows_come_as_numbers_or_as_bytes() -> None:
    array = floats([1, 2, 3], [4, 5, 6])
    made = result((SCORES, array))
    assert made.size == 2
    assert made.rows(lists=True) == [{"scores": [1.0, 2.0, 3.0]}, {"scores": [4.0, 5.0, 6.0]}]
    assert made.rows(lists=False) == [{"scores": array[0].tobytes()}, {"scores": array[1].tobytes()}]
    assert made.labels is None


@pytest.mark.parametrize("lists", [False, True])
def test_rows_are_made_once(lists: bool) -> None:
    made = result((SCORES, floats([1, 2, 3])))
    rows = made.rows(lists=lists)
    assert made.rows(lists=lists) is rows
    assert made.rows(lists=not lists) != rows
    assert made.rows(lists=lists) is rows
    assert (made.list_rows if lists else made.byte_rows) is rows


def test_every_row_has_all_outputs() -> None:
    made = result((SCORES, floats([1, 2, 3], [4, 5, 6])), (spec("class", "int64"), np.array([7, -8])))
    assert made.rows(lists=True) == [{"scores": [1, 2, 3], "class": 7}, {"scores": [4, 5, 6], "class": -8}]
    assert [row["class"] for row in made.rows(lists=False)] == [b"\7" + bytes(7), b"\xf8" + b"\xff" * 7]


def test_bytes_of_a_dynamic_output_come_with_their_shape() -> None:
    array = np.arange(12, dtype=np.int16).reshape(2, 3, 2)
    made = result((spec("y", "int16", None, 2), array))
    assert made.rows(lists=False) == [{"y": {"shape": [3, 2], "data": array[n].tobytes()}} for n in range(2)]
    assert made.rows(lists=True) == [{"y": array[n].tolist()} for n in range(2)]


def test_empty_outputs_are_empty_in_every_row() -> None:
    assert result((spec("y", "int8", 0), np.zeros((2, 0), np.int8))).rows(lists=False) == [{"y": b""}] * 2
    dynamic = result((spec("y", "int8", None), np.zeros((2, 0), np.int8)))
    assert dynamic.rows(lists=False) == [{"y": {"shape": [0], "data": b""}}] * 2
    assert dynamic.rows(lists=True) == [{"y": []}] * 2


@pytest.mark.parametrize("lists", [False, True])
def test_strings_are_never_bytes(lists: bool) -> None:
    made = result((spec("text", "string", 2), np.array([["a", "ö"], ["", "d"]], object)))
    assert made.rows(lists=lists) == [{"text": ["a", "ö"]}, {"text": ["", "d"]}]


def test_types_that_json_lacks_become_numbers() -> None:
    made = result((spec("y", "bfloat16", 2), np.array([[0.5, -2]], ml_dtypes.bfloat16)))
    assert made.rows(lists=True) == [{"y": [0.5, -2.0]}]
    assert made.rows(lists=False) == [{"y": b"\x00\x3f\x00\xc0"}]


@given(st.data(), st.sampled_from(PLAIN), arrays.array_shapes(min_dims=1, max_dims=3, max_side=4))
def test_each_row_is_what_numpy_has_there(data: st.DataObject, dtype: DType, shape: tuple[int, ...]) -> None:
    array = data.draw(arrays.arrays(dtype.numpy, shape))
    if data.draw(st.booleans()):
        array = np.asfortranarray(array)
    made = result((TensorSpec("y", dtype, shape[1:]), array))
    numbers, octets = made.rows(lists=True), made.rows(lists=False)
    for n, row in enumerate(array):
        np.testing.assert_array_equal(np.array(numbers[n]["y"], dtype.numpy), row)
        assert octets[n] == {"y": row.tobytes()}
    assert len(numbers) == len(octets) == made.size


NAMES = ["sit", "walk", "run"]


def test_the_label_is_the_name_of_the_highest_score() -> None:
    made = result((SCORES, floats([0, 1, 0], [3, 2, 1], [-2, -2, -1])), labels={"scores": NAMES})
    assert made.labels == ["walk", "sit", "run"]


def test_the_first_of_equal_scores_gives_the_label() -> None:
    assert result((SCORES, floats([0, 5, 5])), labels={"scores": NAMES}).labels == ["walk"]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_single_integer_is_the_class_number(shape: tuple[int, ...]) -> None:
    classes = np.array([2, 0, 1], np.int64).reshape(shape)
    assert result((spec("y", "int64", *shape[1:]), classes), labels={"y": NAMES}).labels == ["run", "sit", "walk"]


def test_a_class_number_without_a_name_is_its_own_label() -> None:
    made = result((spec("y", "int64"), np.array([3, -1, 0])), labels={"y": NAMES})
    assert made.labels == ["3", "-1", "sit"]


def test_a_single_score_is_no_class_number() -> None:
    assert result((spec("y", "float32", 1), floats([0.9], [7])), labels={"y": ["only"]}).labels == ["only", "only"]


def test_labels_of_several_outputs_are_told_apart_by_name() -> None:
    made = result(
        (SCORES, floats([0, 1, 0], [1, 0, 0])),
        (spec("plain", "float32"), floats(1, 2)),
        (spec("wet", "uint8"), np.array([1, 0], np.uint8)),
        labels={"scores": NAMES, "wet": ["dry", "wet"]},
    )
    assert made.labels == [{"scores": "walk", "wet": "wet"}, {"scores": "sit", "wet": "dry"}]


def test_rows_that_are_not_kept_are_never_seen() -> None:
    made = result((SCORES, floats([0, 1, 0], [3, 2, 1], [-2, -2, -1])), labels={"scores": NAMES})
    made.keep(2)
    assert (made.size, made.labels) == (2, ["walk", "sit"])
    assert made.rows(lists=True) == [{"scores": [0, 1, 0]}, {"scores": [3, 2, 1]}]
    assert len(made.rows(lists=False)) == 2
