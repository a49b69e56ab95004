"""Reserved bits and reserved opcodes (RFC 6455 section 5.2)."""

from itertools import product

import pytest

from .cases import cases
from .frames import CloseCode, Opcode, frame, header
from .wire import TOGETHER, Client

MESSAGE = b"Hello, world!"
RESERVED_OPCODES = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]

each_rsv = pytest.mark.parametrize("rsv", range(1, 8), ids="rsv-{:03b}".format)
each_opcode = pytest.mark.parametrize("opcode", RESERVED_OPCODES, ids="opcode-{:x}".format)


@each_rsv
@pytest.mark.parametrize(
    "opcode",
    [Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG, Opcode.CLOSE],
    ids=lambda one: one.name.lower(),
)
def test_reserved_bits(client: Client, rsv: int, opcode: Opcode) -> None:
    """Close on reserved bits, for no extension was negotiated."""
    client.send(frame(opcode, b"\x03\xe8", rsv=rsv))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_rsv
def test_reserved_bits_of_an_empty_frame(client: Client, rsv: int) -> None:
    """Close on reserved bits also where there is no payload."""
    client.send(frame(Opcode.TEXT, rsv=rsv))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_rsv
def test_reserved_bits_octet_by_octet(client: Client, rsv: int) -> None:
    """Close on reserved bits of a frame that comes in octets."""
    client.send(frame(Opcode.TEXT, MESSAGE, rsv=rsv), chop=1)
    client.expect_end(CloseCode.PROTOCOL_ERROR, unread=True)


@each_rsv
def test_reserved_bits_after_a_message(client: Client, rsv: int) -> None:
    """Close on reserved bits of the second message."""
    client.send(frame(Opcode.TEXT, MESSAGE))
    client.expect(Opcode.TEXT, MESSAGE)
    client.send(frame(Opcode.TEXT, MESSAGE, rsv=rsv))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_rsv
def test_reserved_bits_between_frames(client: Client, rsv: int) -> None:
    """Echo what came before, close, and ignore what comes after (section 7.1.7)."""
    client.send(
        frame(Opcode.TEXT, MESSAGE),
        frame(Opcode.TEXT, MESSAGE, rsv=rsv),
        frame(Opcode.PING, b"too late"),
        chop=TOGETHER,
    )
    client.expect(Opcode.TEXT, MESSAGE)
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_rsv
def test_reserved_bits_of_a_fragment(client: Client, rsv: int) -> None:
    """Close on reserved bits of a first fragment."""
    client.send(frame(Opcode.BINARY, MESSAGE, fin=False, rsv=rsv))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_rsv
def test_reserved_bits_of_a_continuation(client: Client, rsv: int) -> None:
    """Close on reserved bits of a later fragment."""
    client.send(frame(Opcode.BINARY, MESSAGE, fin=False))
    client.round_trip()
    client.send(frame(Opcode.CONTINUATION, MESSAGE, rsv=rsv))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_opcode
@cases("payload", {"empty": b"", "with-payload": MESSAGE})
def test_reserved_opcode(client: Client, opcode: int, payload: bytes) -> None:
    """Close on a reserved opcode."""
    client.send(frame(opcode, payload))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_opcode
@cases("payload", {"empty": b"", "with-payload": MESSAGE})
def test_reserved_opcode_after_a_message(client: Client, opcode: int, payload: bytes) -> None:
    """Close on a reserved opcode that follows a good message."""
    client.send(frame(Opcode.TEXT, MESSAGE))
    client.expect(Opcode.TEXT, MESSAGE)
    client.send(frame(opcode, payload))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_opcode
def test_reserved_opcode_between_frames(client: Client, opcode: int) -> None:
    """Echo what came before, close, and ignore what comes after (section 7.1.7)."""
    client.send(frame(Opcode.TEXT, MESSAGE), frame(opcode, MESSAGE), frame(Opcode.PING, b"too late"), chop=TOGETHER)
    client.expect(Opcode.TEXT, MESSAGE)
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_opcode
def test_reserved_opcode_octet_by_octet(client: Client, opcode: int) -> None:
    """Close on a reserved opcode of a frame that comes in octets."""
    client.send(frame(opcode, MESSAGE), chop=1)
    client.expect_end(CloseCode.PROTOCOL_ERROR, unread=True)


@each_opcode
def test_reserved_opcode_inside_a_fragmented_message(client: Client, opcode: int) -> None:
    """Close on a reserved opcode between the fragments of a message."""
    client.send(frame(Opcode.TEXT, MESSAGE, fin=False))
    client.round_trip()
    client.send(frame(opcode))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("opcode", "length"), list(product(RESERVED_OPCODES, [126, 65536])), ids=lambda number: f"{number:x}"
)
def test_long_reserved_opcode(client: Client, opcode: int, length: int) -> None:
    """Close on a reserved opcode without waiting for a long payload."""
    client.send(header(opcode, length))
    client.expect_end(CloseCode.PROTOCOL_ERROR)
