"""ONNX Runtime behind a small face: the only importer of onnxruntime."""

import ctypes
import logging
import math
import re
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from pipeline.errors import ConfigError, InferenceFailed
from pipeline.graph_spec import ModelSpec, check_class_names, pin_length, read_spec, settle_output
from pipeline.onnx_constants import string_constant
from pipeline.providers import CPU, check_started, choose_providers, device_of, required_providers
from pipeline.results import BatchResult
from pipeline.run_buffers import RunBuffers, cpu_buffers, device_buffers
from pipeline.tensors import ABSENT, STRING, Array, Cell, DType, Entry, Row, Shapes, Shared, joined_entries

log = logging.getLogger(__name__)


class OnnxModel:
    """A loaded graph. `run` may be called from any thread."""

    def __init__(
        self,
        path: Path,
        *,
        batched: bool | None = None,
        intra_op_num_threads: int = 1,
        providers: Sequence[str] = ("cpu",),
        kind: str = "KIND_AUTO",
        optional: Collection[str] = (),
    ) -> None:
        """Load `path`; `batched` None means: find out. `providers` and `kind` are as `choose_providers` takes them.

        Initializers named in `optional` are inputs that may be given; the others are constants. Raises `ConfigError`
        where the model cannot be served.
        """
        try:
            wanted = choose_providers(providers, kind, ort.get_available_providers())
            required = required_providers(providers, kind, wanted)
            self._session = _start(path, wanted, required, intra_op_num_threads)
            self.providers: list[str] = self._session.get_providers()
            self.spec = read_spec(
                self._session.get_inputs(),
                self._session.get_outputs(),
                batched,
                self._session.get_overridable_initializers(),
                optional,
            )
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from (error.__cause__ or error)
        self._path = path
        self._output_names = [tensor.name for tensor in self.spec.outputs]
        self._foreign_outputs = any(tensor.dtype.foreign for tensor in self.spec.outputs)
        self._foreign = self._foreign_outputs or any(tensor.dtype.foreign for tensor in self.spec.inputs)
        self._labels: dict[str, list[str]] = {}
        self._buffers: RunBuffers | None = None
        #: A row that the model is known to take, and its shapes; None until one was found.
        self.sample: tuple[Row, Shapes | None] | None = None

    def set_labels(self, labels: dict[str, list[str]]) -> None:
        """Name the classes of outputs. Raises `ConfigError` for an unknown output or a wrong number of names."""
        check_class_names(labels, self.spec.outputs)
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
            if buffers is not None and len(rows) <= buffers.most_rows:
                self._buffers = None  # it ran without: its outputs are not what the graph declares
        result = BatchResult(self.spec.outputs, arrays, self._labels)
        result.started_at = started_at
        result.run_seconds = time.monotonic() - started_at
        return result

    def blank_row(self, fill: int = 0, *, bare: bool = False) -> tuple[Row, Shapes | None]:
        """Return a row of zeros (strings: empty), or of the number `fill`; dynamic dimensions are 1.

        It leaves initializers out, and with `bare` all that is optional.
        """
        row: list[Cell] = []
        entries: list[Entry] = []
        for spec in self.spec.inputs:
            shape = tuple(1 if n is None else n for n in spec.shape)
            given = None if spec.is_static else shape
            entries.append(ABSENT if spec.initializer or (bare and spec.optional) else given)
            size = math.prod(shape)
            text = str(fill) if fill else ""
            row.append((text,) * size if spec.dtype is STRING else np.full(size, fill, spec.dtype.numpy).tobytes())
        return tuple(row), joined_entries(entries)

    def pin_length(self, length: int) -> None:
        """Make the first dimension of the only input's rows `length`, where the graph leaves it open."""
        self.spec = pin_length(self.spec, length)

    def probe(self, rows: Sequence[tuple[Row, Shapes | None]] = ()) -> None:
        """Run one and two rows to learn what the graph leaves open: the first of `rows`, zeros and ones that it takes.

        That is: which outputs have the batch dimension, and the rank of those whose shape is not declared. Made-up rows
        prove nothing where dimensions are dynamic, or where integers may say what to do (a shape, axes); if none is
        taken, what is declared stands there. Raises `InferenceFailed` where any other model fails on all.
        """
        one = self._find_sample(rows)
        if one is None or self.sample is None:
            return
        row, shapes = self.sample
        two: Sequence[Any] = []
        if self.spec.batched:
            try:
                two = self._run(self._feeds([row, row], shapes))
            except InferenceFailed:
                if not self.spec.is_static:
                    return
        leads = tuple(self.spec.batched and leading for leading in _have_rows(one, two))
        if self.spec.batched and self.spec.has_optional:
            leads = tuple(leading and still for leading, still in zip(leads, self._have_rows_bare(leads), strict=True))
        outputs = tuple(
            settle_output(spec, declared, lead, array.ndim - lead)
            for spec, declared, lead, array in zip(self.spec.outputs, self.spec.leads, leads, one, strict=True)
        )
        stackable = self.spec.batched and bool(two) and all(leads)
        self.spec = ModelSpec(self.spec.inputs, outputs, self.spec.batched, leads, stackable)
        if stackable or not self.spec.batched:
            self.bind(device_of(self.providers))

    def bind(self, device: str | None) -> None:
        """Run in buffers that are allocated once: on a device that `OrtValue` knows, or small batches on the CPU.

        A graph that gives other shapes than it declares runs without.
        """
        spec = self.spec
        tensors = self._session, spec.inputs, spec.outputs, spec.batched
        if device is not None:
            allocate = partial(ort.OrtValue.ortvalue_from_shape_and_type, device_type=device, device_id=0)
            self._buffers = device_buffers(*tensors, allocate)
        elif self.providers == [CPU]:
            self._buffers = cpu_buffers(*tensors)

    def _have_rows_bare(self, leads: Sequence[bool]) -> Sequence[bool]:
        """Return which outputs have the batch dimension where all that may is left out; `leads` if that fails."""
        row, shapes = self.blank_row(0, bare=True)
        try:
            return _have_rows(self._run(self._feeds([row], shapes)), self._run(self._feeds([row, row], shapes)))
        except InferenceFailed:
            return leads

    def _find_sample(self, rows: Sequence[tuple[Row, Shapes | None]]) -> Sequence[Any] | None:
        """Set `sample` to the first row that the model takes and return its outputs."""
        failed: InferenceFailed | None = None
        made_up = [self.blank_row(0), self.blank_row(1)]
        if self.spec.has_optional:
            made_up.append(self.blank_row(0, bare=True))
        for row, shapes in (*rows, *made_up):
            try:
                outputs = self._run(self._feeds([row], shapes))
            except InferenceFailed as error:
                failed = failed or error
            else:
                self.sample = row, shapes
                return outputs
        has_integers = any(spec.dtype.numpy.kind in "iu" for spec in self.spec.inputs if not spec.initializer)
        if failed is not None and self.spec.is_static and not has_integers:
            raise failed
        log.warning(
            "%s takes neither zeros nor ones and is not warmed; name a row in model_warmup: %s", self._path, failed
        )
        return None

    def _feeds(self, rows: Sequence[Row], shapes: Shapes | None) -> dict[str, Array]:
        feeds = {}
        for at, spec in enumerate(self.spec.inputs):
            entry = None if shapes is None else shapes[at]
            if entry is ABSENT:
                continue  # to ONNX Runtime that is the same as None
            has_rows = self.spec.batched and not spec.initializer
            shape = entry.shape if isinstance(entry, Shared) else entry
            cells = [row[at] for row in rows] if has_rows else [rows[0][at]]
            array = spec.stack(cells, spec.shape if shape is None else shape)  # type: ignore[arg-type]
            feeds[spec.name] = array if has_rows else array.reshape(array.shape[1:])
        return feeds

    def _run(self, feeds: dict[str, Array]) -> Sequence[Any]:
        try:
            outputs = self._run_foreign(feeds) if self._foreign else self._session.run(self._output_names, feeds)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise InferenceFailed(f"the model failed: {_first_line(error)}") from error
        for name, output in zip(self._output_names, outputs, strict=True):
            if output is None:
                raise InferenceFailed(f"output {name}: the model gave none, which cannot be answered")
        return outputs

    def _rows_of(self, arrays: Sequence[Any], rows: int) -> list[Array]:
        """Return every output as `[rows, ...]`."""
        checked = []
        for spec, leads, array in zip(self.spec.outputs, self.spec.leads, arrays, strict=True):
            by_row = array if leads else array[np.newaxis]
            if by_row.ndim == 0 or len(by_row) != rows:
                raise InferenceFailed(f"output {spec.name}: expected {rows} rows, got shape {list(array.shape)}")
            checked.append(by_row)
        return checked

    def _run_foreign(self, feeds: dict[str, Array]) -> Sequence[Any]:
        """Run with types that numpy lacks: they go in and come out as raw memory."""
        values: dict[str, Any] = dict(feeds)
        for spec in self.spec.inputs:
            if spec.name not in feeds:
                continue
            array = feeds[spec.name]
            if spec.dtype.foreign:
                raw = array.view(np.uint16 if spec.dtype.numpy.itemsize == 2 else np.uint8)
                values[spec.name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, spec.dtype.onnx)
            elif self._foreign_outputs:
                values[spec.name] = _strings(array) if spec.dtype is STRING else ort.OrtValue.ortvalue_from_numpy(array)
        if not self._foreign_outputs:  # this way takes strings too
            return self._session.run(self._output_names, values)  # type: ignore[no-any-return]
        outputs = self._session.run_with_ort_values(self._output_names, values)
        return [
            _copy_out(value, spec.dtype) if spec.dtype.foreign else value.numpy()
            for spec, value in zip(self.spec.outputs, outputs, strict=True)
        ]


