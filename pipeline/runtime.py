"""ONNX Runtime behind a small face: the only importer of onnxruntime."""

import ctypes
import dataclasses
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from pipeline.errors import ConfigError, InferenceFailed
from pipeline.results import BatchResult
from pipeline.run_buffers import MOST_ROWS, RunBuffers
from pipeline.tensors import DTYPES, STRING, Array, Cell, DType, Row, Shapes, TensorSpec


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Inputs and outputs of one row.

    `batched`: the graph has a batch dimension. `leads`: for each output, whether it has it too. `stackable`: many rows
    may share a run; else they run one by one.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool
    leads: tuple[bool, ...]
    stackable: bool


class OnnxModel:
    """A loaded graph. `run` may be called from any thread."""

    def __init__(self, path: Path, *, batched: bool | None = None, intra_op_num_threads: int = 1) -> None:
        """Load `path`; `batched` None means: find out. Raises `ConfigError` where the model cannot be served."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised, and told to whom it concerns
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise ConfigError(f"{path}: {_first_line(error)}") from error
        self._output_names = [node.name for node in self._session.get_outputs()]
        self.spec = _read_spec(self._session, batched, path)
        self._foreign = any(t.dtype.foreign for t in (*self.spec.inputs, *self.spec.outputs))
        self._labels: dict[str, list[str]] = {}
        self._buffers: RunBuffers | None = None

    def set_labels(self, labels: dict[str, list[str]]) -> None:
        """Name the classes of outputs. Raises `ConfigError` for an unknown output or a wrong number of names."""
        outputs = {spec.name: spec for spec in self.spec.outputs}
        for name, names in labels.items():
            if name not in outputs:
                raise ConfigError(f"labels.{name}: the model has no such output, expected one of {list(outputs)}")
            size, dtype = outputs[name].size, outputs[name].dtype
            if dtype is STRING:
                raise ConfigError(f"labels.{name}: the output is strings already")
            is_class = size == 1 and dtype.numpy.kind in "iu"
            if not names or (size >= 0 and size != len(names) and not is_class):
                raise ConfigError(f"labels.{name}: expected {max(size, 1)} names, got {len(names)}")
        self._labels = dict(labels)

    def run(self, rows: Sequence[Row], shapes: Shapes | None = None) -> BatchResult:
        """Run rows that share `shapes` (None: all static) as one batch. Raises `InferenceFailed`.

        Where the graph has no batch dimension there must be one row.
        """
        started_at = time.monotonic()
        buffers = self._buffers if shapes is None else None
        arrays = None if buffers is None else buffers.run(rows)
        if arrays is None:
            arrays = self._rows_of(self._run(self._feeds(rows, shapes)), len(rows))
            if buffers is not None and len(rows) <= MOST_ROWS:
                buffers.give_up()  # it ran without
        result = BatchResult(self.spec.outputs, arrays, self._labels)
        result.started_at = started_at
        result.run_seconds = time.monotonic() - started_at
        return result

    def blank_row(self) -> tuple[Row, Shapes | None]:
        """Return a row of zeros (empty strings); dynamic dimensions are 1."""
        shapes = tuple(tuple(n if n is not None else 1 for n in spec.shape) for spec in self.spec.inputs)
        row: list[Cell] = []
        for spec, shape in zip(self.spec.inputs, shapes, strict=True):
            size = int(np.prod(shape))
            row.append(("",) * size if spec.dtype is STRING else bytes(size * spec.dtype.numpy.itemsize))
        static = all(spec.is_static for spec in self.spec.inputs)
        return tuple(row), None if static else shapes

    def pin_length(self, length: int) -> None:
        """Make the first dimension of the only input's rows `length`, where the graph leaves it open."""
        (tensor,) = self.spec.inputs
        pinned = TensorSpec(tensor.name, tensor.dtype, (length, *tensor.shape[1:]))
        self.spec = dataclasses.replace(self.spec, inputs=(pinned,))

    def probe(self) -> None:
        """Run one and two blank rows to learn what the graph leaves open.

        That is: which outputs have the batch dimension, and the rank of those whose shape is not declared.
        A model with dynamic dimensions may not take the sizes tried; then what is declared stands. Raises
        `InferenceFailed` where a model without any fails on zeros.
        """
        row, shapes = self.blank_row()
        try:
            one = self._run(self._feeds([row], shapes))
            two = self._run(self._feeds([row, row], shapes)) if self.spec.batched else one
        except InferenceFailed:
            if shapes is None and not self.spec.batched:
                raise
            if shapes is not None:
                return
            one, two = self._run(self._feeds([row], shapes)), []
        leads = tuple(
            self.spec.batched and a.ndim > 0 and a.shape[0] == 1 and (not two or b.shape[0] == 2)
            for a, b in zip(one, two or one, strict=True)
        )
        outputs = tuple(
            _settle_shape(spec, declared, lead, array.ndim - lead)
            for spec, declared, lead, array in zip(self.spec.outputs, self.spec.leads, leads, one, strict=True)
        )
        stackable = self.spec.batched and bool(two) and all(leads)
        self.spec = ModelSpec(self.spec.inputs, outputs, self.spec.batched, leads, stackable)
        if stackable or not self.spec.batched:
            self._buffers = RunBuffers(self._session, self.spec.inputs, outputs, self.spec.batched)

    def _feeds(self, rows: Sequence[Row], shapes: Shapes | None) -> dict[str, Array]:
        feeds = {}
        for at, spec in enumerate(self.spec.inputs):
            shape: Any = spec.shape if shapes is None or shapes[at] is None else shapes[at]
            array = spec.stack([row[at] for row in rows], shape)
            feeds[spec.name] = array if self.spec.batched else array.reshape(array.shape[1:])
        return feeds

    def _run(self, feeds: dict[str, Array]) -> Sequence[Any]:
        try:
            return self._run_foreign(feeds) if self._foreign else self._session.run(self._output_names, feeds)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise InferenceFailed(f"the model failed: {_first_line(error)}") from error

    def _rows_of(self, arrays: Sequence[Any], rows: int) -> list[Array]:
        """Return every output as `[rows, ...]`."""
        checked = []
        for spec, leads, array in zip(self.spec.outputs, self.spec.leads, arrays, strict=True):
            by_row = array if leads else array[np.newaxis]
            if by_row.ndim == 0 or len(by_row) != rows:
                raise InferenceFailed(f"output {spec.name}: expected {rows} rows, got shape {list(array.shape)}")
            checked.append(by_row)
        return checked

    def _run_foreign(self, feeds: dict[str, Array]) -> list[Array]:
        """Run with types that numpy lacks: they go in and come out as raw memory."""
        values = {}
        for spec in self.spec.inputs:
            array = feeds[spec.name]
            if spec.dtype.foreign:
                raw = array.view(np.uint16 if array.itemsize == 2 else np.uint8)
                values[spec.name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, spec.dtype.onnx)
            else:
                values[spec.name] = ort.OrtValue.ortvalue_from_numpy(array)
        outputs = self._session.run_with_ort_values(self._output_names, values)
        return [
            _copy_out(value, spec.dtype) if spec.dtype.foreign else value.numpy()
            for spec, value in zip(self.spec.outputs, outputs, strict=True)
        ]


