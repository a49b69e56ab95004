"""Text must be UTF-8, however it is fragmented (RFC 6455 sections 5.6 and 8.1)."""

import pytest

from .cases import cases
from .frames import CloseCode, Opcode, fragments, frame
from .utf8 import INCOMPLETE, INVALID, VALID
from .wire import TOGETHER, Client

BEFORE = "κόσμε".encode()
AFTER = b" and more"
EXCERPT = ["all-lengths", "U+D7FF-last-before-surrogates", "U+FDD0-non-character", "U+10FFFF"]


@cases("text", VALID)
def test_valid(client: Client, text: bytes) -> None:
    """Echo text, alone and inside other text."""
    for payload in (text, BEFORE + text + AFTER):
        client.send(frame(Opcode.TEXT, payload))
        client.expect(Opcode.TEXT, payload)


@cases("text", VALID)
def test_valid_in_fragments_of_an_octet(client: Client, text: bytes) -> None:
    """Echo text whose code points are split between frames."""
    client.send(*fragments(Opcode.TEXT, BEFORE + text, 1), chop=TOGETHER)
    client.expect(Opcode.TEXT, BEFORE + text)


@cases("text", VALID)
def test_valid_octet_by_octet(client: Client, text: bytes) -> None:
    """Echo text whose code points are split between TCP writes."""
    client.send(frame(Opcode.TEXT, text), chop=1)
    client.expect(Opcode.TEXT, text)


@pytest.mark.parametrize("name", EXCERPT)
def test_valid_split_at_every_octet(client: Client, witness: Client, name: str) -> None:
    """Echo text of which the server reads two parts, wherever the cut is, whole and in fragments."""
    for octets in (frame(Opcode.TEXT, VALID[name]), b"".join(fragments(Opcode.TEXT, VALID[name], 1))):
        for at in range(1, len(octets)):
            client.send_apart(octets[:at], witness=witness)
            client.send(octets[at:])
            client.expect(Opcode.TEXT, VALID[name])


@cases("before, after", INCOMPLETE)
def test_split_code_point_around_control_frames(client: Client, before: bytes, after: bytes) -> None:
    """Wait for the rest of a code point, over control frames and empty fragments."""
    client.send(frame(Opcode.TEXT, before, fin=False))
    client.round_trip()
    client.send(frame(Opcode.PONG, b"\xff"), frame(Opcode.CONTINUATION, fin=False))
    client.round_trip()
    client.send(frame(Opcode.CONTINUATION, after))
    client.expect(Opcode.TEXT, before + after)


@cases("fatal, rest", INVALID)
@cases("size", {"whole": 1000, "in-fragments-of-three": 3, "in-fragments-of-one": 1})
def test_invalid(client: Client, fatal: bytes, rest: bytes, size: int) -> None:
    """Close on a message that is not UTF-8."""
    client.send(*fragments(Opcode.TEXT, BEFORE + fatal + rest + AFTER, size), chop=TOGETHER)
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@cases("fatal, rest", INVALID)
def test_invalid_octet_by_octet(client: Client, fatal: bytes, rest: bytes) -> None:
    """Close on a message that is not UTF-8 and comes in octets."""
    client.send(frame(Opcode.TEXT, fatal + rest), chop=1)
    client.expect_end(CloseCode.INVALID_PAYLOAD, unread=True)


@cases("text", {name: before for name, (before, _) in INCOMPLETE.items()})
@cases("size", {"whole": 1000, "in-fragments-of-one": 1})
def test_truncated(client: Client, text: bytes, size: int) -> None:
    """Close on a message that ends inside a code point."""
    client.send(*fragments(Opcode.TEXT, BEFORE + text, size), chop=TOGETHER)
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@cases("text", {name: before for name, (before, _) in INCOMPLETE.items()})
def test_truncated_before_an_empty_fragment(client: Client, text: bytes) -> None:
    """Close when a last fragment without payload ends the message inside a code point."""
    client.send(frame(Opcode.TEXT, text, fin=False))
    client.round_trip()
    client.send(frame(Opcode.CONTINUATION))
    client.expect_end(CloseCode.INVALID_PAYLOAD)


def test_code_point_does_not_span_messages(client: Client) -> None:
    """Take nothing over from one message to the next."""
    client.send(frame(Opcode.TEXT, b"\xce"), frame(Opcode.TEXT, b"\xba"), chop=TOGETHER)
    client.expect_end(CloseCode.INVALID_PAYLOAD)


def test_valid_before_invalid(client: Client) -> None:
    """Echo the valid message before the invalid one."""
    client.send(frame(Opcode.TEXT, BEFORE), frame(Opcode.TEXT, b"\xff"), frame(Opcode.PING), chop=TOGETHER)
    client.expect(Opcode.TEXT, BEFORE)
    client.expect_end(CloseCode.INVALID_PAYLOAD)


@cases("size", {"whole": 1000, "in-fragments-of-one": 1})
def test_binary_is_not_checked(client: Client, size: int) -> None:
    """Echo binary messages that would be no text, and text after them."""
    for fatal, rest in INVALID.values():
        client.send(*fragments(Opcode.BINARY, fatal + rest, size), chop=TOGETHER)
        client.expect(Opcode.BINARY, fatal + rest)
    client.send(frame(Opcode.TEXT, BEFORE))
    client.expect(Opcode.TEXT, BEFORE)
