"""What a rule holds for, against plain Python over the numbers that clients get, for every type of output."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.alert_config import AlertRule
from pipeline.alerts import AlertRules, Held
from pipeline.results import BatchResult
from pipeline.tensors import DTYPES, STRING, Array, DType, TensorSpec, to_wire

NUMERIC = [dtype for dtype in DTYPES.values() if dtype is not STRING]
NAMES = ["a", "b", "c"]
Found = list[list[tuple[int, Any]]]  # for each row: which rules hold, with their number


def judged(
    rules: Sequence[AlertRule], dtype: DType, array: Array, labels: list[str] | None = None
) -> tuple[Found, list[Any] | None]:
    spec = TensorSpec("y", dtype, (None,) * (array.ndim - 1))
    result = BatchResult([spec], [array], {"y": labels} if labels else {})
    verdicts = AlertRules("m", "1", rules, [spec]).judge(result)
    assert len(verdicts) == len(array)
    for row, verdict in enumerate(verdicts):
        assert all(held.label == (result.labels[row] if result.labels else None) for held in verdict or ())
    return [[(held.rule, held.value) for held in verdict or ()] for verdict in verdicts], result.labels


def expected(rule: AlertRule, row: list[Any], label: str | None) -> tuple[bool, Any]:
    """Return whether a rule holds for a row of flat numbers, and the number that it tells; slow and plain."""
    is_class = len(row) == 1 and type(row[0]) is int
    candidates = [*row]
    if rule.label is not None:
        if label not in rule.label:
            return False, None
        if is_class and rule.index is None:
            return rule.above is None and rule.below is None, None
        if not is_class:
            if any(math.isnan(number) for number in row):
                return False, None
            candidates = [max(row)]
    if rule.index is not None:
        candidates = row[rule.index : rule.index + 1]
    if rule.above is not None:
        candidates = [number for number in candidates if number > rule.above]
    if rule.below is not None:
        candidates = [number for number in candidates if number < rule.below]
    if not candidates:
        return False, None
    return True, min(candidates) if rule.above is None and rule.below is not None else max(candidates)


BOUNDS = st.sampled_from([-300.5, -1.0, 0.0, 0.1, 0.5, 1.0, 2.0, 127.0, 200.0, 2.0**53, 1e30]) | st.floats(-200, 200)


@st.composite
def rules(draw: st.DrawFn, *, labelled: bool) -> AlertRule:
    above, below = draw(st.none() | BOUNDS), draw(st.none() | BOUNDS)
    if above is not None and below is not None and above >= below:
        below = None
    label = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)) if labelled else None
    if above is None and below is None and label is None:
        above = 0.5
    has_index = (above is not None or below is not None) and draw(st.booleans())
    return AlertRule(above=above, below=below, label=label, index=draw(st.integers(0, 4)) if has_index else None)


@st.composite
def batches(draw: st.DrawFn, dtype: DType, elements: int | None = None) -> Array:
    """Return `[rows, elements]`; small numbers, bounds themselves, NaN and infinities are likely."""
    count = draw(st.integers(0, 4)) if elements is None else elements
    shape = (draw(st.integers(1, 4)), count)
    raw = draw(arrays.arrays(np.uint8, (*shape, max(1, dtype.numpy.itemsize))))
    array: Array = raw.view(dtype.numpy)[..., 0] if dtype.name != "bool" else (raw[..., 0] % 2).astype(np.bool_)
    if draw(st.booleans()):
        small = draw(arrays.arrays(np.int8, shape, elements=st.integers(0, 3)))
        array = small.astype(dtype.numpy)
    return array


def check(dtype: DType, array: Array, some: list[AlertRule], names: list[str] | None) -> None:
    found, labels = judged(some, dtype, array, names)
    wire = to_wire(array, dtype)
    numbers = [[int(number) if type(number) is bool else number for number in row] for row in wire]
    for row, row_numbers in enumerate(numbers):
        outcomes = [expected(rule, row_numbers, labels[row] if labels else None) for rule in some]
        wanted = [(number, value) for number, (holds, value) in enumerate(outcomes) if holds]
        assert found[row] == wanted
        assert [type(value) for _, value in found[row]] == [type(value) for _, value in wanted]


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
@given(st.data())
def test_bounds_hold_as_in_plain_python(dtype: DType, data: st.DataObject) -> None:
    check(dtype, data.draw(batches(dtype)), data.draw(st.lists(rules(labelled=False), min_size=1, max_size=3)), None)


@pytest.mark.parametrize("dtype", [d for d in NUMERIC if not d.foreign], ids=lambda dtype: dtype.name)
@given(st.data())
def test_labels_hold_as_in_plain_python(dtype: DType, data: st.DataObject) -> None:
    elements = 3 if dtype.numpy.kind not in "iu" else data.draw(st.sampled_from([1, 3]))
    some = data.draw(st.lists(rules(labelled=True) | rules(labelled=False), min_size=1, max_size=3))
    check(dtype, data.draw(batches(dtype, elements)), some, NAMES)


def test_the_numbers_of_every_dimension_count() -> None:
    array = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    found, _ = judged([AlertRule(above=4), AlertRule(index=4, below=5)], DTYPES["float32"], array)
    assert found == [[(0, 5.0), (1, 4.0)], [(0, 11.0)]]


def test_a_signalling_nan_is_passed_over_like_any_other() -> None:
    array = np.array([[0x3F81, 0x7F81]], np.uint16).view(DTYPES["bfloat16"].numpy)  # 1.0078125 and the NaN
    found, _ = judged([AlertRule(above=0.5)], DTYPES["bfloat16"], array)
    assert found == [[(0, 1.0078125)]]


def test_integers_are_compared_exactly() -> None:
    exact = 2**53
    array = np.array([[exact], [exact + 1]], np.int64)
    found, _ = judged([AlertRule(above=float(exact))], DTYPES["int64"], array)
    assert found == [[], [(0, exact + 1)]]


def test_a_float32_is_compared_as_the_number_that_clients_see() -> None:
    array = np.array([[0.8]], np.float32)  # 0.800000011920929
    assert judged([AlertRule(above=0.8)], DTYPES["float32"], array)[0] == [[(0, 0.800000011920929)]]
    assert judged([AlertRule(below=0.8)], DTYPES["float32"], array)[0] == [[]]


def test_of_several_outputs_a_rule_looks_at_its_own() -> None:
    specs = [TensorSpec("scores", DTYPES["float32"], (3,)), TensorSpec("class", DTYPES["int64"], ())]
    arrays_ = [np.array([[0.1, 0.7, 0.2], [0.9, 0, 0]], np.float32), np.array([2, 1])]
    result = BatchResult(specs, arrays_, {"scores": NAMES, "class": ["x", "y", "z"]})
    made = AlertRules(
        "m",
        "1",
        [
            AlertRule(output="scores", label=["b"], above=0.5),
            AlertRule(output="class", label=["z", "y"]),
            AlertRule(output="scores", index=0, above=0.5),
        ],
        specs,
    )
    seven, nine = arrays_[0][0, 1].item(), arrays_[0][1, 0].item()
    assert made.judge(result) == [
        (Held(0, seven, "b"), Held(1, None, "z")),
        (Held(1, None, "y"), Held(2, nine, "a")),
    ]


def test_where_nothing_holds_there_is_nothing() -> None:
    array = np.zeros((4, 3), np.float32)
    spec = TensorSpec("y", DTYPES["float32"], (3,))
    assert AlertRules("m", "1", [AlertRule(above=1)], [spec]).judge(BatchResult([spec], [array], {})) == [None] * 4


def test_a_rule_about_labels_holds_for_no_row_without_them() -> None:
    array = np.ones((1, 3), np.float32)
    assert judged([AlertRule(label=["a"])], DTYPES["float32"], array)[0] == [[]]
