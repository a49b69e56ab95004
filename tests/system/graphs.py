"""Tiny ONNX models whose answers can be told without running them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT: Final = TensorProto.FLOAT
INT64: Final = TensorProto.INT64
WIDE: Final = 16384
"""Elements of one output row of `wide`."""

TABLE: Final = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
"""What `fragile` looks its input up in."""

_Shape = Sequence[int | str]

_GATHERING = """
max_batch_size = 4
inline_below_microseconds = 0
[dynamic_batching]
max_queue_delay_microseconds = 10_000_000
"""


def write_zoo(root: Path) -> None:
    """Fill a model repository with one model per kind that the tests need."""
    write_model(root, "double", double())
    write_model(root, "sum", _sum())
    write_model(root, "fragile", _fragile())
    write_model(root, "moving", _moving_sum(), "[window]\nlength = 3\nhop = 1\n")
    write_model(root, "gathering", _fragile(), _GATHERING)
    write_model(root, "slow", slow(), "max_batch_size = 8\ninline_below_microseconds = 0\n")
    write_model(root, "wide", _wide(), "max_batch_size = 4\n")


def write_model(root: Path, name: str, model: onnx.ModelProto, config: str = "", version: str = "1") -> None:
    """Put a model in its place below a model repository."""
    path = root / name / version / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    if config:
        (root / name / "config.toml").write_text(config)


def _model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, "np.ndarray[Any, Any]"]
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _tensor(name: str, dtype: int, shape: _Shape) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def double() -> onnx.ModelProto:
    """`y = 2 x`, four floats."""
    return _model(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [_tensor("x", FLOAT, ["n", 4])],
        [_tensor("y", FLOAT, ["n", 4])],
        {},
    )


def _sum() -> onnx.ModelProto:
    """`total = a + b`, two inputs of two floats."""
    return _model(
        [helper.make_node("Add", ["a", "b"], ["total"])],
        [_tensor("a", FLOAT, ["n", 2]), _tensor("b", FLOAT, ["n", 2])],
        [_tensor("total", FLOAT, ["n", 2])],
        {},
    )


def _fragile() -> onnx.ModelProto:
    """`value = TABLE[index]`: a run with an index beyond the table fails, and all its rows with it."""
    return _model(
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        [_tensor("index", INT64, ["n"])],
        [_tensor("value", FLOAT, ["n"])],
        {"table": np.array(TABLE, np.float32)},
    )


def _moving_sum() -> onnx.ModelProto:
    """The sum of three samples of two floats."""
    return _model(
        [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)],
        [_tensor("x", FLOAT, ["n", 3, 2])],
        [_tensor("y", FLOAT, ["n", 2])],
        {"axis": np.array([1], np.int64)},
    )


def plus(version: int) -> onnx.ModelProto:
    """`y = x + version`, one float."""
    return _model(
        [helper.make_node("Add", ["x", "version"], ["y"])],
        [_tensor("x", FLOAT, ["n", 1])],
        [_tensor("y", FLOAT, ["n", 1])],
        {"version": np.array([version], np.float32)},
    )


def moving_plus(version: int, length: int = 3) -> onnx.ModelProto:
    """The sum of `length` samples of one float, plus the version."""
    return _model(
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Add", ["sum", "version"], ["y"]),
        ],
        [_tensor("x", FLOAT, ["n", length, 1])],
        [_tensor("y", FLOAT, ["n", 1])],
        {"axis": np.array([1], np.int64), "version": np.array([version], np.float32)},
    )


def _wide() -> onnx.ModelProto:
    """One float in, `WIDE` times the same out."""
    return _model(
        [helper.make_node("MatMul", ["x", "ones"], ["y"])],
        [_tensor("x", FLOAT, ["n", 1])],
        [_tensor("y", FLOAT, ["n", WIDE])],
        {"ones": np.ones((1, WIDE), np.float32)},
    )


def slow(least: int = 0) -> onnx.ModelProto:
    """`y = x`, after x + least multiplications of large matrices: a batch takes as long as its greatest x.

    A thousand of them take about a tenth of a second.
    """
    size = 192
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["m_in", "m_in"], ["m_out"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [_tensor("i", INT64, []), _tensor("go", TensorProto.BOOL, []), _tensor("m_in", FLOAT, [size, size])],
        [_tensor("go_on", TensorProto.BOOL, []), _tensor("m_out", FLOAT, [size, size])],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["asked"], to=INT64),
        helper.make_node("Add", ["asked", "least"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "", "m"], ["m_end"], body=body),
        helper.make_node("ReduceMax", ["m_end"], ["one"], keepdims=0),
        helper.make_node("Mul", ["x", "one"], ["y"]),
    ]
    matrix = np.zeros((size, size), np.float32)
    matrix[0, 0] = 1.0  # its own square, so that it stays what it is
    constants: dict[str, np.ndarray[Any, Any]] = {"m": matrix, "least": np.array(least, np.int64)}
    return _model(nodes, [_tensor("x", FLOAT, ["n", 1])], [_tensor("y", FLOAT, ["n", 1])], constants)
