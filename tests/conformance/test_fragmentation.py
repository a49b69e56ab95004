"""Fragmented messages and the control frames between their fragments (RFC 6455 section 5.4)."""

import pytest

from .cases import cases, each_chop
from .frames import CloseCode, Opcode, fragments, frame
from .wire import TOGETHER, Client

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
PING, PONG, CLOSE = Opcode.PING, Opcode.PONG, Opcode.CLOSE

each_kind = pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])


def start(opcode: int, payload: bytes = b"") -> bytes:
    """Build a frame that others must follow."""
    return frame(opcode, payload, fin=False)


@each_chop
@each_kind
@cases(
    "parts",
    {
        "two": [b"frag", b"ment"],
        "five": [b"a", b"bc", b"def", b"ghij", b"k"],
        "first-empty": [b"", b"fragment"],
        "last-empty": [b"fragment", b""],
        "middle-empty": [b"frag", b"", b"", b"ment"],
        "all-empty": [b"", b"", b""],
        "only-the-middle": [b"", b"fragment", b""],
        "one-octet-each": [b"%c" % octet for octet in b"fragmented"],
        "longer-lengths": [b"a" * 126, b"b" * 125, b"c" * 300],
    },
)
def test_fragments(client: Client, opcode: Opcode, parts: list[bytes], chop: int | None) -> None:
    """Echo a fragmented message as one frame."""
    first, *middle, last = parts
    client.send(
        start(opcode, first),
        *(start(CONTINUATION, part) for part in middle),
        frame(CONTINUATION, last),
        chop=chop,
    )
    client.expect(opcode, b"".join(parts))


@each_kind
def test_split_at_every_octet(client: Client, witness: Client, opcode: Opcode) -> None:
    """Echo a fragmented message of which the server reads two parts, wherever the cut is."""
    octets = start(opcode, b"frag") + frame(PONG) + start(CONTINUATION) + frame(CONTINUATION, b"ment")
    for at in range(1, len(octets)):
        client.send_apart(octets[:at], witness=witness)
        client.send(octets[at:])
        client.expect(opcode, b"fragment")


@each_kind
def test_messages_one_after_another(client: Client, opcode: Opcode) -> None:
    """Echo whole and fragmented messages in turn."""
    for size in (1, 100, 3, 7):
        client.send(*fragments(opcode, b"in turn", size), chop=TOGETHER)
        client.expect(opcode, b"in turn")


@each_chop
@cases("opcode", {"ping": PING, "pong": PONG, "close": CLOSE})
def test_fragmented_control_frame(client: Client, opcode: Opcode, chop: int | None) -> None:
    """Close on a control frame that is a fragment (section 5.5)."""
    client.send(start(opcode, b"\x03\xe8"), frame(CONTINUATION, b"ment"), chop=chop)
    client.expect_end(CloseCode.PROTOCOL_ERROR, unread=chop != TOGETHER)


@cases("opcode", {"ping": PING, "pong": PONG, "close": CLOSE})
def test_fragmented_control_frame_inside_a_message(client: Client, opcode: Opcode) -> None:
    """Close on a control frame that is a fragment, also between the fragments of a message."""
    client.send(start(TEXT, b"frag"))
    client.round_trip()
    client.send(start(opcode, b"\x03\xe8"))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_chop
def test_ping_between_fragments(client: Client, chop: int | None) -> None:
    """Answer a ping before the message around it is complete (section 5.5.2)."""
    client.send(start(TEXT, b"frag"), frame(PING, b"between"), frame(CONTINUATION, b"ment"), chop=chop)
    client.expect(PONG, b"between")
    client.expect(TEXT, b"fragment")


