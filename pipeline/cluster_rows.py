"""Rows as they travel to a worker, and the outputs of a run as they travel back."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pipeline.cluster_messages import ForeignEntry, Outputs
from pipeline.results import BatchResult
from pipeline.tensors import ABSENT, STRING, Array, Cell, Entry, Row, Shapes, Shared, TensorSpec

MAX_ROWS: Final = 65536  # of an entry

_ABSENT: Final = "absent"


def pack_columns(specs: Sequence[TensorSpec], rows: Sequence[Row]) -> list[bytes | list[Any]]:
    """Return the cells of each input: the bytes of all rows where each has the same number, else one by one."""
    columns: list[bytes | list[Any]] = []
    for at, spec in enumerate(specs):
        cells = [row[at] for row in rows]
        columns.append(b"".join(cells) if _is_packed(spec) else cells)  # type: ignore[arg-type]
    return columns


def unpack_columns(specs: Sequence[TensorSpec], columns: Sequence[bytes | list[Any]], count: int) -> list[Row]:
    """Return the rows that `pack_columns` took. Raises `ForeignEntry` where they do not fit the model."""
    if len(columns) != len(specs):
        raise ForeignEntry(f"columns: expected {len(specs)}, got {len(columns)}")
    if not 0 < count <= MAX_ROWS:
        raise ForeignEntry(f"rows: expected 1 to {MAX_ROWS}, got {count}")
    cells = [_cells(spec, column, count) for spec, column in zip(specs, columns, strict=True)]
    return list(zip(*cells, strict=True)) if cells else [()] * count


def pack_shapes(shapes: Sequence[Shapes | None]) -> list[Any] | None:
    """Return the shapes of all rows; None where every row is static."""
    if all(entries is None for entries in shapes):
        return None
    return [None if entries is None else [_pack_entry(entry) for entry in entries] for entries in shapes]


def unpack_shapes(specs: Sequence[TensorSpec], packed: list[Any] | None, count: int) -> list[Shapes | None]:
    """Return the shapes that `pack_shapes` took. Raises `ForeignEntry`."""
    if packed is None:
        return [None] * count
    if len(packed) != count:
        raise ForeignEntry(f"shapes: expected {count}, got {len(packed)}")
    return [None if entries is None else _unpack_entries(specs, entries) for entries in packed]


def pack_outputs(
    specs: Sequence[TensorSpec], result: BatchResult, places: list[int] | None, rows: list[int]
) -> Outputs:
    """Return rows of a run's result, which stand at `places` in their entry."""
    first, count = rows[0], len(rows)
    index: Any = slice(first, first + count) if rows[-1] - first == count - 1 else rows
    tensors = []
    for spec, array in zip(specs, result.arrays, strict=True):
        part = array[index]
        elements = part.ravel().tolist() if spec.dtype is STRING else part.tobytes()
        tensors.append((list(part.shape), elements))
    return Outputs(places, tensors, result.run_seconds, result.size)


def unpack_outputs(
    specs: Sequence[TensorSpec], outputs: Outputs, rows: list[int], count: int, labels: dict[str, list[str]]
) -> BatchResult:
    """Return those `rows` of `count` outputs. Raises `ForeignEntry` where they do not fit the model."""
    if len(outputs.tensors) != len(specs):
        raise ForeignEntry(f"tensors: expected {len(specs)}, got {len(outputs.tensors)}")
    arrays = [_array(spec, *tensor, count) for spec, tensor in zip(specs, outputs.tensors, strict=True)]
    if len(rows) < count:
        arrays = [array[rows] for array in arrays]
    result = BatchResult(specs, arrays, labels)
    result.run_seconds = outputs.ran
    result.size = outputs.size
    return result


def _is_packed(spec: TensorSpec) -> bool:
    return spec.is_static and not spec.optional and not spec.initializer and spec.dtype is not STRING


def _cells(spec: TensorSpec, column: bytes | list[Any], count: int) -> Sequence[Cell]:
    if _is_packed(spec):
        size = spec.nbytes
        if not isinstance(column, bytes) or len(column) != size * count:
            raise ForeignEntry(f"columns.{spec.name}: expected {size * count} bytes")
        return [column[at : at + size] for at in range(0, size * count, size)] if size else [b""] * count
    if not isinstance(column, list) or len(column) != count:
        raise ForeignEntry(f"columns.{spec.name}: expected {count} cells")
    if spec.dtype is STRING:
        return [b"" if cell == b"" else _texts(spec, cell) for cell in column]
    if not all(isinstance(cell, bytes) for cell in column):
        raise ForeignEntry(f"columns.{spec.name}: expected bytes")
    return column


def _texts(spec: TensorSpec, cell: Any) -> tuple[str, ...]:
    if not isinstance(cell, list) or not all(isinstance(text, str) for text in cell):
        raise ForeignEntry(f"columns.{spec.name}: expected strings")
    return tuple(cell)


def _pack_entry(entry: Entry) -> Any:
    if entry is ABSENT:
        return _ABSENT
    if isinstance(entry, Shared):
        return {"shape": entry.shape, "cell": entry.cell}
    return entry


def _unpack_entries(specs: Sequence[TensorSpec], packed: Any) -> Shapes:
    if not isinstance(packed, list) or len(packed) != len(specs):
        raise ForeignEntry(f"shapes: expected {len(specs)} entries per row")
    return tuple(_unpack_entry(spec, entry) for spec, entry in zip(specs, packed, strict=True))


def _unpack_entry(spec: TensorSpec, entry: Any) -> Entry:
    if entry is None:
        return None
    if entry == _ABSENT:
        return ABSENT
    if isinstance(entry, dict) and entry.keys() == {"shape", "cell"}:
        cell = _cells(spec, [entry["cell"]], 1)[0] if not _is_packed(spec) else entry["cell"]
        return Shared(_shape(spec, entry["shape"]), cell)
    return _shape(spec, entry)


def _shape(spec: TensorSpec, shape: Any) -> tuple[int, ...] | None:
    if shape is None:
        return None
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise ForeignEntry(f"shapes.{spec.name}: expected sizes")
    return tuple(shape)


def _array(spec: TensorSpec, shape: list[int], elements: bytes | list[str], count: int) -> Array:
    """Return an output `[rows, ...]`."""
    size = math.prod(shape)
    if not shape or shape[0] != count or min(shape) < 0:
        raise ForeignEntry(f"tensors.{spec.name}: expected {count} rows, got shape {shape}")
    if spec.dtype is STRING:
        if not isinstance(elements, list) or len(elements) != size:
            raise ForeignEntry(f"tensors.{spec.name}: expected {size} strings")
        texts = np.empty(size, object)
        texts[:] = elements
        return texts.reshape(shape)
    if not isinstance(elements, bytes) or len(elements) != size * spec.dtype.numpy.itemsize:
        raise ForeignEntry(f"tensors.{spec.name}: expected the bytes of shape {shape}")
    return np.frombuffer(elements, spec.dtype.numpy).reshape(shape)
