"""Data frames: their lengths, masks and how TCP cuts them (RFC 6455 sections 5.2, 5.3 and 5.6)."""

import pytest

from .cases import cases
from .frames import MASKING_KEY, CloseCode, Opcode, frame, header, mask
from .wire import TOGETHER, Client, End

LENGTHS = [0, 1, 125, 126, 127, 128, 65535, 65536]
KINDS = [Opcode.TEXT, Opcode.BINARY]

each_kind = pytest.mark.parametrize("opcode", KINDS, ids=lambda opcode: opcode.name.lower())


def payload_of(opcode: Opcode, length: int) -> bytes:
    """Return printable or arbitrary octets that differ from place to place."""
    period = bytes(range(32, 127)) if opcode is Opcode.TEXT else bytes(range(251))
    return (period * (length // len(period) + 1))[:length]


@each_kind
@pytest.mark.parametrize("length", LENGTHS)
def test_length(client: Client, opcode: Opcode, length: int) -> None:
    """Echo each form of the length field."""
    payload = payload_of(opcode, length)
    client.send(frame(opcode, payload))
    client.expect(opcode, payload)


@each_kind
@pytest.mark.parametrize(("length", "chop"), [(5, 1), (125, 1), (126, 1), (128, 7), (65535, 997), (65536, 997)])
def test_chopped(client: Client, opcode: Opcode, length: int, chop: int) -> None:
    """Echo a frame that comes in many TCP segments."""
    payload = payload_of(opcode, length)
    client.send(frame(opcode, payload), chop=chop)
    client.expect(opcode, payload)


@each_kind
@pytest.mark.parametrize("length", [0, 3, 126])
def test_split_at_every_octet(client: Client, witness: Client, opcode: Opcode, length: int) -> None:
    """Echo a frame of which the server reads two parts, wherever the cut is."""
    payload = payload_of(opcode, length)
    octets = frame(opcode, payload)
    for at in range(1, len(octets)):
        client.send_apart(octets[:at], witness=witness)
        client.send(octets[at:])
        client.expect(opcode, payload)


@pytest.mark.parametrize("length", [126, 65536])
def test_header_octet_by_octet(client: Client, witness: Client, length: int) -> None:
    """Echo a frame of which the server reads each octet of the header by itself."""
    payload = payload_of(Opcode.BINARY, length)
    head = header(Opcode.BINARY, length)
    client.send_apart(*(bytes([octet]) for octet in head), witness=witness)
    client.send(frame(Opcode.BINARY, payload)[len(head) :])
    client.expect(Opcode.BINARY, payload)


@each_kind
def test_split_between_two_messages(client: Client, witness: Client, opcode: Opcode) -> None:
    """Echo two messages of which the server reads two parts, wherever the cut is."""
    octets = frame(opcode, b"first") + frame(opcode, b"second")
    for at in range(1, len(octets)):
        client.send_apart(octets[:at], witness=witness)
        client.send(octets[at:])
        client.expect(opcode, b"first")
        client.expect(opcode, b"second")


@each_kind
@pytest.mark.parametrize("count", [2, 10, 1000])
def test_messages_in_one_write(client: Client, opcode: Opcode, count: int) -> None:
    """Echo in order all messages that come at once."""
    payloads = [f"message {number}".encode() for number in range(count)]
    client.send(*(frame(opcode, payload) for payload in payloads), chop=TOGETHER)
    for payload in payloads:
        client.expect(opcode, payload)


def test_kinds_in_one_write(client: Client) -> None:
    """Keep the type of each message."""
    sent = [(KINDS[number % 2], bytes([65 + number])) for number in range(8)]
    client.send(*(frame(opcode, payload) for opcode, payload in sent), chop=TOGETHER)
    for opcode, payload in sent:
        client.expect(opcode, payload)


@cases(
    "key",
    {
        "zeros": bytes(4),
        "ones": b"\xff" * 4,
        "same-octets": b"\x5a" * 4,
        "first-octet-only": b"\x80\0\0\0",
        "last-octet-only": b"\0\0\0\x80",
    },
)
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 8, 127, 65537])
def test_masking_key(client: Client, key: bytes, length: int) -> None:
    """Unmask with any key, also where the payload's length is no multiple of the key's."""
    payload = payload_of(Opcode.BINARY, length)
    client.send(frame(Opcode.BINARY, payload, key=key))
    client.expect(Opcode.BINARY, payload)


def test_masking_key_changes(client: Client) -> None:
    """Unmask each frame with its own key."""
    for number in range(16):
        client.send(frame(Opcode.TEXT, b"another key", key=bytes([number, 255 - number, 7, number * 3])))
        client.expect(Opcode.TEXT, b"another key")


def test_masked_payload_looks_like_a_frame(client: Client) -> None:
    """Take octets of a payload for nothing else, masked or not."""
    inner = frame(Opcode.CLOSE, b"\x03\xe8") * 3
    for payload in (inner, mask(inner, MASKING_KEY)):
        client.send(frame(Opcode.BINARY, payload))
        client.expect(Opcode.BINARY, payload)


@cases(
    "octets",
    {
        "text": frame(Opcode.TEXT, b"unmasked", key=None),
        "binary": frame(Opcode.BINARY, b"unmasked", key=None),
        "empty": frame(Opcode.TEXT, key=None),
        "first-fragment": frame(Opcode.TEXT, b"unmasked", fin=False, key=None),
        "126-octets": frame(Opcode.TEXT, bytes(126), key=None),
        "65536-octets": header(Opcode.BINARY, 65536, key=None),
        "ping": frame(Opcode.PING, b"unmasked", key=None),
        "pong": frame(Opcode.PONG, b"unmasked", key=None),
        "close": frame(Opcode.CLOSE, b"\x03\xe8", key=None),
        "empty-close": frame(Opcode.CLOSE, key=None),
    },
)
def test_unmasked(client: Client, octets: bytes) -> None:
    """Close on a frame that is not masked (section 5.1)."""
    client.send(octets)
    client.expect_end(CloseCode.PROTOCOL_ERROR)


def test_unmasked_after_masked(client: Client) -> None:
    """Demand a mask of every frame, not only of the first (section 5.1)."""
    client.send(frame(Opcode.TEXT, b"masked"))
    client.expect(Opcode.TEXT, b"masked")
    client.send(frame(Opcode.TEXT, b"fragment", fin=False), frame(Opcode.CONTINUATION, b"unmasked", key=None))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_kind
@pytest.mark.parametrize(("length", "width"), [(0, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65535, 64)])
def test_length_is_not_minimal(client: Client, opcode: Opcode, length: int, width: int) -> None:
    """Close on a length that a shorter field could hold (section 5.2)."""
    client.send(header(opcode, length, width=width))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@cases("length", {"alone": 1 << 63, "and-a-small-length": 1 << 63 | 5, "and-all-others": (1 << 64) - 1})
def test_top_bit_of_the_length(client: Client, length: int) -> None:
    """Close on a 64-bit length whose most significant bit is set (section 5.2)."""
    client.send(header(Opcode.BINARY, length))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@cases("left", {"nothing": 0, "one-octet-of-the-header": 1, "a-header": 6, "half-of-the-payload": 10})
def test_client_leaves_without_closing(client: Client, left: int) -> None:
    """End the connection of a client that ends its own direction, wherever in a frame (section 7.1.5)."""
    client.send(frame(Opcode.BINARY, b"abandoned")[:left])
    client.finish_sending()
    assert client.expect_fin_or_rst() is End.FIN
