"""A graph that gives strings and takes nothing, written without the onnx package.

ONNX files are Protocol Buffers (https://protobuf.dev/programming-guides/encoding); the numbers are those of onnx.proto.
"""

from collections.abc import Sequence
from typing import Final

from pipeline.tensors import STRING, Shape

_IR_VERSION: Final = 8
_OPSET: Final = 17


def string_constant(name: str, texts: Sequence[str], shape: Shape) -> bytes:
    """Return a model whose only output `name` is the strings `texts` in C order, of `shape`.

    Raises `UnicodeEncodeError` where a text has no UTF-8.
    """
    tensor = [_number(1, size) for size in shape]
    tensor += [_number(2, STRING.onnx), *(_bytes(6, text.encode()) for text in texts), _bytes(8, name.encode())]
    dimensions = b"".join(_bytes(1, _number(1, size)) for size in shape)
    kind = _bytes(1, _number(1, STRING.onnx) + _bytes(2, dimensions))
    output = _bytes(1, name.encode()) + _bytes(2, kind)
    graph = _bytes(2, b"constant") + _bytes(5, b"".join(tensor)) + _bytes(12, output)
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, _OPSET))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)
