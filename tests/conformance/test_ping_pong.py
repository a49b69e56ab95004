"""Pings and pongs (RFC 6455 sections 5.5.2 and 5.5.3)."""

import pytest

from .cases import cases
from .frames import CloseCode, Opcode, frame, header
from .wire import TOGETHER, Client

PAYLOADS = {
    "empty": b"",
    "text": b"Hello, world!",
    "octets-that-are-no-UTF-8": b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",
    "124-octets": b"\xfe" * 124,
    "125-octets": bytes(range(125)),
}


@cases("payload", PAYLOADS)
@cases("chop", {"whole": None, "octet-wise": 1})
def test_ping(client: Client, payload: bytes, chop: int | None) -> None:
    """Answer with the payload of the ping."""
    client.send(frame(Opcode.PING, payload), chop=chop)
    client.expect(Opcode.PONG, payload)


@pytest.mark.parametrize("length", [0, 4, 125])
def test_ping_split_at_every_octet(client: Client, witness: Client, length: int) -> None:
    """Answer a ping of which the server reads two parts, wherever the cut is."""
    payload = bytes(range(length))
    octets = frame(Opcode.PING, payload)
    for at in range(1, len(octets)):
        client.send_apart(octets[:at], witness=witness)
        client.send(octets[at:])
        client.expect(Opcode.PONG, payload)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG], ids=["ping", "pong"])
@cases("octets_after_the_length", {"whole": 126, "header-only": 0})
def test_126_octets(client: Client, opcode: Opcode, octets_after_the_length: int) -> None:
    """Close on a control frame of more than 125 octets (section 5.5)."""
    client.send(header(opcode, 126) + bytes(octets_after_the_length))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CLOSE], ids=["ping", "pong", "close"])
@pytest.mark.parametrize("width", [16, 64])
def test_long_length_field(client: Client, opcode: Opcode, width: int) -> None:
    """Close on a control frame whose short length is in a long field (section 5.5)."""
    client.send(header(opcode, 2, width=width) + b"\x03\xe8")
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG], ids=["ping", "pong"])
def test_65536_octets(client: Client, opcode: Opcode) -> None:
    """Close on a control frame with a 64-bit length (section 5.5)."""
    client.send(header(opcode, 65536))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@cases("payload", PAYLOADS)
def test_unsolicited_pong(client: Client, payload: bytes) -> None:
    """Do not answer a pong nobody asked for."""
    client.send(frame(Opcode.PONG, payload))
    client.round_trip()


def test_unsolicited_pong_before_ping(client: Client) -> None:
    """Answer the ping that follows an unsolicited pong, and only that."""
    client.send(frame(Opcode.PONG, b"unsolicited"), frame(Opcode.PING, b"ping"), chop=TOGETHER)
    client.expect(Opcode.PONG, b"ping")
    client.round_trip()


def test_many_unsolicited_pongs(client: Client) -> None:
    """Bear many pongs."""
    client.send(*(frame(Opcode.PONG, bytes([number])) for number in range(100)))
    client.round_trip()


def test_pings_one_after_another(client: Client) -> None:
    """Answer each ping whose predecessor was answered."""
    for number in range(10):
        client.send(frame(Opcode.PING, b"ping %d" % number))
        client.expect(Opcode.PONG, b"ping %d" % number)


@cases("chop", {"one-write": TOGETHER, "ping-wise": None, "octet-wise": 1, "across-frames": 5})
@pytest.mark.parametrize("count", [10, 100])
def test_many_pings(client: Client, chop: int | None, count: int) -> None:
    """Answer the last of many pings; those before it may be skipped, but not reordered (section 5.5.3)."""
    payloads = [b"ping %03d" % number for number in range(count)]
    client.send(*(frame(Opcode.PING, payload) for payload in payloads), chop=chop)
    answered = []
    while payloads[-1] not in answered:
        received = client.receive()
        assert received.opcode is Opcode.PONG
        answered.append(received.payload)
    assert answered == sorted(set(answered) & set(payloads))
    client.round_trip()


def test_pings_between_messages(client: Client) -> None:
    """Answer pings and echo messages that come in one write."""
    client.send(
        frame(Opcode.TEXT, b"one"),
        frame(Opcode.PING, b"two"),
        frame(Opcode.BINARY, b"three"),
        frame(Opcode.PONG, b"four"),
        frame(Opcode.TEXT, b"five"),
        chop=TOGETHER,
    )
    received = [client.receive() for _ in range(4)]
    assert [one for one in received if one.opcode is Opcode.PONG] == [(Opcode.PONG, b"two")]
    assert [one for one in received if one.opcode is not Opcode.PONG] == [
        (Opcode.TEXT, b"one"),
        (Opcode.BINARY, b"three"),
        (Opcode.TEXT, b"five"),
    ]
