"""The client's frames (RFC 6455 section 5.2), also those that it must not send."""

import struct
from enum import IntEnum
from typing import Final

MASKING_KEY: Final = b"\x37\xfa\x21\x3d"
_LENGTH_FORMATS: Final = {16: ">H", 64: ">Q"}


class Opcode(IntEnum):
    """The frame types of RFC 6455 section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """The status codes of RFC 6455 section 7.4.1 that a test expects by name."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    INVALID_PAYLOAD = 1007
    TOO_BIG = 1009


def mask(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask a payload (section 5.3)."""
    keys = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(keys)).to_bytes(len(payload))


def header(
    opcode: int,
    length: int,
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = MASKING_KEY,
    width: int | None = None,
) -> bytes:
    """Build a frame header; `width` 7, 16 or 64 forces the length field, no `key` means unmasked."""
    width = width or (7 if length < 126 else 16 if length < 0x10000 else 64)
    field = length if width == 7 else {16: 126, 64: 127}[width]
    extended = struct.pack(_LENGTH_FORMATS[width], length) if width > 7 else b""
    return bytes((fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | field)) + extended + (key or b"")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = MASKING_KEY,
    width: int | None = None,
) -> bytes:
    """Build a whole frame, legal or not."""
    head = header(opcode, len(payload), fin=fin, rsv=rsv, key=key, width=width)
    return head + (mask(payload, key) if key else payload)


def fragments(opcode: Opcode, payload: bytes, size: int) -> list[bytes]:
    """Cut a message into frames of at most `size` octets."""
    starts = range(0, max(len(payload), 1), size)
    return [
        frame(Opcode.CONTINUATION if at else opcode, payload[at : at + size], fin=at == starts[-1]) for at in starts
    ]


def close_frame(code: int, reason: bytes = b"") -> bytes:
    """Build a close frame (section 5.5.1)."""
    return frame(Opcode.CLOSE, struct.pack(">H", code) + reason)


def close_code(payload: bytes) -> int | None:
    """Return the code of a close frame's payload, whose reason must be UTF-8."""
    if not payload:
        return None
    assert len(payload) >= 2, "close payload of one octet"
    payload[2:].decode()
    return int.from_bytes(payload[:2])
