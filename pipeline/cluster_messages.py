"""What gateways and workers tell each other: rows, and what became of them; MessagePack, in arrays for speed."""

import math
from typing import Any, Final

import msgspec
from msgspec import Struct

FORMAT: Final = 1  # of all that is below; others are foreign
MAX_PRIORITY: Final = 255


class ForeignEntry(Exception):
    """These bytes are none of ours; the text says why."""


class Entry(Struct, array_like=True, gc=False):
    """Rows that left a gateway together.

    `number` counts the gateway's entries. `columns` has for each input either the bytes of all rows, or a list with one
    cell per row. `shapes` are those of each row where one is not static (see `rows_of`). `left` is how many seconds
    each row had left when it was sent (`None`: any), `priorities` their levels where one has one.
    """

    format: int
    gateway: str
    number: int
    rows: int
    columns: list[bytes | list[Any]]
    shapes: list[Any] | None = None
    left: list[float | None] | None = None
    priorities: list[int] | None = None


class Outputs(Struct, array_like=True, tag=0, gc=False):
    """What one run says of some rows of an entry, whose places in it are `rows` (None: all, in order).

    `tensors` has for each output its shape `[rows, ...]` and its elements, as bytes or as strings. The whole run took
    `ran` seconds for `size` rows.
    """

    rows: list[int] | None
    tensors: list[tuple[list[int], bytes | list[str]]]
    ran: float
    size: int


class Failed(Struct, array_like=True, tag=1, gc=False):
    """Rows of an entry that have failed, by their places in it (None: all)."""

    rows: list[int] | None
    code: str
    message: str
    retry_after_ms: int | None = None


class Reply(Struct, array_like=True, gc=False):
    """What became of an entry's rows, each of them once."""

    format: int
    number: int
    worker: str
    parts: list[Outputs | Failed]


_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def encode(message: Entry | Reply) -> bytes:
    """Return a message's bytes."""
    return _encode(message)


def decode_entry(payload: bytes) -> Entry:
    """Return the entry in a payload. Raises `ForeignEntry`."""
    try:
        entry = _decode_entry(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ForeignEntry(f"no entry: {error}") from error
    if entry.format != FORMAT:
        raise ForeignEntry(f"format: expected {FORMAT}, got {entry.format}")
    if entry.left is not None:
        _check_column("left", entry.rows, [seconds is None or math.isfinite(seconds) for seconds in entry.left])
    if entry.priorities is not None:
        _check_column("priorities", entry.rows, [0 <= level <= MAX_PRIORITY for level in entry.priorities])
    return entry


def decode_reply(payload: bytes) -> Reply:
    """Return the reply in a payload. Raises `ForeignEntry`."""
    try:
        reply = _decode_reply(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ForeignEntry(f"no reply: {error}") from error
    if reply.format != FORMAT:
        raise ForeignEntry(f"format: expected {FORMAT}, got {reply.format}")
    return reply


def _check_column(name: str, rows: int, are_valid: list[bool]) -> None:
    if len(are_valid) != rows:
        raise ForeignEntry(f"{name}: expected {rows}, got {len(are_valid)}")
    if not all(are_valid):
        raise ForeignEntry(f"{name}: a value is out of range")
