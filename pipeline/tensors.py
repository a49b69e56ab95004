"""Tensors of one row: what a model takes, how it travels, and how rows become a batch and a batch rows.

A row's tensor in transit is a `Cell`: the little-endian C-order bytes of its elements, or for strings a tuple of
`str`. Cells are joined into one array per batch, so that no numpy object is made per event.
"""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

import ml_dtypes
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidInput
from pipeline.nested_lists import describe, flatten

Cell = bytes | tuple[str, ...]
Shape = tuple[int, ...]
Row = tuple[Cell, ...]  # one cell per input
Array = NDArray[Any]


class Absent(Enum):
    """What a row says of an optional input that it leaves out."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class Shared(NamedTuple):
    """What a row says of an input without a batch dimension: the one value of the whole run. `shape` None: static."""

    shape: Shape | None
    cell: Cell


Entry = Shape | Shared | Absent | None  # None: static
Shapes = tuple[Entry, ...]  # one per input; rows whose shapes are equal may share a run


class DType(NamedTuple):
    """An element type: its wire name, numpy dtype, `struct` character and ONNX `TensorProto.DataType` number.

    `foreign` types are those that ONNX Runtime takes only as raw bytes, because numpy itself has no such type.
    """

    name: str
    numpy: np.dtype[Any]
    pack: str
    onnx: int
    foreign: bool = False


_PLAIN = (
    ("float32", "f", 1),
    ("uint8", "B", 2),
    ("int8", "b", 3),
    ("uint16", "H", 4),
    ("int16", "h", 5),
    ("int32", "i", 6),
    ("int64", "q", 7),
    ("bool", "?", 9),
    ("float16", "e", 10),
    ("float64", "d", 11),
    ("uint32", "I", 12),
    ("uint64", "Q", 13),
)
_FOREIGN = (
    ("bfloat16", "bfloat16", 16),
    ("float8e4m3fn", "float8_e4m3fn", 17),
    ("float8e4m3fnuz", "float8_e4m3fnuz", 18),
    ("float8e5m2", "float8_e5m2", 19),
    ("float8e5m2fnuz", "float8_e5m2fnuz", 20),
)
STRING = DType("string", np.dtype(object), "", 8)
DTYPES: dict[str, DType] = {
    **{name: DType(name, np.dtype(name), pack, onnx) for name, pack, onnx in _PLAIN},
    **{name: DType(name, np.dtype(getattr(ml_dtypes, numpy)), "", onnx, True) for name, numpy, onnx in _FOREIGN},
    "string": STRING,
}

_ELEMENTS: dict[str, tuple[type, ...]] = {  # by numpy's kind; ml_dtypes has kinds f and V
    "f": (float, int),
    "V": (float, int),
    "i": (int,),
    "u": (int,),
    "b": (bool,),
    "O": (str,),
}
_EXPECTED = {
    "f": "numbers",
    "V": "numbers",
    "i": "integers",
    "u": "integers",
    "b": "booleans",
    "O": "strings",
}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of one row; `None` in `shape` is a dynamic dimension.

    `optional`: rows may leave the input out. `initializer`: the graph has a value for that case; such an input has no
    batch dimension, so rows share a run only where they give it the same value.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    optional: bool = False
    initializer: bool = False
    size: int = field(init=False)  # elements; -1: dynamic
    nbytes: int = field(init=False)  # -1: dynamic, or strings
    _pack: Callable[..., bytes] | None = field(init=False, repr=False, compare=False)
    _list_type: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fixed = [n for n in self.shape if n is not None]
        size = math.prod(fixed) if len(fixed) == len(self.shape) else -1
        nbytes = size * self.dtype.numpy.itemsize if size >= 0 and self.dtype is not STRING else -1
        packer = struct.Struct(f"<{size}{self.dtype.pack}").pack if nbytes >= 0 and self.dtype.pack else None
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "nbytes", nbytes)
        object.__setattr__(self, "_pack", packer)
        object.__setattr__(self, "_list_type", list[_ELEMENTS[self.dtype.numpy.kind][0]])  # type: ignore[misc]

    def __str__(self) -> str:
        return f"{self.dtype.name}{[n if n is not None else '?' for n in self.shape]}".replace("'", "")

    @property
    def is_static(self) -> bool:
        """Whether every row of this tensor has the same shape."""
        return self.size >= 0

    def entry(self, cell: Cell, shape: Shape | None) -> Entry:
        """Return what the shapes of a row that gives `cell` say of this input."""
        return Shared(shape, cell) if self.initializer else shape

    def parse(self, data: Any, path: str) -> tuple[Cell, Shape | None]:
        """Return the cell of `data`, and its shape where the spec is dynamic.

        `data` is bytes, a number, a flat or nested list, or `{"shape": [...], "data": ...}`. Raises `InvalidInput`
        that begins with `path`, the name of the field.
        """
        if data.__class__ is bytes and len(data) == self.nbytes and self.dtype.pack != "?":
            return data, None
        if data.__class__ is list and len(data) == self.size and self._pack is not None:
            try:
                return self._pack(*msgspec.convert(data, self._list_type)), None
            except (msgspec.ValidationError, struct.error, OverflowError):
                pass  # nested or wrong: looked at again, to say what exactly
        if data.__class__ is dict:
            return self._parse_shaped(data, path)
        if self.size < 0:
            return self._parse_dynamic(data, path)
        return self._cell(data, self.size, self.shape, path), None

    def pack_numbers(self, numbers: list[float]) -> Cell | None:
        """Return the cell of a flat list of floats; None where it does not fit, for `parse` to say why."""
        if len(numbers) != self.size or self._pack is None:
            return None
        try:
            return self._pack(*numbers)
        except (struct.error, OverflowError):
            return None

    def samples(self, data: Any, path: str) -> tuple[bytes, int]:
        """Return the bytes of one sample `[...]` or a chunk of samples `[k, ...]`, and their number k.

        The spec is that of one sample. Flat lists and bytes may hold any whole number of samples.
        """
        if data.__class__ is bytes:
            count, rest = divmod(len(data), self.nbytes)
            if rest or not count:
                raise InvalidInput(f"{path}: expected whole samples of {self.nbytes} bytes, got {len(data)} bytes")
            if self.dtype.pack == "?":
                check_bools(data, path)
            return data, count
        if data.__class__ is dict:
            raise InvalidInput(f"{path}: expected a sample {self} or a list of samples, got a map")
        if data.__class__ is not list and self.size != 1:
            raise InvalidInput(f"{path}: expected {self.size} {self._expected} per sample, got {describe(data)}")
        flat, nested = flatten(data, path)
        count, rest = divmod(len(flat), self.size)
        if rest or not count:
            raise InvalidInput(f"{path}: expected {self.size} {self._expected} per sample, got {len(flat)}")
        if nested is not None and nested not in (self.shape, (count, *self.shape)):
            raise InvalidInput(f"{path}: expected samples of shape {list(self.shape)}, got {list(nested)}")
        return self._pack_values(flat, count * self.size, path), count

    def stack(self, cells: Sequence[Cell], shape: Shape) -> Array:
        """Return the batch `[len(cells), *shape]` of cells that all have `shape`."""
        if self.dtype is STRING:
            array = np.empty(len(cells) * math.prod(shape), object)
            array[:] = [text for cell in cells for text in cell]
        else:
            array = np.frombuffer(b"".join(cells), self.dtype.numpy)  # type: ignore[arg-type]
        return array.reshape(len(cells), *shape)

    @property
    def _expected(self) -> str:
        return _EXPECTED[self.dtype.numpy.kind]

    def _parse_shaped(self, data: dict[Any, Any], path: str) -> tuple[Cell, Shape | None]:
        if data.keys() != {"shape", "data"}:
            raise InvalidInput(f'{path}: expected a tensor {self} or a map of "shape" and "data"')
        shape = data["shape"]
        if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise InvalidInput(f"{path}.shape: expected a list of sizes")
        fits = len(shape) == len(self.shape) and all(
            want is None or want == n for want, n in zip(self.shape, shape, strict=True)
        )
        if not fits:
            raise InvalidInput(f"{path}.shape: expected {self}, got {shape}")
        actual = tuple(shape)
        cell = self._cell(data["data"], math.prod(actual), actual, f"{path}.data")
        return cell, None if self.is_static else actual

    def _parse_dynamic(self, data: Any, path: str) -> tuple[Cell, Shape]:
        dynamic = self.shape.count(None)
        if data.__class__ is bytes:
            unit = math.prod(n for n in self.shape if n is not None) * (self.dtype.numpy.itemsize)
            if self.dtype is STRING or dynamic > 1 or not unit:
                raise InvalidInput(f'{path}: a dynamic tensor {self} as bytes needs {{"shape": [...], "data": ...}}')
            count, rest = divmod(len(data), unit)
            if rest:
                raise InvalidInput(f"{path}: expected a multiple of {unit} bytes for {self}, got {len(data)}")
            shape = tuple(count if n is None else n for n in self.shape)
        else:
            flat, nested = flatten(data, path)
            if nested is None and dynamic == 1 and len(self.shape) == 1:
                nested = (len(flat),)
            if nested is None or len(nested) != len(self.shape):
                raise InvalidInput(f"{path}: expected a nested list of {self}, got {describe(data)}")
            shape = nested
        if any(want is not None and want != n for want, n in zip(self.shape, shape, strict=True)):
            raise InvalidInput(f"{path}: expected {self}, got shape {list(shape)}")
        return self._cell(data, math.prod(shape), shape, path), shape

    def _cell(self, data: Any, size: int, shape: tuple[int | None, ...], path: str) -> Cell:
        if data.__class__ is bytes:
            if self.dtype is STRING:
                raise InvalidInput(f"{path}: expected a list of {size} strings, got bytes")
            expected = size * self.dtype.numpy.itemsize
            if len(data) != expected:
                raise InvalidInput(f"{path}: expected {expected} bytes ({self}), got {len(data)} bytes")
            if self.dtype.pack == "?":
                check_bools(data, path)
            return data
        flat, nested = flatten(data, path)
        if nested is not None and nested != shape and not (size == 0 and nested == shape[: len(nested)]):
            raise InvalidInput(f"{path}: expected shape {list(shape)}, got {list(nested)}")
        if len(flat) != size:
            got = len(flat) if data.__class__ is list else describe(data)
            raise InvalidInput(f"{path}: expected {size} {self._expected}, got {got}")
        if self.dtype is STRING:
            self._check_types(flat, path)
            return tuple(flat)
        return self._pack_values(flat, size, path)

    def _pack_values(self, flat: list[Any], size: int, path: str) -> bytes:
        self._check_types(flat, path)
        try:
            if self._pack is not None and size == self.size:
                return self._pack(*flat)
            if self.dtype.pack:
                return struct.pack(f"<{size}{self.dtype.pack}", *flat)
            return self._pack_foreign(np.array(flat, np.float64)).tobytes()
        except (struct.error, OverflowError) as error:
            at = next(at for at, value in enumerate(flat) if not self._fits(value))
            raise InvalidInput(f"{path}: the number at element {at} does not fit {self.dtype.name}") from error

    def _pack_foreign(self, numbers: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            packed = numbers.astype(self.dtype.numpy)
            if (np.isfinite(numbers) & ~np.isfinite(packed.astype(np.float64))).any():
                raise OverflowError(f"out of the range of {self.dtype.name}")
        return packed

    def _fits(self, value: float) -> bool:
        try:
            if self.dtype.pack:
                struct.pack(f"<{self.dtype.pack}", value)
            else:
                self._pack_foreign(np.array(value, np.float64))
        except (struct.error, OverflowError):
            return False
        return True

    def _check_types(self, flat: list[Any], path: str) -> None:
        allowed = _ELEMENTS[self.dtype.numpy.kind]
        for at, value in enumerate(flat):
            if type(value) not in allowed:
                raise InvalidInput(f"{path}: expected {self._expected}, got {describe(value)} at element {at}")


def bare_input(inputs: Sequence[TensorSpec]) -> TensorSpec | None:
    """Return the input that a tensor without a name is for: the only one, or the only one that must be given."""
    candidates = inputs if len(inputs) == 1 else [spec for spec in inputs if not spec.optional]
    return candidates[0] if len(candidates) == 1 else None


def joined_entries(entries: Sequence[Entry]) -> Shapes | None:
    """Return the shapes of a row, None where all is static and given."""
    return tuple(entries) if any(entry is not None for entry in entries) else None


def to_wire(array: Array, dtype: DType) -> Any:
    """Return `array` as nested lists of numbers, booleans or strings (a number for shape `[]`)."""
    if dtype.foreign:
        with np.errstate(invalid="ignore"):  # signalling NaNs
            array = array.astype(np.float64)
    return array.tolist()


def check_bools(data: bytes, path: str) -> None:
    """Raise `InvalidInput` where the bytes of booleans are other than 0 and 1."""
    if data.translate(None, b"\x00\x01"):
        raise InvalidInput(f"{path}: expected bytes 0 or 1 for booleans")
