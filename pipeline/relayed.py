"""Predictions on their way to the watchers of other processes, which do not know the model."""

import math
from typing import Any, Final

import numpy as np
from msgspec import UNSET, Struct

from pipeline.errors import InvalidInput
from pipeline.tensors import DTYPES, STRING, Cell, Shape, TensorSpec, to_wire
from pipeline.topics import Topic
from pipeline.watch_messages import Timings, Update

MAX_DEPTH: Final = 64  # of nested lists; numpy's arrays end there
MAX_EMPTY: Final = 1 << 20  # lists in a tensor without elements


class NoTensor(Exception):
    """No tensor as `pack_value` and `pack_cell` make it; the text says why."""


class Packed(Struct, array_like=True, gc=False):
    """A tensor from which both of its forms can be made: lists and bytes.

    `shape` is that of this value, which is not told with its bytes where `is_static`. Without a `dtype` the `data` are
    the same in both forms: strings, or lists that do not tell their shape.
    """

    dtype: str
    shape: list[int]
    is_static: bool
    data: Any


class Relayed(Struct, array_like=True, tag=0):
    """An `Update` for other processes. `at` is the position of the change in the hub of the sender."""

    topic: str
    at: int
    n: int
    ended: bool
    ts: float
    version: str
    id: int | str | None = None
    label: str | dict[str, str] | None = None
    outputs: dict[str, Packed] | None = None
    inputs: dict[str, Packed] | None = None
    us: Timings | None = None


class Remote:
    """A prediction that another process made (a `topics.Value`)."""

    __slots__ = ("sender", "ts", "update")

    def __init__(self, sender: str, update: Relayed) -> None:
        self.sender = sender
        self.ts = update.ts
        self.update = update

    def __repr__(self) -> str:
        return f"<Remote {self.update.topic} n={self.update.n} from {self.sender}>"

    def message(self, topic: Topic, *, lists: bool, inputs: bool) -> Update:
        """Return the update that the watchers of its own process see."""
        update = self.update
        return Update(
            topic.name,
            update.n,
            update.ts,
            update.version,
            update.id,
            update.label,
            UNSET if update.outputs is None else _unpack_all(update.outputs, lists=lists),
            update.us,
            None if update.inputs is None or not inputs else _unpack_all(update.inputs, lists=lists),
            topic.ended,
        )

    def relayed(self, topic: Topic, *, inputs: bool) -> None:
        """Return nothing: it goes round in no circle."""
        del topic, inputs


def pack_value(spec: TensorSpec, value: Any) -> Packed:
    """Return a tensor of an answer, which has it in one of its forms."""
    if value.__class__ is bytes:
        return pack_cell(spec, value, None)
    if value.__class__ is dict:
        return pack_cell(spec, value["data"], tuple(value["shape"]))
    if spec.dtype is not STRING:
        try:
            cell, shape = spec.parse(value, spec.name)
        except InvalidInput:  # a list without elements does not tell its shape
            pass
        else:
            return pack_cell(spec, cell, shape)
    return Packed("", [], True, value)


def pack_cell(spec: TensorSpec, cell: Cell, shape: Shape | None) -> Packed:
    """Return a tensor of a row; `shape` None: it is the declared one."""
    actual: Any = spec.shape if shape is None else shape
    if spec.dtype is STRING:
        return Packed("", [], True, to_wire(spec.stack([cell], actual), spec.dtype)[0])
    return Packed(spec.dtype.name, list(actual), shape is None or spec.is_static, cell)


def check(update: Relayed) -> None:
    """Raise `NoTensor` where a tensor cannot be unpacked."""
    for tensors in (update.outputs, update.inputs):
        for name, packed in (tensors or {}).items():
            _check(packed, name)


def unpack(packed: Packed, *, lists: bool) -> Any:
    """Return a tensor that was checked, as lists or as bytes."""
    if not packed.dtype:
        return packed.data
    if not lists:
        return packed.data if packed.is_static else {"shape": packed.shape, "data": packed.data}
    dtype = DTYPES[packed.dtype]
    return to_wire(np.frombuffer(packed.data, dtype.numpy).reshape(packed.shape), dtype)


def _unpack_all(tensors: dict[str, Packed], *, lists: bool) -> dict[str, Any]:
    return {name: unpack(packed, lists=lists) for name, packed in tensors.items()}


def _check(packed: Packed, name: str) -> None:
    if not packed.dtype:
        if not _is_plain(packed.data, MAX_DEPTH):
            raise NoTensor(f"{name}: expected strings, numbers or booleans in lists")
        return
    dtype = DTYPES.get(packed.dtype)
    if dtype is None or dtype is STRING:
        raise NoTensor(f"{name}: expected a type, got {packed.dtype[:20]!r}")
    shape = packed.shape
    if len(shape) > MAX_DEPTH or any(size < 0 for size in shape):
        raise NoTensor(f"{name}: expected a shape")
    size = math.prod(shape)
    if not size and math.prod(n for n in shape if n) > MAX_EMPTY:
        raise NoTensor(f"{name}: expected a shape")
    if not isinstance(packed.data, bytes) or len(packed.data) != size * dtype.numpy.itemsize:
        raise NoTensor(f"{name}: expected the bytes of {packed.dtype}{shape}")


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    return isinstance(value, str | int | float)