def _start(path: Path, wanted: list[str], required: list[str], intra_op_num_threads: int) -> ort.InferenceSession:
    """Open a model on the providers that are wanted, or tell what is missing and do with those that are required."""
    why = "ONNX Runtime left it out, for want of a driver or a library"
    try:
        session = _open(path, wanted, intra_op_num_threads)
    except ConfigError as error:
        if wanted == [CPU]:
            raise
        session = _open(path, [CPU] if wanted == required else required, intra_op_num_threads)
        why = str(error)
    started = session.get_providers()
    check_started(required, started, why)
    if missing := [name for name in wanted if name not in started]:
        log.warning("%s runs on %s, without %s: %s", path, ", ".join(started), ", ".join(missing), why)
    return session


def _open(path: Path, providers: list[str], intra_op_num_threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised, and told to whom it concerns
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:  # its own fallback would print to stdout, and change providers in the middle of a run
        return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise ConfigError(_why_not_loaded(error)) from error


def _have_rows(one: Sequence[Any], two: Sequence[Any]) -> list[bool]:
    """Return which outputs have the batch dimension, by those of one row and, unless they are unknown, of two."""
    return [a.shape[:1] == (1,) and (not two or b.shape[:1] == (2,)) for a, b in zip(one, two or one, strict=True)]


def _strings(array: Array) -> Any:
    """Return strings as an `OrtValue`. ONNX Runtime's Python makes none, so a graph that is nothing else gives them."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = string_constant("strings", array.ravel().tolist(), array.shape)
    session = ort.InferenceSession(graph, options, providers=[CPU])
    return session.run_with_ort_values(["strings"], {})[0]


def _copy_out(value: Any, dtype: DType) -> Array:
    shape = value.shape()
    size = math.prod(shape) * dtype.numpy.itemsize
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, dtype.numpy).reshape(shape)


def _why_not_loaded(error: Exception) -> str:
    if match := re.search(r"Opset (\d+) is under development.* domain (\S+) is till opset (\d+)", str(error)):
        opset, domain, known = match.groups()
        return f"opset {opset} of {domain} is too new: onnxruntime {ort.__version__} knows {known}"
    if match := re.search(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)", str(error)):
        return f"IR version {match[1]} is too new: onnxruntime {ort.__version__} knows {match[2]}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
