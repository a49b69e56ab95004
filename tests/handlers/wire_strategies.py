"""What clients may send, and what they may not: Hypothesis strategies over octets on a WebSocket."""

import itertools
from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from handlers.frames import FrameDecoder
from tests.conformance.frames import Opcode, frame

Message = tuple[int, bytes]
Outcome = tuple[list[Message], int | None]  # messages, and the close code of a violation

LIMIT: Final = 300

EDGE_SIZES: Final = st.sampled_from([0, 124, 125, 126, 127, 128, LIMIT - 1, LIMIT, LIMIT + 1])
KEYS: Final = st.binary(min_size=4, max_size=4)
TEXTS: Final = st.text(max_size=60).map(str.encode)
MESSAGES: Final = st.one_of(
    st.tuples(st.just(int(Opcode.TEXT)), TEXTS),
    st.tuples(st.just(int(Opcode.BINARY)), st.binary(max_size=200)),
)
CONTROLS: Final = st.tuples(
    st.sampled_from([int(Opcode.CLOSE), int(Opcode.PING), int(Opcode.PONG)]), st.binary(max_size=125)
)

# Octets around which the rules of UTF-8 turn.
_EDGES: Final = bytes.fromhex("00 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")
NEARLY_UTF8: Final = st.lists(st.sampled_from(_EDGES), max_size=8).map(bytes)


def cut(octets: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut octets at the given places, each taken modulo the length; some pieces may be empty."""
    edges = [0, *sorted(at % (len(octets) + 1) for at in cuts), len(octets)]
    return [octets[start:stop] for start, stop in itertools.pairwise(edges)]


CUTS: Final = st.lists(st.integers(0, 10_000), max_size=5)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """Draw messages in fragments with control frames between them: the octets, and what is to come out."""
    wire, expected = b"", []
    for opcode, payload in draw(st.lists(MESSAGES, max_size=5)):
        parts = cut(payload, draw(CUTS))
        for number, part in enumerate(parts):
            for control in draw(st.lists(CONTROLS, max_size=1)):
                wire += frame(*control, key=draw(KEYS))
                expected.append(control)
            fin = number == len(parts) - 1
            wire += frame(0 if number else opcode, part, fin=fin, key=draw(KEYS))
        expected.append((opcode, payload))
    return wire, expected


@st.composite
def damaged_conversations(draw: st.DrawFn) -> bytes:
    """Draw a conversation of which some octets were changed."""
    wire = bytearray(draw(conversations())[0])
    for at, octet in draw(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4)):
        if wire:
            wire[at % len(wire)] = octet
    return bytes(wire)


@st.composite
def any_frames(draw: st.DrawFn) -> bytes:
    """Draw frames of every kind, legal or not, mostly with one thing wrong at most."""
    wire = b""
    for _ in range(draw(st.integers(1, 8))):
        payload = draw(st.one_of(TEXTS, NEARLY_UTF8, EDGE_SIZES.map(bytes), st.binary(max_size=LIMIT + 20)))
        fits_16 = len(payload) < 0x10000
        wire += frame(
            draw(st.one_of(st.sampled_from(list(Opcode)), st.integers(0, 15))),
            payload,
            fin=draw(st.booleans()),
            rsv=draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 4])),
            key=draw(st.one_of(KEYS, KEYS, KEYS, st.none())),
            width=draw(st.sampled_from([None, None, None, 64, 16 if fits_16 else 64])),
        )
    return wire


ANY_OCTETS: Final = st.one_of(damaged_conversations(), any_frames(), st.binary(max_size=60))


def decode(chunks: Sequence[bytes], limit: int = LIMIT) -> Outcome:
    """Return what a decoder makes of these chunks."""
    decoder = FrameDecoder(limit)
    messages = [message for chunk in chunks for message in decoder.feed(chunk)]
    return messages, None if decoder.violation is None else int(decoder.violation.code)