@each_kind
@cases("chop", {"whole": None, "octet-wise": 1})
def test_ping_after_each_fragment(client: Client, opcode: Opcode, chop: int | None) -> None:
    """Answer each ping without waiting for the next fragment."""
    client.send(start(opcode, b"0"), chop=chop)
    for number in b"1234":
        client.send(frame(PING, b"ping %c" % number), chop=chop)
        client.expect(PONG, b"ping %c" % number)
        client.send(start(CONTINUATION, b"%c" % number), chop=chop)
    client.send(frame(CONTINUATION, b"5"), chop=chop)
    client.expect(opcode, b"012345")


@each_chop
def test_pong_between_fragments(client: Client, chop: int | None) -> None:
    """Ignore a pong between fragments."""
    client.send(start(TEXT, b"frag"), frame(PONG, b"between"), frame(CONTINUATION, b"ment"), chop=chop)
    client.expect(TEXT, b"fragment")


def test_many_pings_between_fragments(client: Client) -> None:
    """Answer a ping after each of many fragments, all in one write."""
    sent = [start(TEXT)]
    for number in range(100):
        sent += [frame(PING, b"%d" % number), start(CONTINUATION, b"%d," % number)]
    client.send(*sent, frame(CONTINUATION), chop=TOGETHER)
    received = [client.receive()]
    while received[-1].opcode is PONG:
        received.append(client.receive())
    assert received[-1] == (TEXT, b"".join(b"%d," % number for number in range(100)))
    assert received[-2] == (PONG, b"99")
    client.round_trip()


@each_chop
@cases("fin", {"final": True, "not-final": False})
@cases("payload", {"empty": b"", "with-payload": b"continued"})
def test_continuation_of_nothing(client: Client, chop: int | None, fin: bool, payload: bytes) -> None:
    """Close on a continuation frame where no message was begun."""
    client.send(frame(CONTINUATION, payload, fin=fin), chop=chop)
    client.expect_end(CloseCode.PROTOCOL_ERROR, unread=chop == 1)


@cases("fin", {"final": True, "not-final": False})
@cases("size", {"whole": 100, "fragmented": 2})
@cases("chop", {"apart": None, "one-write": TOGETHER})
def test_continuation_of_a_complete_message(client: Client, fin: bool, size: int, chop: int | None) -> None:
    """Close on a continuation frame after the end of a message, having echoed that."""
    late = frame(CONTINUATION, b"continued", fin=fin)
    if chop is None:
        client.send(*fragments(TEXT, b"complete", size))
        client.expect(TEXT, b"complete")
        client.send(late)
    else:
        client.send(*fragments(TEXT, b"complete", size), late, chop=chop)
        client.expect(TEXT, b"complete")
    client.expect_end(CloseCode.PROTOCOL_ERROR)


@each_chop
@cases("fin", {"final": True, "not-final": False})
@cases("second", {"text": TEXT, "binary": BINARY})
@each_kind
def test_new_message_inside_a_fragmented_one(
    client: Client, opcode: Opcode, second: Opcode, fin: bool, chop: int | None
) -> None:
    """Close on a data frame where only a continuation may come."""
    client.send(start(opcode, b"frag"), frame(second, b"ment", fin=fin), chop=chop)
    client.expect_end(CloseCode.PROTOCOL_ERROR, unread=chop == 1)


def test_new_message_after_a_ping_inside_a_fragmented_one(client: Client) -> None:
    """Remember over a control frame that a message is incomplete."""
    client.send(start(TEXT, b"frag"), frame(PING, b"between"))
    client.expect(PONG, b"between")
    client.send(frame(TEXT, b"ment"))
    client.expect_end(CloseCode.PROTOCOL_ERROR)


def test_second_message_is_left_incomplete(client: Client) -> None:
    """Echo a message that is complete, keep one that is not, and answer pings meanwhile."""
    client.send(*fragments(TEXT, b"complete", 3), start(BINARY, b"in"))
    client.expect(TEXT, b"complete")
    client.round_trip()
    assert client.is_silent()
    client.send(frame(CONTINUATION, b"complete"))
    client.expect(BINARY, b"incomplete")
