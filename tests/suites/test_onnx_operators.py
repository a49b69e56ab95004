"""The single-operator graphs that ONNX tests its backends with: what plain ONNX Runtime answers, a model answers.

Each graph is loaded, and given its recorded inputs in the form in which clients send them: as one row where all shapes
are fixed, else as rows along the batch dimension. The outputs must be those of plain ONNX Runtime, bit for bit.
"""

import ctypes
import math
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from pipeline.errors import ConfigError, WaterspoutError
from pipeline.runtime import OnnxModel
from pipeline.tensors import ABSENT, DTYPES, STRING, Array, Cell, DType, Entry, Row, Shapes, joined_entries

BY_NUMPY = {str(dtype.numpy): dtype for dtype in DTYPES.values() if dtype.foreign}
NEWEST_IR, NEWEST_OPSET = 13, 26  # of onnxruntime 1.31
FEWEST_EQUAL = 1620  # of about 1,900; the rest needs what this onnxruntime has no kernel or no type in Python for


@dataclass
class Tally:
    """Names of graphs by what became of them."""

    equal: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    plain_fails: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def tally(tmp_path_factory: pytest.TempPathFactory) -> Tally:
    tally = Tally()
    path = tmp_path_factory.mktemp("operators") / "model.onnx"
    with warnings.catch_warnings():  # numpy's, while the cases are made
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        assert case.model is not None
        assert case.data_sets
        inputs, _ = case.data_sets[0]
        arrays = [numpy_helper.to_array(value) if isinstance(value, TensorProto) else value for value in inputs]
        feeds = dict(zip([value.name for value in case.model.graph.input], arrays, strict=False))
        as_old_as_needed(case.model)
        try:
            expected = ask_plain(case.model, feeds)
        except Exception as error:
            tally.plain_fails[case.name] = str(error)
            continue
        path.write_bytes(case.model.SerializeToString())
        try:
            answer = ask_model(path, feeds)
        except ConfigError as error:
            tally.refused[case.name] = str(error).removeprefix(f"{path}: ")
        except WaterspoutError as error:
            tally.failed[case.name] = str(error)
        else:
            (tally.equal if answer == expected else tally.unequal).append(case.name)
    return tally


def as_old_as_needed(proto: ModelProto) -> None:
    """Stamp a graph that is newer than this onnxruntime with what that knows; most mean the same there."""
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    for opset in proto.opset_import:
        if not opset.domain:
            opset.version = min(opset.version, NEWEST_OPSET)


def ask_plain(proto: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    """Return each output as bytes, strings as a list."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    values = {name: _plain_value(value) for name, value in feeds.items() if name in names}
    kinds = [_dtype(str(value.type)) for value in session.get_outputs()]
    if not any(kind is not None and kind.foreign for kind in kinds):
        return [_plain_bytes(value) for value in session.run(None, values)]
    owned = {
        name: value if isinstance(value, ort.OrtValue) else ort.OrtValue.ortvalue_from_numpy(value)
        for name, value in values.items()
    }
    outputs = session.run_with_ort_values([value.name for value in session.get_outputs()], owned)
    return [
        ctypes.string_at(value.data_ptr(), math.prod(value.shape()) * kind.numpy.itemsize)
        if kind is not None and kind.foreign
        else _plain_bytes(value.numpy())
        for kind, value in zip(kinds, outputs, strict=True)
    ]


def ask_model(path: Path, feeds: dict[str, Any]) -> list[Any]:
    """Do the same through `OnnxModel`. Raises `ConfigError` where it cannot be loaded."""
    model = OnnxModel(path)
    model.probe()
    arrays = [None if feeds[spec.name] is None else np.asarray(feeds[spec.name]) for spec in model.spec.inputs]
    if model.spec.batched:
        count = max(0 if array is None else len(array) for array in arrays)
        rows = [_row_of(model, [None if array is None else array[at, ...] for array in arrays]) for at in range(count)]
    else:
        rows = [_row_of(model, arrays)]
    answers = []
    for row, shapes in rows:
        (answer,) = model.run([row], shapes).rows(lists=False)
        answers.append({name: _cell_bytes(value) for name, value in answer.items()})
    return [_joined([answer[spec.name] for answer in answers]) for spec in model.spec.outputs]


def _row_of(model: OnnxModel, arrays: list[Array | None]) -> tuple[Row, Shapes | None]:
    """Parse what a client would send."""
    cells: list[Cell] = []
    entries: list[Entry] = []
    for spec, array in zip(model.spec.inputs, arrays, strict=True):
        if array is None:
            assert spec.optional
            cells.append(b"")
            entries.append(ABSENT)
            continue
        cell, shape = spec.parse({"shape": list(array.shape), "data": array.ravel().tolist()}, spec.name)
        if spec.dtype is not STRING and spec.dtype.numpy.kind not in "fV":
            assert cell == array.tobytes()
        cells.append(cell)
        entries.append(spec.entry(cell, shape))
    return tuple(cells), joined_entries(entries)


def _plain_value(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic):
        return value
    array = np.asarray(value)
    if (dtype := BY_NUMPY.get(str(array.dtype))) is None:
        return array.astype(object) if array.dtype.kind == "U" else array
    raw = array.view(np.uint16 if array.itemsize == 2 else np.uint8)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, dtype.onnx)


def _plain_bytes(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype == object else value.tobytes()
    return value


def _cell_bytes(value: Any) -> Any:
    data = value["data"] if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else np.array(data, object).ravel().tolist()


def _joined(cells: list[Any]) -> Any:
    if all(isinstance(cell, bytes) for cell in cells):
        return b"".join(cells)
    return [text for cell in cells for text in cell]


def _dtype(kind: str) -> DType | None:
    return DTYPES.get(kind.removeprefix("tensor(").removesuffix(")"))


def test_every_answer_is_that_of_plain_onnx_runtime(tally: Tally) -> None:
    assert tally.unequal == []
    assert tally.failed == {}
    assert len(tally.equal) >= FEWEST_EQUAL


SERVED_NOT = {
    r"\w+: type seq\(.*\) cannot be served.*": "a sequence goes in or comes out",
    r"\w+: type optional\(seq\(.*\)\) cannot be served": "an optional sequence goes in or comes out",
}


def test_what_is_refused_is_refused_for_a_reason_that_is_documented(tally: Tally) -> None:
    reasons: Counter[str] = Counter()
    for name, reason in tally.refused.items():
        kinds = [kind for pattern, kind in SERVED_NOT.items() if re.fullmatch(pattern, reason)]
        assert kinds, f"{name}: {reason}"
        reasons[kinds[0]] += 1
    docs = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    for kind, count in reasons.items():
        assert f"| {kind} |" in docs, f"docs/models.md lacks: {kind} ({count})"
