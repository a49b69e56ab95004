"""Batches run in buffers that are allocated and bound once: small ones on the CPU, all of them on a device.

On the CPU that saves small batches half of a run's fixed cost. On a device it saves allocating there for each run.
"""

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np

from pipeline.tensors import STRING, Array, Row, TensorSpec

log: Final = logging.getLogger(__name__)

MOST_ROWS: Final = 8  # on the CPU; above that, copying costs more than binding
MOST_SIZES: Final = 16  # batch sizes that keep buffers
ANY_SIZE: Final = 1 << 60

Allocate = Callable[[Sequence[Any], Any], Any]
"""Takes a shape and a numpy type; returns an `onnxruntime.OrtValue`, whose device is its own."""


class Bound(Protocol):
    """The buffers of one batch size, bound to a session; one run at a time."""

    def run(self, rows: Sequence[Row]) -> list[Array]:
        """Return the outputs `[rows, ...]`, which no later run touches. Raises what ONNX Runtime raises."""


class Size:
    """The bound runs of one batch size that are free, and when one was last asked for."""

    __slots__ = ("free", "used_at")

    def __init__(self, used_at: int) -> None:
        self.free: list[Bound] = []
        self.used_at = used_at

    def take(self) -> Bound | None:
        """Return a bound run that is free, or None: in one step, since other threads take as well."""
        try:
            return self.free.pop()
        except IndexError:
            return None


class RunBuffers:
    """The bound runs of one model: for each of the batch sizes used last, as many as go on at the same time.

    Safe to use from any thread.
    """

    def __init__(self, make: Callable[[int], Bound], most_rows: int = ANY_SIZE, most_sizes: int = MOST_SIZES) -> None:
        """`make` allocates and binds for so many rows; it may fail as a run may."""
        self.most_rows = most_rows
        self._make = make
        self._most_sizes = most_sizes
        self._sizes: dict[int, Size] = {}
        self._clock = itertools.count()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<RunBuffers {', '.join([f'{count}: {len(self._sizes[count].free)} free' for count in self.sizes])}>"

    @property
    def sizes(self) -> list[int]:
        """The batch sizes that have buffers, the one used last at the end."""
        return sorted(self._sizes, key=lambda count: self._sizes[count].used_at)

    def run(self, rows: Sequence[Row]) -> list[Array] | None:
        """Return the outputs `[rows, ...]`; None where the rows must run without buffers."""
        count = len(rows)
        if count > self.most_rows:
            return None
        size = self._sizes.get(count) or self._add(count)
        size.used_at = next(self._clock)
        bound = size.take()
        try:
            bound = bound or self._make(count)
            return bound.run(rows)
        except Exception as error:  # whether the row or the binding is to blame shows when it runs without
            log.debug("a bound run failed: %s", error)
            return None
        finally:
            if bound is not None:
                size.free.append(bound)  # with the size, where that was freed meanwhile

    def _add(self, count: int) -> Size:
        """Take in a batch size, in the place of the one that was not used for longest."""
        with self._lock:
            size = self._sizes.get(count)
            if size is None:
                while len(self._sizes) >= self._most_sizes:
                    del self._sizes[self.sizes[0]]
                size = self._sizes[count] = Size(next(self._clock))
            return size


def cpu_buffers(
    session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batched: bool
) -> RunBuffers | None:
    """Return buffers for the small batches of a model on the CPU, or None where its tensors cannot be bound.

    `session` is an `onnxruntime.InferenceSession`; without `batched` there is one row.
    """
    if not all(map(_is_bindable, (*inputs, *outputs))):
        return None
    return RunBuffers(lambda rows: CpuRun(session, inputs, outputs, rows, batched), MOST_ROWS)


def device_buffers(
    session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batched: bool, allocate: Allocate
) -> RunBuffers | None:
    """Return buffers for all batches of a model on the device of `allocate`, or None as `cpu_buffers` does."""
    if not all(map(_is_bindable, (*inputs, *outputs))):
        return None
    return RunBuffers(lambda rows: DeviceRun(session, inputs, outputs, rows, batched, allocate))


class CpuRun:
    """Arrays that inputs are written into and outputs copied out of."""

    def __init__(
        self, session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], rows: int, batched: bool
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        taken = [_allocate(self._binding.bind_input, spec, rows, batched) for spec in inputs]
        self._inputs = [array.reshape(-1).view(np.uint8).data for array in taken]
        self._outputs = [_allocate(self._binding.bind_output, spec, rows, batched) for spec in outputs]

    def run(self, rows: Sequence[Row]) -> list[Array]:
        """Return the outputs `[rows, ...]`."""
        for at, buffer in enumerate(self._inputs):
            buffer[:] = rows[0][at] if len(rows) == 1 else b"".join([row[at] for row in rows])  # type: ignore[misc, assignment]
        self._session.run_with_iobinding(self._binding)
        return [array.copy() for array in self._outputs]


class DeviceRun:
    """Tensors on a device that inputs are copied to and outputs copied from."""

    def __init__(
        self,
        session: Any,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        rows: int,
        batched: bool,
        allocate: Allocate,
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        lead = [rows] if batched else []
        self._inputs = [(spec, allocate([*lead, *spec.shape], spec.dtype.numpy)) for spec in inputs]
        self._outputs = [(spec, allocate([*lead, *spec.shape], spec.dtype.numpy)) for spec in outputs]
        for spec, value in self._inputs:
            self._binding.bind_ortvalue_input(spec.name, value)
        for spec, value in self._outputs:
            self._binding.bind_ortvalue_output(spec.name, value)

    def run(self, rows: Sequence[Row]) -> list[Array]:
        """Return the outputs `[rows, ...]`."""
        for at, (spec, value) in enumerate(self._inputs):
            value.update_inplace(spec.stack([row[at] for row in rows], spec.shape))  # type: ignore[arg-type]
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return [_own(value.numpy()).reshape(len(rows), *spec.shape) for spec, value in self._outputs]


def _own(array: Array) -> Array:
    """Return the array, or a copy where its memory is another's: a tensor on the CPU is shown, not copied."""
    return array if array.flags.owndata else array.copy()


def _allocate(bind: Callable[..., object], spec: TensorSpec, rows: int, batched: bool) -> Array:
    """Return a bound array `[rows, ...]`; the binding keeps no reference to it, its memoryview does."""
    array: Array = np.zeros((rows, *spec.shape), spec.dtype.numpy)  # type: ignore[arg-type]
    bind(spec.name, "cpu", 0, spec.dtype.numpy, array.shape if batched else spec.shape, array.ctypes.data)
    return array


def _is_bindable(spec: TensorSpec) -> bool:
    return spec.dtype is not STRING and not spec.dtype.foreign and spec.nbytes > 0
