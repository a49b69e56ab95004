"""The server's side of RFC 6455 without any I/O: bytes in, messages out; messages in, bytes out."""

import codecs
import struct
from enum import IntEnum
from typing import Final

from tornado.util import _websocket_mask

from pipeline.errors import CloseCode

__all__ = [
    "SHORT_HEADERS",
    "FrameDecoder",
    "Opcode",
    "ProtocolViolation",
    "encode_close",
    "encode_frame",
    "parse_close",
]


class Opcode(IntEnum):
    """Frame types (RFC 6455 section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class ProtocolViolation(Exception):
    """The peer broke the protocol; the connection must be closed with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


Message = tuple[int, bytes]

_FIN: Final = 0x80
_RSV: Final = 0x70
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_WHOLE_TEXT: Final = _FIN | int(Opcode.TEXT)
_WHOLE_BINARY: Final = _FIN | int(Opcode.BINARY)
_SMALLEST_FRAME: Final = 6  # masked, without payload
_OPCODES: Final = frozenset(Opcode)
_MAX_CONTROL_PAYLOAD: Final = 125
_UNBOUNDED: Final = 1 << 40

#: By opcode and length: the whole header of a payload of up to 125 bytes.
SHORT_HEADERS: Final = {int(op): [bytes((_FIN | op, length)) for length in range(126)] for op in Opcode}
_apply_mask: Final = _websocket_mask
_pack_length_16: Final = struct.Struct(">BBH").pack
_pack_length_64: Final = struct.Struct(">BBQ").pack
_unpack_length_64: Final = struct.Struct(">Q").unpack_from
_pack_code: Final = struct.Struct(">H").pack
_utf8_decoder: Final = codecs.getincrementaldecoder("utf-8")


class FrameDecoder:
    """Turns the bytes of one client into whole messages and control frames.

    `feed` returns what completed, in order. When the client breaks the protocol, `violation` is set, what came
    before it is still returned, and every later byte is ignored. The result does not depend on how the bytes
    were cut into chunks. Memory is bounded by `max_message_bytes` and what `feed` leaves for later.
    """

    __slots__ = (
        "_buffer",
        "_fin",
        "_left",
        "_mask",
        "_max_message_bytes",
        "_opcode",
        "_parts",
        "_size",
        "_utf8",
        "is_spent",
        "violation",
    )

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer = b""  # an incomplete header or control frame, and what was left for later
        self._opcode = 0  # of the message in progress; 0: none
        self._parts: bytearray | None = None  # its unmasked payload so far
        self._size = 0
        self._utf8: codecs.IncrementalDecoder | None = None
        self._fin = False  # the frame in progress is the message's last
        self._left = 0  # payload bytes of the frame in progress that have not come yet
        self._mask = b""  # its key, rotated to the next byte
        self.violation: ProtocolViolation | None = None
        self.is_spent = False  # the last call's budget; `feed(b"")` goes on

    def feed(self, data: bytes, budget: int = _UNBOUNDED) -> list[Message]:
        """Take the next bytes; return `(opcode, payload)` of every message and control frame they complete.

        A frame costs 1 of the budget, and 1 more for each KiB of it. What is spent sets `is_spent`, and bytes
        that are left stay for the next call.
        """
        messages: list[Message] = []
        self.is_spent = False
        if self.violation is not None:
            return messages
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at, end = 0, len(data)
        try:
            while at < end:
                # One whole, unfragmented, masked data frame: nearly every frame there is.
                if end - at >= _SMALLEST_FRAME and self._parts is None:
                    first, length = data[at], data[at + 1] - _MASKED
                    start = at + 6
                    if length == 126:
                        length = data[at + 2] << 8 | data[at + 3]
                        start = at + 8
                        if length < 126:
                            length = -1  # not minimal
                    elif length == 127:
                        length = -1
                    stop = start + length
                    is_whole = 0 <= length <= self._max_message_bytes and stop <= end
                    if is_whole and first in (_WHOLE_BINARY, _WHOLE_TEXT):
                        payload: bytes = _apply_mask(data[start - 4 : start], data[start:stop])
                        if first == _WHOLE_TEXT and not payload.isascii():
                            _check_utf8(payload)
                        messages.append((first & 15, payload))
                        budget -= 1 + (length >> 10)
                        at = stop
                        if budget <= 0:
                            break
                        continue
                start = at
                at = self._payload(data, at, messages) if self._left else self._frame(data, at, messages)
                if at < 0:
                    break
                budget -= 1 + (at - start >> 10)
                if budget <= 0:
                    break
            if budget <= 0:
                self.is_spent = True
                self._buffer = data[at:]
        except ProtocolViolation as violation:
            self.violation = violation
            self._buffer, self._parts = b"", None
        return messages

    def _frame(self, data: bytes, at: int, messages: list[Message]) -> int:
        """Begin the frame at `at`; return where its payload ends in `data`, or -1 if more bytes are needed."""
        first = data[at]
        opcode = first & 15
        if first & _RSV:
            raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        if opcode not in _OPCODES:
            raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if opcode & _CONTROL:
            if not first & _FIN:
                raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, "control frames must not be fragmented")
        elif (opcode == Opcode.CONTINUATION) != (self._opcode != 0):
            raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, "continuation out of place")
        available = len(data) - at
        if available < 2:
            self._buffer = data[at:]
            return -1
        length = data[at + 1] & 127
        if not data[at + 1] & _MASKED:
            raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, "client frames must be masked")
        if opcode & _CONTROL and length > _MAX_CONTROL_PAYLOAD:
            raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, "control frame payload exceeds 125 bytes")
        header = 6 + (2 if length == 126 else 8 if length == 127 else 0)
        if available < header:
            self._buffer = data[at:]
            return -1
        if length == 126:
            length = data[at + 2] << 8 | data[at + 3]
            _check_minimal(length > 125)
        elif length == 127:
            (length,) = _unpack_length_64(data, at + 2)
            _check_minimal(0xFFFF < length < 2**63)
        start = at + header
        if opcode & _CONTROL:
            if available < header + length:
                self._buffer = data[at:]
                return -1
            payload = _apply_mask(data[start - 4 : start], data[start : start + length])
            messages.append((opcode, payload))
            return start + length
        if self._size + length > self._max_message_bytes:
            raise ProtocolViolation(
                CloseCode.TOO_BIG, f"message exceeds {self._max_message_bytes} bytes (max_message_bytes)"
            )
        if opcode:
            self._opcode = opcode
            self._utf8 = _utf8_decoder() if opcode == Opcode.TEXT else None
            self._parts = bytearray()
        self._fin = bool(first & _FIN)
        self._mask = data[start - 4 : start]
        self._left = length
        return self._payload(data, start, messages)

    def _payload(self, data: bytes, at: int, messages: list[Message]) -> int:
        """Take what `data` has of the frame in progress; return where that ends."""
        part = data[at : at + self._left]
        assert self._parts is not None
        if part:
            turn = len(part) & 3
            part, self._mask = _apply_mask(self._mask, part), self._mask[turn:] + self._mask[:turn]
            self._left -= len(part)
            self._size += len(part)
            self._parts += part
        last = self._fin and not self._left
        if self._utf8 is not None:
            _check_more_utf8(self._utf8, part, last)
        if last:
            messages.append((self._opcode, bytes(self._parts)))
            self._opcode, self._parts, self._size, self._utf8 = 0, None, 0, None
        return at + len(part)


