"""RFC 6455 without a socket: what the decoder makes of octets, and what the encoder makes of messages."""

import gc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.frames import FrameDecoder, ProtocolViolation, encode_close, encode_frame, parse_close
from pipeline.errors import CloseCode
from tests.conformance.frames import Opcode, close_frame, fragments, frame, header

from .wire_strategies import ANY_OCTETS, CUTS, LIMIT, NEARLY_UTF8, Message, conversations, cut, decode

LARGEST_CONTROL_FRAME = 6 + 125


@given(conversations(), CUTS)
def test_what_a_client_may_send_arrives_however_it_is_fragmented(
    conversation: tuple[bytes, list[Message]], cuts: list[int]
) -> None:
    wire, expected = conversation
    assert decode(cut(wire, cuts)) == (expected, None)


@given(ANY_OCTETS, CUTS)
def test_how_octets_are_cut_into_chunks_changes_nothing(wire: bytes, cuts: list[int]) -> None:
    whole = decode([wire])
    assert decode(cut(wire, range(len(wire)))) == whole
    assert decode(cut(wire, cuts)) == whole


@given(ANY_OCTETS, CUTS, st.integers(1, 5))
def test_what_is_left_for_later_is_what_comes_next(wire: bytes, cuts: list[int], budget: int) -> None:
    decoder, messages = FrameDecoder(LIMIT), []
    for chunk in cut(wire, cuts):
        taken = decoder.feed(chunk, budget)
        while decoder.is_spent:
            assert len(taken) <= budget
            messages += taken
            taken = decoder.feed(b"", budget)
        messages += taken
    code = None if decoder.violation is None else int(decoder.violation.code)
    assert (messages, code) == decode([wire])


def test_long_frames_spend_more_of_a_budget() -> None:
    octets, limit = frame(Opcode.BINARY, bytes(5000)) + frame(Opcode.PING) * 2, 1 << 20
    assert [len(FrameDecoder(limit).feed(octets, budget)) for budget in (5, 6, 7)] == [1, 2, 3]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_messages_of_every_length_field_arrive(opcode: Opcode, size: int) -> None:
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert decode([frame(opcode, payload)], limit=size) == ([(opcode, payload)], None)
    assert decode(fragments(opcode, payload, 4099), limit=size) == ([(opcode, payload)], None)


# What each is refused with, and after which octet at the latest.
VIOLATIONS = {
    "reserved-bit-1": (b"\xc1", 1002),
    "reserved-bit-2": (b"\xa2", 1002),
    "reserved-bit-3-of-a-ping": (b"\x99", 1002),
    "reserved-data-opcode": (b"\x83", 1002),
    "reserved-control-opcode": (b"\x8f", 1002),
    "fragmented-ping": (b"\x09", 1002),
    "continuation-of-nothing": (b"\x80", 1002),
    "text-within-a-message": (frame(Opcode.TEXT, b"a", fin=False) + b"\x81", 1002),
    "unmasked": (b"\x81\x05", 1002),
    "unmasked-and-empty": (b"\x81\x00", 1002),
    "unmasked-ping": (b"\x89\x00", 1002),
    "long-ping": (b"\x89\xfe", 1002),
    "very-long-close": (b"\x88\xff", 1002),
    "length-125-in-16-bits": (header(Opcode.BINARY, 125, width=16), 1002),
    "length-125-in-16-bits-and-whole": (frame(Opcode.BINARY, b"x" * 125, width=16), 1002),
    "length-65535-in-64-bits": (header(Opcode.BINARY, 65535, width=64), 1002),
    "length-of-2^63": (header(Opcode.BINARY, 2**63, width=64), 1002),
    "too-big": (header(Opcode.BINARY, LIMIT + 1), 1009),
    "far-too-big": (header(Opcode.TEXT, 2**62, width=64), 1009),
    "too-big-in-the-second-fragment": (
        frame(Opcode.TEXT, b"a" * LIMIT, fin=False) + header(Opcode.CONTINUATION, 1),
        1009,
    ),
    "not-utf-8": (frame(Opcode.TEXT, b"\xff"), 1007),
    "not-utf-8-yet-whole": (frame(Opcode.TEXT, b"ab\xe2\x82"), 1007),
    "not-utf-8-in-a-fragment": (frame(Opcode.TEXT, b"ok \xc0", fin=False), 1007),
    "not-utf-8-across-fragments": (frame(Opcode.TEXT, b"\xe2\x82", fin=False) + frame(0, b"a", fin=False), 1007),
    "unfinished-utf-8-at-the-end": (frame(Opcode.TEXT, b"\xe2\x82", fin=False) + frame(Opcode.CONTINUATION), 1007),
    "a-surrogate-before-its-last-octet": (frame(Opcode.TEXT, b"\xed\xa0", fin=False), 1007),
    "not-utf-8-before-the-payload-is-whole": (header(Opcode.TEXT, 99, key=bytes(4)) + b"a\xf5", 1007),
}
BEFORE = frame(Opcode.BINARY, b"before") + frame(Opcode.PING, b"?")
BEFORE_MESSAGES: list[Message] = [(Opcode.BINARY, b"before"), (Opcode.PING, b"?")]


