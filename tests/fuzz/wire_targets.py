"""Frames: the decoder against itself in any chunks, and against the `websockets` library, both of its layers."""

from typing import Final

from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

from handlers.frames import FrameDecoder, ProtocolViolation, parse_close
from tests.handlers.test_frames_against_websockets import PADDING, Reference
from tests.handlers.wire_strategies import LIMIT, Message, Outcome, decode

CLOSE: Final = int(Opcode.CLOSE)
PROTOCOL_ERROR: Final = 1002
INVALID_UTF8: Final = 1007
TOO_BIG: Final = 1009


def chunks(data: bytes) -> list[bytes]:
    """Cut octets as their first one says."""
    if not data:
        return []
    size = 1 + data[0] % 32
    return [data[at : at + size] for at in range(1, len(data), size)]


def frames(data: bytes) -> None:
    """However octets are cut, and however little is taken at a time, the same messages come out."""
    pieces = chunks(data)
    whole = decode([data[1:]])
    assert decode(pieces) == whole
    decoder = FrameDecoder(LIMIT)
    messages: list[Message] = []
    for piece in pieces:
        messages += decoder.feed(piece, 2)
        while decoder.is_spent:
            messages += decoder.feed(b"", 2)
    code = None if decoder.violation is None else int(decoder.violation.code)
    assert (messages, code) == whole
    for opcode, payload in messages:
        if opcode == CLOSE:
            try:
                parse_close(payload)
            except ProtocolViolation as violation:
                if violation.code not in (PROTOCOL_ERROR, INVALID_UTF8):
                    raise


def frames_against_parser(data: bytes) -> None:
    """The library's parser of frames, with the rules about their order added, sees the same messages and fault."""
    wire = data + PADDING
    assert decode([wire]) == Reference(wire).run()


def frames_against_protocol(data: bytes) -> None:
    """The library's sans-I/O protocol sees the same, but for what it leaves to others.

    It knows no minimal lengths, leaves the UTF-8 of text to its callers, looks at the size of a frame before its flags
    and at the reason of a close before its code. There it may see another fault, or more messages; never fewer. It
    allows no close amid a message in fragments, which the RFC does. Both are compared up to a close frame.
    """
    wire = data + PADDING
    ours, code = upto_close(decode(chunks(data[:1] + wire)))
    theirs, their_code = protocol(chunks(data[:1] + wire))
    if (ours, code) == (theirs, their_code):
        return
    if their_code == PROTOCOL_ERROR and ours[-1:] and ours[-1][0] == CLOSE:  # amid a message
        assert (code, ours[:-1]) == (None, theirs)
        return
    is_order = code == PROTOCOL_ERROR and their_code in (TOO_BIG, INVALID_UTF8)
    assert code == INVALID_UTF8 or is_order or has_long_length(wire), (ours, code, theirs, their_code)
    assert theirs[: len(ours)] == ours


def upto_close(outcome: Outcome) -> Outcome:
    """Return what comes up to the first close frame, with the code that answers a wrong one."""
    messages, code = outcome
    for at, (opcode, payload) in enumerate(messages):
        if opcode == CLOSE:
            try:
                parse_close(payload)
            except ProtocolViolation as violation:
                return messages[:at], int(violation.code)
            return messages[: at + 1], None
    return messages, code


def protocol(pieces: list[bytes]) -> Outcome:
    """Return messages and close code of the library's server side."""
    side = Protocol(SERVER, max_size=LIMIT)
    for piece in pieces:
        side.receive_data(piece)
    messages: list[Message] = []
    opcode, parts = 0, b""
    for event in side.events_received():
        assert isinstance(event, Frame)
        data = bytes(event.data)
        if event.opcode >= CLOSE:
            messages.append((int(event.opcode), data))
            continue
        opcode, parts = int(event.opcode) or opcode, parts + data
        if event.fin:
            messages.append((opcode, parts))
            opcode, parts = 0, b""
    fault = side.close_sent.code if side.parser_exc is not None and side.close_sent is not None else None
    return messages, fault


def has_long_length(wire: bytes) -> bool:
    """Return whether octets break the rule that the library does not have: a length, or a ping's, is not minimal."""
    decoder = FrameDecoder(LIMIT)
    decoder.feed(wire)
    return decoder.violation is not None and ("minimal" in str(decoder.violation) or "125" in str(decoder.violation))


TARGETS: Final = {
    "frames": frames,
    "frames_against_parser": frames_against_parser,
    "frames_against_protocol": frames_against_protocol,
}