def _check_minimal(minimal: bool) -> None:
    if not minimal:
        raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, "payload length is not minimally encoded")


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise ProtocolViolation(CloseCode.INVALID_UTF8, "text is not valid UTF-8") from error


def _check_more_utf8(decoder: codecs.IncrementalDecoder, part: bytes, last: bool) -> None:
    """Check text that goes on; the first octet that cannot be right fails, without waiting for the next."""
    try:
        decoder.decode(part, last)
    except UnicodeDecodeError as error:
        raise ProtocolViolation(CloseCode.INVALID_UTF8, "text is not valid UTF-8") from error
    pending, _ = decoder.getstate()
    if pending[:1] == b"\xed" and pending[1:2] > b"\x9f":  # Python waits for the third octet of a surrogate
        raise ProtocolViolation(CloseCode.INVALID_UTF8, "text is not valid UTF-8")


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """Return one unmasked, unfragmented frame (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        return SHORT_HEADERS[opcode][length] + payload
    if length < 0x10000:
        return _pack_length_16(_FIN | opcode, 126, length) + payload
    return _pack_length_64(_FIN | opcode, 127, length) + payload


def encode_close(code: int | None, reason: str = "") -> bytes:
    """Return a close frame; the reason is cut to the 123 bytes that fit, at a character's edge."""
    if code is None:
        return encode_frame(Opcode.CLOSE, b"")
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return encode_frame(Opcode.CLOSE, _pack_code(code) + text)


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Return code and reason of a received close frame; `None` where it carried no code.

    Raises `ProtocolViolation` for a code that must not be sent (RFC 6455 section 7.4), a payload of one byte, or a
    reason that is not UTF-8.
    """
    if not payload:
        return None, ""
    if len(payload) == 1:
        raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, "close payload of one byte")
    code = payload[0] << 8 | payload[1]
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, f"close code {code} must not be sent")
    _check_utf8(payload[2:])
    return code, payload[2:].decode()
