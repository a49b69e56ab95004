"""Invalid text closes the connection at its first impossible octet, before the message or frame is complete.

RFC 6455 section 8.1 does not say when; whoever waits buffers and parses what can only be thrown away.
"""

from .cases import cases
from .frames import MASKING_KEY, CloseCode, Opcode, frame, header, mask
from .utf8 import INCOMPLETE, INVALID
from .wire import TOGETHER, Client

BEFORE = "κόσμε".encode()

each_fatal = cases("fatal", {name: fatal for name, (fatal, _) in INVALID.items()})


def unfinished(opcode: Opcode, payload: bytes, missing: int) -> bytes:
    """Build the beginning of a frame whose payload lacks some octets."""
    return header(opcode, len(payload) + missing) + mask(payload, MASKING_KEY)


@each_fatal
def test_first_fragment(client: Client, fatal: bytes) -> None:
    """Close although the message has not ended."""
    client.send(frame(Opcode.TEXT, BEFORE + fatal, fin=False))
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@each_fatal
def test_fragments_of_an_octet(client: Client, fatal: bytes) -> None:
    """Close although the message has not ended, where a code point is split between frames."""
    octets = [frame(Opcode.CONTINUATION, b"%c" % octet, fin=False) for octet in fatal]
    client.send(frame(Opcode.TEXT, BEFORE, fin=False), *octets, chop=TOGETHER)
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@each_fatal
@cases("missing", {"one-octet-missing": 1, "many-octets-missing": 60_000})
def test_first_part_of_a_frame(client: Client, fatal: bytes, missing: int) -> None:
    """Close although the frame has not ended."""
    client.send(unfinished(Opcode.TEXT, BEFORE + fatal, missing))
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@each_fatal
def test_first_part_of_a_frame_octet_by_octet(client: Client, fatal: bytes) -> None:
    """Close although the frame has not ended, where a code point is split between TCP writes."""
    client.send(unfinished(Opcode.TEXT, fatal, 1), chop=1)
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@each_fatal
def test_first_part_of_a_later_frame(client: Client, fatal: bytes) -> None:
    """Close although the frame has not ended, where a code point began in the frame before."""
    client.send(frame(Opcode.TEXT, fatal[:-1], fin=False))
    client.round_trip()
    client.send(unfinished(Opcode.CONTINUATION, fatal[-1:], 100))
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@cases("length", {"16-bit-length": 1000, "64-bit-length": 100_000})
def test_after_much_that_is_valid(client: Client, witness: Client, length: int) -> None:
    """Close when a later part of a long frame is invalid, and not before."""
    valid = BEFORE * (length // len(BEFORE))
    octets = unfinished(Opcode.TEXT, valid + b"\xff", length)
    client.send_apart(octets[:-1], witness=witness)
    assert client.is_silent()
    client.send(octets[-1:])
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@cases("before, after", INCOMPLETE)
def test_incomplete_is_not_invalid(client: Client, witness: Client, before: bytes, after: bytes) -> None:
    """Wait for the rest of a frame that may yet become valid."""
    octets = frame(Opcode.TEXT, before + after)
    client.send_apart(octets[: -len(after)], witness=witness)
    assert client.is_silent()
    client.send(octets[-len(after) :])
    client.expect(Opcode.TEXT, before + after)