def _copy_out(value: Any, dtype: DType) -> Array:
    shape = value.shape()
    size = int(np.prod(shape)) * dtype.numpy.itemsize
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, dtype.numpy).reshape(shape)


def _read_spec(session: ort.InferenceSession, batched: bool | None, path: Path) -> ModelSpec:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if not inputs:
        raise ConfigError(f"{path}: the model has no inputs")
    leading = [bool(node.shape) and not isinstance(node.shape[0], int) for node in inputs]
    if batched is None:
        batched = all(leading)
    elif batched and not all(leading):
        names = [node.name for node, dynamic in zip(inputs, leading, strict=True) if not dynamic]
        raise ConfigError(f"{path}: max_batch_size: the inputs {names} have no dynamic first dimension; use 0")
    leads = tuple(batched and bool(node.shape) and not isinstance(node.shape[0], int) for node in outputs)
    return ModelSpec(
        tuple(_read_tensor(node, batched, path) for node in inputs),
        tuple(_read_tensor(node, lead, path) for node, lead in zip(outputs, leads, strict=True)),
        batched,
        leads,
        batched and all(leads),
    )


def _settle_shape(spec: TensorSpec, declared: bool, leads: bool, rank: int) -> TensorSpec:
    """Return the spec of an output whose rank and batch dimension are now known."""
    shape = spec.shape
    if declared and not leads:
        shape = (None, *shape)
    elif leads and not declared:
        shape = shape[1:]
    return TensorSpec(spec.name, spec.dtype, shape if len(shape) == rank else (None,) * rank)


def _read_tensor(node: Any, skip_batch: bool, path: Path) -> TensorSpec:
    kind = str(node.type)
    name = kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else ""
    dtype = DTYPES.get({"float": "float32", "double": "float64"}.get(name, name))
    if dtype is None:
        hint = " (export scikit-learn models with zipmap=False)" if kind.startswith(("seq", "map")) else ""
        raise ConfigError(f"{path}: {node.name}: type {kind} cannot be served{hint}")
    shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in node.shape)
    try:
        return TensorSpec(node.name, dtype, shape[1:] if skip_batch else shape)
    except (struct.error, OverflowError, MemoryError) as error:
        raise ConfigError(f"{path}: {node.name}: a row of shape {list(node.shape)} is too large") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
