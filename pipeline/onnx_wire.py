"""What an ONNX file says of itself, read without building the graph: its opsets, and the files that it points to.

ONNX files are Protocol Buffers (https://protobuf.dev/programming-guides/encoding). Only the messages that can hold a
tensor are entered; weights are skipped by their length, so the cost depends on the nodes and not on the bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_FIELDS: Final = 20_000_000
MAX_DEPTH: Final = 100  # what Protocol Buffers themselves allow

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5

# The fields of onnx.proto that lead to a tensor: message -> field number -> message.
_FIELDS: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 8: "OpsetId", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}


@dataclass(slots=True)
class OnnxHeader:
    """What `read_header` found: opset versions by domain ("" is ai.onnx), and the locations of external data."""

    opsets: dict[str, int] = field(default_factory=dict)
    locations: set[str] = field(default_factory=set)
    has_graph: bool = False


def read_header(data: bytes) -> OnnxHeader:
    """Walk an ONNX file. Raises `ValueError` where it is none."""
    header = OnnxHeader()
    budget = MAX_FIELDS
    waiting: list[tuple[str, int, int, int]] = [("Model", 0, len(data), 0)]
    while waiting:
        message, at, end, depth = waiting.pop()
        if message == "OpsetId":
            domain, version = _read_opset(data, at, end)
            header.opsets[domain] = max(version, header.opsets.get(domain, 0))
            continue
        if message == "Entry":
            header.locations.update(_read_locations(data, at, end))
            continue
        if depth > MAX_DEPTH:
            raise ValueError("messages are nested too deeply")
        below = _FIELDS[message]
        for number, kind, start, stop in _fields(data, at, end):
            budget -= 1
            if not budget:
                raise ValueError(f"more than {MAX_FIELDS} fields")
            if number not in below:
                continue
            if kind != _BYTES:
                raise ValueError(f"byte {start}: field {number} of {message} is no message")
            if message == "Model" and number == 7:
                header.has_graph = True
            waiting.append((below[number], start, stop, depth + 1))
    if not header.has_graph:
        raise ValueError("there is no graph in it")
    return header


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, and where the value begins and ends, of each field of a message."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"byte {at}: wire type {kind}")
        if not number or at > end:
            raise ValueError(f"byte {start}: field {number} does not end where its message does")
        yield number, kind, start, at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return an unsigned LEB128 number and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"byte {at}: a number does not end")


def _read_opset(data: bytes, at: int, end: int) -> tuple[str, int]:
    domain, version = "", 0
    for number, kind, start, stop in _fields(data, at, end):
        if number == 1 and kind == _BYTES:
            domain = _text(data, start, stop)
        elif number == 2 and kind == _VARINT:
            version, _ = _varint(data, start, stop)
    return "" if domain == "ai.onnx" else domain, version


def _read_locations(data: bytes, at: int, end: int) -> set[str]:
    """Return the value of an entry whose key is `location`; of repeated fields any may count, so all do."""
    keys: set[str] = set()
    values: set[str] = set()
    for number, kind, start, stop in _fields(data, at, end):
        if kind == _BYTES and number in (1, 2):
            (keys if number == 1 else values).add(_text(data, start, stop))
    return values if "location" in keys else set()


def _text(data: bytes, start: int, stop: int) -> str:
    if stop - start > 4096:
        raise ValueError(f"byte {start}: a text of {stop - start} bytes, expected at most 4096")
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {start}: a text is not UTF-8") from error
