"""Orders and their results as processes send them over a backbone, in MessagePack."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from pipeline.orders import MAX_RESULT_BYTES, ForeignOrder

FORMAT: Final = 1  # of all that is below; others are foreign
MAX_ORDER_BYTES: Final = 64 << 10
MAX_WAIT: Final = 86_400.0  # seconds

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Call(Struct, array_like=True, forbid_unknown_fields=True):
    """The sender's `number`th order, whose result it waits for at most `wait` seconds."""

    format: int
    sender: Name
    number: Annotated[int, Meta(ge=1)]
    order: bytes
    wait: float


class Reply(Struct, array_like=True, forbid_unknown_fields=True):
    """The sender's result; empty where there is none in time."""

    format: int
    sender: Name
    result: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_call: Final = msgspec.msgpack.Decoder(Call).decode
_reply: Final = msgspec.msgpack.Decoder(Reply).decode
_FOREIGN: Final = (msgspec.MsgspecError, RecursionError, ValueError)


def encode(letter: Call | Reply) -> bytes:
    """Return the bytes of a letter."""
    return _encode(letter)


def decode_call(payload: bytes) -> Call:
    """Return the call in a payload. Raises `ForeignOrder`."""
    try:
        _check_length(payload, MAX_ORDER_BYTES)
        call = _call(payload)
        _check_format(call.format)
        if not 0 < call.wait <= MAX_WAIT:
            raise ValueError("wait: expected seconds")
    except _FOREIGN as error:
        raise ForeignOrder(f"no call: {error}") from error
    return call


def decode_reply(payload: bytes) -> Reply:
    """Return the reply in a payload. Raises `ForeignOrder`."""
    try:
        _check_length(payload, MAX_RESULT_BYTES + MAX_ORDER_BYTES)
        reply = _reply(payload)
        _check_format(reply.format)
    except _FOREIGN as error:
        raise ForeignOrder(f"no reply: {error}") from error
    return reply


def _check_length(payload: bytes, most: int) -> None:
    if len(payload) > most:
        raise ValueError(f"expected at most {most} bytes, got {len(payload)}")


def _check_format(number: int) -> None:
    if number != FORMAT:
        raise ValueError(f"format: expected {FORMAT}, got {number}")
