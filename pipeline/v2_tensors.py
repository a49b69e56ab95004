"""Tensors of the Open Inference Protocol: names of types, elements as bytes, and a request's tensors as rows."""

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

from msgspec import UNSET

from pipeline.errors import InvalidInput
from pipeline.tensors import (
    ABSENT,
    DTYPES,
    STRING,
    Array,
    Cell,
    DType,
    Entry,
    Row,
    Shapes,
    TensorSpec,
    bare_input,
    check_bools,
    joined_entries,
)
from pipeline.v2_messages import InferInput, InferRequest

#: What the protocol calls our types. It has no float8, which is given a name in the same style.
DATATYPES: Final = {
    **{name: name.upper() for name in DTYPES if name.startswith(("int", "uint", "bool"))},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
    **{name: name.replace("float", "FP").upper() for name in DTYPES if name.startswith("float8")},
    "bfloat16": "BF16",
    "string": "BYTES",
}
BYTES: Final = DATATYPES[STRING.name]

_LENGTH = struct.Struct("<I")


class Signature(Protocol):
    """What this protocol needs of a model: the tensors of one row, and whether requests have a batch dimension."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """The inputs."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """The outputs."""

    @property
    def batched(self) -> bool:
        """Whether many rows may come at once."""


def is_binary_only(dtype: DType) -> bool:
    """Return whether elements travel as bytes only: JSON would not carry them as they are."""
    return dtype.foreign or dtype.name == "float16"


def wire_shape(spec: TensorSpec, batched: bool) -> list[int]:
    """Return the shape that a client sees; -1 is a dynamic dimension."""
    shape = [-1 if size is None else size for size in spec.shape]
    return [-1, *shape] if _has_rows(spec, batched) else shape


def pack_strings(texts: Sequence[str]) -> bytes:
    """Return BYTES elements: for each its length as uint32, then its UTF-8."""
    parts: list[bytes] = []
    for text in texts:
        octets = text.encode()
        parts += (_LENGTH.pack(len(octets)), octets)
    return b"".join(parts)


def unpack_strings(data: bytes, count: int, path: str) -> list[str]:
    """Return `count` BYTES elements. Raises `InvalidInput` that begins with `path`."""
    texts: list[str] = []
    at = 0
    while at < len(data) and len(texts) < count:
        if at + 4 > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4 + length
        if at > len(data):
            raise InvalidInput(f"{path}: element {len(texts)} claims {length} bytes, which are more than there are")
        texts.append(_decode(data[at - length : at], f"{path}: element {len(texts)}"))
    if len(texts) != count or at != len(data):
        raise InvalidInput(f"{path}: expected {count} elements, each of them its length in 4 bytes and then its bytes")
    return texts


def array_bytes(array: Array, dtype: DType) -> bytes:
    """Return the elements of an output as bytes, in C order and little-endian."""
    return pack_strings(array.ravel().tolist()) if dtype is STRING else array.tobytes()


def read_rows(request: InferRequest, body: bytes, signature: Signature, most: int) -> tuple[list[Row], Shapes | None]:
    """Return the rows of a request, and the shapes of each row where one is dynamic.

    `body` is what follows the JSON: the tensors with a `binary_data_size`, in the order of the inputs and without gaps.
    Raises `InvalidInput` that names the tensor where one does not fit the model, or where there are more than `most`.
    """
    tensors = _by_name(request.inputs, signature.inputs)
    blobs = _cut(request.inputs, body)
    columns: list[Sequence[Cell]] = []
    entries: list[Entry] = []
    rows = -1
    for spec in signature.inputs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            columns.append((b"",))
            entries.append(ABSENT)
            continue
        path = f"inputs.{spec.name}"
        has_rows = _has_rows(spec, signature.batched)
        count = _count_rows(tensor, spec, has_rows, path)
        if has_rows and rows not in (-1, count):
            raise InvalidInput(f"{path}.shape: expected {rows} rows as the other inputs have, got {count}")
        if not 1 <= count <= most:
            raise InvalidInput(f"{path}.shape: expected 1 to {most} rows, got {count}")
        rows = count if has_rows else rows
        cells = _cells(tensor, spec, count, blobs.get(spec.name), path)
        columns.append(cells)
        entries.append(spec.entry(cells[0], None if spec.is_static else tuple(tensor.shape[has_rows:])))
    rows = max(rows, 1)
    whole = [column if len(column) == rows else [column[0]] * rows for column in columns]
    return list(zip(*whole, strict=True)) or [()], joined_entries(entries)


def read_raw(body: bytes, signature: Signature, most: int) -> tuple[list[Row], Shapes | None]:
    """Return the rows of a body that is nothing but the elements of a model's only input.

    At most one dimension may be dynamic; bytes are one element where the model takes strings. Raises `InvalidInput`.
    """
    spec = bare_input(signature.inputs)
    if spec is None:
        raise InvalidInput("a raw body needs a model with one input")
    batch = [1] if signature.batched else []
    if spec.dtype is STRING:
        shape = [1 if size is None else size for size in spec.shape]
        data = _LENGTH.pack(len(body)) + body
    else:
        unit = math.prod(size for size in spec.shape if size is not None) * spec.dtype.numpy.itemsize
        open_dimensions = spec.shape.count(None)
        if open_dimensions > 1 or not unit:
            raise InvalidInput(f"a raw body needs at most one dynamic dimension, inputs.{spec.name} is {spec}")
        whole, rest = divmod(len(body), unit)
        if rest or not whole:
            raise InvalidInput(f"inputs.{spec.name}: expected a multiple of {unit} bytes for {spec}, got {len(body)}")
        if not open_dimensions and signature.batched:
            batch, whole = [whole], 1
        if not open_dimensions and whole != 1:
            raise InvalidInput(f"inputs.{spec.name}: expected {unit} bytes for {spec}, got {len(body)}")
        shape = [whole if size is None else size for size in spec.shape]
        data = body
    parameters = {"binary_data_size": len(data)}
    tensor = InferInput(spec.name, [*batch, *shape], DATATYPES[spec.dtype.name], parameters)
    return read_rows(InferRequest([tensor]), data, signature, most)


def _by_name(tensors: Sequence[InferInput], specs: Sequence[TensorSpec]) -> dict[str, InferInput]:
    found: dict[str, InferInput] = {}
    names = [spec.name for spec in specs]
    for tensor in tensors:
        if tensor.name not in names:
            raise InvalidInput(f"inputs: {tensor.name[:100]!r} is no input, expected {', '.join(names)}")
        if tensor.name in found:
            raise InvalidInput(f"inputs.{tensor.name}: came twice")
        found[tensor.name] = tensor
    if missing := [spec for spec in specs if spec.name not in found and not spec.optional]:
        raise InvalidInput(f"inputs.{missing[0].name}: missing, expected {missing[0]}")
    return found


def _cut(tensors: Sequence[InferInput], body: bytes) -> dict[str, bytes]:
    """Return the bytes of each tensor that has some."""
    blobs: dict[str, bytes] = {}
    at = 0
    for tensor in tensors:
        parameters = tensor.parameters
        if parameters is None:
            continue
        if "shared_memory_region" in parameters:
            raise InvalidInput(f"inputs.{tensor.name}.parameters.shared_memory_region: shared memory is not supported")
        size = parameters.get("binary_data_size")
        if size is None:
            continue
        if type(size) is not int or size < 0:
            raise InvalidInput(f"inputs.{tensor.name}.parameters.binary_data_size: expected a number of bytes")
        if at + size > len(body):
            raise InvalidInput(
                f"inputs.{tensor.name}.parameters.binary_data_size: expected {size} bytes after the JSON "
                f"(Inference-Header-Content-Length), got {len(body) - at}"
            )
        blobs[tensor.name] = body[at : at + size]
        at += size
    if at != len(body):
        raise InvalidInput(f"{len(body) - at} bytes after the JSON belong to no input (binary_data_size)")
    return blobs


def _has_rows(spec: TensorSpec, batched: bool) -> bool:
    """Return whether a tensor in a request has the batch dimension."""
    return batched and not spec.initializer


def _count_rows(tensor: InferInput, spec: TensorSpec, batched: bool, path: str) -> int:
    """Return how many rows a tensor holds. Raises `InvalidInput` where type or shape do not fit."""
    datatype = DATATYPES[spec.dtype.name]
    if tensor.datatype != datatype:
        raise InvalidInput(f"{path}.datatype: expected {datatype}, got {tensor.datatype[:32]!r}")
    shape = tensor.shape
    row = shape[1:] if batched else shape
    fits = len(row) == len(spec.shape) and len(shape) == len(row) + batched
    if not fits or any(want is not None and want != size for want, size in zip(spec.shape, row, strict=True)):
        raise InvalidInput(f"{path}.shape: expected {wire_shape(spec, batched)}, got {str(shape)[:200]}")
    return shape[0] if batched else 1


def _cells(tensor: InferInput, spec: TensorSpec, count: int, blob: bytes | None, path: str) -> Sequence[Cell]:
    """Return the cell of each row."""
    if blob is not None:
        if tensor.data is not UNSET:
            raise InvalidInput(f"{path}: expected either data or binary_data_size, got both")
        return _split(_read_blob(blob, tensor, spec, path), count)
    data = tensor.data
    if data is UNSET:
        raise InvalidInput(f"{path}.data: missing, and there is no binary_data_size")
    if data.__class__ is not list:
        raise InvalidInput(f"{path}.data: expected a list")
    if is_binary_only(spec.dtype):
        raise InvalidInput(f"{path}.data: {tensor.datatype} travels as binary data only (binary_data_size)")
    if count == 1 and len(data) == spec.size and data and data[0].__class__ is not list:
        return (spec.parse(data, f"{path}.data")[0],)
    if math.prod(tensor.shape) >= 2**31:
        raise InvalidInput(f"{path}.shape: expected fewer than 2**31 elements")
    return _split(_spec_of(spec.dtype, tuple(tensor.shape)).parse(data, f"{path}.data")[0], count)


def _read_blob(blob: bytes, tensor: InferInput, spec: TensorSpec, path: str) -> Cell:
    size = math.prod(tensor.shape)
    if spec.dtype is STRING:
        return tuple(unpack_strings(blob, size, path))
    expected = size * spec.dtype.numpy.itemsize
    if len(blob) != expected:
        shape = str(tensor.shape)[:200]
        raise InvalidInput(f"{path}: expected {expected} bytes for {tensor.datatype}{shape}, got {len(blob)}")
    if spec.dtype.pack == "?":
        check_bools(blob, path)
    return blob


def _split(cell: Cell, count: int) -> Sequence[Cell]:
    if count == 1:
        return (cell,)
    width = len(cell) // count
    return [cell[at : at + width] for at in range(0, count * width, width)] if width else [cell] * count


@lru_cache(256)
def _spec_of(dtype: DType, shape: tuple[int, ...]) -> TensorSpec:
    """Return the spec of a whole tensor, which lists are read by."""
    return TensorSpec("", dtype, shape)


def _decode(octets: bytes, path: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not valid UTF-8") from error
