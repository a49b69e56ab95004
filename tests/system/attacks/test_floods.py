"""Floods on one socket: a client that sends as fast as it can gets its turn, and no more than that."""

import pytest

from tests.conformance.frames import Opcode, frame

from .hostile import flood, websocket
from .scene import Arena

TINY = frame(Opcode.CONTINUATION, b" ", fin=False) * 500
FLOODS = {
    "pings": frame(Opcode.PING) * 5000,
    "pongs": frame(Opcode.PONG, b"?" * 125) * 2000,
    "empty fragments": frame(Opcode.CONTINUATION, fin=False) * 5000,
    "tiny fragments": frame(Opcode.TEXT, fin=False) + TINY + frame(Opcode.CONTINUATION, b'{"op":"ping"}'),
    "events": frame(Opcode.TEXT, b'{"data":[1,2,3,4]}') * 1000,
    "wrong events": frame(Opcode.TEXT, b'{"data":[1]}') * 1000,
    "pings of the protocol": frame(Opcode.TEXT, b'{"op":"ping"}') * 1000,
}


@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_is_taken_in_turns(arena: Arena, case: str) -> None:
    with arena.under_attack() as attack, websocket(arena.server) as connection:
        if case == "empty fragments":
            connection.sendall(frame(Opcode.TEXT, fin=False))
        flood(connection, FLOODS[case], attack)
