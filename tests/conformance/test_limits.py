"""Large messages, the largest, and those beyond (RFC 6455 sections 7.4.1 and 10.4)."""

import pytest

from .cases import cases
from .frames import CloseCode, Opcode, fragments, frame, header
from .wire import TOGETHER, Client

KIB = 1024
MAX_MESSAGE_BYTES = 1024 * KIB
SIZES = {"64-KiB": 64 * KIB, "256-KiB": 256 * KIB, "one-less-than-the-limit": MAX_MESSAGE_BYTES - 1}
SIZES["the-limit"] = MAX_MESSAGE_BYTES

each_kind = pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY], ids=["text", "binary"])


def payload_of(opcode: Opcode, length: int) -> bytes:
    """Return text of one to four octets per code point, or arbitrary octets."""
    if opcode is Opcode.BINARY:
        return (bytes(range(251)) * (length // 251 + 1))[:length]
    period = "aé€😀".encode()
    return period * (length // len(period)) + b"." * (length % len(period))


@each_kind
@cases("length", SIZES)
def test_whole(client: Client, opcode: Opcode, length: int) -> None:
    """Echo a message of one frame."""
    payload = payload_of(opcode, length)
    client.send(frame(opcode, payload))
    client.expect(opcode, payload)


@each_kind
@pytest.mark.parametrize("size", [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB])
def test_fragmented(client: Client, opcode: Opcode, size: int) -> None:
    """Echo a message of the largest size in frames of any size."""
    payload = payload_of(opcode, MAX_MESSAGE_BYTES)
    client.send(*fragments(opcode, payload, size), chop=TOGETHER)
    client.expect(opcode, payload)


@each_kind
@pytest.mark.parametrize(
    ("length", "chop"),
    [
        *((64 * KIB, chop) for chop in (64, 128, 256, 512, KIB, 2 * KIB)),
        *((MAX_MESSAGE_BYTES, chop) for chop in (KIB, 4 * KIB, 64 * KIB)),
    ],
)
def test_chopped(client: Client, opcode: Opcode, length: int, chop: int) -> None:
    """Echo a message of one frame that comes in many TCP writes."""
    payload = payload_of(opcode, length)
    client.send(frame(opcode, payload), chop=chop)
    client.expect(opcode, payload)


@each_kind
@pytest.mark.parametrize("size", [1, 7, 1000, 1300, 65535])
def test_automatic_fragments(client: Client, opcode: Opcode, size: int) -> None:
    """Echo a message whose sender cuts it into frames of a fixed size, and again on the same connection."""
    payload = payload_of(opcode, 64 * KIB)
    for _ in range(2):
        client.send(*fragments(opcode, payload, size), chop=16 * KIB)
        client.expect(opcode, payload)


def test_limit_is_for_each_message(client: Client) -> None:
    """Echo several messages of the largest size one after another."""
    payload = payload_of(Opcode.BINARY, MAX_MESSAGE_BYTES)
    for _ in range(3):
        client.send(*fragments(Opcode.BINARY, payload, MAX_MESSAGE_BYTES // 2))
        client.expect(Opcode.BINARY, payload)


@each_kind
@cases(
    "length",
    {
        "one-more": MAX_MESSAGE_BYTES + 1,
        "4-GiB": 1 << 32,
        "the-largest-length": (1 << 63) - 1,
    },
)
@cases("fin", {"whole": True, "fragment": False})
def test_declared_length_beyond_the_limit(client: Client, opcode: Opcode, length: int, fin: bool) -> None:
    """Close as soon as the header of a frame tells that it is too long."""
    client.send(header(opcode, length, fin=fin))
    client.expect_end(CloseCode.TOO_BIG)


@each_kind
@cases("first", {"one-octet": 1, "half-of-the-limit": MAX_MESSAGE_BYTES // 2, "the-limit": MAX_MESSAGE_BYTES})
def test_declared_sum_beyond_the_limit(client: Client, opcode: Opcode, first: int) -> None:
    """Close as soon as the header of a fragment tells that the message is too long."""
    client.send(frame(opcode, payload_of(opcode, first), fin=False))
    client.round_trip()
    client.send(header(Opcode.CONTINUATION, MAX_MESSAGE_BYTES + 1 - first))
    client.expect_end(CloseCode.TOO_BIG)


@each_kind
@pytest.mark.parametrize("size", [KIB, 64 * KIB])
def test_sum_beyond_the_limit(client: Client, opcode: Opcode, size: int) -> None:
    """Close when the last of many fragments makes the message one octet too long."""
    client.send(*fragments(opcode, b"x" * (MAX_MESSAGE_BYTES + 1), size), chop=64 * KIB)
    client.expect_end(CloseCode.TOO_BIG, unread=True)


@each_kind
def test_payload_beyond_the_limit(client: Client, opcode: Opcode) -> None:
    """Let the client read why, although it goes on to send what is too long (section 7.1.1)."""
    client.send(frame(opcode, b"x" * (MAX_MESSAGE_BYTES + 1)), chop=64 * KIB)
    client.expect_end(CloseCode.TOO_BIG)


def test_refused_message_after_a_good_one(client: Client) -> None:
    """Echo what came before the message that is too long."""
    client.send(frame(Opcode.TEXT, b"short"), header(Opcode.TEXT, MAX_MESSAGE_BYTES + 1), chop=TOGETHER)
    client.expect(Opcode.TEXT, b"short")
    client.expect_end(CloseCode.TOO_BIG)