@pytest.mark.parametrize(("octets", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
@pytest.mark.parametrize("chop", [1, 1 << 20])
def test_a_violation_is_seen_at_once_and_keeps_what_came_before(octets: bytes, code: int, chop: int) -> None:
    wire = BEFORE + octets
    assert decode(cut(wire, range(0, len(wire), chop))) == (BEFORE_MESSAGES, code)


@pytest.mark.parametrize(("octets", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_after_a_violation_everything_is_ignored(octets: bytes, code: int) -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(octets + BEFORE)
    violation = decoder.violation
    assert violation is not None
    assert (violation.code, str(violation)) == (code, violation.reason)
    assert decoder.feed(BEFORE) == decoder.feed(b"\xff") == decoder.feed(b"") == []
    assert decoder.violation is violation


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_message_may_have_max_message_bytes_and_not_one_more(opcode: Opcode) -> None:
    largest = (opcode, b"x" * LIMIT)
    for size in (1, 7, LIMIT, LIMIT + 1):
        assert decode(fragments(opcode, b"x" * LIMIT, size)) == ([largest], None)
        assert decode(fragments(opcode, b"x" * (LIMIT + 1), size)) == ([], 1009)


def test_a_finished_message_leaves_the_whole_limit_to_the_next() -> None:
    largest = b"x" * LIMIT
    wire = b"".join([*fragments(Opcode.TEXT, largest, 100), *fragments(Opcode.BINARY, largest, 70)])
    assert decode([wire]) == ([(Opcode.TEXT, largest), (Opcode.BINARY, largest)], None)


def could_become_utf8(octets: bytes) -> bool:
    """Return whether octets begin some UTF-8 text: all of it is right but for a character cut short at the end."""
    for tail in range(min(4, len(octets) + 1)):
        head, rest = octets[: len(octets) - tail], octets[len(octets) - tail :]
        try:
            head.decode()
        except UnicodeDecodeError:
            continue
        if rest in PARTS_OF_CHARACTERS:
            return True
    return False


PARTS_OF_CHARACTERS = {
    chr(point).encode()[:size]
    for point in range(0x80, 0x110000, 0x40)  # the last octet has 6 bits, and is never part of an unfinished character
    if not 0xD800 <= point <= 0xDFFF
    for size in range(len(chr(point).encode()))
}


@given(NEARLY_UTF8)
def test_text_is_refused_at_the_first_octet_that_cannot_be_right(text: bytes) -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.feed(header(Opcode.TEXT, LIMIT, key=bytes(4)))
    for at in range(len(text)):
        decoder.feed(text[at : at + 1])
        assert (decoder.violation is None) == could_become_utf8(text[: at + 1]), text[: at + 1]


def held(decoder: FrameDecoder) -> int:
    """Return how many octets of payload or unread input a decoder keeps alive."""
    reachable = gc.get_referents(decoder)
    for thing in reachable:
        if isinstance(thing, list):
            reachable += thing
    return sum(len(thing) for thing in reachable if isinstance(thing, bytes | bytearray | memoryview))


@given(ANY_OCTETS, CUTS, st.sampled_from([130, LIMIT]))
def test_memory_is_bounded_by_the_limit_whatever_comes(wire: bytes, cuts: list[int], limit: int) -> None:
    decoder = FrameDecoder(limit)
    for chunk in cut(wire, cuts):
        decoder.feed(chunk)
        assert held(decoder) <= limit + LARGEST_CONTROL_FRAME + 4
    if decoder.violation is not None:
        assert held(decoder) <= 4


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "82 00"),
        (125, "82 7d"),
        (126, "82 7e 00 7e"),
        (65535, "82 7e ff ff"),
        (65536, "82 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_frames_have_the_shortest_header(size: int, head: str) -> None:
    assert encode_frame(Opcode.BINARY, b"x" * size) == bytes.fromhex(head) + b"x" * size


@pytest.mark.parametrize("opcode", Opcode)
def test_every_frame_is_whole_and_unmasked(opcode: Opcode) -> None:
    assert encode_frame(opcode, b"abc") == bytes((0x80 | opcode, 3)) + b"abc"


def test_a_close_frame_has_code_and_reason() -> None:
    assert encode_close(None) == encode_close(None, "is left out") == b"\x88\x00"
    assert encode_close(1000) == b"\x88\x02\x03\xe8"
    assert encode_close(CloseCode.SLOW_CONSUMER, "slow") == b"\x88\x06\x0f\xa8slow"


@given(st.text(min_size=20, max_size=200))
def test_a_long_reason_is_cut_to_what_fits_at_a_characters_edge(reason: str) -> None:
    octets = encode_close(1000, reason)
    assert len(octets) - 2 == octets[1] <= 125
    code, kept = parse_close(octets[2:])
    assert (code, reason[: len(kept)]) == (1000, kept)
    assert kept == reason or len(reason[: len(kept) + 1].encode()) > 123


@given(st.sampled_from([*range(1000, 1004), *range(1007, 1015), 3000, 4999]), st.text(max_size=30))
def test_a_received_close_gives_code_and_reason(code: int, reason: str) -> None:
    ((opcode, payload),), violation = decode([close_frame(code, reason.encode())])
    assert (opcode, violation) == (Opcode.CLOSE, None)
    assert parse_close(payload) == (code, reason)


def test_a_received_close_may_be_empty() -> None:
    assert parse_close(b"") == (None, "")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        *((number.to_bytes(2), 1002) for number in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8\xe2\x82", 1007),
    ],
)
def test_a_close_that_must_not_be_sent_is_a_violation(payload: Sequence[int], code: int) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_close(bytes(payload))
    assert caught.value.code == code
