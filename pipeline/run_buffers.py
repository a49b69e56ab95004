"""Small batches run in buffers that are allocated and bound once, which saves them half of a run's fixed cost."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np

from pipeline.tensors import STRING, Array, Row, TensorSpec

log: Final = logging.getLogger(__name__)

MOST_ROWS: Final = 8  # above that, copying costs more than binding


class BoundRun:
    """The buffers of one batch size, bound to a session; one run at a time."""

    def __init__(
        self, session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], rows: int, batched: bool
    ) -> None:
        """Allocate and bind. `session` is an `onnxruntime.InferenceSession`; without `batched` there is one row."""
        self._session = session
        self._binding = session.io_binding()
        taken = [_allocate(self._binding.bind_input, spec, rows, batched) for spec in inputs]
        self._inputs = [array.reshape(-1).view(np.uint8).data for array in taken]
        self._outputs = [_allocate(self._binding.bind_output, spec, rows, batched) for spec in outputs]

    def run(self, rows: Sequence[Row]) -> list[Array]:
        """Return the outputs `[rows, ...]`. Raises what ONNX Runtime raises."""
        for at, buffer in enumerate(self._inputs):
            buffer[:] = rows[0][at] if len(rows) == 1 else b"".join([row[at] for row in rows])  # type: ignore[misc, assignment]
        self._session.run_with_iobinding(self._binding)
        return [array.copy() for array in self._outputs]


class RunBuffers:
    """The bound runs of one model, as many per batch size as go on at the same time. Safe to use from any thread."""

    def __init__(
        self, session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batched: bool
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._outputs = outputs
        self._batched = batched
        self._free: dict[int, list[BoundRun]] = {}
        self._most_rows = MOST_ROWS if all(map(_is_bindable, (*inputs, *outputs))) else 0

    def run(self, rows: Sequence[Row]) -> list[Array] | None:
        """Return the outputs `[rows, ...]`; None where the rows must run without buffers."""
        count = len(rows)
        if count > self._most_rows:
            return None
        free = self._free.setdefault(count, [])
        bound: BoundRun | None = None
        try:
            with suppress(IndexError):
                bound = free.pop()
            if bound is None:
                bound = BoundRun(self._session, self._inputs, self._outputs, count, self._batched)
            return bound.run(rows)
        except Exception as error:  # whether the row or the binding is to blame shows when it runs without
            log.debug("a bound run failed: %s", error)
            return None
        finally:
            if bound is not None:
                free.append(bound)

    def give_up(self) -> None:
        """Bind nothing any more: the outputs are not what the graph declares."""
        self._most_rows = 0
        self._free.clear()


def _allocate(bind: Callable[..., object], spec: TensorSpec, rows: int, batched: bool) -> Array:
    """Return a bound array `[rows, ...]`; the binding keeps no reference to it, its memoryview does."""
    array: Array = np.zeros((rows, *spec.shape), spec.dtype.numpy)  # type: ignore[arg-type]
    bind(spec.name, "cpu", 0, spec.dtype.numpy, array.shape if batched else spec.shape, array.ctypes.data)
    return array


def _is_bindable(spec: TensorSpec) -> bool:
    return spec.dtype is not STRING and not spec.dtype.foreign and spec.nbytes > 0
