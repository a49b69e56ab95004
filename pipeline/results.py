"""What a run returned, and how one row of it is read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.errors import InferenceFailed
from pipeline.tensors import STRING, Array, Cell, TensorSpec, to_wire


class BatchResult:
    """The outputs of one run, one array `[rows, ...]` per output.

    `byte_rows` and `list_rows` are what `rows` has made so far. `started_at` (monotonic seconds), `run_seconds` and
    `size` (rows) describe the run. `observer` shows the predictions to those who watch the model; None: nobody does.
    `verdicts` (`alerts.Verdict` of each row) are what the model's alert rules say, once they were asked.
    """

    __slots__ = (
        "_cells",
        "_specs",
        "arrays",
        "byte_rows",
        "labels",
        "list_rows",
        "observer",
        "run_seconds",
        "size",
        "started_at",
        "verdicts",
    )

    def __init__(self, specs: Sequence[TensorSpec], arrays: Sequence[Array], labels: dict[str, list[str]]) -> None:
        self._specs = specs
        self._cells: dict[int, list[Cell]] = {}
        self.arrays = arrays
        self.byte_rows: list[dict[str, Any]] | None = None
        self.list_rows: list[dict[str, Any]] | None = None
        #: The label of each row, or a map by output where several outputs have labels; None without labels.
        self.labels: list[Any] | None = _labels(specs, arrays, labels) if labels else None
        self.size = len(arrays[0])
        self.started_at = 0.0
        self.run_seconds = 0.0
        self.observer: Any = None
        self.verdicts: Any = None

    def keep(self, rows: int) -> None:
        """Forget all but the first `rows` rows; call it before any is read."""
        self.arrays = [array[:rows] for array in self.arrays]
        if self.labels is not None:
            del self.labels[rows:]
        self.size = rows

    def cells(self, at: int) -> list[Cell]:
        """Return output `at` of each row, made once, as another model takes it."""
        cells = self._cells.get(at)
        if cells is None:
            spec, array = self._specs[at], self.arrays[at]
            if spec.dtype is STRING:
                cells = [tuple(texts) for texts in array.reshape(len(array), -1).tolist()]
            else:
                cells = _bytes_of(array)
            self._cells[at] = cells
        return cells

    def rows(self, *, lists: bool) -> list[dict[str, Any]]:
        """Return the outputs of each row, made once: as numbers or nested lists, or as bytes for MessagePack.

        Bytes come with their shape where that is not declared.
        """
        if lists:
            if self.list_rows is None:
                columns = [to_wire(array, spec.dtype) for spec, array in zip(self._specs, self.arrays, strict=True)]
                self.list_rows = self._rows(columns)
            return self.list_rows
        if self.byte_rows is None:
            columns = [self._byte_column(spec, array) for spec, array in zip(self._specs, self.arrays, strict=True)]
            self.byte_rows = self._rows(columns)
        return self.byte_rows

    def _rows(self, columns: list[list[Any]]) -> list[dict[str, Any]]:
        names = [spec.name for spec in self._specs]
        if len(names) == 1:
            name = names[0]
            return [{name: value} for value in columns[0]]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    def _byte_column(self, spec: TensorSpec, array: Array) -> list[Any]:
        if spec.dtype is STRING:
            return to_wire(array, spec.dtype)  # type: ignore[no-any-return]
        cells = _bytes_of(array)
        if spec.is_static:
            return cells
        shape = list(array.shape[1:])
        return [{"shape": shape, "data": cell} for cell in cells]


def _bytes_of(array: Array) -> list[Any]:
    """Return the bytes of each row."""
    data, stride = array.tobytes(), array.nbytes // len(array)
    return [data[at : at + stride] for at in range(0, len(data), stride)] if stride else [b""] * len(array)


def _labels(specs: Sequence[TensorSpec], arrays: Sequence[Array], labels: dict[str, list[str]]) -> list[Any]:
    columns = {
        spec.name: _labels_of(spec.name, array, labels[spec.name])
        for spec, array in zip(specs, arrays, strict=True)
        if spec.name in labels
    }
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, names, strict=True)) for names in zip(*columns.values(), strict=True)]


def _labels_of(output: str, array: Array, names: list[str]) -> list[str]:
    """Return the name of each row's highest score, or of its class number where a row is one integer."""
    rows = array.reshape(len(array), -1)
    if rows.shape[1] == 1 and rows.dtype.kind in "iu":
        indices = rows[:, 0].tolist()
        return [names[i] if 0 <= i < len(names) else str(i) for i in indices]
    if rows.shape[1] != len(names):
        raise InferenceFailed(f"labels.{output}: expected {rows.shape[1]} names, got {len(names)}")
    return [names[i] for i in np.argmax(rows, axis=1).tolist()]
